"""The difference between dark and light, and the threshold between them."""

import numpy as np
from numpy.typing import NDArray

# The least difference, of 255, between background and ink.
LEAST_CONTRAST = 32


def otsu(grey: NDArray[np.uint8]) -> float:
    """Return the threshold of N. Otsu (1979), between two grey levels."""
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
