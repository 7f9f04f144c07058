"""Random transforms of the training images."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from mnistctl.dataset import SIDE

# One call draws one random transform, and a call for each image would take longer than training.
_GROUP = 64

_random_affine = v2.RandomAffine(
    degrees=12,
    translate=(2 / SIDE, 2 / SIDE),
    scale=(0.88, 1.12),
    shear=(-8, 8, -8, 8),
    interpolation=v2.InterpolationMode.BILINEAR,
)


def augment(images: Tensor, check_stop: Callable[[], None] = lambda: None) -> Tensor:
    """Return images transformed at random, a transform for each group of 64.

    Args:
        images: uint8 (count, 1, 28, 28), in random order; so are those returned.
        check_stop: called after each group; it may raise to end the work early.
    """
    groups = []
    for group in images.split(_GROUP):
        groups.append(_random_affine(group))
        check_stop()
    return torch.cat(groups)
