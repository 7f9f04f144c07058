"""An ONNX model and argmax: pictures of digits in, predictions out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mnistctl import _core
from mnistctl.dataset import CLASSES, SIDE
from mnistctl.errors import MnistctlError, shown, unreadable

BUNDLED = Path(__file__).with_name("model.onnx")

# Read when ONNX Runtime is imported, which would otherwise collect usage data in the home directory
# and send it to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort  # noqa: E402

_ONLY_FATAL = 4


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one picture.

    Attributes:
        digit: 0 to 9.
        confidence: the probability of that digit, 0 to 1.
        probabilities: of each digit in class order; they sum to 1.
    """

    digit: int
    confidence: float
    probabilities: tuple[float, ...]


class Classifier:
    """A model file, ready to be applied.

    Safe to share between threads. One thread runs a batch: a network this small gains nothing
    from more, and starting them would cost a single prediction a tenth of its time.
    """

    def __init__(self, model: bytes, name: str) -> None:
        """Take the bytes of an ONNX model.

        Args:
            model: reads float32 (batch, 1, 28, 28) in 0 to 1, ink high; writes float32 logits
                (batch, 10).
            name: what errors call it.

        Raises:
            MnistctlError: the bytes are no such model.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_FATAL
        # A model is one file: none that it names beside itself is read.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.devnull
        )
        try:
            self._session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base but this
            raise MnistctlError(
                f"{name}: is not a model that ONNX Runtime can load: train one with "
                "`mnistctl train -o FILE`"
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if not (
            len(inputs) == len(outputs) == 1
            and inputs[0].type == outputs[0].type == "tensor(float)"
            and _accepts(inputs[0].shape, (1, SIDE, SIDE))
            and _accepts(outputs[0].shape, (CLASSES,))
        ):
            raise MnistctlError(
                f"{name}: is not a digit classifier: it maps "
                f"{', '.join(f'{value.type} {value.shape}' for value in inputs)} to "
                f"{', '.join(f'{value.type} {value.shape}' for value in outputs)}, "
                f"not tensor(float) [batch, 1, {SIDE}, {SIDE}] to [batch, {CLASSES}]"
            )
        self._name = name
        self._input = inputs[0].name

    @classmethod
    def load(cls, path: Path | None = None) -> "Classifier":
        """Read a model file, or the bundled one.

        Raises:
            MnistctlError: the file cannot be read or is no such model.
        """
        path = BUNDLED if path is None else path
        try:
            return cls(path.read_bytes(), shown(path))
        except OSError as error:
            raise unreadable(path, error) from error

    @property
    def metadata(self) -> Mapping[str, str]:
        """What `train` recorded in the file: classes, input, epochs, seed, accuracy, versions."""
        return cast(Mapping[str, str], self._session.get_modelmeta().custom_metadata_map)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (batch, 10) of images (batch, 28, 28) in 0 to 1, ink high.

        Raises:
            MnistctlError: the model fails on them, or gives anything but a number for each.
        """
        try:
            (logits,) = self._session.run(None, {self._input: images[:, np.newaxis]})
        except Exception as error:  # as above
            raise MnistctlError(f"{self._name}: fails when it is run: train another") from error
        if logits.shape != (len(images), CLASSES) or not np.isfinite(logits).all():
            raise MnistctlError(
                f"{self._name}: gives no {CLASSES} numbers for each picture: train another"
            )
        return cast(NDArray[np.float32], logits)

    def predict(self, images: NDArray[np.float32]) -> list[Prediction]:
        """Return a prediction for each of the images (batch, 28, 28) in 0 to 1, ink high."""
        logits = self.logits(images)
        probabilities = np.exp(log_softmax(logits))
        return [
            Prediction(digit, row[digit], tuple(row))
            for digit, row in zip(digits_of(logits).tolist(), probabilities.tolist(), strict=True)
        ]


def digits_of(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the digit, int64 (batch,), that each row of logits (batch, 10) decides for."""
    return cast(NDArray[np.int64], _core.argmax(logits))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logarithm of the probabilities, (batch, 10), that logits stand for."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return cast(NDArray[np.float64], shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _accepts(shape: list[int | str | None], wanted: tuple[int, ...]) -> bool:
    """Say whether a model's shape is a free batch followed by ``wanted``."""
    batch, *rest = shape or [0]
    return not isinstance(batch, int) and tuple(rest) == wanted
