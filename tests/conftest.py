"""The fixtures that the specifications share."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from support import MNISTCTL, Run, write_mnist

from mnistctl import dataset
from mnistctl.dataset import Digits


@pytest.fixture(scope="session")
def mnist_test() -> Digits:
    return dataset.load("test")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``mnistctl`` in an empty directory, as a user would."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [*MNISTCTL, *(os.fspath(a) if isinstance(a, Path) else a for a in arguments)]
        options = {"cwd": tmp_path, "capture_output": True, "timeout": 300, **options}
        if not {"stdin", "input"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(command, check=False, **options)

    return run


@pytest.fixture(scope="session")
def digit_png(tmp_path_factory: pytest.TempPathFactory, mnist_test: Digits) -> Path:
    """The first test digit of MNIST, a 7, as a PNG file."""
    path = tmp_path_factory.mktemp("digit") / "seven.png"
    Image.fromarray(mnist_test.images[0]).save(path)
    return path


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory, mnist_test: Digits) -> Path:
    """A data set of 640 digits, so that an epoch is a matter of a few batches."""
    directory = tmp_path_factory.mktemp("small")
    return write_mnist(directory, mnist_test.images[:640], mnist_test.labels[:640])
