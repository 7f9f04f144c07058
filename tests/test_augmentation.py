import pytest
import torch
from torch import Tensor

from mnistctl.dataset import Dataset
from mnistctl.training.augmentation import augment


@pytest.fixture(scope="module")
def images(mnist_test: Dataset) -> Tensor:
    """Two whole groups of 64 images, and two images of a third."""
    return torch.tensor(mnist_test.images[:130]).unsqueeze(1)


def test_images_keep_their_number_shape_and_type(images: Tensor) -> None:
    augmented = augment(images)
    assert (augmented.shape, augmented.dtype) == (images.shape, torch.uint8)


def test_images_are_changed_but_keep_most_of_their_ink(images: Tensor) -> None:
    augmented = augment(images)
    assert not torch.equal(augmented, images)
    ink = augmented.sum(dtype=torch.float64) / images.sum(dtype=torch.float64)
    assert 0.5 < ink < 2


def test_the_same_seed_gives_the_same_images(images: Tensor) -> None:
    torch.manual_seed(1)
    first = augment(images)
    torch.manual_seed(1)
    assert torch.equal(augment(images), first)


def test_each_group_has_its_own_transform(images: Tensor) -> None:
    first, second, _ = augment(images[:1].expand(130, 1, 28, 28)).split(64)
    assert torch.equal(first, first[:1].expand_as(first))
    assert not torch.equal(first[0], second[0])


def test_the_stop_is_checked_after_each_group(images: Tensor) -> None:
    calls = []
    augment(images, lambda: calls.append(1))
    assert len(calls) == 3


def test_an_exception_of_the_check_ends_the_work(images: Tensor) -> None:
    calls = []

    def check_stop() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        augment(images, check_stop)
    assert len(calls) == 2
