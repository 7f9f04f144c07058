"""A greyscale image to the 28x28 digit that the network was trained on.

It does what NIST's and MNIST's authors did to their digits (LeCun et al., "Gradient-based learning
applied to document recognition", 1998, section III.A): bilevel ink, fitted into 20x20 pixels, its
centre of mass in the middle of 28x28.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistctl.dataset import SIDE, as_input
from mnistctl.errors import MnistctlError
from mnistctl.images.background import remove_border, remove_lighting
from mnistctl.images.components import LINE_ASPECT, digit_mask
from mnistctl.images.lines import LEAST_SIDE, without_lines
from mnistctl.images.polarity import is_dark_on_light
from mnistctl.images.sheet import cover_surroundings
from mnistctl.images.threshold import LEAST_CONTRAST, otsu

_BOX = 20
# The least share of a digit's contrast that must be left without what is connected to the border. A
# digit that touches the border keeps less.
_LEAST_CONTRAST_LEFT = 0.35
# If a band of shadow crosses the digit: the least share of its contrast that is left, and of the
# darkest ink that is part of the digit.
_LEAST_CONTRAST_IN_BAND = 0.3
_LEAST_DARKEST_IN_BAND = 0.8
# A frame's box covers most of the image. The frame covers more of its box's border than a digit
# that touches the border.
_FRAME_BOX = 0.9
_FRAME_BORDER = 0.67
# A thick digit covers up to 0.8 of its box. A 1 that is a bar covers more, but it is narrow.
_BLOCK_COVER = 0.85
_BAR_ASPECT = 2


@dataclass(frozen=True, eq=False)
class Found:
    """A digit, and where it was found.

    Attributes:
        digit: float32, shape (28, 28), 0 (background) to 1 (ink): the digit in MNIST's form.
        is_dark: the ink is darker than its background.
        box: left, top, right and bottom of the digit, as shares of the image's width and height.
            It is the whole image if that already has MNIST's form.
    """

    digit: NDArray[np.float32]
    is_dark: bool
    box: tuple[float, float, float, float]

    def describe(self) -> str:
        """Return what was found and where, for a person."""
        left, top, right, bottom = (round(100 * share) for share in self.box)
        tone = "dark ink on light" if self.is_dark else "light ink on dark"
        return f"{tone}, at {left} to {right} % of the width, {top} to {bottom} % of the height"


def find(grey: NDArray[np.uint8]) -> Found:
    """Find the digit in a greyscale image.

    Args:
        grey: uint8, shape (height, width); dark ink on a light background, or the reverse.

    Returns:
        the digit. A 28x28 image that already has MNIST's form is only scaled.

    Raises:
        MnistctlError: the image is blank, or has no digit. The sentence lacks its subject.
    """
    if _is_mnist(grey):
        return Found(as_input(grey), is_dark=False, box=(0, 0, 1, 1))
    grey = cover_surroundings(grey)
    is_dark = is_dark_on_light(grey)
    light = 255 - grey if is_dark else grey
    if is_dark and _is_mnist(light):
        return Found(as_input(light), is_dark=True, box=(0, 0, 1, 1))
    ink = _find_ink(remove_lighting(grey, is_dark=is_dark))
    left, top, right, bottom = Image.fromarray(ink >= 0.5).getbbox() or (0, 0, 1, 1)
    digit = ink[top:bottom, left:right]
    _check_shape(digit)
    height, width = grey.shape
    box = (left / width, top / height, right / width, bottom / height)
    return Found(_centre(_fit(digit)), is_dark, box)


def _is_mnist(grey: NDArray[np.uint8]) -> bool:
    """Say whether an image has the form of MNIST's digits: size, box and centre of mass."""
    if grey.shape != (SIDE, SIDE) or grey.max() < LEAST_CONTRAST:
        return False
    for axis in (0, 1):
        ink = grey.sum(axis, dtype=np.int64)
        inked = ink.nonzero()[0]
        if inked[-1] - inked[0] >= _BOX or abs(_centre_of_mass(ink) - SIDE / 2) > 1:
            return False
    return True


