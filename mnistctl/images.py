"""Any picture in, the 28×28 digit that the network was trained on out.

What happens to a picture is what NIST's and MNIST's authors did to theirs (LeCun et al.,
"Gradient-based learning applied to document recognition", 1998, section III.A): bilevel ink,
fitted into 20×20, its centre of mass in the middle of 28×28.
"""

import io
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps, UnidentifiedImageError

from mnistctl.dataset import SIDE
from mnistctl.errors import MnistctlError, unreadable

# Not every format that Pillow knows: some hand the file to other programs, and TIFF's library tells
# stderr what it thinks of a damaged file.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "AVIF")
_MOST_PIXELS = 16_000_000
_LONGEST_SIDE = 32_768
_MOST_BYTES = 16_000_000
# A JPEG file is decoded at an eighth of its size, so that photographs of any camera are read.
_MOST_JPEG_PIXELS = 100_000_000
# Pictures above this size are decoded one at a time, so that the memory they take does not add up.
_LARGE_PIXELS = 2_000_000
_large_picture = Lock()
# The longest side worked on: enough for a thin stroke on a sheet of paper.
_WORKING_SIDE = 256
_FINEST_SIDE = 128
_COARSE_SIDE = 48
_BOX = 20
# Tones out of 255 between the background and the ink, below which a picture is blank.
_LEAST_CONTRAST = 32

# The limit is ours, below, and a sentence; Pillow's would be a warning on stderr.
Image.MAX_IMAGE_PIXELS = None


def read(source: Path | BinaryIO, name: str) -> NDArray[np.float32]:
    """Read a picture file and return the digit in it as the network was trained to see it.

    Args:
        source: a file of up to 16 MB and 16 million pixels, or 100 million in a JPEG file of a
            single scan; of an animation the first frame counts.
        name: what errors call it.

    Returns:
        float32, shape (28, 28), 0 (background) to 1 (ink). A 28×28 greyscale picture that is
        already a digit in MNIST's form comes back unchanged, pixel for pixel.

    Raises:
        MnistctlError: the file cannot be read, is no picture, too large, damaged or blank.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                grey = _greyscale(_slurp(file, name), name)
        else:
            grey = _greyscale(_slurp(source, name), name)
    except MnistctlError:
        raise
    except UnidentifiedImageError as error:
        raise MnistctlError(
            f"{name}: is not a picture that mnistctl reads ({', '.join(_FORMATS)})"
        ) from error
    except OSError as error:
        if error.errno is None:
            raise MnistctlError(f"{name}: is damaged ({error})") from error
        raise unreadable(name, error) from error
    except MemoryError as error:
        raise MnistctlError(f"{name}: takes more memory than there is") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise MnistctlError(f"{name}: is damaged ({error})") from error
    try:
        return normalise(grey)
    except MnistctlError as error:
        raise MnistctlError(f"{name}: {error}") from error


def normalise(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the digit in a greyscale picture, uint8 of any shape, in MNIST's form.

    Raises:
        MnistctlError: the picture is blank.
    """
    if _is_mnist(grey):
        return grey.astype(np.float32) / np.float32(255)
    border = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    if np.median(border) > (int(grey.min()) + int(grey.max())) / 2:
        return normalise(255 - grey)
    return _centred(_fitted(_bilevel(_flattened(grey))))


