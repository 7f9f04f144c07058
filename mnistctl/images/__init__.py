"""Read an image file as the 28x28 input of the network."""

import os
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistctl.errors import MnistctlError, path_error, read_error
from mnistctl.images.decode import decode
from mnistctl.images.normalise import Found, find


def read(source: str | os.PathLike[str] | BinaryIO) -> NDArray[np.float32]:
    """Read an image file and return its digit in MNIST's form: see :func:`read_found`.

    Returns:
        float32, shape (28, 28), 0 (background) to 1 (ink).
    """
    return read_found(source).digit


def read_found(source: str | os.PathLike[str] | BinaryIO) -> Found:
    """Read an image file and find its digit.

    Args:
        source: the path of an image file, or a file open for reading (called standard input in
            error messages). See :func:`decode` for formats and limits.

    Raises:
        MnistctlError: the file cannot be read, is not an image, is too large or damaged, or has no
            digit.
    """
    try:
        if not isinstance(source, str | os.PathLike):
            return find(decode(source))
        with open(source, "rb") as file:  # noqa: PTH123 (faster than Path)
            return find(decode(file))
    except (MnistctlError, OSError) as error:
        name = source if isinstance(source, str | os.PathLike) else "standard input"
        if isinstance(error, OSError):
            raise read_error(name, error) from error
        raise path_error(name, str(error)) from error
