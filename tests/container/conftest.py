"""The fixtures that the tests of the images share."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from container.engine import VARIANTS, Completed, Run, bake, copy_checkout, docker, missing


def pytest_xdist_auto_num_workers() -> int:
    """Run these tests in one process: they share the images that a fixture builds."""
    return 0


@pytest.fixture(scope="session")
def engine() -> None:
    """Stop the run where no image can be built."""
    if reason := missing():
        pytest.exit(reason, returncode=1)


@pytest.fixture(scope="session")
def images(engine: None) -> None:  # noqa: ARG001
    """Build the three images from the files as they are."""
    bake(*VARIANTS)


@pytest.fixture(params=VARIANTS)
def image(request: pytest.FixtureRequest, images: None) -> str:  # noqa: ARG001
    """Each of the images."""
    return f"mnistctl:{request.param}"


@pytest.fixture(params=["cpu", "gpu"])
def training_image(request: pytest.FixtureRequest, images: None) -> str:  # noqa: ARG001
    """Each of the images that contain PyTorch."""
    return f"mnistctl:{request.param}"


@pytest.fixture
def checkout(tmp_path: Path, engine: None) -> Path:  # noqa: ARG001
    """A copy of the repository's files, to change."""
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    return checkout


@pytest.fixture
def work(tmp_path: Path, digit_png: Path) -> Path:
    """A directory that every user can write, with an image of a seven."""
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)
    shutil.copy(digit_png, work / "seven.png")
    return work


@pytest.fixture
def data(tmp_path: Path, small_mnist: Path) -> Path:
    """A small data set that every user can read."""
    data = tmp_path / "data"
    shutil.copytree(small_mnist, data)
    data.chmod(0o755)
    return data


@pytest.fixture
def run(work: Path) -> Run:
    """Return a function that runs an image with ``work`` mounted, as the README does."""

    def run(image: str, *arguments: str, flags: Sequence[str] = ()) -> Completed:
        mount = f"--volume={work}:/work"
        return docker("run", "--rm", mount, *flags, image, *arguments, check=False)

    return run
