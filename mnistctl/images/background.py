"""What is not the digit's ink: the paper, its lighting, and what reaches in from the border."""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from mnistctl.images import coarse

# Polarity and lighting show in a small image too, and are found faster there.
_POLARITY_SIDE = 128
_LIGHTING_SIDE = 48
# The share of a line's pixels that do not have the tone of the frame.
_FRAME_SPOTS = 0.02  # at most, in a line of a frame
_FRAME_END = 0.67  # at least, in the line after a frame
_CROOKED_FRAME_END = 0.8  # at least, in the line after a crooked frame


def is_dark_on_light(grey: NDArray[np.uint8]) -> bool:
    """Say whether ink is darker than its background.

    Ink is narrow, so it differs more from the mean around it than the background does. Dark ink
    therefore makes the skewness of these differences negative. The mean around a pixel follows the
    lighting. A frame at the edge, or the table around the paper, is cut off first.
    """
    small = _thumbnail(grey, _POLARITY_SIDE)
    middle = (int(small.min()) + int(small.max())) / 2
    inside = _cut_off_frame(small, middle)
    light = inside > middle
    if light.all() or not light.any():
        if min(light.shape) > max(light.shape) / 2:  # a frame without a digit
            return bool(light.all())
        inside = small  # a 1 that is a bar, or a narrow 0
    around = Image.fromarray(inside).filter(ImageFilter.BoxBlur(max(inside.shape) // 4))
    differences = inside - np.asarray(around, np.float32)
    return bool((differences * differences * differences).sum() < 0)


def _cut_off_frame(image: NDArray[np.uint8], middle: float) -> NDArray[np.uint8]:
    """Return an image without a frame. It may be rotated by 90, 180 or 270 degrees."""
    inside = image
    sides_without = 0
    while sides_without < 4:
        depth = _frame_depth(inside > middle)
        sides_without = 0 if depth else sides_without + 1
        inside = np.rot90(inside[depth:])
    # A 1 that is a bar looks like paper in a frame, but it is smaller.
    return inside if inside.size > image.size / 4 else image


def _frame_depth(light: NDArray[np.bool_]) -> int:
    """Return how many lines of a frame are at the top of an image; 0 if there is no frame.

    They have one tone, and the line after them mostly has the other. After a crooked frame, a few
    lines with both tones come first.
    """
    tone = light[0].mean() > 0.5
    other = (light != tone).mean(axis=1)
    straight = int(np.argmax(other > _FRAME_SPOTS))
    crooked = min(straight + max(1, len(light) // 10), len(light) - 1)
    if other[straight] >= _FRAME_END:
        return straight
    return crooked if straight and other[crooked] >= _CROOKED_FRAME_END else 0


def remove_lighting(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract uneven lighting from light ink; the background becomes 0.

    The background is the morphological opening of the image: it removes what is narrower than a
    window, and the window is wider than any stroke.
    """
    small = _thumbnail(grey, _LIGHTING_SIDE)
    radius = max(1, max(small.shape) // 6)
    opening = _slide(_slide(small, radius, np.min), radius, np.max)
    image = Image.fromarray(grey)
    return np.asarray(ImageChops.subtract(image, Image.fromarray(opening).resize(image.size)))


def _thumbnail(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    image = Image.fromarray(grey)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


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
