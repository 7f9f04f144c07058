"""Write a public data set of handwritten digits as image files, for benchmarks.accuracy.

    python -m benchmarks.optical_digits FOLDER

The data set is the test set of "Optical recognition of handwritten digits" (E. Alpaydin and
C. Kaynak, 1998), from scikit-learn: 1,797 digits by 13 people, in 8x8 pixels. Many ones have an
upstroke or a foot, and most sevens have a bar across. Each digit is enlarged, and dark on white.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

_HIGHEST = 16
_SIDE = 160
_MARGIN = 40


def write(folder: Path) -> None:
    """Write the images, each with its label as the first character of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    for index, (values, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        ink = Image.fromarray((255 * values / _HIGHEST).astype(np.uint8))
        enlarged = ink.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        image = ImageOps.invert(ImageOps.expand(enlarged, _MARGIN))
        image.save(folder / f"{label}-{index:04}.png")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
