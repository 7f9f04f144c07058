"""Print the requirements in a list of pyproject.toml, one a line.

usage: requirements_of.py PYPROJECT KEY...     such as: project optional-dependencies train
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: str, *keys: str) -> list[str]:
    """Return the list under the keys, without mnistctl's own extras."""
    value = tomllib.loads(pyproject)
    for key in keys:
        value = value[key]
    return [requirement for requirement in value if not requirement.startswith("mnistctl[")]


if __name__ == "__main__":
    print(*requirements(Path(sys.argv[1]).read_text(), *sys.argv[2:]), sep="\n")
