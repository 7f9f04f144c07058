import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistctl import streaming
from mnistctl.classifier import Classifier
from mnistctl.dataset import Digits
from mnistctl.errors import MnistctlError
from mnistctl.evaluation import evaluate


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, mnist_test: Digits) -> list[str]:
    """A thousand digits as PNG files."""
    directory = tmp_path_factory.mktemp("pictures")
    paths = [directory / f"{index}.png" for index in range(1000)]
    for path, image in zip(paths, mnist_test.images, strict=False):
        Image.fromarray(image).save(path)
    return [str(path) for path in paths]


def test_pictures_are_answered_in_order_and_as_validate_does(
    pictures: list[str], classifier: Classifier, mnist_test: Digits
) -> None:
    thousand = Digits(mnist_test.images[:1000], mnist_test.labels[:1000])
    answers = list(streaming.answers(pictures, classifier))
    assert [answer.path for answer in answers] == pictures
    predicted = [answer.prediction.digit for answer in answers]
    assert predicted == evaluate(classifier, thousand).predicted.tolist()


def test_an_answer_holds_what_the_network_saw(
    pictures: list[str], classifier: Classifier, mnist_test: Digits
) -> None:
    (answer,) = streaming.answers(pictures[:1], classifier)
    np.testing.assert_array_equal(answer.image, mnist_test.images[0] / np.float32(255))


def test_an_error_takes_the_place_of_its_picture(
    pictures: list[str], classifier: Classifier
) -> None:
    paths = [pictures[0], "nowhere.png", MnistctlError("an empty directory"), pictures[1]]
    first, missing, passed_on, last = streaming.answers(paths, classifier)
    assert (first.path, last.path) == (pictures[0], pictures[1])
    assert str(missing).startswith("nowhere.png: cannot be read")
    assert passed_on is paths[2]


def test_no_paths_give_no_answers(classifier: Classifier) -> None:
    assert list(streaming.answers([], classifier)) == []


def test_an_answer_comes_before_the_next_path_does(
    pictures: list[str], classifier: Classifier
) -> None:
    answered = threading.Event()

    def paths() -> Iterator[str]:
        yield pictures[0]
        assert answered.wait(timeout=30), "the second path was drawn before the first was answered"
        yield pictures[1]

    answers = streaming.answers(paths(), classifier)
    assert next(answers).path == pictures[0]
    answered.set()
    assert next(answers).path == pictures[1]


def test_an_error_of_the_paths_is_raised_after_the_answers_before_it(
    pictures: list[str], classifier: Classifier
) -> None:
    def paths() -> Iterator[str]:
        yield pictures[0]
        raise MnistctlError("the list is gone")

    answers = streaming.answers(paths(), classifier)
    assert next(answers).path == pictures[0]
    with pytest.raises(MnistctlError, match="the list is gone"):
        next(answers)


def test_paths_are_not_drawn_far_ahead_of_the_answers(
    pictures: list[str], classifier: Classifier
) -> None:
    drawn = itertools.count()
    last = 0

    def paths() -> Iterator[str]:
        nonlocal last
        for path in pictures * 10:
            last = next(drawn)
            yield path

    answers = streaming.answers(paths(), classifier)
    next(answers)
    assert last < 5000
    answers.close()


def test_the_json_form_has_the_documented_keys(pictures: list[str], classifier: Classifier) -> None:
    (answer,) = streaming.answers(pictures[:1], classifier)
    found = answer.as_dict()
    assert list(found) == ["path", "digit", "confidence", "probabilities"]
    assert found["probabilities"][found["digit"]] == found["confidence"]


def test_standard_input_is_one_picture(
    pictures: list[str], classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(pictures[0]).open() as file:
        monkeypatch.setattr("sys.stdin", file)
        (answer,) = streaming.answers(["-"], classifier)
    assert (answer.path, answer.prediction.digit) == ("-", 7)
