"""An image at a coarse size, where searching is fast, and back."""

import numpy as np
from numpy.typing import NDArray

# Enough to separate a digit from a frame around it.
_COARSE_SIDE = 96


def coarse_factor(shape: tuple[int, ...]) -> int:
    """Return the factor to reduce an image by, at least 1."""
    return -(-max(shape) // _COARSE_SIDE)


def reduce(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return the maximum of each block of ``factor`` by ``factor`` pixels: no line gets lost."""
    height, width = image.shape
    blocks = np.pad(image, ((0, -height % factor), (0, -width % factor)))
    blocks = blocks.reshape(blocks.shape[0] // factor, factor, -1, factor)
    return np.asarray(blocks.max(axis=(1, 3)), np.uint8)


def enlarge(image: NDArray[np.uint8], factor: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Undo ``reduce``: repeat each pixel in its block."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


def widen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the maximum of each pixel and its eight neighbours (Pillow's filter is slower)."""
    padded = np.pad(image, 1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
