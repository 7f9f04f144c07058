"""The fixtures that the tests share."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from PIL import Image
from support import MNISTCTL, Run, write_mnist

from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset, load_dataset

# The tests use every core, so a training in one of them uses one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell ignores this signal in the background, and the programs that tests start would too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is not a failure.
hypothesis.settings.register_profile("mnistctl", deadline=None)
hypothesis.settings.load_profile("mnistctl")


@pytest.fixture(scope="session")
def mnist_test() -> Dataset:
    """The 10,000 test images of MNIST."""
    return load_dataset("test")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The bundled model."""
    return Classifier.load()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs ``mnistctl`` in an empty directory, as a user would."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [*MNISTCTL, *(os.fspath(argument) for argument in arguments)]
        options = {"cwd": tmp_path, "capture_output": True, "timeout": 300, **options}
        if not {"stdin", "input"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(command, check=False, **options)

    return run


@pytest.fixture(scope="session")
def digit_png(tmp_path_factory: pytest.TempPathFactory, mnist_test: Dataset) -> Path:
    """The first test image of MNIST, a 7, as a PNG file."""
    path = tmp_path_factory.mktemp("digit") / "seven.png"
    Image.fromarray(mnist_test.images[0]).save(path)
    return path


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory, mnist_test: Dataset) -> Path:
    """The directory of a data set with 640 images: an epoch has few batches."""
    directory = tmp_path_factory.mktemp("small")
    return write_mnist(directory, mnist_test.images[:640], mnist_test.labels[:640])
