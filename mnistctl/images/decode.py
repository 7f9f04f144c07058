"""An image file to a greyscale array: formats, limits, orientation and transparency."""

import io
from contextlib import nullcontext
from threading import Lock
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mnistctl.errors import MnistctlError
from mnistctl.images.threshold import LEAST_CONTRAST

# Not every format that Pillow knows: some start other programs, and the TIFF library writes its
# own messages to stderr.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "AVIF")
_MAX_BYTES = 16_000_000
# A read reserves all the bytes it asks for. With 16 MB, a small image takes 1.4 times as long.
_CHUNK_BYTES = 65_536
_MAX_PIXELS = 16_000_000
_MAX_SIDE = 32_768
# A large JPEG file is decoded at an eighth of its size, so photographs of any camera are allowed.
_MAX_JPEG_PIXELS = 100_000_000
# Larger images are decoded one at a time, so that their memory does not add up.
_LARGE_PIXELS = 2_000_000
_large_image_lock = Lock()
# Enough for a thin stroke on a sheet of paper. With more, a camera's noise remains.
_WORKING_SIDE = 192


def decode(file: BinaryIO) -> NDArray[np.uint8]:
    """Read an image file as greyscale, or as one of its channels if greyscale is blank.

    Args:
        file: PNG, JPEG, GIF, BMP, PPM, WebP or AVIF, of up to 16 MB and 16 million pixels
            (100 million in a JPEG file with a single scan). The first frame of an animation is
            read.

    Returns:
        uint8, shape (height, width), with sides of up to 192.

    Raises:
        MnistctlError: the file is not an image, or is too large or damaged. The sentence lacks
            its subject, the file's name.
        OSError: the file cannot be read.
    """
    try:
        return _greyscale(_read_bytes(file))
    except UnidentifiedImageError as error:
        raise MnistctlError(
            f"is not an image that mnistctl reads ({', '.join(_FORMATS)})"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MnistctlError("is too large: scale it down") from error
    except MemoryError as error:
        raise MnistctlError("needs more memory than there is") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        if isinstance(error, MnistctlError) or getattr(error, "errno", None) is not None:
            raise
        raise MnistctlError(f"cannot be decoded ({' '.join(str(error).split())})") from error


def _read_bytes(file: BinaryIO) -> BinaryIO:
    """Read a file into memory: a pipe cannot seek, as a decoder must, and may never end."""
    content = io.BytesIO()
    while chunk := file.read(_CHUNK_BYTES):
        content.write(chunk)
        if content.tell() > _MAX_BYTES:
            raise MnistctlError(f"is larger than {_MAX_BYTES // 1_000_000} MB: scale it down")
    if not content.tell():
        raise MnistctlError("is empty")
    content.seek(0)
    return content


def _greyscale(file: BinaryIO) -> NDArray[np.uint8]:
    """Return an image as greyscale, or its channel that varies most if greyscale is blank.

    Ink may be as bright as its background: blue on black, or white on a transparent background.
    """
    grey = np.asarray(_opaque(_load(file, "L"), "white").convert("L"))
    if np.ptp(grey) >= LEAST_CONTRAST:
        return grey
    image = _load(file, "RGB")
    is_mostly_transparent = image.mode == "RGBA" and not np.median(np.asarray(image)[..., 3])
    background = "black" if is_mostly_transparent else "white"
    colours = np.asarray(_opaque(image, background).convert("RGB"))
    channel = np.ascontiguousarray(colours[..., colours.std(axis=(0, 1)).argmax()])
    # A single channel has stronger noise than grey, the mean of three.
    return channel if np.ptp(channel) >= 2 * LEAST_CONTRAST else grey


def _load(file: BinaryIO, jpeg_mode: str) -> Image.Image:
    """Return an image upright, with 8 bits a channel, at no more than the working size.

    A JPEG file is decoded in ``jpeg_mode``: ``L`` takes less time than ``RGB``.
    """
    draft = None
    with Image.open(file, formats=_FORMATS) as opened:
        if opened.format in ("JPEG", "MPO") and _has_one_scan(file):
            _check_size(opened, _MAX_JPEG_PIXELS)
            draft = opened.draft(jpeg_mode, (_WORKING_SIDE, _WORKING_SIDE))
        _check_size(opened, _MAX_PIXELS)
        is_large = opened.width * opened.height > _LARGE_PIXELS
        with _large_image_lock if is_large else nullcontext():
            opened.load()
            image = _reduce(_without_padding(opened, draft[1]) if draft else opened)
    if "exif" in image.info:
        image = _upright(image)
    if image.mode == "I":  # 16 bits
        return Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if image.mode == "F":  # 0 to 1
        return Image.fromarray((np.nan_to_num(np.asarray(image)).clip(0, 1) * 255).astype(np.uint8))
    return image.convert("RGBA") if image.has_transparency_data else image


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """Return an image over a background if it is RGBA."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF says, or as it is if that is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything
        return image


def _has_one_scan(jpeg: BinaryIO) -> bool:
    """Say whether a JPEG file can be decoded line by line, not held in memory whole.

    It can if it is not progressive and its first scan has all components (ITU-T T.81).
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


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels or max(image.size) > _MAX_SIDE:
        raise MnistctlError(
            f"is too large ({image.width}x{image.height} pixels; the limit is "
            f"{max_pixels // 1_000_000} million, and {_MAX_SIDE:,} for a side): scale it down"
        )


def _without_padding(image: Image.Image, size: tuple[float, ...]) -> Image.Image:
    """Return a JPEG image without its last row and column, if they are partly padding.

    Decoded at an eighth of its size, an image 1001 pixels wide is 125.125 wide: its last column
    is mostly the padding of the file's blocks, which some programs leave black.
    """
    width, height = (max(1, int(length)) for length in size[2:])
    return image.crop((0, 0, width, height)) if image.size != (width, height) else image


def _reduce(image: Image.Image) -> Image.Image:
    """Return the image at no more than the working size, in a mode that can be reduced."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode.startswith("I;16"):
        transparent = image.info.get("transparency")
        image = image.convert("I")
        if transparent is not None:  # the grey level that means transparency
            image.paste(65535, mask=Image.fromarray(np.asarray(image) == transparent))
    if max(image.size) > _WORKING_SIDE:
        image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BILINEAR)
    return image
