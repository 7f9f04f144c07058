"""Lines on the paper: ruled, squared, or along the border."""

import numpy as np
from numpy.typing import NDArray

from mnistctl.images import coarse
from mnistctl.images.components import components

# The least share of a line that is ink, also where a crooked line leaves the image. In pixels of a
# coarse image: a line's greatest width, how far it rises or falls from border to border, and the
# greatest width of a line along the border.
_LEAST_INK = 0.9
_LEAST_INK_OF_CROOKED = 0.3
_GREATEST_WIDTH = 4
_GREATEST_RISE = 6
_GREATEST_BORDER_WIDTH = 16
# The least distance of a digit to the ends of a single line, of the line's length, and to a border
# without a line, of the image's shorter side.
_LEAST_MARGIN = 0.1
# The least height of a part of a digit, of the highest part's.
_LEAST_PART = 0.5


def without_lines(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink without lines that run along the border, or from border to border.

    Where a digit crosses a line, the ink is higher than the line is wide, and stays. Programs that
    read music remove staves in this way (C. Dalitz et al., "A comparative study of staff removal
    algorithms", 2008).
    """
    factor = coarse.coarse_factor(ink.shape)
    small = coarse.reduce(ink.astype(np.uint8), factor) > 0
    rows = _across(small)
    columns = _across((small & ~rows).T).T  # without the rows, which cross them
    lines = rows | columns
    lines |= _along_border(small, small & ~lines)
    return np.asarray(ink & (coarse.enlarge(lines.astype(np.uint8), factor, ink.shape) == 0))


def _along_border(ink: NDArray[np.bool_], digit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where lines along the border are, if the digit keeps away from its other sides.

    Strokes of a digit that is cropped to the ink can lie along the border too.
    """
    lines, margins = np.zeros_like(ink), np.zeros_like(ink)
    margin = round(_LEAST_MARGIN * min(ink.shape))
    for turns in range(4):
        width = _width_along_top(np.rot90(ink, turns))
        np.rot90(lines, turns)[:width] = True
        np.rot90(margins, turns)[: 0 if width else margin] = True
    inside = digit & ~lines
    rows, columns = inside.nonzero()
    is_small = not len(rows) or max(np.ptp(rows), np.ptp(columns)) < margin
    return np.zeros_like(lines) if is_small or (inside & margins).any() else lines


def _width_along_top(ink: NDArray[np.bool_]) -> int:
    """Return how far a line along the top, which may be crooked, reaches down; 0 without one."""
    covered = ink.mean(axis=1)
    end = (covered < _LEAST_INK_OF_CROOKED).argmax()
    filled = (covered[:end] >= _LEAST_INK).nonzero()[0]
    return int(filled[-1]) + 1 if 0 < len(filled) <= _GREATEST_BORDER_WIDTH else 0


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
    for offset in (-1, 0, 1):
        lines[(rows[is_line] + offset).clip(0, len(lines) - 1), columns] = True
    lines = lines[_GREATEST_RISE : _GREATEST_RISE + height] & ink
    lines &= _heights(ink) <= _GREATEST_WIDTH
    is_single = lines.any() and np.ptp(rows[is_line, 0]) <= 2 * _GREATEST_WIDTH
    return np.zeros_like(lines) if is_single and _is_bar(ink & ~lines) else lines


def _is_bar(rest: NDArray[np.bool_]) -> bool:
    """Say whether a single line may be the bar of a digit, by the rest of the ink.

    The rest of a digit reaches near an end of its bar, or it is two parts that the bar joins. If
    hardly anything is left, the line may be a whole digit.
    """
    margin = _LEAST_MARGIN * rest.shape[1]
    left, top, right, bottom = components(rest)[1].T
    heights = bottom - top
    if heights.max(initial=0) < margin:
        return True
    if left.min() < margin or right.max() > rest.shape[1] - margin:
        return True
    is_part = heights >= _LEAST_PART * heights.max()
    return bool(left[is_part].max() >= right[is_part].min())


def _heights(ink: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each pixel of ink the height of the ink above and below it, itself included."""
    above, below = np.zeros(ink.shape, np.int64), np.zeros(ink.shape, np.int64)
    for row in range(len(ink)):
        above[row] = ink[row] * (above[row - 1] + 1)
        below[-row - 1] = ink[-row - 1] * (below[-row] + 1)
    return above + below - 1
