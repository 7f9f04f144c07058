"""The functions that the tests share."""

import gzip
import io
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistctl.errors import MnistctlError

Run = Callable[..., subprocess.CompletedProcess[bytes]]

MNISTCTL = [sys.executable, "-m", "mnistctl"]


def run_program(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a new process."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def idx(values: NDArray[Any]) -> bytes:
    """Return values, 8-bit or 32-bit, in the IDX format."""
    kind = {np.dtype(np.uint8): 0x08, np.dtype(">i4"): 0x0C}[values.dtype]
    header = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    return header + values.tobytes()


def write_mnist(directory: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Path:
    """Write a data set, gzipped, with the same images for training and for testing."""
    directory.mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        for name, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = gzip.compress(idx(values), compresslevel=1)
            (directory / f"{split}-{name}.gz").write_bytes(content)
    return directory


def names(directory: Path) -> list[str]:
    """Return the names of what is in a directory, hidden files included."""
    return sorted(entry.name for entry in directory.iterdir())


def error_allowed() -> AbstractContextManager[None]:
    """Allow a MnistctlError, and no other exception."""
    return suppress(MnistctlError)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> io.BytesIO:
    """Return an image file in memory."""
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def sheet(
    digit: NDArray[np.uint8], scale: int = 8, size: tuple[int, int] = (480, 360)
) -> Image.Image:
    """Return a digit of MNIST, enlarged, light on a large dark sheet, off its middle."""
    image = Image.new("L", size, 0)
    side = 28 * scale
    image.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), (20, 30))
    return image


def inverted(image: Image.Image) -> Image.Image:
    """Return a greyscale image with dark and light swapped."""
    return Image.fromarray(255 - np.asarray(image))


def photograph(digit: NDArray[np.uint8]) -> Image.Image:
    """Return dark ink on paper half in shadow, with a camera's noise."""
    ink = np.asarray(sheet(digit), np.float64) / 255
    light = 230 - 90 / (1 + np.exp(-(np.arange(ink.shape[1]) - 200) / 15))
    noise = np.random.default_rng(0).normal(0, 4, ink.shape)
    tones = light * (1 - 0.75 * ink) + noise
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8)).convert("RGB")
