"""Whether ink is darker or lighter than its background."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mnistctl.images import coarse
from mnistctl.images.threshold import LEAST_CONTRAST

# Polarity shows in a small image too, and is found faster there.
_SIDE = 128
# The share of a line's pixels that do not have the tone of the frame.
_FRAME_SPOTS = 0.02  # at most, in a line of a frame
_FRAME_END = 0.67  # at least, in the line after a frame


def is_dark_on_light(grey: NDArray[np.uint8]) -> bool:
    """Say whether ink is darker than its background.

    Ink is narrow, so it differs more from the mean around it than the background does. Dark ink
    therefore makes the skewness of these differences negative. The mean around a pixel follows the
    lighting. A frame along the border is cut off first.
    """
    small = coarse.thumbnail(grey, _SIDE)
    threshold = (int(small.min()) + int(small.max())) / 2
    inside = small
    for _ in range(4):
        inside = np.rot90(inside[_frame_depth(inside > threshold) :])
    if np.ptp(inside) < LEAST_CONTRAST:
        if min(inside.shape) > max(inside.shape) / 2:  # a frame without a digit
            return bool(inside.mean() > threshold)
        inside = small  # the frame was the paper around a 1 that is a bar
    around = Image.fromarray(inside).filter(ImageFilter.BoxBlur(max(inside.shape) // 4))
    differences = inside - np.asarray(around, np.float32)
    return bool((differences * differences * differences).sum() < 0)


def _frame_depth(light: NDArray[np.bool_]) -> int:
    """Return how many lines of a frame are at the top of an image; 0 if there is no frame.

    They have one tone. The line after them mostly has the other tone, and is counted too: it may
    have both. After a crooked frame, a few lines with both tones come first. A strip of half of the
    image or more is not a frame: it is paper next to a table.
    """
    tone = light[0].mean() > 0.5
    other = (light != tone).mean(axis=1)
    straight = int(np.argmax(other > _FRAME_SPOTS))
    if not 0 < straight < len(light) / 2:
        return 0
    if other[straight] >= _FRAME_END:
        return straight + 1
    crooked = min(straight + max(1, len(light) // 10), len(light) - 1)
    return crooked if other[crooked] >= _FRAME_END else 0
