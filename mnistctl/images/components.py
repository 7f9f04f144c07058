"""Connected components of ink: which of them are the digit."""

import math

import numpy as np
from numpy.typing import NDArray

from mnistctl.images import coarse

# Ink that is more than this many times as wide as high is a line.
LINE_ASPECT = 4
# Of the longer side of the largest component: the least longer side of what is not a speck, the
# greatest distance to another part of the digit, and the least distance to an underline. What is
# closer may be the base of a 2.
_LEAST_SIDE = 0.1
_GREATEST_DISTANCE = 0.2
_LEAST_UNDERLINE_DISTANCE = 0.1
# The least width that counts for the size of a component, of its height: a 1 may be thin.
_LEAST_WIDTH = 0.1
# The least share of each side of its box that a frame runs along. A 7 runs along two sides.
_FRAME_SIDE = 0.85
# The same for a circle.
_CIRCLE_SIDE = 0.6
# The least side of a digit in a frame, of the frame's shorter side, and in a circle, of its longer
# side: what is smaller may be the slash of a 0.
_LEAST_IN_FRAME = 0.2
_LEAST_IN_CIRCLE = 0.5
# The least height of a digit in a frame that it touches, of the frame's. In an 8 of straight lines,
# only a bar is left without the frame.
_LEAST_FRAMED = 0.4


