"""Write the input of the measured commands: digits, photographs of digits, and torchvision's MNIST.

    python -m benchmarks.prepare FOLDER

This is a separate process to keep the measuring one small: Linux counts the memory of the process
that starts a command as the command's own.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistctl.dataset import BUNDLED, load_dataset

PHOTOGRAPHS = 500
_MIN_PIXELS, _MAX_PIXELS = 2_000_000, 12_000_000
_TILE = 512
_INK = (50, 50, 70)


def prepare(folder: Path) -> None:
    """Write the images to ``digits`` and ``photographs``, and the data set to ``MNIST/raw``."""
    images = load_dataset("test").images
    (folder / "digits").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "digits" / f"{index:05}.png")
    (folder / "photographs").mkdir()
    random = np.random.default_rng(0)
    for index, image in enumerate(images[:PHOTOGRAPHS]):
        photograph(image, random).save(folder / "photographs" / f"{index:05}.jpg", quality=85)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in BUNDLED.glob("*.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))


def photograph(digit: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """Draw a digit (28, 28) in dark ink on noisy paper, with 2 to 12 million pixels."""
    height = int(np.sqrt(random.uniform(_MIN_PIXELS, _MAX_PIXELS) * 3 / 4))
    width = height * 4 // 3
    noise = random.normal(210, 5, (_TILE, _TILE, 3)).clip(0, 255).astype(np.uint8)
    tiles = (height // _TILE + 1, width // _TILE + 1, 1)
    paper = Image.fromarray(np.tile(noise, tiles)[:height, :width])
    side = int(height * random.uniform(0.4, 0.8))
    ink = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    corner = (int(random.integers(width - side)), int(random.integers(height - side)))
    paper.paste(_INK, (*corner, corner[0] + side, corner[1] + side), ink)
    return paper


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
