"""Write what the commands are measured on: the test digits as PNG files, and torchvision's MNIST.

    python -m benchmarks.prepare FOLDER

A process of its own, so that the one which measures stays small: Linux counts the memory of the
process that starts a command as the command's own.
"""

import gzip
import sys
from pathlib import Path

from PIL import Image

from mnistctl import dataset


def prepare(folder: Path) -> None:
    """Write the digits below ``digits`` and the data set below ``MNIST/raw``."""
    (folder / "digits").mkdir()
    for index, digit in enumerate(dataset.load("test").images):
        Image.fromarray(digit).save(folder / "digits" / f"{index:05}.png")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in dataset.BUNDLED.glob("*.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
