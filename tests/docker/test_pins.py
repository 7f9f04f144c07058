"""What the files in requirements/ pin."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = sorted(path.name for path in REQUIREMENTS.glob("*.txt"))


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions of each package; there may be one for each Python version."""
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(
        r"^([a-z0-9-]+)==(\S+)", (REQUIREMENTS / name).read_text(), re.M
    ):
        versions.setdefault(package, set()).add(version)
    return versions


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_no_index(name: str) -> None:
    text = (REQUIREMENTS / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


@pytest.mark.parametrize("name", [name for name in FILES if name != "torch-cpu.txt"])
def test_every_pin_has_a_hash(name: str) -> None:
    lines = (REQUIREMENTS / name).read_text().replace("\\\n", "").splitlines()
    for line in lines:
        assert line.startswith("#") or "--hash=sha256:" in line


def test_both_builds_of_pytorch_have_the_same_version() -> None:
    gpu, cpu = pins("torch-gpu.txt"), pins("torch-cpu.txt")
    assert cpu.keys() == {"torch"}
    for package, versions in cpu.items():
        assert {version.partition("+")[0] for version in versions} == gpu[package]


def test_a_package_has_the_same_version_in_every_file() -> None:
    found: dict[str, set[frozenset[str]]] = {}
    for name in FILES:
        for package, versions in pins(name).items():
            found.setdefault(package, set()).add(frozenset(versions))
    del found["torch"]  # its builds have versions of their own
    assert [package for package, versions in found.items() if len(versions) > 1] == []


def test_every_declared_dependency_is_pinned() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert names(PROJECT["project"]["dependencies"]) <= pins("inference.txt").keys()
    assert names(PROJECT["build-system"]["requires"]) <= pins("build.txt").keys()
    training = pins("training.txt").keys() | pins("torch-cpu.txt").keys()
    assert names(extras["train"]) <= training
    assert names(extras["test"]) - {"mnistctl"} <= pins("test.txt").keys()
