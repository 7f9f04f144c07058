"""The settings of a training: defaults, limits and validation. Imports no PyTorch."""

from dataclasses import asdict, dataclass

from mnistctl.errors import MnistctlError

Number = int | float

# The least and the greatest value of each setting, both allowed.
LIMITS: dict[str, tuple[Number, Number]] = {
    "epochs": (1, 100_000),
    "batch_size": (2, 100_000),
    "learning_rate": (1e-30, 1e30),
    "seed": (0, 2**32 - 1),
    "threads": (1, 1024),
}


@dataclass(frozen=True)
class TrainSettings:
    """What determines a training, together with the data and the versions of the packages.

    Attributes:
        epochs: passes over the data.
        batch_size: images in a step.
        learning_rate: the highest of the one-cycle schedule.
        seed: random seed of the weights, the order of the images and their augmentation.
        threads: CPU threads; None for PyTorch's default.

    Raises:
        MnistctlError: a value is outside its limits.
    """

    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.015
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        for name, value in asdict(self).items():
            if name == "threads" and value is None:
                continue
            least, greatest = LIMITS[name]
            if not (type(value) is type(least) and least <= value <= greatest):
                setting = name.replace("_", " ")
                raise MnistctlError(f"{setting} must be from {least} to {greatest}, not {value!r}")
