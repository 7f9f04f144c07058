"""MNIST, or any data set in its format, as NumPy arrays."""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnistctl.errors import display_path, path_error, read_error

Split = Literal["train", "test"]

BUNDLED = Path(__file__).with_name("mnist")
SIDE = 28
CLASSES = 10

# The image and label files of a split, as MNIST, Fashion-MNIST and KMNIST name them, and QMNIST.
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
# Where torchvision puts the files in its root directory.
_FOLDERS = ("MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw")
# The third byte of an IDX file is the type of its values, which are big-endian.
_DTYPES = {b"\x08": "u1", b"\x0c": ">i4"}
_MAX_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Attributes:
        images: uint8, shape (count, 28, 28); 0 is background, 255 is ink.
        labels: uint8, shape (count,); classes 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check the arrays.

        Raises:
            TypeError: they are not arrays of NumPy.
            ValueError: they have another dtype, shape or class.
        """
        images, labels = self.images, self.labels
        for name, values in (("images", images), ("labels", labels)):
            if not isinstance(values, np.ndarray):
                raise TypeError(f"{name} must be an array of NumPy, not {type(values).__name__}")
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
            form = f"{images.dtype} {images.shape}"
            raise ValueError(f"images must be uint8 (count, {SIDE}, {SIDE}), not {form}")
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            form = f"{labels.dtype} {labels.shape}"
            raise ValueError(f"labels must be uint8 ({len(images)},), not {form}")
        if (labels >= CLASSES).any():
            raise ValueError(f"labels must be from 0 to {CLASSES - 1}, not {labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)


def load_dataset(split: Split, directory: str | os.PathLike[str] | None = None) -> Dataset:
    """Read one split of the bundled MNIST, or of the IDX files in a directory.

    Args:
        split: ``train`` (60,000 images in MNIST) or ``test`` (10,000).
        directory: holds the image file and the label file of MNIST, Fashion-MNIST, KMNIST or
            QMNIST, gzipped or not, directly or in torchvision's ``NAME/raw``.

    Raises:
        MnistctlError: a file is missing, damaged or not in MNIST's format, the directory holds
            several data sets, or a folder that may hold one cannot be searched.
        ValueError: there is no such split.
    """
    if split not in _NAMES:
        raise ValueError(f"split must be one of {', '.join(_NAMES)}, not {split!r}")
    images_path, labels_path = _find(split, BUNDLED if directory is None else Path(directory))
    images = _read_idx(images_path)
    labels = _read_idx(labels_path)
    if labels.ndim == 2:  # QMNIST: the class, then seven columns about the writer
        labels = labels[:, 0]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        form = f"{images.dtype} of shape {images.shape}"
        raise path_error(images_path, f"holds {form}, not 8-bit images of {SIDE}x{SIDE} pixels")
    if labels.shape != images.shape[:1]:
        raise path_error(labels_path, f"has labels of shape {labels.shape}, not ({len(images)},)")
    if labels.min() < 0 or labels.max() >= CLASSES:
        found = f"{labels.min()} to {labels.max()}"
        raise path_error(labels_path, f"has labels from {found}, not from 0 to {CLASSES - 1}")
    return Dataset(images, labels.astype(np.uint8))


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 8-bit images (..., 28, 28) as the network takes them: float32 in 0 to 1."""
    return images.astype(np.float32) / np.float32(255)


def _find(split: Split, directory: Path) -> tuple[Path, Path]:
    """Return the paths of the image file and the label file."""
    if not _exists(directory) or not directory.is_dir():
        raise path_error(directory, "is not a directory with a data set")
    pairs = _find_pairs(split, [directory]) or _find_pairs(
        split, [directory / folder for folder in _FOLDERS]
    )
    if not pairs:
        images, labels = _NAMES[split][0]
        raise path_error(directory, f"holds no {images}[.gz] and {labels}[.gz]")
    if len(pairs) > 1:
        found = " and ".join(display_path(images) for images, _ in pairs)
        raise path_error(directory, f"holds {found}: give a directory with one data set")
    return pairs[0]


def _find_pairs(split: Split, folders: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Return the image file and the label file of each data set in these folders."""
    return [pair for f in folders for names in _NAMES[split] if (pair := _find_pair(f, names))]


def _find_pair(folder: Path, names: tuple[str, str]) -> tuple[Path, Path] | None:
    """Return the files of these names, each gzipped or not; None if neither is there."""
    images, labels = (_find_file(folder, name) for name in names)
    if images and labels:
        return images, labels
    if found := images or labels:
        missing = names[1] if images else names[0]
        raise path_error(folder, f"holds {found.name}, but no {missing}[.gz] beside it")
    return None


def _find_file(folder: Path, name: str) -> Path | None:
    """Return a file of this name, gzipped or not; None if it is not there."""
    for path in (folder / f"{name}.gz", folder / name):
        if _exists(path):
            return path
    return None


def _exists(path: Path) -> bool:
    """Say whether a path exists.

    Raises:
        MnistctlError: the path cannot be examined, for lack of permission, for example.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        return False
    except OSError as error:
        raise read_error(path, error) from error
    return True


def _read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, the format that the MNIST database defines.

    It starts with two zero bytes, the type of the values, the number of dimensions, and the length
    of each as four bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise path_error(path, f"is damaged ({error}): download it again") from error
    except OSError as error:
        raise read_error(path, error) from error
    if len(content) > _MAX_BYTES:
        raise path_error(path, f"is larger than {_MAX_BYTES:,} bytes")
    magic, rank = content[:4], int.from_bytes(content[3:4])
    if magic[:2] != b"\0\0" or magic[2:3] not in _DTYPES or not 0 < rank <= 3:
        raise path_error(path, f"is not an IDX file (it starts with {magic.hex() or 'nothing'})")
    start = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", content[4:start].ljust(4 * rank, b"\0"))
    dtype = np.dtype(_DTYPES[magic[2:3]])
    if len(content) != start + math.prod(shape) * dtype.itemsize:
        expected = " x ".join(map(str, shape))
        raise path_error(path, f"does not hold the {expected} values of its header")
    if 0 in shape:
        raise path_error(path, "is an empty data set")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
