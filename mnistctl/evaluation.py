"""Evaluate a classifier on a data set."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnistctl.classifier import Classifier, argmax, log_softmax
from mnistctl.dataset import CLASSES, SIDE, Dataset, as_input
from mnistctl.errors import MnistctlError

_BATCH = 250
# A thread needs 12 MB for its batch, and a container may see many cores but have little memory.
_MOST_THREADS = 8
_COLUMNS, _MAX_DRAWN = 10, 200
_SCALE, _CAPTION, _GAP = 3, 20, 8


@dataclass(frozen=True, eq=False)
class Report:
    """The result of an evaluation.

    Attributes:
        count: the number of images.
        correct: the number of images classified as labelled.
        loss: the mean cross-entropy in nats.
        confusion: int64, shape (10, 10); row: the label, column: the predicted digit.
        predicted: int64, shape (count,); the digit predicted for each image.
        mistakes: int64; the indices of the misclassified images.
    """

    count: int
    correct: int
    loss: float
    confusion: NDArray[np.int64]
    predicted: NDArray[np.int64]
    mistakes: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of images classified as labelled, 0 to 1."""
        return self.correct / self.count

    def reaches(self, percent: float) -> bool:
        """Say whether the accuracy is at least a percentage, as written in decimal."""
        return 100 * self.correct >= Decimal(str(percent)) * self.count

    @property
    def precision(self) -> list[float | None]:
        """For each digit, the share of its predictions that are correct; None without any."""
        return _shares(self.confusion, self.confusion.sum(axis=0))

    @property
    def recall(self) -> list[float | None]:
        """For each digit, the share of its images that are found; None without any."""
        return _shares(self.confusion, self.confusion.sum(axis=1))

    def to_dict(self, dataset: Dataset) -> dict[str, object]:
        """Return the report on ``dataset`` as JSON has it."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "count": self.count,
            "precision": self.precision,
            "recall": self.recall,
            "confusion": self.confusion.tolist(),
            "mistakes": [
                {"index": i, "label": int(dataset.labels[i]), "predicted": int(self.predicted[i])}
                for i in self.mistakes.tolist()
            ],
        }


def evaluate(classifier: Classifier, dataset: Dataset) -> Report:
    """Classify every image of a data set, on up to 8 cores, and compare with its label.

    Raises:
        MnistctlError: as :meth:`Classifier.logits`, or no thread can be started.
        TypeError: an argument has another type.
        ValueError: the data set has no images.
    """
    for argument, expected in ((classifier, Classifier), (dataset, Dataset)):
        if not isinstance(argument, expected):
            raise TypeError(f"evaluate takes a {expected.__name__}, not {type(argument).__name__}")
    if not len(dataset):
        raise ValueError("the data set has no images")
    batches = [dataset.images[i : i + _BATCH] for i in range(0, len(dataset), _BATCH)]
    try:
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            logits = np.concatenate(
                list(pool.map(lambda batch: classifier.logits(as_input(batch)), batches))
            )
    except RuntimeError as error:  # no more threads
        raise MnistctlError(f"the model cannot be evaluated: {error}") from error
    predicted = argmax(logits)
    labels = dataset.labels.astype(np.int64)
    confusion = np.bincount(labels * CLASSES + predicted, minlength=CLASSES**2)
    return Report(
        count=len(labels),
        correct=int((predicted == labels).sum()),
        loss=float(-log_softmax(logits)[np.arange(len(labels)), labels].mean()),
        confusion=confusion.reshape(CLASSES, CLASSES),
        predicted=predicted,
        mistakes=np.flatnonzero(predicted != labels),
    )


def draw_mistakes(report: Report, dataset: Dataset) -> Image.Image:
    """Draw the misclassified digits, each above its label and the predicted digit.

    Returns:
        An image in mode L with the first 200 mistakes, ten in a row.
    """
    indices = report.mistakes[:_MAX_DRAWN]
    side = SIDE * _SCALE
    width, height = side + _GAP, side + _GAP + _CAPTION
    rows = max(1, math.ceil(len(indices) / _COLUMNS))
    sheet = Image.new("L", (_COLUMNS * width + _GAP, rows * height + _GAP), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    if not len(indices):
        draw.text((_GAP, _GAP), "No mistakes.", 0, font)
    for position, index in enumerate(indices):
        left, top = _GAP + position % _COLUMNS * width, _GAP + position // _COLUMNS * height
        digit = Image.fromarray(dataset.images[index])
        sheet.paste(digit.resize((side, side), Image.Resampling.NEAREST), (left, top))
        caption = f"{dataset.labels[index]} as {report.predicted[index]}"
        draw.text((left + side // 2, top + side + 2), caption, 0, font, anchor="ma")
    return sheet


def _shares(confusion: NDArray[np.int64], totals: NDArray[np.int64]) -> list[float | None]:
    pairs = zip(confusion.diagonal().tolist(), totals.tolist(), strict=True)
    return [correct / total if total else None for correct, total in pairs]
