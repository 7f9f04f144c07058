import pytest
import torch
from torch import Tensor

from mnistctl.dataset import Dataset
from mnistctl.training import augmentation
from mnistctl.training.augmentation import augment

# The limits of the random transform, with which it would change nothing.
NEUTRAL = {"_MAX_ROTATION": 0, "_MAX_SHEAR": 0, "_MAX_SCALE": 1, "_MAX_SHIFT": 0}


@pytest.fixture(scope="module")
def images(mnist_test: Dataset) -> Tensor:
    return torch.tensor(mnist_test.images[:256]).unsqueeze(1)


@pytest.fixture(scope="module")
def labels(mnist_test: Dataset) -> Tensor:
    return torch.tensor(mnist_test.labels[:256]).long()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def changed(before: Tensor, after: Tensor) -> Tensor:
    """Say of each image whether it changed."""
    return (before != after).flatten(1).any(1)


def test_the_result_is_ink_between_0_and_1_in_the_same_shape(
    images: Tensor, labels: Tensor
) -> None:
    augmented = augment(images, labels)
    assert (augmented.shape, augmented.dtype) == (images.shape, torch.float32)
    assert augmented.min() == 0
    assert 0.9 < augmented.max() <= 1


def test_images_are_changed_but_keep_most_of_their_ink(images: Tensor, labels: Tensor) -> None:
    augmented = augment(images, labels)
    assert changed(images / 255, augmented).all()
    assert 0.7 < augmented.sum() / (images / 255).sum() < 1.5


def test_the_same_seed_gives_the_same_images(images: Tensor, labels: Tensor) -> None:
    first = augment(images, labels)
    torch.manual_seed(0)
    assert torch.equal(augment(images, labels), first)


def test_each_image_is_changed_in_its_own_way(images: Tensor, labels: Tensor) -> None:
    augmented = augment(images[:1].expand(100, 1, 28, 28), labels[:1].expand(100))
    assert len({image.numpy().tobytes() for image in augmented}) == 100


@pytest.mark.parametrize("part", ["_add_strokes", "_transform", "_vary_stroke_width"])
def test_each_change_is_part_of_the_augmentation(
    part: str, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = augment(images, labels)
    torch.manual_seed(0)
    monkeypatch.setattr(augmentation, part, lambda images, *_labels: images)
    assert not torch.equal(augment(images, labels), whole)


@pytest.mark.parametrize("limit", [*NEUTRAL, None])
def test_a_transform_rotates_shears_scales_and_shifts(
    limit: str | None, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images / 255
    for name in NEUTRAL.keys() - {limit}:
        monkeypatch.setattr(augmentation, name, NEUTRAL[name])
    difference = (augmentation._transform(before) - before).abs().amax()
    assert (difference > 0.5) == (limit is not None)


def test_a_transform_moves_the_ink_by_two_to_three_pixels_at_most() -> None:
    dots = torch.zeros(1000, 1, 28, 28)
    dots[:, :, 13:15, 13:15] = 1
    moved = augmentation._transform(dots)
    position = torch.arange(28) + 0.5
    for axis in (2, 3):
        ink = moved.sum((1, axis))
        centres = ink @ position / ink.sum(1)
        assert 2 < (centres - 14).abs().max() < 3


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_small_batch_may_be_augmented(images: Tensor, labels: Tensor, count: int) -> None:
    assert augment(images[:count], labels[:count]).shape == (count, 1, 28, 28)


def test_a_fifth_of_the_ones_and_sevens_get_a_stroke(images: Tensor, labels: Tensor) -> None:
    before = images / 255
    digits = drawn = 0
    for _ in range(100):
        digits += int(((labels == 1) | (labels == 7)).sum())
        drawn += int(changed(before, augmentation._add_strokes(before, labels)).sum())
    assert drawn / digits == pytest.approx(0.2, abs=0.03)


def test_a_stroke_is_drawn_onto_ones_and_sevens_only(images: Tensor, labels: Tensor) -> None:
    before = images / 255
    for _ in range(20):
        after = augmentation._add_strokes(before, labels)
        assert set(labels[changed(before, after)].tolist()) == {1, 7}


@pytest.mark.parametrize("label", [1, 7])
def test_an_image_without_ink_gets_no_stroke(label: int) -> None:
    blank = torch.zeros(160, 1, 28, 28)
    assert torch.equal(augmentation._add_strokes(blank, torch.full((160,), label)), blank)


def strokes_on_stems(label: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return what is drawn onto upright stems in rows 4 to 23 that are labelled ``label``."""
    monkeypatch.setattr(augmentation, "_centre_as", lambda images, _others: images)
    stems = torch.zeros(1280, 1, 28, 28)
    stems[..., 4:24, 13:15] = 1
    labels = torch.tensor([1, 7]).repeat(640)
    after = augmentation._add_strokes(stems, labels)
    return (after - stems)[changed(stems, after) & (labels == label)]


def test_ones_get_an_upstroke_that_goes_down_to_the_left_a_foot_or_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strokes = strokes_on_stems(1, monkeypatch)
    assert strokes[..., :19, 17:].amax() == 0
    has_upstroke = strokes[..., 6:19, :12].amax((1, 2, 3)) > 0.5
    has_foot = strokes[..., 24:, :].amax((1, 2, 3)) > 0
    kinds = set(zip(has_upstroke.tolist(), has_foot.tolist(), strict=True))
    assert kinds == {(True, False), (False, True), (True, True)}


@pytest.mark.parametrize("side", [slice(11), slice(17, 28)])
def test_some_feet_go_to_one_side_only(side: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = strokes_on_stems(1, monkeypatch)
    feet = strokes[strokes[..., 24:, :].amax((1, 2, 3)) > 0]
    is_drawn = feet[..., 20:, side].amax((1, 2, 3)) > 0
    assert is_drawn.any()
    assert not is_drawn.all()


def test_sevens_get_a_bar_across_their_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = strokes_on_stems(7, monkeypatch)
    assert strokes[..., :10, :].amax() == 0
    assert strokes[..., 18:, :].amax() == 0
    for side in (strokes[..., :12], strokes[..., 16:]):
        assert (side.amax((1, 2, 3)) > 0.5).all()


def test_a_digit_with_a_stroke_is_centred_as_before(images: Tensor, labels: Tensor) -> None:
    before = images / 255
    after = augmentation._add_strokes(before, labels)
    centres = [augmentation._centre_of_mass(digits) for digits in (before, after)]
    # A stroke that crosses the border is cut, which moves the centre by up to half a pixel.
    assert (centres[0] - centres[1]).abs().max() < 2 / 28  # a pixel


def test_half_of_the_images_get_another_stroke_width(images: Tensor) -> None:
    before = images / 255
    share = changed(before, augmentation._vary_stroke_width(before)).float().mean()
    assert 0.4 < share < 0.6


def test_strokes_become_thinner_and_thicker(images: Tensor) -> None:
    before = images / 255
    after = augmentation._vary_stroke_width(before)
    ink = after.sum((1, 2, 3)) / before.sum((1, 2, 3))
    assert ink.min() < 0.8
    assert ink.max() > 1.4
