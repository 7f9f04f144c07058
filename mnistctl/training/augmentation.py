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
# Pens differ more than in MNIST.
_STROKE_WIDTH_SHARE = 0.5
# Many Europeans write a one with a long upstroke or a foot, and a seven with a bar across.
_EXTRA_STROKE_SHARE = 0.2  # of the ones and sevens


def augment(images: Tensor, labels: Tensor) -> Tensor:
    """Return each image changed at random, on its device and without waiting for it.

    Args:
        images: uint8 (batch, 1, 28, 28).
        labels: int64 (batch,).

    Returns:
        float32 (batch, 1, 28, 28), 0 (background) to 1 (ink).
    """
    return _vary_stroke_width(_transform(_add_strokes(images / 255, labels)))


def _add_strokes(images: Tensor, labels: Tensor) -> Tensor:
    """Draw extra strokes onto some of the ones and sevens."""
    # Drawing on all images is slow, and counting these digits would wait for the device. In
    # MNIST, 4 % of the images get a stroke, and rarely more than a twelfth of a batch.
    is_one, is_seven = labels == 1, labels == 7
    weights, chosen = (torch.rand_like(labels, dtype=torch.float32) * (is_one | is_seven)).topk(
        len(labels) // 12 + 1
    )
    digits = images[chosen]
    strokes = _extra_strokes(digits, is_one[chosen].view(-1, 1, 1, 1))
    changed = _centre_as(torch.maximum(digits, strokes), digits)
    # Strokes are NaN if a row from which they start has no ink, as in a blank image.
    is_changed = (weights > 1 - _EXTRA_STROKE_SHARE) & strokes.flatten(1).isfinite().all(1)
    return images.index_put((chosen,), torch.where(is_changed.view(-1, 1, 1, 1), changed, digits))


def _extra_strokes(digits: Tensor, is_one: Tensor) -> Tensor:
    """Return an upstroke, a foot or both for each one, and a bar across for each other digit."""
    has_ink = digits.amax(3, keepdim=True).gt(0.5).int()
    top = has_ink.argmax(2, keepdim=True)
    bottom = SIDE - 1 - has_ink.flip(2).argmax(2, keepdim=True)
    radius = _uniform(0.8, 1.6, digits)
    angle = _uniform(math.radians(25), math.radians(65), digits)
    upstroke = _line(digits, top, angle, _uniform(5, 14, digits), torch.zeros_like(radius), radius)
    row = torch.where(is_one, bottom, (top + bottom) // 2)
    angle = _uniform(-math.radians(10), math.radians(10), digits)
    # A third of the feet have no left part and a third no right part: a ninth are only a dot.
    left, right = (
        torch.where(is_one, _uniform(-4, 8, digits).clamp(min=0), _uniform(2, 6, digits))
        for _ in range(2)
    )
    foot_or_bar = _line(digits, row, angle, left, right, radius)
    # A third of the ones get an upstroke alone, a third a foot alone, a third both.
    kind = _uniform(0, 3, digits)
    has_upstroke, has_foot_or_bar = is_one & (kind < 2), ~is_one | (kind > 1)
    return torch.maximum(upstroke * has_upstroke, foot_or_bar * has_foot_or_bar)


def _line(
    digits: Tensor, row: Tensor, angle: Tensor, left: Tensor, right: Tensor, radius: Tensor
) -> Tensor:
    """Return images of lines through the middle of the ink in one row of each digit.

    ``left`` and ``right`` are the lengths on both sides of that point, and ``radius`` is half the
    thickness, in pixels. The left side points down by ``angle``, in radians.
    """
    position = torch.arange(0.5, SIDE, device=digits.device)
    ink = digits.take_along_dim(row, 2)
    across = position - (ink @ position / ink.sum(3)).unsqueeze(3)
    down = position.view(-1, 1) - (row + 0.5)
    along = (down * angle.sin() - across * angle.cos()).clamp(-right, left)
    distance = torch.hypot(across + along * angle.cos(), down - along * angle.sin())
    return (radius + 0.5 - distance).clamp(0, 1)


def _centre_as(images: Tensor, others: Tensor) -> Tensor:
    """Shift each image so that its centre of mass is where that of the other is."""
    # MNIST centres each digit by its mass, and a new stroke moves that centre.
    shift = _centre_of_mass(images) - _centre_of_mass(others)
    return _sample(images, torch.eye(2, device=images.device), shift)


def _centre_of_mass(images: Tensor) -> Tensor:
    """Return x and y of each image's centre of mass, from -1 to 1: (batch, 2, 1)."""
    ink = images.flatten(1)
    return (ink @ _positions(images.device).T / ink.sum(1, keepdim=True)).unsqueeze(2)


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
    return _sample(images, (torch.stack(coefficients, 1) / scale).view(-1, 2, 2), shift)


def _sample(images: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """Return images whose pixel at a position is the one at ``linear @ position + shift``.

    It does not use ``functional.affine_grid``, which takes ten times as long on a CPU.
    """
    grid = (linear.view(-1, 2) @ _positions(images.device)).view(-1, 2, SIDE**2) + shift
    return functional.grid_sample(
        images, grid.view(-1, 2, SIDE, SIDE).movedim(1, 3), align_corners=False
    )


def _positions(device: torch.device) -> Tensor:
    """Return x and y of the pixels, row by row, from -1 to 1 between the edges: (2, 784)."""
    position = torch.linspace(1 / SIDE - 1, 1 - 1 / SIDE, SIDE, device=device)
    return torch.stack(torch.meshgrid(position, position, indexing="xy")).flatten(1)


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
