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


@pytest.mark.parametrize("part", ["_add_upstrokes", "_transform", "_vary_stroke_width"])
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


def test_a_fifth_of_the_ones_get_an_upstroke(images: Tensor, labels: Tensor) -> None:
    before = images / 255
    ones = drawn = 0
    for _ in range(100):
        ones += int((labels == 1).sum())
        drawn += int(changed(before, augmentation._add_upstrokes(before, labels)).sum())
    assert drawn / ones == pytest.approx(0.2, abs=0.03)


def test_an_upstroke_is_drawn_onto_ones_only(images: Tensor, labels: Tensor) -> None:
    before = images / 255
    for _ in range(20):
        after = augmentation._add_upstrokes(before, labels)
        assert (labels[changed(before, after)] == 1).all()


def test_an_image_without_ink_gets_no_upstroke() -> None:
    blank = torch.zeros(160, 1, 28, 28)
    assert torch.equal(augmentation._add_upstrokes(blank, torch.ones(160).long()), blank)


def test_an_upstroke_starts_at_the_top_and_goes_down_to_the_left() -> None:
    bar = torch.zeros(160, 1, 28, 28)
    bar[:, :, 4:24, 14:16] = 1
    after = augmentation._add_upstrokes(bar, torch.ones(160).long())
    drawn = (after - bar)[changed(bar, after)]
    assert len(drawn) > 0
    assert drawn[..., 16:].amax() < 1  # nothing but the round end of the line
    assert drawn[..., :2, :].amax() == 0
    assert (drawn[..., 3:18, :14].amax((1, 2, 3)) == 1).all()


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
