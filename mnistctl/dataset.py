"""MNIST, or any data set of its format, as NumPy arrays."""

import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mnistctl.errors import MnistctlError, shown, unreadable

Split = Literal["train", "test"]

BUNDLED = Path(__file__).with_name("mnist")
SIDE = 28
CLASSES = 10

# The images and the labels of each split: as MNIST, Fashion-MNIST and KMNIST name them, then as
# QMNIST does.
_NAMES: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
    ),
}
# Where torchvision's data sets put these files below the folder they are given.
_FOLDERS = (".", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw")
# The third byte of an IDX file: the type of its values, which are big-endian.
_DTYPES = {0x08: "u1", 0x0C: ">i4"}
_LARGEST = 2**28


@dataclass(frozen=True)
class Digits:
    """Labelled pictures.

    Attributes:
        images: uint8, shape (count, 28, 28); 0 is background, 255 is ink.
        labels: uint8, shape (count,); classes 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)


def load(split: Split, directory: Path | None = None) -> Digits:
    """Read one split of the bundled MNIST, or of the IDX files in a directory.

    Args:
        split: ``train`` (60,000 pictures in MNIST) or ``test`` (10,000).
        directory: a folder with the images and labels of MNIST, Fashion-MNIST, KMNIST or
            QMNIST, gzipped or not, in it or in the ``NAME/raw`` folder that torchvision makes.

    Raises:
        MnistctlError: a file is missing, damaged, or not of MNIST's shape.
    """
    images_path, labels_path = _find(split, BUNDLED if directory is None else directory)
    images = _read_idx(images_path)
    labels = _read_idx(labels_path)
    if labels.ndim == 2:  # QMNIST: the class, then seven columns on who wrote the digit
        labels = labels[:, 0]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise MnistctlError(
            f"{shown(images_path)}: holds {images.dtype} of shape {images.shape}, "
            f"not 8-bit pictures of {SIDE}×{SIDE}"
        )
    if labels.ndim != 1:
        raise MnistctlError(f"{shown(labels_path)}: holds no labels, but values of {labels.shape}")
    if len(labels) != len(images):
        raise MnistctlError(
            f"{shown(labels_path)}: has {len(labels)} labels for the {len(images)} pictures "
            f"of {shown(images_path.name)}"
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise MnistctlError(
            f"{shown(labels_path)}: has labels from {labels.min()} to {labels.max()}, "
            f"not from 0 to {CLASSES - 1}"
        )
    return Digits(images, labels.astype(np.uint8))


def _find(split: Split, directory: Path) -> tuple[Path, Path]:
    if not os.path.isdir(directory):  # noqa: PTH112 (of any path)
        raise MnistctlError(f"{shown(directory)}: is not a directory with a data set in it")
    for folder in _FOLDERS:
        for names in _NAMES[split]:
            found = [
                candidate
                for name in names
                for candidate in (directory / folder / f"{name}.gz", directory / folder / name)
                if os.path.exists(candidate)  # noqa: PTH110 (of any path)
            ]
            by_name = {candidate.name.removesuffix(".gz"): candidate for candidate in found}
            if len(by_name) == 2:
                return by_name[names[0]], by_name[names[1]]
            if by_name:
                missing = next(name for name in names if name not in by_name)
                raise MnistctlError(
                    f"{shown(found[0].parent)}: lacks {missing} (or {missing}.gz), "
                    f"which belongs beside {found[0].name}"
                )
    images, labels = _NAMES[split][0]
    raise MnistctlError(f"{shown(directory)}: holds no {images}[.gz] and {labels}[.gz]")


def _read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, the format that the MNIST database defines."""
    try:
        with _opened(path) as file:
            dtype, shape = _read_header(file, path)
            size = math.prod(shape) * dtype.itemsize
            if size == 0:
                raise MnistctlError(f"{shown(path)}: holds nothing ({_product(shape)})")
            if size > _LARGEST:
                raise MnistctlError(f"{shown(path)}: claims {size:,} bytes, too many for mnistctl")
            values = file.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MnistctlError(f"{shown(path)}: is damaged ({error}): get the file again") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if len(values) != size:
        raise MnistctlError(
            f"{shown(path)}: has {'more' if len(values) > size else 'fewer'} values than "
            f"its header says ({_product(shape)}): get the file again"
        )
    return np.frombuffer(values, dtype).reshape(shape)


def _product(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read two zero bytes, the type, the number of dimensions, and each dimension's length."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] > 3:
        number = magic.hex() or "missing"
        raise MnistctlError(f"{shown(path)}: is not an IDX file (magic number {number})")
    lengths = file.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise MnistctlError(f"{shown(path)}: ends within its header: get the file again")
    return np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", lengths)
