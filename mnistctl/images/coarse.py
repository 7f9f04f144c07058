"""An image at a coarse size, where searching is fast, and back."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Pixel = TypeVar("_Pixel", np.uint8, np.bool_)

# Enough to separate a digit from a frame around it.
_COARSE_SIDE = 96


def thumbnail(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the mean of each block of pixels, so that no side is longer than ``side``."""
    image = Image.fromarray(grey)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def factor(shape: tuple[int, ...]) -> int:
    """Return the factor to reduce an image by, at least 1."""
    return math.ceil(max(shape) / _COARSE_SIDE)


def reduce(image: NDArray[_Pixel]) -> NDArray[_Pixel]:
    """Return the maximum of each block of pixels: no line gets lost."""
    side = factor(image.shape)
    for _ in range(2):  # rows, then columns as rows, because NumPy is ten times as fast along rows
        padded = np.pad(image, ((0, -len(image) % side), (0, 0)))
        image = padded.reshape(-1, side, image.shape[1]).max(axis=1).T.copy()
    return image


def enlarge(image: NDArray[_Pixel], shape: tuple[int, ...]) -> NDArray[_Pixel]:
    """Undo ``reduce`` for an image of this shape: repeat each pixel in its block."""
    side = factor(shape)
    return image.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def widen(image: NDArray[_Pixel]) -> NDArray[_Pixel]:
    """Return the maximum of each pixel and its eight neighbours (Pillow's filter is slower)."""
    rows = image.copy()
    np.maximum(rows[1:], image[:-1], out=rows[1:])
    np.maximum(rows[:-1], image[1:], out=rows[:-1])
    wide = rows.copy()
    np.maximum(wide[:, 1:], rows[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], rows[:, 1:], out=wide[:, :-1])
    return wide
