"""Write the input of the measured commands: the test digits as PNG files, and torchvision's MNIST.

    python -m benchmarks.prepare FOLDER

This is a separate process to keep the measuring one small: Linux counts the memory of the process
that starts a command as the command's own.
"""

import gzip
import sys
from pathlib import Path

from PIL import Image

from mnistctl.dataset import BUNDLED, load_dataset


def prepare(folder: Path) -> None:
    """Write the digits to ``digits`` and the data set to ``MNIST/raw``."""
    (folder / "digits").mkdir()
    for index, image in enumerate(load_dataset("test").images):
        Image.fromarray(image).save(folder / "digits" / f"{index:05}.png")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in BUNDLED.glob("*.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
