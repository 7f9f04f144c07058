"""Delete what a list names, and stop the build if any of it does not exist.

usage: prune.py LIST [BUILD]     in the directory to prune

Each line of LIST is a path (wildcards allowed) and the reason to delete it. A path that ends with
"?" may be missing. A path that starts with "!" is kept, even if another line matches it. With
BUILD (cpu or gpu) a line starts with the build that it applies to: cpu, gpu or both. The same list
holds on all platforms, so no path names one.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


def patterns(text: str, build: str | None = None) -> Iterator[str]:
    """Yield the paths in a list that apply to a build."""
    for line in text.splitlines():
        fields = line.partition("#")[0].split(maxsplit=2 if build else 1)
        if fields and (build is None or fields.pop(0) in (build, "both")):
            yield fields[0]


def prune(site: Path, paths: list[str]) -> list[str]:
    """Delete the paths below a directory, and return those that should exist and do not."""
    matches = {path: set(site.glob(path.strip("!?"))) for path in paths}
    kept = {match for path in paths if path.startswith("!") for match in matches[path]}
    for match in set().union(*matches.values()) - kept:
        if match.is_dir():
            shutil.rmtree(match)
        else:
            match.unlink(missing_ok=True)  # its directory may be gone
    return [path for path, found in matches.items() if not found and not path.endswith("?")]


def prune_or_exit(site: Path, rules: Path, build: str | None = None) -> None:
    """Delete below a directory what a list names, and exit if any of it does not exist."""
    missing = prune(site, list(patterns(rules.read_text(), build)))
    if missing:
        sys.exit(
            f"{rules.name} lists what does not exist: {', '.join(missing)}. Find out whether "
            "a new version of the package moved or removed it, and update the list."
        )


if __name__ == "__main__":
    prune_or_exit(Path.cwd(), Path(sys.argv[1]), *sys.argv[2:])
