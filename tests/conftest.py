"""What the specifications share: the command line, and small data sets."""

import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistctl import dataset
from mnistctl.dataset import Digits

Run = Callable[..., subprocess.CompletedProcess[bytes]]

MNISTCTL = [sys.executable, "-m", "mnistctl"]


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


def idx(values: np.ndarray) -> bytes:
    """Values, 8-bit or 32-bit, in the IDX format."""
    kind = {np.dtype(np.uint8): 0x08, np.dtype(">i4"): 0x0C}[values.dtype]
    header = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    return header + values.tobytes()


def write_mnist(directory: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write a data set whose training set and test set are the same pictures, gzipped."""
    directory.mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        for name, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = gzip.compress(idx(values), compresslevel=1)
            (directory / f"{split}-{name}.gz").write_bytes(content)
    return directory


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory, mnist_test: Digits) -> Path:
    """A data set of 640 digits, so that an epoch is a matter of a few batches."""
    directory = tmp_path_factory.mktemp("small")
    return write_mnist(directory, mnist_test.images[:640], mnist_test.labels[:640])


def names(directory: Path) -> list[str]:
    """What is in a directory, hidden files included."""
    return sorted(entry.name for entry in directory.iterdir())
