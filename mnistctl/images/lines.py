"""Lines on the paper: ruled, squared, or along the border."""

import numpy as np
from numpy.typing import NDArray

from mnistctl.images import coarse
from mnistctl.images.components import components

# The least share of ink in a line, and in the rows in which a crooked line leaves the image.
_LEAST_INK = 0.9
_LEAST_INK_OF_CROOKED = 0.3
# In pixels of a coarse image: the greatest width of a line from border to border, and how far it
# rises or falls.
_GREATEST_WIDTH = 4
_GREATEST_RISE = 6
# The least distance of a digit to the ends of a single line, of the line's length, and to a border
# without a line, of the image's shorter side.
_LEAST_DISTANCE = 0.1
# The least side of a digit, of the image's longer side. The least height of a part of it, of the
# highest part's.
LEAST_SIDE = 0.1
_LEAST_PART = 0.5


def without_lines(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink without lines that run along the border, or from border to border.

    Where a digit crosses a line, the ink is higher than the line is wide, and stays. Programs that
    read music remove staves in this way (C. Dalitz et al., "A comparative study of staff removal
    algorithms", 2008).
    """
    small = coarse.reduce(ink)
    rows = _across(small)
    columns = _across((small & ~rows).T).T  # without the rows, which cross them
    lines = rows | columns
    lines |= _along_border(small, small & ~lines)
    return np.asarray(ink & ~coarse.enlarge(lines, ink.shape))


def _along_border(ink: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the lines along the border; none if other ink is close to a border without a line.

    The lines may then be strokes of a digit that is cropped to the ink.
    """
    lines = np.zeros_like(ink)
    widths = [_width_along_top(np.rot90(ink, turns)) for turns in range(4)]
    for turns, width in enumerate(widths):
        np.rot90(lines, turns)[:width] = True
    boxes = _large_boxes(others & ~lines)
    if not len(boxes):
        return np.zeros_like(lines)
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margins = (top, ink.shape[1] - right, ink.shape[0] - bottom, left)  # as np.rot90 turns it
    least = _LEAST_DISTANCE * min(ink.shape)
    is_away = all(width or margin >= least for width, margin in zip(widths, margins, strict=True))
    return lines if is_away else np.zeros_like(lines)


def _width_along_top(ink: NDArray[np.bool_]) -> int:
    """Return how many rows a line along the top takes; 0 without one."""
    share = ink.mean(axis=1)
    is_filled = share >= _LEAST_INK
    first = int(is_filled.argmax())  # not row 0 if a crooked line leaves the image there
    width = first + int((~is_filled[first:]).argmax())
    is_line = first < width and (share[:first] >= _LEAST_INK_OF_CROOKED).all()
    return width if is_line else 0


def _across(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the lines that run from the left to the right, but not the bar of a digit."""
    near = ink.copy()  # a straight line in coarse pixels has steps
    near[1:] |= ink[:-1]
    near[:-1] |= ink[1:]
    starts, ends = (near[:, side].nonzero()[0] for side in (0, -1))
    first, last = (np.abs(ends - starts[:, np.newaxis]) <= _GREATEST_RISE).nonzero()
    columns = np.arange(ink.shape[1])
    rows = np.linspace(starts[first], ends[last], len(columns), axis=1).round().astype(int)
    is_line = near[rows, columns].mean(axis=1) >= _LEAST_INK
    lines = np.zeros_like(ink)
    lines[rows[is_line], columns] = True
    lines &= ink & (_heights(ink) <= _GREATEST_WIDTH)
    is_single = lines.any() and np.ptp(rows[is_line, 0]) <= 2 * _GREATEST_WIDTH
    return np.zeros_like(lines) if is_single and _is_bar(ink & ~lines) else lines


def _is_bar(others: NDArray[np.bool_]) -> bool:
    """Say whether a single line may be the bar of a digit, by the other ink.

    The rest of a digit reaches close to an end of its bar, or it is two parts that the bar joins.
    Without other ink, the line may be a whole digit: a 1.
    """
    boxes = _large_boxes(others)
    if not len(boxes):
        return True
    left, top, right, bottom = boxes.T
    distance = _LEAST_DISTANCE * others.shape[1]
    if left.min() < distance or right.max() > others.shape[1] - distance:
        return True
    heights = bottom - top
    is_part = heights >= _LEAST_PART * heights.max()
    return bool(left[is_part].max() >= right[is_part].min())


def _large_boxes(ink: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the boxes of the components that can be a digit, or a large part of one."""
    _, boxes = components(ink)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return np.asarray(boxes[sides >= LEAST_SIDE * max(ink.shape)])


def _heights(ink: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each pixel of ink the height of the ink above and below it, itself included."""
    row = np.arange(len(ink))[:, np.newaxis]
    above = np.maximum.accumulate(np.where(ink, -1, row))
    below = np.minimum.accumulate(np.where(ink, len(ink), row)[::-1])[::-1]
    return below - above - 1
