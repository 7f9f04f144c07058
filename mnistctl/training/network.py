"""The convolutional network."""

from torch import nn

from mnistctl.dataset import CLASSES


def build_network() -> nn.Sequential:
    """Return an untrained network of 103,258 parameters.

    It maps float32 (batch, 1, 28, 28) in 0 (background) to 1 (ink) to logits (batch, 10). In the
    first and the fourth convolution, pooling comes before normalisation and activation, which then
    work on a quarter of the values (from tuomaso/train_mnist_fast).
    """
    return nn.Sequential(
        *_convolution(1, 16, kernel=5, pool=True),  # 12x12
        *_convolution(16, 32, kernel=3),  # 10x10
        *_convolution(32, 48, kernel=3),  # 8x8
        *_convolution(48, 64, kernel=3, pool=True),  # 3x3
        *_convolution(64, 96, kernel=3, padding=1),  # 3x3
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96, CLASSES),
    )


def _convolution(
    inputs: int, outputs: int, *, kernel: int, padding: int = 0, pool: bool = False
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
