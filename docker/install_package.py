"""Install mnistctl as pip does, without the parts that are layers of their own.

usage: install_package.py SOURCE PREFIX

Those are the extension and the training set. Writes PREFIX/packages/mnistctl, its dist-info
directory (where image scanners and importlib.metadata look), its byte code and PREFIX/bin/mnistctl.
pip itself would have to build the extension.
"""

import base64
import compileall
import hashlib
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any


def main(source: Path, prefix: Path) -> None:
    """Install the package."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    site, name = prefix / "packages", project["name"]
    shutil.copytree(source / name, site / name, ignore=shutil.ignore_patterns("train-*"))
    version = version_of((site / name / "__init__.py").read_text())
    info = site / f"{name}-{version}.dist-info"
    write(info / "METADATA", metadata(project, version))
    write(info / "entry_points.txt", entry_points(project["scripts"]))
    for licence in project["license-files"]:
        write(info / "licenses" / licence, (source / licence).read_text())
    for script, entry_point in project["scripts"].items():
        write(prefix / "bin" / script, launcher(entry_point))
    write(info / "RECORD", record(site, info))
    # The same modes wherever the source was checked out.
    for path in prefix.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    # Byte code that Python does not check against its source, whose date is not kept (PEP 552).
    sys.pycache_prefix = str(prefix / "bytecode")
    unchecked = PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(site, quiet=1, invalidation_mode=unchecked):
        sys.exit("mnistctl has a syntax error, shown above.")


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
        *(("Project-URL", f"{label}, {url}") for label, url in project["urls"].items()),
        ("Keywords", ",".join(project["keywords"])),
        *(("Classifier", classifier) for classifier in project["classifiers"]),
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


def launcher(entry_point: str) -> str:
    """Return the program that calls an entry point, such as package.module:function."""
    module, _, function = entry_point.partition(":")
    return f"#!/usr/bin/env python3\nfrom {module} import {function}\n\n{function}()\n"


def record(site: Path, info: Path) -> str:
    """Return the content of RECORD: each installed file with its SHA-256 and its size."""
    lines = []
    for path in sorted(site.parent.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            lines.append(f"{os.path.relpath(path, site)},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{info.name}/RECORD,,\n"


def write(path: Path, text: str) -> None:
    """Write a file, and make its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
