"""What is not the digit's ink: the paper, its lighting, and what reaches in from the border."""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageChops

from mnistctl.images import coarse

# Lighting shows in a small image too, and is found faster there.
_LIGHTING_SIDE = 48


def remove_lighting(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract uneven lighting from light ink; the background becomes 0.

    The background is the morphological opening of the image: it removes what is narrower than a
    window, and the window is wider than any stroke.
    """
    small = coarse.thumbnail(grey, _LIGHTING_SIDE)
    radius = max(1, max(small.shape) // 6)
    opening = _slide(_slide(small, radius, np.min), radius, np.max)
    image = Image.fromarray(grey)
    return np.asarray(ImageChops.subtract(image, Image.fromarray(opening).resize(image.size)))


def _slide(
    image: NDArray[np.uint8], radius: int, function: Callable[..., NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the minimum or maximum around each pixel (Pillow's filters take far longer)."""
    for _ in range(2):
        rows = np.pad(image, ((0, 0), (radius, radius)), mode="edge")
        image = function(sliding_window_view(rows, 2 * radius + 1, axis=1), axis=-1).T
    return image


def remove_border(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract what is connected to the border: frames, edge lines, shadows, ruled paper.

    Each pixel loses the highest level at which a path of pixels, none of them lower, joins it to
    the border: the morphological reconstruction from the border (L. Vincent, 1993). A stroke that
    crosses a fainter ruled line loses the level of that line alone.

    Args:
        levels: uint8, shape (height, width); 0 is the background.
    """
    factor = coarse.coarse_factor(levels.shape)
    limit = coarse.reduce(levels, factor)
    flood = limit.copy()
    flood[1:-1, 1:-1] = 0
    while not np.array_equal(wider := np.minimum(coarse.widen(flood), limit), flood):
        flood = wider
    return levels - np.minimum(levels, coarse.enlarge(flood, factor, levels.shape))
