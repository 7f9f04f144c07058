from fractions import Fraction
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageDraw

from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset
from mnistctl.errors import MnistctlError
from mnistctl.evaluation import Report, draw_mistakes, evaluate
from mnistctl.terminal import percent


class FixedClassifier(Classifier):
    """A classifier that predicts the given digits, whatever the images are."""

    def __init__(self, digits: list[int]) -> None:
        self._rows = iter(np.eye(10, dtype=np.float32)[digits] * 100)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([next(self._rows) for _ in images])


def evaluated(labels: list[int], predicted: list[int]) -> tuple[Report, Dataset]:
    data = Dataset(np.zeros((len(labels), 28, 28), np.uint8), np.array(labels, np.uint8))
    return evaluate(FixedClassifier(predicted), data), data


def report(correct: int, count: int) -> Report:
    """Return a report with these counts alone."""
    nothing = np.zeros(0, np.int64)
    return Report(count, correct, 0.0, nothing, nothing, nothing)


def test_bundled_model_has_the_accuracy_in_its_metadata(
    classifier: Classifier, mnist_test: Dataset
) -> None:
    accuracy = evaluate(classifier, mnist_test).accuracy
    assert accuracy == pytest.approx(float(classifier.metadata["test_accuracy"]))
    assert accuracy >= 0.997


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=600))
def test_confusion_matrix_counts_each_label_and_prediction(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = map(list, zip(*pairs, strict=True))
    found, _ = evaluated(labels, predictions)
    for label in range(10):
        for predicted in range(10):
            assert found.confusion[label, predicted] == pairs.count((label, predicted))


def test_accuracy_is_the_share_of_correct_predictions() -> None:
    found, _ = evaluated([1, 2, 3, 4], [1, 2, 3, 9])
    assert (found.accuracy, found.correct, found.count) == (0.75, 3, 4)


def test_precision_is_a_share_of_the_predictions_of_a_digit() -> None:
    assert evaluated([1, 2, 2], [2, 2, 2])[0].precision[2] == pytest.approx(2 / 3)


def test_recall_is_a_share_of_the_images_of_a_digit() -> None:
    assert evaluated([2, 2, 1], [2, 1, 1])[0].recall[2] == 0.5


def test_shares_of_no_images_are_none() -> None:
    found, _ = evaluated([1], [2])
    assert (found.precision[1], found.recall[2]) == (None, None)


def test_loss_is_the_mean_cross_entropy() -> None:
    assert evaluated([1, 1], [1, 2])[0].loss == pytest.approx(50)


def test_mistakes_are_listed_by_index() -> None:
    assert evaluated([1, 2, 3], [1, 9, 9])[0].mistakes.tolist() == [1, 2]


def test_json_form_has_the_whole_report() -> None:
    found, data = evaluated([1, 2, 9], [1, 9, 9])
    confusion = np.zeros((10, 10), np.int64)
    confusion[[1, 2, 9], [1, 9, 9]] = 1
    nothing = [None] * 10
    assert found.to_dict(data) == {
        "accuracy": 2 / 3,
        "loss": pytest.approx(100 / 3),
        "count": 3,
        "precision": [nothing[0], 1.0, *nothing[2:9], 0.5],
        "recall": [nothing[0], 1.0, 0.0, *nothing[3:9], 1.0],
        "confusion": confusion.tolist(),
        "mistakes": [{"index": 1, "label": 2, "predicted": 9}],
    }


def test_every_accuracy_on_ten_thousand_images_reaches_the_percentage_it_is_printed_as() -> None:
    for correct in range(10_001):
        found = report(correct, 10_000)
        text = percent(found.accuracy).removesuffix(" %")
        assert found.reaches(float(text)), text
        # The next percentage with two decimals, written as a user writes it.
        above = f"{(correct + 1) // 100}.{(correct + 1) % 100:02}"
        assert not found.reaches(float(above)), above


@given(
    st.integers(1, 10**9).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))),
    st.decimals(0, 100, places=6),
)
def test_accuracy_is_compared_exactly(counts: tuple[int, int], wanted: Any) -> None:
    correct, count = counts
    expected = Fraction(100 * correct, count) >= Fraction(repr(float(wanted)))
    assert report(correct, count).reaches(float(wanted)) == expected


def test_a_thread_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", start)
    with pytest.raises(MnistctlError, match=r"^the model cannot be evaluated: can't start new th"):
        evaluated([1], [1])


def test_another_argument_than_a_classifier_and_a_data_set_is_a_type_error(
    classifier: Classifier, mnist_test: Dataset
) -> None:
    with pytest.raises(TypeError, match="evaluate takes a Classifier, not str"):
        evaluate("model.onnx", mnist_test)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="evaluate takes a Dataset, not tuple"):
        evaluate(classifier, (mnist_test.images, mnist_test.labels))  # type: ignore[arg-type]


def test_a_data_set_without_images_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^the data set has no images$"):
        evaluated([], [])


def test_drawing_shows_every_mistake(classifier: Classifier, mnist_test: Dataset) -> None:
    found = evaluate(classifier, mnist_test)
    drawing = np.asarray(draw_mistakes(found, mnist_test))
    assert len(found.mistakes)
    for index in found.mistakes:
        digit = mnist_test.images[index].repeat(3, 0).repeat(3, 1)
        assert any(
            (drawing[top : top + 84, left : left + 84] == digit).all()
            for top in range(8, drawing.shape[0] - 84, 112)
            for left in range(8, drawing.shape[1] - 84, 92)
        )


def test_drawing_shows_two_hundred_mistakes_at_most() -> None:
    heights = [
        draw_mistakes(*evaluated([1] * count, [2] * count)).height for count in (190, 200, 300)
    ]
    assert heights[0] < heights[1] == heights[2]


def test_drawing_names_the_label_and_the_predicted_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def text(_draw: object, _place: object, text: str, *_: object, **__: object) -> None:
        captions.append(text)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    draw_mistakes(*evaluated([1, 3, 4], [2, 3, 5]))
    assert captions == ["1 as 2", "4 as 5"]


def test_drawing_of_no_mistakes_says_so() -> None:
    found, data = evaluated([1], [1])
    assert np.asarray(draw_mistakes(found, data)).min() < 128
