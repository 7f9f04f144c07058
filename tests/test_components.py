import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mnistctl.images.components import components


def flooded(mask: NDArray[np.bool_], y: int, x: int) -> NDArray[np.bool_]:
    """Return the component of a pixel, found by widening that pixel within the mask."""
    found = np.zeros_like(mask)
    found[y, x] = True
    while True:
        padded = np.pad(found, 1)
        views = [
            padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
            for dy in range(3)
            for dx in range(3)
        ]
        wider = np.logical_or.reduce(views) & mask
        if np.array_equal(wider, found):
            return found
        found = wider


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_pixels_have_the_same_label_if_they_are_connected(mask: NDArray[np.bool_]) -> None:
    labels, _ = components(mask)
    assert np.array_equal(labels > 0, mask)
    for y, x in np.argwhere(mask):
        assert np.array_equal(labels == labels[y, x], flooded(mask, y, x))


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_each_label_has_the_box_of_its_pixels(mask: NDArray[np.bool_]) -> None:
    labels, boxes = components(mask)
    assert len(boxes) == labels.max()
    for label, box in enumerate(boxes.tolist(), 1):
        assert Image.fromarray(labels == label).getbbox() == tuple(box)


def test_a_spiral_is_one_component() -> None:
    image = Image.new("1", (61, 61))
    points = [
        (30 + 2 * n * (-1) ** (n // 2), 30 + 2 * n * (-1) ** ((n + 1) // 2)) for n in range(15)
    ]
    ImageDraw.Draw(image).line(points, fill=1)
    _, boxes = components(np.asarray(image))
    assert len(boxes) == 1
