"""A sheet of paper on a table, or a canvas on a page."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistctl.images import coarse
from mnistctl.images.components import components
from mnistctl.images.threshold import LEAST_CONTRAST, otsu

# Enough to see a sheet, and a digit on it.
_COARSE_SIDE = 64
_LEAST_PIXELS = 200
# The least share of a sheet in a rectangle around it, and of the paper in the sheet. A 0, 6 or 8
# covers up to 0.88 of a rectangle, its holes included.
_LEAST_FILL = 0.92
_LEAST_PAPER = 0.6
# The least side of a digit, of the sheet's.
_LEAST_SIDE = 0.1
# A digit may differ less from the paper than the table does. Its sheet covers more of the image
# than a bar that is a 1, and touches fewer sides of the image than a strip of the table.
_LEAST_COVER_IF_FAINT = 0.25
_MOST_TOUCHED_IF_FAINT = 1
# Along a side of a rectangle, for each angle, and then across it.
_ANGLES = np.radians(np.arange(-45, 135, 3))
_DIRECTIONS = np.stack((np.sin(_ANGLES), np.cos(_ANGLES)))


def cut_out_sheet(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part of an image with the sheet; what is around it gets the paper's tone.

    A sheet is a rectangle at any angle, which the border of the image may cut off. It has one tone,
    and a digit. Without a sheet, or without anything around it, the image is returned as it is.
    """
    factor = -(-max(image.shape) // _COARSE_SIDE)
    small = np.asarray(Image.fromarray(image).reduce(factor))
    light = small > otsu(small)
    tones = (components(light), components(~light))
    sheets = [*_sheets(small, *tones), *_sheets(small, *tones[::-1])]
    if not sheets:
        return image
    sheet, paper = min(sheets, key=lambda found: found[0].sum())
    inside = coarse.enlarge(_without_edge(sheet), factor, image.shape)
    cut_out = np.where(inside, image, np.uint8(np.median(small[paper])))
    y, x = inside.nonzero()
    return cut_out[y.min() : y.max() + 1, x.min() : x.max() + 1]


def _sheets(
    image: NDArray[np.uint8],
    papers: tuple[NDArray[np.int64], NDArray[np.int64]],
    inks: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return the sheets among components, each with and without what is on it.

    Args:
        image: the image.
        papers: the labels and boxes of the components of one tone.
        inks: those of the other tone.
    """
    sheets = []
    (labels, boxes), (ink_labels, ink_boxes) = papers, inks
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for index in np.flatnonzero(areas >= _LEAST_PIXELS):
        box = boxes[index]
        inner, ink = _inside(boxes, box), _inside(ink_boxes, box)
        paper = labels == index + 1
        sheet = paper | np.isin(labels, inner + 1) | np.isin(ink_labels, ink + 1)
        if not sheet.all() and paper.sum() >= _LEAST_PAPER * sheet.sum():
            has_digit = _longest_side(ink_boxes[ink]) >= _LEAST_SIDE * _longest_side(boxes[[index]])
            if (has_digit or _has_faint_digit(image, sheet)) and _is_rectangle(sheet):
                sheets.append((sheet, paper))
    return sheets


def _inside(boxes: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the boxes inside a box that do not touch its sides."""
    is_inside = (boxes[:, :2] > box[:2]).all(axis=1) & (boxes[:, 2:] < box[2:]).all(axis=1)
    return np.flatnonzero(is_inside)


def _longest_side(boxes: NDArray[np.int64]) -> int:
    """Return the longest side of boxes; 0 without boxes."""
    return int((boxes[:, 2:] - boxes[:, :2]).max(initial=0))


def _has_faint_digit(image: NDArray[np.uint8], sheet: NDArray[np.bool_]) -> bool:
    """Say whether a sheet may have a digit that is closer to its tone than what is around it."""
    touched = sum(side.any() for side in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    if touched > _MOST_TOUCHED_IF_FAINT or sheet.mean() < _LEAST_COVER_IF_FAINT:
        return False
    inside = image[_without_edge(sheet) > 0]
    return bool(len(inside) and np.ptp(inside) >= LEAST_CONTRAST)


def _without_edge(sheet: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a sheet without the pixels along its edge, which have both tones."""
    return 1 - coarse.widen((~sheet).astype(np.uint8))


def _is_rectangle(sheet: NDArray[np.bool_]) -> bool:
    """Say whether a sheet fills the smallest rectangle around it, cut off as the image is."""
    places = np.argwhere(np.ones_like(sheet)) @ _DIRECTIONS
    of_sheet = places[sheet.ravel()]
    is_between = (places >= of_sheet.min(axis=0)) & (places <= of_sheet.max(axis=0))
    along, across = np.split(is_between, 2, axis=1)
    return bool(sheet.sum() >= _LEAST_FILL * (along & across).sum(axis=0).min())
