"""Read an image file as the 28x28 input of the network."""

import os
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistctl.errors import MnistctlError, path_error, read_error
from mnistctl.images.decode import decode
from mnistctl.images.normalise import normalise


def read(source: str | os.PathLike[str] | BinaryIO) -> NDArray[np.float32]:
    """Read an image file and return its digit in MNIST's form.

    Args:
        source: the path of an image file, or a file open for reading (called standard input in
            error messages). See :func:`decode` for formats and limits.

    Returns:
        float32, shape (28, 28), 0 (background) to 1 (ink).

    Raises:
        MnistctlError: the file cannot be read, is not an image, or is too large, damaged or blank.
    """
    try:
        if not isinstance(source, str | os.PathLike):
            return normalise(decode(source))
        with open(source, "rb") as file:  # noqa: PTH123 (faster than Path)
            return normalise(decode(file))
    except (MnistctlError, OSError) as error:
        name = source if isinstance(source, str | os.PathLike) else "standard input"
        if isinstance(error, OSError):
            raise read_error(name, error) from error
        raise path_error(name, str(error)) from error