def _find_ink(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the digit's ink, 0 to 1, in an image of light ink, which may hold other things.

    Raises:
        MnistctlError: there is no ink, or none that can be a digit.
    """
    inside = remove_border(levels)
    if inside.max() >= LEAST_CONTRAST:
        digit = _keep_digit(_binarise(inside))
        if _is_whole(digit >= 0.5, inside, levels):
            return digit
    # The digit touches the border, or lines that reach it. Or there is no digit.
    ink = _binarise(levels)
    digit = _keep_digit(ink) if _is_frame(ink >= 0.5) else _find_on_lines(ink)
    if _border(digit >= 0.5).any():  # cropped to the ink: what looked like a line is a stroke
        digit = _keep_digit(ink)
    if _is_frame(digit >= 0.5):
        raise MnistctlError("has a frame but no digit in it: crop it to one digit")
    return digit


def _find_on_lines(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the digit without the lines it is written on.

    Raises:
        MnistctlError: there are lines but no digit on them.
    """
    any_ink = ink > 0  # a faint line is in pieces at 0.5
    unruled = np.where(without_lines(any_ink), ink, np.float32(0))
    if np.array_equal(unruled, ink):
        return _keep_digit(ink)
    if (unruled >= 0.5).any():
        unruled = _keep_digit(unruled)
    if not _is_large(unruled >= 0.5):
        raise MnistctlError("has lines but no digit on them: crop it to one digit")
    return unruled


def _is_whole(
    digit: NDArray[np.bool_], inside: NDArray[np.uint8], levels: NDArray[np.uint8]
) -> bool:
    """Say whether enough of a digit is left without what is connected to the border.

    Less is enough if hardly any other ink is as dark: a band of shadow crosses the digit.
    """
    contrast_left = inside[digit].mean() / levels[digit].mean()
    darkest = levels >= np.median(levels[digit])
    is_in_band = digit[darkest].mean() >= _LEAST_DARKEST_IN_BAND
    least = _LEAST_CONTRAST_IN_BAND if is_in_band else _LEAST_CONTRAST_LEFT
    return bool(contrast_left >= least and _is_large(digit))


def _is_large(digit: NDArray[np.bool_]) -> bool:
    """Say whether a digit is more than what may be left of lines."""
    left, top, right, bottom = Image.fromarray(digit).getbbox() or (0, 0, 0, 0)
    return bool(max(right - left, bottom - top) >= LEAST_SIDE * max(digit.shape))


def _border(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels along the border of an image."""
    return np.concatenate((ink[0], ink[-1], ink[1:-1, 0], ink[1:-1, -1]))


def _is_frame(ink: NDArray[np.bool_]) -> bool:
    """Say whether ink is a frame along the border, or close to it."""
    left, top, right, bottom = Image.fromarray(ink).getbbox() or (0, 0, 0, 0)
    inside = ink[top:bottom, left:right]
    return bool(inside.size >= _FRAME_BOX * ink.size and _border(inside).mean() > _FRAME_BORDER)


def _check_shape(digit: NDArray[np.float32]) -> None:
    """Raise MnistctlError if ink is a horizontal line, or fills its box and is too wide for a 1."""
    height, width = digit.shape
    if width > LINE_ASPECT * height:
        raise MnistctlError("has a line but no digit on it: crop it to one digit")
    if digit.mean() > _BLOCK_COVER and max(digit.shape) < _BAR_ASPECT * min(digit.shape):
        raise MnistctlError("has a block of ink but no digit: crop it to one digit")


def _keep_digit(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(digit_mask(ink >= 0.5), ink, np.float32(0))


def _binarise(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return light ink as 1 on 0, with levels between only at its edges.

    Raises:
        MnistctlError: there is no ink.
    """
    if grey.max() < LEAST_CONTRAST:
        raise MnistctlError("is blank: no digit stands out from the background")
    threshold = otsu(grey)
    half_width = max(1.0, 0.5 * min(threshold, grey.max() - threshold))
    ink = np.clip((grey - threshold) / (2 * half_width) + 0.5, 0, 1)
    return np.asarray(ink, np.float32)


def _fit(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale ink to fit 20x20, keeping its aspect ratio, and its brightest pixel to 1."""
    image = Image.fromarray((ink * 255).astype(np.uint8))
    scale = _BOX / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return small / max(float(small.max()), 1.0)


def _centre(digit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Place a digit in 28x28 with its centre of mass as close to the middle as it fits."""
    canvas = np.zeros((SIDE, SIDE), np.float32)
    y, x = (_centre_of_mass(digit.sum(axis, dtype=np.float64)) for axis in (1, 0))
    top = min(max(round(SIDE / 2 - y), 0), SIDE - digit.shape[0])
    left = min(max(round(SIDE / 2 - x), 0), SIDE - digit.shape[1])
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas


def _centre_of_mass(ink: NDArray[np.int64] | NDArray[np.float64]) -> float:
    """Return the centre of mass of a row of pixels, each with its centre at index + 0.5."""
    return float(ink @ (np.arange(len(ink)) + 0.5) / ink.sum())
