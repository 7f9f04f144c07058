"""The release notes of a tag."""

import pytest
from release import notes

PACKAGE = '"""A package."""\n\n__version__ = "1.2.0"\n'
CHANGELOG = """# Changelog

## Unreleased

## 1.2.0 - 2026-11-25

### Added

- A wheel.

## 1.1.0 - 2026-11-24

- An image.
"""


def test_notes_are_the_section_of_the_version() -> None:
    assert notes("v1.2.0", PACKAGE, CHANGELOG) == "### Added\n\n- A wheel.\n"


def test_oldest_version_has_notes() -> None:
    assert notes("v1.1.0", PACKAGE.replace("1.2.0", "1.1.0"), CHANGELOG) == "- An image.\n"


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2.1", "v1.2.0.dev0"])
def test_tag_of_another_version_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not v1\.2\.0, the version in mnistctl/__init__"):
        notes(tag, PACKAGE, CHANGELOG)


def test_package_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the version in mnistctl/__init__\.py"):
        notes("v1.2.0", '"""A package."""\n', CHANGELOG)


@pytest.mark.parametrize("heading", ["## 1.2.0", "## Unreleased"])
def test_version_without_a_dated_section_is_refused(heading: str) -> None:
    changelog = CHANGELOG.replace("## 1.2.0 - 2026-11-25", heading)
    with pytest.raises(ValueError, match=r"no entries under '## 1\.2\.0 - DATE'"):
        notes("v1.2.0", PACKAGE, changelog)


def test_empty_section_is_refused() -> None:
    changelog = CHANGELOG.replace("### Added\n\n- A wheel.\n", "")
    with pytest.raises(ValueError, match="no entries"):
        notes("v1.2.0", PACKAGE, changelog)
