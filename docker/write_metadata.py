"""Write mnistctl's dist-info directory, where image scanners and importlib.metadata look for it.

usage: write_metadata.py PYPROJECT LICENSE     in the directory that mnistctl is installed in

Writes what pip would, from pyproject.toml. Building a wheel would need the compiler.
"""

import base64
import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def version_of(source: str) -> str:
    """Return the version that a package's __init__.py assigns."""
    found = re.search(r'^__version__ = "(.+)"$', source, re.M)
    if not found:
        sys.exit("__init__.py does not assign a string to __version__.")
    return found[1]


def metadata(project: dict[str, Any], version: str) -> str:
    """Return the content of METADATA for pyproject.toml's table [project]."""
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", project["name"]),
        ("Version", version),
        ("Summary", project["description"]),
        ("License-Expression", project["license"]),
        *(("License-File", file) for file in project["license-files"]),
        ("Requires-Python", project["requires-python"]),
        *(("Requires-Dist", requirement) for requirement in project["dependencies"]),
    ]
    for extra, requirements in project["optional-dependencies"].items():
        fields.append(("Provides-Extra", extra))
        fields.extend(("Requires-Dist", f'{each}; extra == "{extra}"') for each in requirements)
    return "".join(f"{name}: {value}\n" for name, value in fields)


def entry_points(scripts: dict[str, str]) -> str:
    """Return the content of entry_points.txt for pyproject.toml's table [project.scripts]."""
    return "[console_scripts]\n" + "".join(f"{name} = {path}\n" for name, path in scripts.items())


def record(site: Path, files: list[Path], itself: str) -> str:
    """Return the content of RECORD: each file with its SHA-256 and size, and RECORD itself."""
    lines = []
    for file in files:
        content = file.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f"{file.relative_to(site)},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{itself},,\n"


def main(pyproject: Path, licence: Path, site: Path) -> None:
    """Write the directory. RECORD lists the files of this layer, not of the layers below."""
    project = tomllib.loads(pyproject.read_text())["project"]
    package = site / project["name"]
    version = version_of((package / "__init__.py").read_text())
    info = site / f"{project['name']}-{version}.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "licenses" / licence.name).write_bytes(licence.read_bytes())
    (info / "METADATA").write_text(metadata(project, version))
    (info / "entry_points.txt").write_text(entry_points(project["scripts"]))
    files = sorted(path for top in (package, info) for path in top.rglob("*") if path.is_file())
    (info / "RECORD").write_text(record(site, files, f"{info.name}/RECORD"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path.cwd())
