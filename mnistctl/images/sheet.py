"""A sheet of paper on a table, or a canvas on a page."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistctl.images import coarse
from mnistctl.images.components import components
from mnistctl.images.threshold import LEAST_CONTRAST, otsu

# The least side of a sheet's box in pixels of a coarse image: enough to see a digit on it.
_LEAST_WIDTH = 12
# The least share of a sheet, its ink included, in a rectangle around it. A round 0, 6 or 8 covers
# up to 0.88. For a quadrilateral: the least intersection with the sheet, as a share of their union.
_LEAST_FILL = 0.92
# The least share of the paper in a sheet. A thick slanted 0 is a quadrilateral too, but its hole is
# larger than the ink on a sheet.
_LEAST_PAPER = 0.6
_LEAST_PAPER_OF_QUADRILATERAL = 0.9
# The least longest side of a digit, as a share of its sheet's.
_LEAST_SIDE = 0.1
# A digit may differ less from the paper than the table does. Its sheet covers at least this share
# of the image, or this share for each side of the image that it touches. A bar that is a 1 covers
# less. A strip of the table touches three sides.
_LEAST_COVER_IF_FAINT = 0.25
# A 0 with corners is not a sheet: its hole covers at least this share of the hole's box.
_HOLE_OF_ZERO = 0.8
# Along a side of a rectangle, for each angle, and then across it.
_ANGLES = np.radians(np.arange(-45, 135, 3))
_DIRECTIONS = np.stack((np.sin(_ANGLES), np.cos(_ANGLES)))


def cover_surroundings(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image in which what is around the sheet has the tone of its paper.

    A sheet has one tone and a digit on it. It is a rectangle at any angle, which the border of the
    image may cut off, or another quadrilateral. The smallest counts: a table may look like a sheet
    with a sheet on it. Without a sheet, or with nothing around it, the image is returned as it is.
    """
    small = np.asarray(Image.fromarray(grey).reduce(coarse.factor(grey.shape)))
    light = small > otsu(small)
    tones = (components(light), components(~light))
    sheets = [*_sheets(small, *tones), *_sheets(small, *tones[::-1])]
    if not sheets:
        return grey
    sheet, paper = min(sheets, key=lambda found: found[0].sum())
    inside = coarse.enlarge(_without_edge(sheet), grey.shape)
    return np.where(inside, grey, np.uint8(np.median(small[paper])))


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
    widths = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    for index in np.flatnonzero(widths >= _LEAST_WIDTH):
        box = boxes[index]
        paper = labels == index + 1
        on_paper = _inside(ink_boxes, box)
        ink = np.isin(ink_labels, on_paper + 1)
        sheet = paper | ink | np.isin(labels, _inside(boxes, box) + 1)
        if sheet.all() or paper.sum() < _LEAST_PAPER * sheet.sum() or _is_hole_of_zero(ink):
            continue
        has_digit = _longest_side(ink_boxes[on_paper]) >= _LEAST_SIDE * _longest_side(box)
        if not (has_digit or _has_faint_digit(image, sheet)):
            continue
        is_mostly_paper = paper.sum() >= _LEAST_PAPER_OF_QUADRILATERAL * sheet.sum()
        if _is_rectangle(sheet) or (is_mostly_paper and _is_quadrilateral(sheet)):
            sheets.append((sheet, paper))
    return sheets


def _inside(boxes: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the boxes that are inside a box and do not touch its sides."""
    is_inside = (boxes[:, :2] > box[:2]).all(axis=1) & (boxes[:, 2:] < box[2:]).all(axis=1)
    return np.flatnonzero(is_inside)


def _longest_side(boxes: NDArray[np.int64]) -> int:
    """Return the longest side of one box or several; 0 without boxes."""
    return int((boxes[..., 2:] - boxes[..., :2]).max(initial=0))


def _has_faint_digit(image: NDArray[np.uint8], sheet: NDArray[np.bool_]) -> bool:
    """Say whether a sheet may have a digit that is closer to its tone than what is around it."""
    if sheet.mean() < _LEAST_COVER_IF_FAINT * max(1, _touched_sides(sheet)):
        return False
    inside = _without_edge(sheet)
    if not inside.any():
        return False
    contrast = np.abs(image - np.median(image[inside])) * inside
    if contrast.max() < LEAST_CONTRAST:
        return False
    _, boxes = components(contrast >= contrast.max() / 2)
    return bool(_longest_side(boxes) >= _LEAST_SIDE * np.ptp(np.argwhere(sheet), axis=0).max())


def _touched_sides(sheet: NDArray[np.bool_]) -> int:
    """Return how many sides of the image a sheet touches."""
    return sum(bool(side.any()) for side in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))


def _is_hole_of_zero(ink: NDArray[np.bool_]) -> bool:
    """Say whether ink on a sheet fills its box: the sheet may be a 0 with corners, not paper."""
    box = Image.fromarray(ink).crop(Image.fromarray(ink).getbbox())
    return bool(np.asarray(box).mean() >= _HOLE_OF_ZERO)


def _without_edge(sheet: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a sheet without the pixels along its edge, which have both tones."""
    return ~coarse.widen(~sheet)


def _is_rectangle(sheet: NDArray[np.bool_]) -> bool:
    """Say whether a sheet fills the smallest rectangle around it, cut off as the image is."""
    places = np.argwhere(np.ones_like(sheet)) @ _DIRECTIONS
    of_sheet = places[sheet.ravel()]
    is_between = (places >= of_sheet.min(axis=0)) & (places <= of_sheet.max(axis=0))
    along, across = np.split(is_between, 2, axis=1)
    return bool(sheet.sum() >= _LEAST_FILL * (along & across).sum(axis=0).min())


def _is_quadrilateral(sheet: NDArray[np.bool_]) -> bool:
    """Say whether a sheet is a quadrilateral, as a rectangle is in a photograph taken at an angle.

    A quadrilateral with a side longer than both diagonals is not found. A lit area beside shadows
    may be a quadrilateral too, but it touches more sides of the image.
    """
    if _touched_sides(sheet) > 1:
        return False
    pixels = np.argwhere(sheet)
    diagonal = np.ptp(pixels @ _DIRECTIONS, axis=0).argmax()
    sine, cosine = _DIRECTIONS[:, diagonal]
    along, across = pixels @ (sine, cosine), pixels @ (cosine, -sine)
    corners = pixels[[along.argmin(), across.argmin(), along.argmax(), across.argmax()]]
    y, x = np.indices(sheet.shape)
    inside = np.ones_like(sheet)
    sides = np.roll(corners, -1, axis=0) - corners
    # The corners are in order around the quadrilateral, so its inside is on one side of each line.
    for (top, left), (height, width) in zip(corners, sides, strict=True):
        inside &= width * (y - top) >= height * (x - left)
    return bool((sheet & inside).sum() >= _LEAST_FILL * (sheet | inside).sum())
