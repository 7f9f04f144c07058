"""Print the release notes of a tag: the section of CHANGELOG.md for its version.

usage: release.py TAG     such as: v1.2.0

Fails if the tag is not the version of the code, or if CHANGELOG.md does not describe it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(tag: str, package: str, changelog: str) -> str:
    """Return the release notes.

    Args:
        tag: the tag, which is the version after a ``v``.
        package: the content of ``mnistctl/__init__.py``.
        changelog: the content of ``CHANGELOG.md``.

    Raises:
        ValueError: if the tag does not match the version, or the version has no section.
    """
    version = re.search(r'^__version__ = "(.+)"$', package, re.M)
    if not version or tag != f"v{version[1]}":
        raise ValueError(
            f"the tag {tag} is not v{version[1] if version else '?'}, the version in "
            "mnistctl/__init__.py: change one of them."
        )
    heading = rf"^## {re.escape(version[1])} - \d{{4}}-\d\d-\d\d\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if not section or not section[1].strip():
        raise ValueError(
            f"CHANGELOG.md has no entries under '## {version[1]} - DATE': move those of Unreleased."
        )
    return section[1].strip() + "\n"


def main(tag: str) -> None:
    """Print the notes, or fail with one sentence."""
    package, changelog = ROOT / "mnistctl" / "__init__.py", ROOT / "CHANGELOG.md"
    try:
        text = notes(tag, package.read_text("utf-8"), changelog.read_text("utf-8"))
    except ValueError as error:
        sys.exit(f"release.py: {error}")
    print(text, end="")


if __name__ == "__main__":
    main(sys.argv[1])
