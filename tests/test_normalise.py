from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawings import READABLE, drawn, frame, on_paper, pen_line, rules
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from support import error_allowed, inverted, photograph, saved, sheet

from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset, Split, load_dataset
from mnistctl.errors import MnistctlError
from mnistctl.images import read_image
from mnistctl.images.normalise import find

Grey = NDArray[np.uint8]

DIGITS = load_dataset("test").images[:200]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_image_of_mnist_passes_unchanged(split: Split) -> None:
    for image in load_dataset(split).images:
        expected = image / np.float32(255)
        assert np.array_equal(find(image).digit, expected)


def test_image_of_mnist_in_dark_on_light_becomes_the_image(mnist_test: Dataset) -> None:
    for image in mnist_test.images[:1000]:
        np.testing.assert_array_equal(find(255 - image).digit, image / np.float32(255))


@pytest.mark.parametrize(
    "draw",
    [sheet, lambda digit: inverted(sheet(digit)), photograph],
    ids=["light on dark", "dark on light", "photograph"],
)
def test_digits_on_a_sheet_are_classified(
    draw: Callable[[Grey], Image.Image], mnist_test: Dataset, classifier: Classifier
) -> None:
    inputs = [read_image(saved(draw(digit), compress_level=0)) for digit in DIGITS[:100]]
    predicted = [prediction.digit for prediction in classifier.predict(np.stack(inputs))]
    assert np.mean(predicted == mnist_test.labels[:100]) >= 0.97


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=60)))
def test_any_greyscale_image_becomes_a_digit_or_is_blank(grey: Grey) -> None:
    with error_allowed():
        digit = find(grey).digit
        assert digit.shape == (28, 28)
        assert digit.dtype == np.float32
        assert digit.min() >= 0
        assert digit.max() <= 1


@given(st.integers(0, 199), st.sampled_from([120, 200]), st.booleans())
def test_digit_of_a_sheet_fits_the_box_and_has_its_mass_in_the_middle(
    index: int, width: int, wide: bool
) -> None:
    image = sheet(DIGITS[index], size=(480, 480)).resize((300, width) if wide else (width, 300))
    digit = find(np.asarray(image)).digit
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert digit.max() == 1
    for axis in (0, 1):
        mass = digit.sum(axis)
        centre = float(mass @ np.arange(0.5, 28) / mass.sum())
        touches = mass[0] > 0 or mass[-1] > 0
        assert touches or abs(centre - 14) <= 0.51


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 199))
def test_position_of_the_digit_on_the_sheet_makes_no_difference(
    left: int, top: int, index: int
) -> None:
    here, there = np.zeros((250, 250), np.uint8), np.zeros((250, 250), np.uint8)
    here[60:88, 60:88] = DIGITS[index]
    there[top + 20 : top + 48, left + 20 : left + 48] = DIGITS[index]
    np.testing.assert_allclose(find(here).digit, find(there).digit, atol=0.15)


