import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistctl.classifier import Classifier
from mnistctl.dataset import Digits
from mnistctl.evaluation import Report, evaluate, mistakes_picture


class Fixed:
    """A classifier that is sure of given digits, whatever it sees."""

    def __init__(self, digits: list[int]) -> None:
        self._rows = iter(np.eye(10, dtype=np.float32)[digits] * 100)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.stack([next(self._rows) for _ in images])


def report(labels: list[int], predicted: list[int]) -> tuple[Report, Digits]:
    digits = Digits(np.zeros((len(labels), 28, 28), np.uint8), np.array(labels, np.uint8))
    return evaluate(Fixed(predicted), digits), digits


def test_the_bundled_model_gets_the_accuracy_it_was_shipped_with(mnist_test: Digits) -> None:
    classifier = Classifier.load()
    accuracy = evaluate(classifier, mnist_test).accuracy
    assert accuracy == pytest.approx(float(classifier.metadata["test_accuracy"]))
    assert accuracy >= 0.997


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=600))
def test_the_confusion_matrix_counts_each_label_and_prediction(
    pairs: list[tuple[int, int]],
) -> None:
    found, _ = report(*map(list, zip(*pairs, strict=True)))
    for label in range(10):
        for predicted in range(10):
            assert found.confusion[label, predicted] == pairs.count((label, predicted))


def test_accuracy_is_the_share_of_right_predictions() -> None:
    assert report([1, 2, 3, 4], [1, 2, 3, 9])[0].accuracy == 0.75


def test_precision_is_of_the_pictures_predicted() -> None:
    assert report([1, 2, 2], [2, 2, 2])[0].precision[2] == pytest.approx(2 / 3)


def test_recall_is_of_the_pictures_labelled() -> None:
    assert report([2, 2, 1], [2, 1, 1])[0].recall[2] == 0.5


def test_shares_of_no_pictures_are_none() -> None:
    found, _ = report([1], [2])
    assert (found.precision[1], found.recall[2]) == (None, None)


def test_the_loss_is_the_mean_cross_entropy() -> None:
    assert report([1, 1], [1, 2])[0].loss == pytest.approx(50)


def test_mistakes_are_listed_by_index() -> None:
    assert report([1, 2, 3], [1, 9, 9])[0].mistakes.tolist() == [1, 2]


def test_the_json_form_names_each_mistake() -> None:
    found, digits = report([1, 2], [1, 9])
    assert found.as_dict(digits)["mistakes"] == [{"index": 1, "label": 2, "predicted": 9}]


def test_the_picture_of_mistakes_shows_every_misclassified_digit(mnist_test: Digits) -> None:
    found = evaluate(Classifier.load(), mnist_test)
    picture = np.asarray(mistakes_picture(found, mnist_test))
    for index in found.mistakes:
        digit = mnist_test.images[index].repeat(3, 0).repeat(3, 1)
        assert any(
            (picture[top : top + 84, left : left + 84] == digit).all()
            for top in range(8, picture.shape[0] - 84, 112)
            for left in range(8, picture.shape[1] - 84, 92)
        )


def test_the_picture_of_no_mistakes_is_drawn_too() -> None:
    found, digits = report([1], [1])
    assert np.asarray(mistakes_picture(found, digits)).min() < 128
