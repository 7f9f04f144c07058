"""Read an image file as the 28x28 input of the network."""

import io
import os
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistctl.errors import MnistctlError, path_error, read_error
from mnistctl.images.decode import decode
from mnistctl.images.normalise import Found, find


def read_image(source: str | os.PathLike[str] | bytes | BinaryIO) -> NDArray[np.float32]:
    """Read an image file and return its digit in MNIST's form.

    Returns:
        float32, shape (28, 28), 0 (background) to 1 (ink).

    Arguments and errors are those of :func:`find_digit`.
    """
    return find_digit(source).digit


def find_digit(source: str | os.PathLike[str] | bytes | BinaryIO) -> Found:
    """Read an image file and find its digit.

    Args:
        source: the path of an image file, the content of one, or a file open in binary mode, which
            is read to its end and stays open. See :func:`decode` for formats and limits.

    Raises:
        MnistctlError: the file cannot be read, is not an image, is too large or damaged, or has no
            digit.
        TypeError: ``source`` is none of these; a file open in text mode, for example.
    """
    try:
        with _open(source) as file:
            return find(decode(file))
    except MnistctlError as error:
        raise path_error(_name(source), str(error)) from error
    except OSError as error:
        raise read_error(_name(source), error) from error


def _open(
    source: str | os.PathLike[str] | bytes | BinaryIO,
) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, str | os.PathLike):
        try:
            return open(source, "rb")  # noqa: PTH123 (faster than Path)
        except ValueError as error:  # a NUL in the path
            raise MnistctlError(f"cannot be read: {error}") from error
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if hasattr(source, "encoding") or not hasattr(source, "read"):  # only text has an encoding
        kind = type(source).__name__
        raise TypeError(f"source must be a path, bytes or a file open in binary mode, not {kind}")
    return nullcontext(source)


def _name(source: str | os.PathLike[str] | bytes | BinaryIO) -> str | os.PathLike[str]:
    """Return what to call a source in an error message."""
    if isinstance(source, str | os.PathLike):
        return source
    name = getattr(source, "name", None)
    return name if name and isinstance(name, str | os.PathLike) else "image data"
