"""The source distribution, and what pyproject.toml says of the wheels."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REPOSITORY = PYPROJECT["project"]["urls"]["Repository"]


def tracked_files() -> set[str]:
    """Return the paths of the files that git tracks, or of all that a source distribution has."""
    if not (ROOT / ".git").exists():
        sources = ROOT / "mnistctl.egg-info" / "SOURCES.txt"
        paths = sources.read_text().splitlines()
    else:
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
        paths = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    return {path for path in paths if (ROOT / path).is_file() and ".egg-info/" not in path}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files in a source distribution, built of the tracked files alone."""
    directory = tmp_path_factory.mktemp("sdist")
    for path in tracked_files():
        copy = directory / "source" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy)
    program = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run(
        [sys.executable, "-c", program], cwd=directory / "source", check=True, capture_output=True
    )
    (built,) = (directory / "source" / "dist").iterdir()
    with tarfile.open(built) as archive:
        return {
            member.name.partition("/")[2]: file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }


def test_it_has_every_tracked_file(sdist: dict[str, bytes]) -> None:
    assert tracked_files() - sdist.keys() == set()


@pytest.mark.parametrize(
    "path",
    ["LICENSE", "csrc/argmax.cpp", "docs/commands.md", "examples/seven.png", "mnistctl/model.onnx",
     "mnistctl/training/loop.py", "tests/conftest.py", "tests/container/conftest.py",
     "tests/support.py"],
)  # fmt: skip
def test_it_has_what_building_and_testing_need(sdist: dict[str, bytes], path: str) -> None:
    assert path in sdist


def test_it_has_no_compiled_file(sdist: dict[str, bytes]) -> None:
    assert not {path for path in sdist if Path(path).suffix in {".o", ".pyc", ".pyd", ".so"}}


def test_links_and_images_of_its_description_are_absolute(sdist: dict[str, bytes]) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", sdist["PKG-INFO"].decode())
    assert f"{REPOSITORY}/raw/HEAD/benchmarks/images/chart.svg" in links
    assert f"{REPOSITORY}/blob/HEAD/docs/commands.md" in links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_wheels_are_built_and_tested_for_every_python_that_the_metadata_names() -> None:
    classifiers = "\n".join(PYPROJECT["project"]["classifiers"])
    versions = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.M)
    wheels = [f"cp{version.replace('.', '')}-*" for version in versions]
    assert PYPROJECT["tool"]["cibuildwheel"]["build"].split() == wheels
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert f"python: {versions}".replace("'", '"') in ci