def _greyscale(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    with Image.open(file, formats=_FORMATS) as image:
        if image.format in ("JPEG", "MPO") and _has_one_scan(file):
            _check_size(image, _MOST_JPEG_PIXELS, name)
            image.draft("L", (_WORKING_SIDE, _WORKING_SIDE))
        _check_size(image, _MOST_PIXELS, name)
        large = image.width * image.height > _LARGE_PIXELS
        with _large_picture if large else nullcontext():
            image.load()
            picture = _reduced(image)
    if "exif" in picture.info:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "I":  # 16 bits
        return (np.asarray(picture) // 257).clip(0, 255).astype(np.uint8)
    if picture.mode == "F":  # 0 to 1
        return np.asarray(np.nan_to_num(np.asarray(picture)).clip(0, 1) * 255, np.uint8)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture if picture.mode == "L" else picture.convert("L"), np.uint8)


def _has_one_scan(jpeg: BinaryIO) -> bool:
    """Say whether a JPEG file is decoded as it is read, and not held in memory whole.

    That is so when it is not progressive and its first scan is of all components (ITU-T T.81).
    """
    components = 0
    jpeg.seek(2)
    while len(header := jpeg.read(4)) == 4:
        marker, length = header[1], int.from_bytes(header[2:])
        segment = jpeg.read(length - 2)
        if marker in (0xC0, 0xC1):  # a frame that is not progressive
            components = segment[5]
        elif marker == 0xDA:  # the start of a scan
            return components == segment[0]
    return False


def _check_size(image: Image.Image, most_pixels: int, name: str) -> None:
    if image.width * image.height > most_pixels or max(image.size) > _LONGEST_SIDE:
        raise MnistctlError(
            f"{name}: is too large ({image.width}×{image.height} pixels; mnistctl reads up to "
            f"{most_pixels // 1_000_000} million, sides up to {_LONGEST_SIDE:,}): scale it down"
        )


def _reduced(image: Image.Image) -> Image.Image:
    """Return the picture at no more than twice the working size, in a mode that allows it."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode.startswith("I;16"):
        image = image.convert("I")
    factor = max(image.size) // _WORKING_SIDE
    return image.reduce(factor) if factor > 1 else image


def _is_mnist(grey: NDArray[np.uint8]) -> bool:
    """Say whether a picture has MNIST's form, which all 70,000 digits of MNIST have."""
    if grey.shape != (SIDE, SIDE) or grey.max() < _LEAST_CONTRAST:
        return False
    top, bottom, left, right = _bounds(grey > 0)
    y, x = _centre_of_mass(grey)
    middle = SIDE / 2
    return (
        bottom - top <= _BOX
        and right - left <= _BOX
        and abs(y - middle) <= 1
        and abs(x - middle) <= 1
    )


def _flattened(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take the lighting away from light ink: the background comes out as 0.

    The background is the morphological opening of the picture, which removes what is narrower than
    a window, by a window that no stroke fills.
    """
    picture = Image.fromarray(grey)
    if max(picture.size) > _FINEST_SIDE:  # not where a stroke may be one pixel wide
        picture = picture.filter(ImageFilter.MedianFilter(3))
    coarse = picture.copy()
    coarse.thumbnail((_COARSE_SIDE, _COARSE_SIDE), Image.Resampling.BOX)
    window = max(coarse.size) // 3 // 2 * 2 + 1
    coarse = coarse.filter(ImageFilter.MinFilter(window)).filter(ImageFilter.MaxFilter(window))
    return np.asarray(ImageChops.subtract(picture, coarse.resize(picture.size)))


def _bilevel(grey: NDArray[np.uint8]) -> Image.Image:
    """Return light ink on black, cropped to the ink, with greys at its edges alone.

    Raises:
        MnistctlError: there is no ink.
    """
    if grey.max() < _LEAST_CONTRAST:
        raise MnistctlError("is blank: there is no digit to tell from the background")
    threshold = _otsu(grey)
    half_width = max(1.0, 0.5 * min(threshold, grey.max() - threshold))
    ink = np.clip((grey - threshold) / (2 * half_width) + 0.5, 0, 1)
    top, bottom, left, right = _bounds(ink >= 0.5)
    return Image.fromarray((ink[top:bottom, left:right] * 255).astype(np.uint8))


def _otsu(grey: NDArray[np.uint8]) -> float:
    """Return the threshold between dark and light of N. Otsu (1979), halfway between tones."""
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    tones = np.arange(256)
    dark = counts.cumsum()
    light = dark[-1] - dark
    dark_sum = (counts * tones).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = dark_sum / dark - (dark_sum[-1] - dark_sum) / light
        between = np.nan_to_num(dark * light * difference**2)
    best = np.flatnonzero(between == between.max())
    return float(best.mean()) + 0.5


def _fitted(ink: Image.Image) -> NDArray[np.float32]:
    """Scale ink to fit 20×20, keeping its aspect, and its brightest point to 1."""
    scale = _BOX / max(ink.size)
    width, height = (max(1, round(length * scale)) for length in ink.size)
    small = np.asarray(ink.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return small / max(float(small.max()), 1.0)


def _centred(digit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Place a digit in 28×28 so that its centre of mass is as near to the middle as it fits."""
    canvas = np.zeros((SIDE, SIDE), np.float32)
    top, left = (
        min(max(round(SIDE / 2 - centre), 0), SIDE - length)
        for centre, length in zip(_centre_of_mass(digit), digit.shape, strict=True)
    )
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas


def _bounds(ink: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right (ends excluded) of what is true."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _centre_of_mass(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return y, x of the centre of mass, where a pixel's own centre lies half a unit in."""
    weights = values.astype(np.float64)
    rows, columns = weights.sum(axis=1), weights.sum(axis=0)
    total = rows.sum()
    return (
        float(rows @ (np.arange(len(rows)) + 0.5) / total),
        float(columns @ (np.arange(len(columns)) + 0.5) / total),
    )


def _slurp(file: BinaryIO, name: str) -> BinaryIO:
    """Read a file into memory: a pipe, in which a decoder cannot move about, or an endless one."""
    content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise MnistctlError(f"{name}: is longer than {_MOST_BYTES // 1_000_000} MB: scale it down")
    if not content:
        raise MnistctlError(f"{name}: is empty")
    return io.BytesIO(content)