@pytest.mark.parametrize("size", [(20_000, 3), (3, 20_000)])
def test_a_speck_in_a_narrow_image_is_blank(size: tuple[int, int]) -> None:
    image = Image.new("L", size, 255)
    image.paste(0, (size[0] // 2, size[1] // 2, size[0] // 2 + 1, size[1] // 2 + 1))
    with pytest.raises(MnistctlError, match="is blank"):
        read_image(saved(image))


@pytest.mark.parametrize(
    "grey",
    [
        np.zeros((1, 1)),
        np.zeros((28, 28)),
        np.full((200, 300), 255),
        np.random.default_rng(0).integers(200, 210, (300, 200)),
        np.tile(np.linspace(90, 230, 300), (200, 1)),
    ],
    ids=["1x1", "black", "white", "noise", "paper in fading light"],
)
def test_blank_image_is_refused(grey: NDArray[Any]) -> None:
    with pytest.raises(MnistctlError, match=r"^image data: is blank: no digit stands out"):
        read_image(saved(Image.fromarray(grey.astype(np.uint8))))


@pytest.mark.parametrize("hardship", READABLE)
def test_every_drawn_image_is_answered_as_a_person_would(
    hardship: str, mnist_test: Dataset, classifier: Classifier
) -> None:
    inputs = [read_image(saved(READABLE[hardship](digit))) for digit in DIGITS[:20]]
    predicted = [prediction.digit for prediction in classifier.predict(np.stack(inputs))]
    assert np.mean(predicted == mnist_test.labels[:20]) >= 0.9


@pytest.mark.parametrize("width", [130, 300, 420, 700])
@pytest.mark.parametrize("name", ["darkly ruled paper", "lines as dark as the digit"])
def test_lines_do_no_harm_at_any_size(
    name: str, width: int, mnist_test: Dataset, classifier: Classifier
) -> None:
    sheets = [READABLE[name](digit) for digit in DIGITS[:20]]
    size = (width, round(width * sheets[0].height / sheets[0].width))
    inputs = [read_image(saved(image.resize(size))) for image in sheets]
    predicted = [prediction.digit for prediction in classifier.predict(np.stack(inputs))]
    assert np.mean(predicted == mnist_test.labels[:20]) >= 0.95


@pytest.mark.parametrize("width", [1, 2, 25])
@pytest.mark.parametrize("size", [150, 280, 500])
def test_thin_and_thick_strokes_are_read(classifier: Classifier, width: int, size: int) -> None:
    image = read_image(saved(pen_line(width, size=size)))
    assert classifier.predict(image[np.newaxis])[0].digit == 2


@pytest.mark.parametrize("margin", [2, 10, 60])
def test_one_that_is_a_bar_is_read(classifier: Classifier, margin: int) -> None:
    image = Image.new("L", (24 + 2 * margin, 150 + 2 * margin), 250)
    image.paste(20, (margin, margin, margin + 24, margin + 150))
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 1


SEVEN = [[(60, 50), (220, 50), (200, 240)], [(110, 150), (180, 150)]]
FOUR = [[(80, 50), (80, 160), (210, 160)], [(160, 70), (160, 138)]]


@pytest.mark.parametrize(
    ("strokes", "digit"), [(SEVEN, 7), (FOUR, 4)], ids=["crossed seven", "open four"]
)
def test_stroke_inside_another_belongs_to_the_digit(
    classifier: Classifier, strokes: list[list[tuple[int, int]]], digit: int
) -> None:
    image = Image.new("L", (280, 280), 250)
    for stroke in strokes:
        ImageDraw.Draw(image).line(stroke, fill=10, width=14, joint="curve")
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == digit


@pytest.mark.parametrize(("has_bar", "digit"), [(False, 0), (True, 8)])
def test_digit_of_straight_lines_is_not_a_frame(
    classifier: Classifier, has_bar: bool, digit: int
) -> None:
    image = Image.new("L", (200, 260), 250)
    pen = ImageDraw.Draw(image)
    pen.rectangle((50, 40, 150, 220), outline=10, width=12)
    if has_bar:
        pen.line((50, 130, 150, 130), fill=10, width=12)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == digit


def test_ink_outside_of_a_circle_is_not_part_of_the_digit_in_it() -> None:
    image = Image.new("L", (280, 280), 250)
    pen = ImageDraw.Draw(image)
    pen.ellipse((50, 45, 230, 225), outline=10, width=6)
    pen.line([(100, 80), (180, 80), (130, 204)], fill=10, width=14, joint="curve")
    pen.rectangle((120, 232, 160, 252), fill=10)
    _, top, _, bottom = find(np.asarray(image)).box
    assert (top, bottom) == pytest.approx((74 / 280, 205 / 280), abs=0.01)


def test_thick_zero_with_corners_is_not_a_sheet(classifier: Classifier) -> None:
    image = Image.new("L", (300, 300), 250)
    pen = ImageDraw.Draw(image)
    pen.rectangle((100, 60, 200, 240), fill=10)
    pen.rectangle((130, 110, 170, 190), fill=250)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 0


def test_box_of_a_digit_on_squares_has_no_part_of_them() -> None:
    plain, squared = (
        READABLE[name](DIGITS[0]) for name in ("pencil", "squares as dark as the digit")
    )
    expected = find(np.asarray(plain)).box
    np.testing.assert_allclose(find(np.asarray(squared)).box, expected, atol=0.03)


def test_bar_of_a_four_from_border_to_border_is_no_line(classifier: Classifier) -> None:
    image = Image.new("L", (200, 260), 250)
    for stroke in ([(70, 20), (50, 150)], [(0, 150), (200, 150)], [(135, 90), (130, 240)]):
        ImageDraw.Draw(image).line(stroke, fill=10, width=9)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 4


def test_bar_of_a_seven_from_border_to_border_is_no_line(classifier: Classifier) -> None:
    image = Image.new("L", (200, 260), 250)
    for stroke in ([(0, 50), (200, 50)], [(185, 50), (100, 240)]):
        ImageDraw.Draw(image).line(stroke, fill=10, width=9)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 7


def test_one_from_border_to_border_is_no_line(classifier: Classifier) -> None:
    image = Image.new("L", (200, 260), 250)
    pen = ImageDraw.Draw(image)
    pen.line((105, 0, 95, 260), fill=10, width=9)
    pen.rectangle((60, 100, 64, 104), fill=10)  # a speck
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 1


def test_bars_of_a_digit_cropped_to_the_ink_are_no_lines() -> None:
    corners = [(0, 4), (195, 4), (4, 255), (200, 255)]  # of a 2
    image = Image.new("L", (200, 260), 250)
    ImageDraw.Draw(image).line(corners, fill=10, width=9)
    assert find(np.asarray(image)).box == (0, 0, 1, 1)


def test_slash_inside_a_zero_belongs_to_it(classifier: Classifier) -> None:
    image = Image.new("L", (280, 280), 250)
    pen = ImageDraw.Draw(image)
    pen.ellipse((60, 20, 220, 260), outline=10, width=14)
    pen.line((115, 180, 165, 100), fill=10, width=14)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 0


def test_stroke_with_an_uneven_edge_along_the_border_is_read(classifier: Classifier) -> None:
    image = np.full((160, 130), 250, np.uint8)
    image[:25] = image[:, 105:] = 20
    image[0, ::2] = 250
    assert classifier.predict(read_image(saved(Image.fromarray(image)))[np.newaxis])[0].digit == 7


def mostly_ink(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((2, 2, 415, 335), fill=255)


def single_line(pen: ImageDraw.ImageDraw) -> None:
    pen.line((0, 175, 420, 165), fill=255, width=6)


def block(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((150, 130, 230, 190), fill=255)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (on_paper(0.8 * frame(0, 9)), "has a frame but no digit in it: crop it to one digit"),
        (on_paper(0.8 * rules(60)), "has lines but no digit on them: crop it to one digit"),
        (
            on_paper(0.8 * rules(60, columns=True)),
            "has lines but no digit on them: crop it to one digit",
        ),
        (
            on_paper(0.8 * drawn(single_line)),
            "has a line but no digit on it: crop it to one digit",
        ),
        (Image.new("L", (100, 100), 250), "is blank"),
        (on_paper(drawn(mostly_ink)), "has a frame but no digit in it: crop it to one digit"),
        (on_paper(drawn(block)), "has a block of ink but no digit: crop it to one digit"),
    ],
    ids=["frame", "ruled paper", "squared paper", "single line", "paper", "ink", "block"],
)
def test_image_without_a_digit_is_refused(image: Image.Image, reason: str) -> None:
    with pytest.raises(MnistctlError, match=f"^image data: {reason}"):
        read_image(saved(image))


@given(st.integers(0, 2**32 - 1))
@example(14)  # after the lines are removed, all ink that is left is faint
def test_streaks_in_fading_light_become_a_digit_or_are_refused(seed: int) -> None:
    streaks = np.random.default_rng(seed).integers(0, 40, 34)
    grey = np.add.outer(np.arange(0, 87, 3), streaks).astype(np.uint8)
    with error_allowed():
        assert find(grey).digit.max() <= 1


def test_digit_that_touches_the_border_is_kept_whole() -> None:
    cropped = READABLE["cropped to the ink"](DIGITS[0])
    assert find(np.asarray(cropped)).box == (0, 0, 1, 1)


def test_place_and_tone_of_the_digit_are_described() -> None:
    image = Image.new("L", (200, 100), 255)
    image.paste(0, (50, 20, 60, 80))
    described = "dark ink on light, at 25 to 30 % of the width, 20 to 80 % of the height"
    assert find(np.asarray(image)).describe() == described


def test_bar_apart_from_a_five_belongs_to_it() -> None:
    image = Image.new("L", (200, 200), 255)
    image.paste(0, (60, 60, 75, 140))
    image.paste(0, (85, 60, 130, 72))
    left, _, right, _ = find(np.asarray(image)).box
    assert (left, right) == (60 / 200, 130 / 200)


def test_base_apart_from_a_two_belongs_to_it(classifier: Classifier) -> None:
    image = Image.new("L", (200, 260), 250)
    pen = ImageDraw.Draw(image)
    pen.arc((60, 40, 140, 120), 180, 390, fill=10, width=9)
    pen.line([(135, 97), (65, 200)], fill=10, width=9)
    pen.line([(60, 217), (150, 217)], fill=10, width=9)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 2


def test_ink_farther_away_than_a_fifth_of_the_digit_is_not_part_of_it() -> None:
    image = Image.new("L", (280, 280), 250)
    pen = ImageDraw.Draw(image)
    pen.line([(90, 60), (170, 60), (120, 184)], fill=10, width=14, joint="curve")
    pen.rectangle((115, 227, 150, 245), fill=10)
    _, _, _, bottom = find(np.asarray(image)).box
    assert bottom == pytest.approx(185 / 280, abs=0.02)


def test_thin_one_beside_a_blot_is_read(classifier: Classifier) -> None:
    image = Image.new("L", (280, 280), 250)
    pen = ImageDraw.Draw(image)
    pen.rectangle((100, 60, 107, 220), fill=10)
    pen.ellipse((190, 120, 235, 165), fill=10)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 1


def test_thick_slanted_zero_is_not_a_sheet(classifier: Classifier) -> None:
    image = Image.new("L", (300, 300), 250)
    pen = ImageDraw.Draw(image)
    pen.polygon([(120, 60), (220, 60), (180, 240), (80, 240)], fill=10)
    pen.polygon([(145, 110), (178, 110), (158, 190), (125, 190)], fill=250)
    assert classifier.predict(read_image(saved(image))[np.newaxis])[0].digit == 0


def test_an_image_of_two_digits_is_answered_with_one(classifier: Classifier) -> None:
    image = Image.new("L", (400, 240), 255)
    for left, digit in ((40, DIGITS[0]), (220, DIGITS[1])):
        image.paste(inverted(Image.fromarray(digit).resize((140, 140))), (left, 50))
    (prediction,) = classifier.predict(read_image(saved(image))[np.newaxis])
    assert prediction.digit in (7, 2)
