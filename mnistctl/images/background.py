"""What is not the digit's ink: the paper, its lighting, and what reaches in from the border."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageChops

from mnistctl.images import coarse
from mnistctl.images.threshold import LEAST_CONTRAST

# Lighting shows in a small image too, and is found faster there.
_LIGHTING_SIDE = 64
# The least tone of paper in a shadow, as a share of that in the light. What is darker is a table,
# and its texture must not become as dark as ink.
_DARKEST_SHADOW = 0.25


def remove_lighting(grey: NDArray[np.uint8], *, is_dark: bool) -> NDArray[np.uint8]:
    """Return the ink, dark or light, as light on 0, as if the lighting were even.

    In a shadow, dark ink differs less from its paper than in the light. It gets the contrast that
    it would have in the light.
    """
    light = 255 - grey if is_dark else grey
    background = _background(light)
    height, width = grey.shape
    size = (width, height)
    under = Image.fromarray(background).resize(size, Image.Resampling.BILINEAR)
    ink = np.asarray(ImageChops.subtract(Image.fromarray(light), under))
    if not is_dark or ink.max() < LEAST_CONTRAST:
        return ink
    paper = 255 - background.astype(np.float32)
    lit = paper.max()
    gain = np.where(paper >= _DARKEST_SHADOW * lit, lit / paper.clip(1), 1).astype(np.float32)
    enlarged = Image.fromarray(gain).resize(size, Image.Resampling.BILINEAR)
    return np.asarray((ink * np.asarray(enlarged)).clip(0, 255), np.uint8)


def _background(light: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the background of light ink, as a small image.

    It is the morphological opening of the image: it removes what is narrower than a window, and the
    window is wider than any stroke. What the window does not fit into stays as ink.
    """
    small = coarse.thumbnail(light, _LIGHTING_SIDE)
    radius = max(1, max(small.shape) // 6)
    return _slide(_slide(small, radius, np.minimum), radius, np.maximum)


def _slide(image: NDArray[np.uint8], radius: int, function: np.ufunc) -> NDArray[np.uint8]:
    """Return the minimum or maximum in a square window around each pixel.

    Pillow's filters take far longer.
    """
    for _ in range(2):  # columns, then rows
        padded = np.pad(image, ((radius, radius), (0, 0)), mode="edge")
        image = function.reduce(sliding_window_view(padded, 2 * radius + 1, axis=0), axis=2).T
    return image


def remove_border(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract what is connected to the border: frames, edge lines, shadows, ruled paper.

    Each pixel loses the highest level at which a path of pixels, none of them lower, joins it to
    the border: the morphological reconstruction from the border (L. Vincent, 1993). A stroke that
    crosses a fainter ruled line loses the level of that line alone.

    Args:
        levels: uint8, shape (height, width); 0 is the background.
    """
    limit = coarse.reduce(levels)
    flood = limit.copy()
    flood[1:-1, 1:-1] = 0
    while not np.array_equal(wider := np.minimum(coarse.widen(flood), limit), flood):
        flood = wider
    return levels - np.minimum(levels, coarse.enlarge(flood, levels.shape))
