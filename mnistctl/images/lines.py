"""The lines of ruled and squared paper."""

import numpy as np
from numpy.typing import NDArray

from mnistctl.images import coarse

# The least share of a line that is ink. In pixels of a coarse image: its greatest width, and how
# far it rises or falls from border to border.
_LEAST_INK = 0.9
_GREATEST_WIDTH = 4
_GREATEST_RISE = 6


def without_lines(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink without lines that run from border to border, if there are at least two.

    Where a digit crosses a line, the ink is higher than the line is wide, and stays. Programs that
    read music remove staves in this way (C. Dalitz et al., "A comparative study of staff removal
    algorithms", 2008).
    """
    factor = coarse.coarse_factor(ink.shape)
    small = coarse.reduce(ink.astype(np.uint8), factor) > 0
    rows = _across(small)
    columns = _across((small & ~rows).T).T  # without the rows, which cross them
    lines = rows | columns
    return np.asarray(ink & (coarse.enlarge(lines.astype(np.uint8), factor, ink.shape) == 0))


def _across(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the lines are that run from the left to the right."""
    height, width = ink.shape
    near = ink.copy()  # a straight line in coarse pixels has steps
    near[1:] |= ink[:-1]
    near[:-1] |= ink[1:]
    # A line may leave the image through the top or the bottom.
    outside = ((_GREATEST_RISE, _GREATEST_RISE), (0, 0))
    near, known = np.pad(near, outside), np.pad(np.ones_like(ink), outside)
    starts, ends = ((near | ~known)[:, side].nonzero()[0] for side in (0, -1))
    first, last = (np.abs(ends - starts[:, np.newaxis]) <= _GREATEST_RISE).nonzero()
    columns = np.arange(width)
    rows = np.linspace(starts[first], ends[last], width, axis=1).round().astype(int)
    length = known[rows, columns].sum(axis=1)
    is_line = near[rows, columns].sum(axis=1) >= _LEAST_INK * np.maximum(length, width / 4)
    lines = np.zeros_like(near)
    # One line alone may be the bar of a digit that is cropped to the ink.
    if is_line.any() and np.ptp(rows[is_line, 0]) > 2 * _GREATEST_WIDTH:
        for offset in (-1, 0, 1):
            lines[(rows[is_line] + offset).clip(0, len(lines) - 1), columns] = True
    within = lines[_GREATEST_RISE : _GREATEST_RISE + height]
    return within & ink & (_heights(ink) <= _GREATEST_WIDTH)


def _heights(ink: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each pixel of ink the height of the ink above and below it, itself included."""
    above, below = np.zeros(ink.shape, np.int64), np.zeros(ink.shape, np.int64)
    for row in range(len(ink)):
        above[row] = ink[row] * (above[row - 1] + 1)
        below[-row - 1] = ink[-row - 1] * (below[-row] + 1)
    return above + below - 1
