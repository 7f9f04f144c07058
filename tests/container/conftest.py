"""What the specifications of the images share: the images, and a way to run one."""

import os
import shutil
from pathlib import Path

import pytest
from engine import VARIANTS, Completed, Run, bake, docker, why_not


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine; where there is none, CI fails and others skip."""
    reason = why_not()
    if reason and (os.environ.get("CI") or os.environ.get("MNISTCTL_REQUIRE_DOCKER")):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def images(engine: None) -> None:  # noqa: ARG001
    """The three images, built from the files as they are."""
    bake(*VARIANTS)


@pytest.fixture(params=VARIANTS)
def image(request: pytest.FixtureRequest, images: None) -> str:  # noqa: ARG001
    """Each of the images."""
    return f"mnistctl:{request.param}"


@pytest.fixture(params=["cpu", "gpu"])
def training_image(request: pytest.FixtureRequest, images: None) -> str:  # noqa: ARG001
    """Each of the images that hold PyTorch."""
    return f"mnistctl:{request.param}"


@pytest.fixture
def work(tmp_path: Path, digit_png: Path) -> Path:
    """A directory that anyone may write, with a picture of a seven."""
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)
    shutil.copy(digit_png, work / "seven.png")
    return work


@pytest.fixture
def data(tmp_path: Path, small_mnist: Path) -> Path:
    """A small data set that anyone may read."""
    data = tmp_path / "data"
    shutil.copytree(small_mnist, data)
    data.chmod(0o755)
    return data


@pytest.fixture
def run(work: Path) -> Run:
    """Run an image with that directory mounted, as the README does."""

    def run(image: str, *arguments: object, **options: object) -> Completed:
        mounted = ("run", "--rm", f"--volume={work}:/work")
        return docker(
            *mounted, *options.pop("flags", ()), image, *arguments, check=False, **options
        )

    return run
