"""A classifier against a labelled set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnistctl.classifier import Classifier, digits_of, log_softmax
from mnistctl.dataset import CLASSES, SIDE, Digits

_BATCH = 250

_COLUMNS = 10
_MOST_SHOWN = 200
_SCALE = 3
_CAPTION = 20
_GAP = 8


@dataclass(frozen=True)
class Report:
    """How a classifier did.

    Attributes:
        loss: the mean cross-entropy in nats.
        confusion: int64, shape (10, 10); row: the label, column: the predicted digit.
        predicted: int64, shape (count,); the digit predicted for each picture.
        mistakes: the indices of the misclassified pictures.
    """

    loss: float
    confusion: NDArray[np.int64]
    predicted: NDArray[np.int64]
    mistakes: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of pictures classified as labelled, 0 to 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def precision(self) -> list[float | None]:
        """Of the pictures predicted to be a digit, the share that are it; None of no pictures."""
        return _shares(self.confusion, self.confusion.sum(axis=0))

    @property
    def recall(self) -> list[float | None]:
        """Of the pictures of a digit, the share predicted to be it; None of no pictures."""
        return _shares(self.confusion, self.confusion.sum(axis=1))

    def as_dict(self, digits: Digits) -> dict[str, object]:
        """Return the report on ``digits`` in the terms of JSON."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "count": len(digits),
            "precision": self.precision,
            "recall": self.recall,
            "confusion": self.confusion.tolist(),
            "mistakes": [
                {"index": index, "label": int(digits.labels[index]), "predicted": predicted}
                for index, predicted in zip(
                    self.mistakes.tolist(), self.predicted[self.mistakes].tolist(), strict=True
                )
            ],
        }


def evaluate(classifier: Classifier, digits: Digits) -> Report:
    """Classify every picture of a labelled set."""
    logits = np.concatenate(
        [
            classifier.logits(as_input(digits.images[start : start + _BATCH]))
            for start in range(0, len(digits), _BATCH)
        ]
    )
    predicted = digits_of(logits)
    labels = digits.labels.astype(np.int64)
    confusion = np.bincount(labels * CLASSES + predicted, minlength=CLASSES**2)
    return Report(
        loss=float(-log_softmax(logits)[np.arange(len(labels)), labels].mean()),
        confusion=confusion.reshape(CLASSES, CLASSES),
        predicted=predicted,
        mistakes=np.flatnonzero(predicted != labels),
    )


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 8-bit pictures (..., 28, 28) as the network reads them: float32 in 0 to 1."""
    return images.astype(np.float32) / np.float32(255)


def mistakes_picture(report: Report, digits: Digits) -> Image.Image:
    """Draw the misclassified digits, each above its label and what was predicted instead.

    Returns:
        A picture in mode L of the first 200 mistakes, ten in a row.
    """
    shown = report.mistakes[:_MOST_SHOWN]
    cell = SIDE * _SCALE + _GAP
    rows = max(1, -(-len(shown) // _COLUMNS))
    picture = Image.new("L", (_COLUMNS * cell + _GAP, rows * (cell + _CAPTION) + _GAP), 255)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    if len(shown) == 0:
        draw.text((_GAP, _GAP), "No mistakes.", 0, font)
    for position, index in enumerate(shown):
        row, column = divmod(position, _COLUMNS)
        left, top = _GAP + column * cell, _GAP + row * (cell + _CAPTION)
        digit = Image.fromarray(digits.images[index])
        picture.paste(
            digit.resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.NEAREST), (left, top)
        )
        caption = f"{digits.labels[index]} as {report.predicted[index]}"
        draw.text(
            (left + SIDE * _SCALE // 2, top + SIDE * _SCALE + 2), caption, 0, font, anchor="ma"
        )
    return picture


def _shares(confusion: NDArray[np.int64], totals: NDArray[np.int64]) -> list[float | None]:
    return [
        float(right / total) if total else None
        for right, total in zip(np.diagonal(confusion), totals, strict=True)
    ]
