"""Measure the accuracy on a folder of labelled images, next to its peers.

    python -m benchmarks.accuracy FOLDER [MODEL ...]

The first character of an image's name is its digit. The bundled model, or each MODEL, is measured
on FOLDER and on MNIST's test set. Two peers follow, on FOLDER alone: the first model with images
prepared as most projects do (resized and inverted), and the package digit-recognizer-py. An image
that is refused counts as wrong, with each digit equally probable. Draws what the first model got
wrong to mistakes.png.
"""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import digit_recognizer
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks.measure import table
from mnistctl import MnistctlError, evaluate, load_dataset, read_image
from mnistctl.classifier import BUNDLED, Classifier
from mnistctl.dataset import as_input

CONFIDENT = 0.9
SIDE, CAPTION, COLUMNS = 112, 20, 8
SHEET = Path("mistakes.png")
UNKNOWN = np.full(10, 0.1)

Probabilities = NDArray[np.float64]
Predictor = Callable[[Path], Probabilities]


def mnistctl_predictor(classifier: Classifier) -> Predictor:
    """Return the probabilities as ``mnistctl predict`` has them."""

    def predict(path: Path) -> Probabilities:
        try:
            (prediction,) = classifier.predict(read_image(path)[np.newaxis])
        except MnistctlError:
            return UNKNOWN
        return np.array(prediction.probabilities)

    return predict


def resizing_predictor(classifier: Classifier) -> Predictor:
    """Return the probabilities for an image that is only resized and, if light, inverted."""

    def predict(path: Path) -> Probabilities:
        image = Image.open(path).convert("L").resize((28, 28))
        if np.asarray(image).mean() > 127:
            image = ImageOps.invert(image)
        digit = as_input(np.asarray(image))
        return np.array(classifier.predict(digit[np.newaxis])[0].probabilities)

    return predict


def package_predictor(path: Path) -> Probabilities:
    """Return the probabilities of digit-recognizer-py."""
    return np.array(digit_recognizer.predict_proba(str(path)))


def measure(predictor: Predictor, paths: Sequence[Path]) -> Probabilities:
    """Return the probabilities of each image, (count, 10)."""
    return np.stack([predictor(path) for path in paths])


def is_wrong(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.bool]:
    """Say of each image whether it is refused or its most probable digit is not its label."""
    refused = (probabilities == UNKNOWN).all(axis=1)
    wrong: NDArray[np.bool] = np.where(refused, -1, probabilities.argmax(axis=1)) != labels
    return wrong


def row(name: str, test: str, probabilities: Probabilities, labels: NDArray[np.int64]) -> list[str]:
    """Return a row of the table."""
    wrong = is_wrong(probabilities, labels)
    confident = wrong & (probabilities.max(axis=1) >= CONFIDENT)
    likelihood = probabilities[np.arange(len(labels)), labels].clip(1e-12)
    return [
        name,
        test,
        f"{(~wrong).sum()} of {len(labels)} ({1 - wrong.mean():.1%})".replace("%", " %"),
        str(confident.sum()),
        f"{-np.log(likelihood).mean():.4f}",
    ]


def draw(path: Path, caption: str) -> Image.Image:
    """Draw an image file and what the network receives, side by side above a caption."""
    tile = Image.new("L", (2 * SIDE, SIDE + CAPTION), 255)
    tile.paste(ImageOps.pad(Image.open(path).convert("L"), (SIDE, SIDE), color=255))
    try:
        digit = Image.fromarray((read_image(path) * 255).astype(np.uint8))
        tile.paste(digit.resize((SIDE, SIDE), Image.Resampling.NEAREST), (SIDE, 0))
    except MnistctlError:
        caption = "refused"
    font = ImageFont.load_default(14)
    ImageDraw.Draw(tile).text((SIDE, SIDE), caption, 0, font, anchor="ma")
    return tile


def draw_mistakes(
    paths: Sequence[Path], probabilities: Probabilities, labels: NDArray[np.int64]
) -> Image.Image:
    """Draw the misclassified images with their label, answer and confidence."""
    tiles = [
        draw(paths[i], f"{labels[i]} as {probabilities[i].argmax()} ({probabilities[i].max():.0%})")
        for i in is_wrong(probabilities, labels).nonzero()[0].tolist()
    ]
    rows, columns = max(1, math.ceil(len(tiles) / COLUMNS)), min(max(1, len(tiles)), COLUMNS)
    width, height = 2 * SIDE + 8, SIDE + CAPTION + 8
    sheet = Image.new("L", (columns * width, rows * height), 255)
    for position, tile in enumerate(tiles):
        sheet.paste(tile, (position % COLUMNS * width, position // COLUMNS * height))
    return sheet


def main() -> None:
    """Measure the models and the peers, and print the table."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    paths = sorted(Path(sys.argv[1]).glob("[0-9]*"))
    if not paths:
        sys.exit(f"{sys.argv[1]} has no image whose name starts with a digit.")
    labels = np.array([int(path.name[0]) for path in paths])
    models = [Path(name) for name in sys.argv[2:]] or [BUNDLED]
    classifiers = [Classifier.load(path) for path in models]
    test = load_dataset("test")
    rows: list[list[str]] = []
    accuracies = []
    for path, classifier in zip(models, classifiers, strict=True):
        report = evaluate(classifier, test)
        accuracies.append(100 * report.accuracy)
        score = f"{accuracies[-1]:.2f} %, loss {report.loss:.4f}"
        probabilities = measure(mnistctl_predictor(classifier), paths)
        if not rows:
            draw_mistakes(paths, probabilities, labels).save(SHEET)
        rows.append(row(path.name, score, probabilities, labels))
    resized = measure(resizing_predictor(classifiers[0]), paths)
    rows.append(row("resized and inverted", "", resized, labels))
    rows.append(row("digit-recognizer-py", "", measure(package_predictor, paths), labels))
    columns = ("", "MNIST test", "folder", f"wrong at ≥ {CONFIDENT:g}", "cross-entropy")
    print(table(columns, rows))
    if len(accuracies) > 1:
        mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f"\nMNIST test, {len(accuracies)} models: {mean:.3f} % ± {deviation:.3f}")


if __name__ == "__main__":
    main()
