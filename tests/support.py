"""The functions that the specifications share."""

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[..., subprocess.CompletedProcess[bytes]]

MNISTCTL = [sys.executable, "-m", "mnistctl"]


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


def names(directory: Path) -> list[str]:
    """What is in a directory, hidden files included."""
    return sorted(entry.name for entry in directory.iterdir())
