"""The installation of mnistctl into an image."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path

import install_package
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[project]
name = "example"
description = "An example"
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.11"
keywords = ["example"]
classifiers = ["Typing :: Typed"]
dependencies = ["numpy>=2.0"]

[project.urls]
Repository = "https://example.org/example"

[project.optional-dependencies]
train = ["torch>=2.9"]

[project.scripts]
example-tool = "example.__main__:main"
"""


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that a small package was installed in."""
    source = tmp_path / "source"
    (source / "example" / "data").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "LICENSE").write_text("Do what you like.\n")
    (source / "example" / "__init__.py").write_text('"""An example."""\n\n__version__ = "1.2"\n')
    (source / "example" / "__main__.py").write_text("def main() -> None:\n    print('ran')\n")
    (source / "example" / "data" / "train-images.gz").touch()
    (source / "example" / "data" / "t10k-images.gz").touch(0o600)
    monkeypatch.setattr(sys, "pycache_prefix", None)  # to restore what main changes
    install_package.main(source, tmp_path / "prefix")
    return tmp_path / "prefix"


def test_the_package_is_found_by_importlib_metadata(prefix: Path) -> None:
    [distribution] = importlib.metadata.distributions(path=[str(prefix / "packages")])
    assert (distribution.name, distribution.version) == ("example", "1.2")
    assert [entry.value for entry in distribution.entry_points] == ["example.__main__:main"]
    assert distribution.read_text("licenses/LICENSE") == "Do what you like.\n"


def test_the_console_script_runs_the_entry_point(prefix: Path) -> None:
    environment = {"PYTHONPATH": str(prefix / "packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, prefix / "bin" / "example-tool"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "ran\n"


def test_the_training_set_is_left_out(prefix: Path) -> None:
    data = prefix / "packages" / "example" / "data"
    assert [path.name for path in data.iterdir()] == ["t10k-images.gz"]


def test_modes_do_not_depend_on_the_checkout(prefix: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in prefix.rglob("*")}
    assert modes["t10k-images.gz"] == 0o644
    assert modes["example-tool"] == 0o755
    assert modes["data"] == 0o755


def test_every_module_has_byte_code_that_python_does_not_check(prefix: Path) -> None:
    compiled = list((prefix / "bytecode").rglob("*.pyc"))
    assert len(compiled) == len(list(prefix.rglob("*.py")))
    unchecked_hash = (1).to_bytes(4, "little")  # the flags of PEP 552
    assert {path.read_bytes()[4:8] for path in compiled} == {unchecked_hash}


def test_record_lists_every_file_with_its_hash_and_size(prefix: Path) -> None:
    site = prefix / "packages"
    text = (site / "example-1.2.dist-info" / "RECORD").read_text()
    *rows, itself = csv.reader(io.StringIO(text))
    assert itself == ["example-1.2.dist-info/RECORD", "", ""]
    recorded = {(site / name).resolve() for name, _, _ in rows}
    directories = (site, prefix / "bin")
    files = {path for folder in directories for path in folder.rglob("*") if path.is_file()}
    installed = {path for path in files if path.name != "RECORD"}
    assert recorded == installed
    for name, digest, size in rows:
        content = (site / name).read_bytes()
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
        assert (digest, int(size)) == (f"sha256={sha256.rstrip('=')}", len(content))


def test_a_package_without_a_version_stops_the_build() -> None:
    with pytest.raises(SystemExit, match="__version__"):
        install_package.version_of("version = '1.0'\n")


def test_a_syntax_error_stops_the_build(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "example" / "broken.py").write_text("def\n")
    with pytest.raises(SystemExit, match="syntax error"):
        install_package.main(tmp_path / "source", prefix.with_name("other"))


def comparable(text: str) -> dict[str, set[str]]:
    """Return the fields of METADATA, with requirements in one form, without the description."""
    message: Message = Parser().parsestr(text)
    fields: dict[str, set[str]] = {}
    for name, value in message.items():
        written = str(Requirement(value)) if name == "Requires-Dist" else value
        fields.setdefault(name, set()).add(written)
    for name in ("Description-Content-Type", "Dynamic"):
        fields.pop(name, None)
    return fields


def test_the_metadata_is_what_setuptools_writes(tmp_path: Path) -> None:
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    code = shutil.ignore_patterns("*.gz", "*.onnx", "*.so", "__pycache__")
    shutil.copytree(ROOT / "mnistctl", tmp_path / "mnistctl", ignore=code)
    program = "from setuptools import build_meta as b; b.prepare_metadata_for_build_wheel('.')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True)
    [expected] = tmp_path.glob("*.dist-info/METADATA")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = install_package.version_of((ROOT / "mnistctl" / "__init__.py").read_text())
    written = install_package.metadata(project, version)
    assert comparable(written) == comparable(expected.read_text())
