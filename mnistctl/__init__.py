"""Train and apply a handwritten-digit classifier."""

from typing import TYPE_CHECKING

__version__ = "0.2.0.dev0"

__all__ = [
    "Classifier",
    "Dataset",
    "MnistctlError",
    "Prediction",
    "Report",
    "evaluate",
    "load_dataset",
    "read_image",
]

if TYPE_CHECKING:
    from mnistctl.classifier import Classifier, Prediction
    from mnistctl.dataset import Dataset, load_dataset
    from mnistctl.errors import MnistctlError
    from mnistctl.evaluation import Report, evaluate
    from mnistctl.images import read_image
else:
    # These modules take 0.1 s to import, and --help needs none of them.
    _MODULES = {
        "Classifier": "classifier",
        "Dataset": "dataset",
        "MnistctlError": "errors",
        "Prediction": "classifier",
        "Report": "evaluation",
        "evaluate": "evaluation",
        "load_dataset": "dataset",
        "read_image": "images",
    }

    def __getattr__(name: str) -> object:
        """Import what a public name stands for when it is first used (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
