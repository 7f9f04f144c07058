"""Random changes to the training images, so that the network reads more than MNIST."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mnistctl.dataset import SIDE

_MAX_ROTATION = math.radians(12)
_MAX_SHEAR = math.tan(math.radians(8))
_MAX_SCALE = 1.12
_MAX_SHIFT = 2 / SIDE  # of the width
# Pens differ more than in MNIST, and many Europeans write a one with a long upstroke.
_STROKE_WIDTH_SHARE = 0.5
_UPSTROKE_SHARE = 0.2  # of the ones


def augment(images: Tensor, labels: Tensor) -> Tensor:
    """Return each image changed at random, on its device and without waiting for it.

    Args:
        images: uint8 (batch, 1, 28, 28).
        labels: int64 (batch,).

    Returns:
        float32 (batch, 1, 28, 28), 0 (background) to 1 (ink).
    """
    return _vary_stroke_width(_transform(_add_upstrokes(images / 255, labels)))


def _add_upstrokes(images: Tensor, labels: Tensor) -> Tensor:
    """Draw a line from the top of some of the ones down to the left."""
    # Drawing on all images is slow, and counting the ones would wait for the device.
    weights, chosen = (torch.rand_like(labels, dtype=torch.float32) * (labels == 1)).topk(
        len(labels) // 16 + 1
    )
    ones = images[chosen].squeeze(1)
    position = torch.arange(SIDE, device=images.device) + 0.5
    rows = ones.amax(2).gt(0.5).int().argmax(1)  # of the top of the ink
    top = ones.gather(1, rows.view(-1, 1, 1).expand(-1, 1, SIDE)).squeeze(1)
    x = (top @ position / top.sum(1)).view(-1, 1, 1)
    y = position[rows].view(-1, 1, 1)
    length, angle, width = (
        _uniform(low, high, ones)
        for low, high in ((5, 14), (math.radians(25), math.radians(65)), (0.8, 1.6))
    )
    across, down = position - x, position.view(-1, 1) - y
    along = torch.minimum((down * angle.cos() - across * angle.sin()).clamp(min=0), length)
    distance = torch.hypot(across + along * angle.sin(), down - along * angle.cos())
    drawn = torch.maximum(ones, (width + 0.5 - distance).clamp(0, 1))
    # x is NaN where the image has no ink.
    is_drawn = ((weights > 1 - _UPSTROKE_SHARE) & x.flatten().isfinite()).view(-1, 1, 1)
    return images.index_put((chosen,), torch.where(is_drawn, drawn, ones).unsqueeze(1))


def _transform(images: Tensor) -> Tensor:
    """Rotate, shear, scale and shift each image."""
    angle = _uniform(-_MAX_ROTATION, _MAX_ROTATION, images).view(-1)
    shear_x, shear_y = (_uniform(-_MAX_SHEAR, _MAX_SHEAR, images).view(-1) for _ in range(2))
    scale = _uniform(1 / _MAX_SCALE, _MAX_SCALE, images).view(-1, 1)
    shift = torch.empty(len(images), 2, 1, device=images.device).uniform_(-1, 1) * 2 * _MAX_SHIFT
    cos, sin = angle.cos(), angle.sin()
    coefficients = (
        cos - sin * shear_y,
        cos * shear_x - sin,
        sin + cos * shear_y,
        cos + sin * shear_x,
    )
    linear = (torch.stack(coefficients, 1) / scale).view(-1, 2)
    # As functional.affine_grid, in a tenth of its time on a CPU.
    position = torch.linspace(1 / SIDE - 1, 1 - 1 / SIDE, SIDE, device=images.device)
    pixels = torch.stack(torch.meshgrid(position, position, indexing="xy")).flatten(1)
    grid = (linear @ pixels).view(-1, 2, SIDE**2) + shift
    return functional.grid_sample(
        images, grid.view(-1, 2, SIDE, SIDE).movedim(1, 3), align_corners=False
    )


def _vary_stroke_width(images: Tensor) -> Tensor:
    """Make the strokes of some images thinner or thicker: blur, then clip between two levels."""
    padded = functional.pad(images, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    blurred = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    low, contrast = _uniform(0, 0.5, images), _uniform(0.15, 0.6, images)
    changed = ((blurred - low) / contrast).clamp(0, 1)
    return torch.where(_uniform(0, 1, images) < _STROKE_WIDTH_SHARE, changed, images)


def _uniform(low: float, high: float, images: Tensor) -> Tensor:
    """Return a random number for each image, in a shape that broadcasts to theirs."""
    shape = (len(images), *[1] * (images.dim() - 1))
    return torch.empty(shape, device=images.device).uniform_(low, high)
