"""An ONNX model and argmax: batches of digits in, predictions out."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mnistctl.dataset import CLASSES, SIDE
from mnistctl.errors import MnistctlError, display_path, path_error, read_error

try:
    from mnistctl import _core
except ImportError as error:
    raise path_error(
        Path(__file__).parent,
        "lacks the compiled extension (_core): "
        "run `pip install -e .` in this clone, or `mnistctl` outside of it",
    ) from error


@contextmanager
def _environment_default(name: str, value: str) -> Iterator[None]:
    """Set a variable during a block, unless the environment has it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


# ONNX Runtime reads this when it is imported, and only then. Without it, it collects usage data in
# the home directory and sends it to Microsoft.
with _environment_default("ORT_DISABLE_TELEMETRY", "1"):
    import onnxruntime as ort

BUNDLED = Path(__file__).with_name("model.onnx")
RUNTIME_VERSION: str = ort.__version__
_MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer for one digit.

    Attributes:
        digit: 0 to 9.
        confidence: the probability of that digit, 0 to 1.
        probabilities: of the ten digits, in order; they sum to 1.
    """

    digit: int
    confidence: float
    probabilities: tuple[float, ...]


class Classifier:
    """A model that classifies digits.

    Safe to share between threads. Each batch runs on one thread: so small a network gains nothing
    from more, and starting them would add a tenth to the time of one prediction.

    Attributes:
        metadata: what `train` stored in the file: settings, test accuracy and versions.
    """

    def __init__(self, model: bytes, name: str) -> None:
        """Take the content of an ONNX file.

        Args:
            model: maps float32 (batch, 1, 28, 28) in 0 (background) to 1 (ink) to float32 logits
                (batch, 10).
            name: the model's name in error messages.

        Raises:
            MnistctlError: ``model`` is not such a model.
        """
        self._name = name
        try:
            self._session = _session(model)
            self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            self._input, self._output = inputs[0].name, outputs[0].name
            is_classifier = _is_batch(inputs, (1, SIDE, SIDE)) and _is_batch(outputs, (CLASSES,))
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise MnistctlError(
                f"{name}: is not a model that ONNX Runtime can load: train one with mnistctl train"
            ) from error
        if not is_classifier:
            form = f"[batch, 1, {SIDE}, {SIDE}] to [batch, {CLASSES}]"
            raise MnistctlError(f"{name}: is not a digit classifier, which maps float32 {form}")

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "Classifier":
        """Read a model file, or the bundled one.

        Raises:
            MnistctlError: the file cannot be read or is not such a model.
        """
        path = BUNDLED if path is None else Path(path)
        try:
            with path.open("rb") as file:
                model = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise read_error(path, error) from error
        except ValueError as error:  # a NUL in the path
            raise path_error(path, f"cannot be read: {error}") from error
        if len(model) > _MAX_BYTES:
            raise path_error(path, f"is larger than {_MAX_BYTES:,} bytes: name another model")
        return cls(model, display_path(path))

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, float32 (batch, 10), of images.

        Args:
            images: float32, shape (batch, 28, 28), 0 (background) to 1 (ink). An image takes 50 kB
                while the model runs.

        Raises:
            MemoryError: there is not enough memory for so many images.
            MnistctlError: the model fails, or a logit is not a finite number.
            TypeError: ``images`` is not an array of NumPy.
            ValueError: its shape, its dtype or a value (NaN, for example) is another.
        """
        _check_images(images)
        if not len(images):
            return np.empty((0, CLASSES), np.float32)
        try:
            batch = np.ascontiguousarray(images[:, np.newaxis])
            (logits,) = self._session.run([self._output], {self._input: batch})
            if logits.shape != (len(images), CLASSES) or not np.isfinite(logits).all():
                raise ValueError
        except MemoryError:
            raise
        except Exception as error:  # of many classes, as in __init__
            if "allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            raise MnistctlError(
                f"{self._name}: does not give {CLASSES} numbers for an image: train another model"
            ) from error
        return cast(NDArray[np.float32], logits)

    def predict(self, images: NDArray[np.float32]) -> list[Prediction]:
        """Return a prediction for each image. Arguments and errors are those of :meth:`logits`."""
        logits = self.logits(images)
        probabilities = np.exp(log_softmax(logits))
        return [
            Prediction(digit, row[digit], tuple(row))
            for digit, row in zip(argmax(logits).tolist(), probabilities.tolist(), strict=True)
        ]


def argmax(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the digit, int64 (batch,), with the largest logit in each row (batch, 10)."""
    return cast(NDArray[np.int64], _core.argmax(logits))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities, float64 (batch, 10)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return cast(NDArray[np.float64], shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only fatal errors
    # A model is one file: do not read others that it names.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    # The fallback prints to stdout, and tries the same provider again.
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=False)


def _check_images(images: NDArray[np.float32]) -> None:
    """Raise TypeError or ValueError if an array is not a batch of the network's input."""
    expected = f"a NumPy array of float32 with shape (batch, {SIDE}, {SIDE})"
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images must be {expected}, not {type(images).__name__}")
    if images.dtype != np.float32 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        hint = ": use image[np.newaxis]" if images.shape == (SIDE, SIDE) else ""
        raise ValueError(
            f"images must be {expected}, not {images.dtype} with shape {images.shape}{hint}"
        )
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
        values = f"from {images.min():.9g} to {images.max():.9g}"  # nine digits: exact for float32
        raise ValueError(f"images must have values from 0 (background) to 1 (ink), not {values}")


def _is_batch(values: list[ort.NodeArg], item: tuple[int, ...]) -> bool:
    """Say whether a model's inputs or outputs are one batch, of any size, of float32 items."""
    if len(values) != 1 or values[0].type != "tensor(float)":
        return False
    batch, *rest = values[0].shape or [0]
    return not isinstance(batch, int) and tuple(rest) == item
