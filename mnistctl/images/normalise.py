"""A greyscale image to the 28x28 digit that the network was trained on.

It does what NIST's and MNIST's authors did to their digits (LeCun et al., "Gradient-based learning
applied to document recognition", 1998, section III.A): bilevel ink, fitted into 20x20 pixels, its
centre of mass in the middle of 28x28.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from mnistctl.dataset import SIDE, as_input
from mnistctl.errors import MnistctlError

# In a smaller image, a stroke may be one pixel wide, which the median filter would remove.
_MEDIAN_MIN_SIDE = 128
_COARSE_SIDE = 48
_BOX = 20
# The least difference, of 255, between background and ink.
_MIN_CONTRAST = 32


def normalise(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the digit in a greyscale image, in MNIST's form.

    Args:
        grey: uint8, shape (height, width); dark ink on a light background, or the reverse.

    Returns:
        float32, shape (28, 28), 0 (background) to 1 (ink). A 28x28 image that already has MNIST's
        form is only scaled.

    Raises:
        MnistctlError: the image is blank.
    """
    if _is_mnist(grey):
        return as_input(grey)
    border = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    if np.median(border) > (int(grey.min()) + int(grey.max())) / 2:
        return normalise(255 - grey)
    return _centre(_fit(_binarise(_remove_background(grey))))


def _is_mnist(grey: NDArray[np.uint8]) -> bool:
    """Say whether an image has the form of MNIST's digits: size, box and centre of mass."""
    if grey.shape != (SIDE, SIDE) or grey.max() < _MIN_CONTRAST:
        return False
    for axis in (0, 1):
        ink = grey.sum(axis, dtype=np.int64)
        inked = ink.nonzero()[0]
        if inked[-1] - inked[0] >= _BOX or abs(_centre_of_mass(ink) - SIDE / 2) > 1:
            return False
    return True


def _remove_background(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract uneven lighting from light ink; the background becomes 0.

    The background is the morphological opening of the image: it removes what is narrower than a
    window, and the window is wider than any stroke.
    """
    image = Image.fromarray(grey)
    if max(image.size) > _MEDIAN_MIN_SIDE:
        image = image.filter(ImageFilter.MedianFilter(3))
    coarse = image.copy()
    coarse.thumbnail((_COARSE_SIDE, _COARSE_SIDE), Image.Resampling.BOX)
    window = max(3, max(coarse.size) // 3 // 2 * 2 + 1)  # Pillow 12.3.0 crashes on 1
    coarse = coarse.filter(ImageFilter.MinFilter(window)).filter(ImageFilter.MaxFilter(window))
    return np.asarray(ImageChops.subtract(image, coarse.resize(image.size)))


def _binarise(grey: NDArray[np.uint8]) -> Image.Image:
    """Return light ink on black, cropped to the ink, with grey levels only at its edges.

    Raises:
        MnistctlError: there is no ink.
    """
    if grey.max() < _MIN_CONTRAST:
        raise MnistctlError("is blank: no digit stands out from the background")
    threshold = _otsu(grey)
    half_width = max(1.0, 0.5 * min(threshold, grey.max() - threshold))
    ink = np.clip((grey - threshold) / (2 * half_width) + 0.5, 0, 1)
    box = Image.fromarray(ink >= 0.5).getbbox()
    return Image.fromarray((ink * 255).astype(np.uint8)).crop(box)


def _otsu(grey: NDArray[np.uint8]) -> float:
    """Return the threshold between dark and light of N. Otsu (1979), between two grey levels."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    dark = counts.cumsum()
    light = dark[-1] - dark
    dark_sum = (counts * levels).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = dark_sum / dark - (dark_sum[-1] - dark_sum) / light
        variance = np.nan_to_num(dark * light * difference**2)
    best = np.flatnonzero(variance == variance.max())
    return float(best.mean()) + 0.5


def _fit(ink: Image.Image) -> NDArray[np.float32]:
    """Scale ink to fit 20x20, keeping its aspect ratio, and its brightest pixel to 1."""
    scale = _BOX / max(ink.size)
    width, height = (max(1, round(length * scale)) for length in ink.size)
    small = np.asarray(ink.resize((width, height), Image.Resampling.BICUBIC), np.float32)
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