def digit_mask(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the digit is.

    The mask excludes specks, a frame or circle around the digit, what is outside of that frame,
    what lies apart, and a line below the digit.

    Args:
        ink: bool, shape (height, width), not empty.

    Returns:
        bool, same shape: the digit with a narrow margin.
    """
    small = coarse.reduce(ink)
    # Remove frames before ink is made wider by a pixel: a digit near a frame would then touch it.
    labels, boxes = components(small)
    if (lines := _touched_frame(labels, boxes)).any():
        labels, boxes = components(small & ~lines)
    # Remove specks and underlines for the same reason: dashes would touch each other, and an
    # underline the digit.
    order = _without_specks(_without_frames(labels, boxes), boxes)
    order = _without_underlines(order, boxes)
    small = np.isin(labels, order + 1)
    # Wider by a pixel, the pieces of a broken stroke touch, and those of a broken frame.
    labels, boxes = components(coarse.widen(small))
    digit = np.isin(labels, _digit_labels(labels, boxes))
    return coarse.enlarge(digit, ink.shape)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label the components of a mask, whose pixels touch at their sides or corners.

    Returns:
        labels: int64, same shape, from 1; 0 where the mask is not set.
        boxes: int64, shape (components, 4): left, top, right and bottom of labels 1, 2, ...
    """
    # A run is a part of a row without gaps: there are far fewer runs than pixels.
    y, x = np.diff(np.pad(mask, ((0, 0), (1, 1)))).nonzero()
    y, start, end = y[::2], x[::2], x[1::2]
    length = mask.shape[1] + 1
    pairs = _touching_runs(y * length, start, end, length)
    roots, component = np.unique(_lowest_reachable(len(y), pairs), return_inverse=True)

    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat(component + 1, end - start)
    low = np.full((len(roots), 2), mask.size)
    high = np.zeros_like(low)
    np.minimum.at(low, component, np.stack((start, y), axis=1))
    np.maximum.at(high, component, np.stack((end, y + 1), axis=1))
    return labels, np.hstack((low, high))


def _touching_runs(
    row: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    """Return the pairs of runs that touch, also at their corners: indices, shape (2, pairs).

    Args:
        row: where the row of a run begins, if the rows follow each other; in ascending order.
        start: where the run starts in its row.
        end: where it ends, exclusive.
        length: the length of a row, more than the greatest end.
    """
    above = row - length
    first = np.searchsorted(row + end, above + start)
    count = (np.searchsorted(row + start, above + end, side="right") - first).clip(0)
    before = count.cumsum() - count
    touching = np.arange(count.sum()) + np.repeat(first - before, count)
    return np.stack((np.repeat(np.arange(len(row)), count), touching))


def _lowest_reachable(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each node of a graph, 0 to count - 1, the lowest node it is connected to."""
    lowest = np.arange(count)
    while True:
        before = lowest.copy()
        first, second = before[pairs]
        for end in (first, second):
            np.minimum.at(lowest, end, np.minimum(first, second))
        lowest = lowest[lowest]
        if np.array_equal(lowest, before):
            return lowest


def _digit_labels(labels: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of the largest component that is around no other, and of those near it."""
    order = _without_frames(labels, boxes)
    largest = boxes[order[0]]
    side = (largest[2:] - largest[:2]).max()
    low, high = boxes[order, :2], boxes[order, 2:]
    distance = np.maximum(low - largest[2:], largest[:2] - high).max(axis=1)
    return np.asarray(order[distance <= _GREATEST_DISTANCE * side] + 1)


def _without_specks(order: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of components, the largest first, without those that are too small."""
    sides = (boxes[order, 2:] - boxes[order, :2]).max(axis=1)
    return np.asarray(order[sides >= _LEAST_SIDE * sides[0]])


def _without_underlines(order: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of components, the largest first, without lines below the largest."""
    largest = boxes[order[0]]
    least = _LEAST_UNDERLINE_DISTANCE * (largest[2:] - largest[:2]).max()
    width, height = (boxes[order, 2:] - boxes[order, :2]).T
    is_underline = (boxes[order, 1] > largest[3] + least) & (width > LINE_ASPECT * height)
    return np.asarray(order[~is_underline])


def _without_frames(labels: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of components, the largest first, without frames and what is outside.

    A frame or circle has another component inside.
    """
    order = _largest_first(boxes)
    while len(inside := _inside_frame(order, labels, boxes)):
        order = inside
    return order


def _largest_first(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of components by height times width, the largest first.

    The width counts up to the height, because a line of text may be wider than the digit.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return np.argsort(-height * width.clip(_LEAST_WIDTH * height, height), kind="stable")


def _touched_frame(labels: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where the lines of a frame are that a digit in it touches.

    The frame and the digit are then one component, the largest. If little is left of it without
    these lines, it is not a frame but a digit: a 0, for example.
    """
    lines = np.zeros(labels.shape, np.bool_)
    largest = _largest_first(boxes)[0]
    left, top, right, bottom = boxes[largest]
    component = labels[top:bottom, left:right] == largest + 1
    if _share_along_box(component) < _FRAME_SIDE:
        return lines
    digit = component
    for _ in range(4):
        digit = np.rot90(_without_top_line(digit))
    _, digit_boxes = components(digit)
    heights = digit_boxes[:, 3] - digit_boxes[:, 1]
    if heights.max(initial=0) >= _LEAST_FRAMED * len(component):
        lines[top:bottom, left:right] = component & ~digit
    return lines


def _without_top_line(component: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a component without the line along its top, which may be crooked."""
    columns = component[: _band(len(component))].any(axis=0)
    if not columns.any():
        return component
    rows = np.arange(len(component))[:, np.newaxis]
    top = component.argmax(axis=0)
    below = ~component & (rows > top)
    end = np.where(below.any(axis=0), below.argmax(axis=0), len(component))
    width = np.median((end - top)[columns])
    return np.asarray(component & (rows > top + width))


def _share_along_box(component: NDArray[np.bool_]) -> float:
    """Return the share of the sides of its box that a component runs along: the least of four."""
    sides = (np.rot90(component, turns) for turns in range(4))
    return float(min(side[: _band(len(side))].any(axis=0).mean() for side in sides))


def _band(side: int) -> int:
    """Return how far from a side of its box a frame may run."""
    return math.ceil(side / 6)


def _inside_frame(
    order: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the indices of the components inside the first one.

    There are none if it is not a frame or circle, or if nothing large is inside.
    """
    frame, others = order[0], order[1:]
    left, top, right, bottom = boxes[frame].tolist()
    component = labels[top:bottom, left:right] == frame + 1
    share = _share_along_box(component)
    if share < _CIRCLE_SIDE:
        return others[:0]
    is_circle = share < _FRAME_SIDE
    shape = component.shape
    least = _LEAST_IN_CIRCLE * max(shape) if is_circle else _LEAST_IN_FRAME * min(shape)
    low, high = boxes[others, :2], boxes[others, 2:]
    is_inside = (low >= (left, top)).all(axis=1) & (high <= (right, bottom)).all(axis=1)
    is_large = (high - low).max(axis=1) >= least
    return others[is_inside] if (is_inside & is_large).any() else others[:0]
