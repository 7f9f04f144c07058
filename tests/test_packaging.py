"""The source distribution, what pyproject.toml says of the wheels, and the installed package."""

import os
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
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files alone."""
    directory = tmp_path_factory.mktemp("source")
    for path in tracked_files():
        copy = directory / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy)
    return directory


@pytest.fixture(scope="module")
def sdist(source: Path) -> dict[str, bytes]:
    """The files in a source distribution."""
    program = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (built,) = (source / "dist").iterdir()
    with tarfile.open(built) as archive:
        return {
            member.name.partition("/")[2]: file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }


def test_it_has_every_tracked_file(sdist: dict[str, bytes]) -> None:
    assert tracked_files() - sdist.keys() == set()


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


CONSUMER = """
from typing import assert_type
import numpy as np
from mnistctl import Classifier, Dataset, MnistctlError, Prediction, Report
from mnistctl import evaluate, load_dataset, read_image
from mnistctl import nothing  # type: ignore[attr-defined]

images = np.stack([read_image("one.png"), read_image(b""), read_image(open("two.jpg", "rb"))])
classifier = Classifier.load()
assert_type(classifier.predict(images), list[Prediction])
assert_type(classifier.predict(images)[0].digit, int)
assert_type(classifier.metadata["seed"], str)
assert_type(load_dataset("test", "directory"), Dataset)
assert_type(evaluate(classifier, load_dataset("test")), Report)
load_dataset("validation")  # type: ignore[arg-type]
read_image(open("text"))  # type: ignore[arg-type]
raise MnistctlError("a sentence")
"""


def test_a_program_that_uses_the_installed_package_is_type_checked(
    source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mypy", reason="mypy is one of the development tools")
    # What a wheel has, except for the compiled extension.
    build = ["setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "installed")]
    subprocess.run([sys.executable, *build], cwd=source, check=True, capture_output=True)
    (tmp_path / "consumer.py").write_text(CONSUMER)
    # Python finds a package in PYTHONPATH, and mypy takes it for an installed one.
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "consumer.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "Success: no issues found in 1 source file\n"
