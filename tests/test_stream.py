import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image
from support import photograph, saved

from mnistctl import images
from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset
from mnistctl.errors import MnistctlError
from mnistctl.evaluation import evaluate
from mnistctl.images import stream
from mnistctl.images.normalise import Found
from mnistctl.images.sources import Failure
from mnistctl.images.stream import Answer

DEADLINE = 30

Answers = Generator[Answer | Failure, None, None]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, mnist_test: Dataset) -> list[str]:
    """A thousand images of MNIST as PNG files."""
    directory = tmp_path_factory.mktemp("images")
    paths = [directory / f"{index}.png" for index in range(1000)]
    for path, image in zip(paths, mnist_test.images, strict=False):
        Image.fromarray(image).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def make_fifo(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Return a function that makes a FIFO. At the end, no thread waits for one any longer."""
    paths: list[Path] = []

    def make() -> str:
        paths.append(tmp_path / f"pipe{len(paths)}")
        os.mkfifo(paths[-1])
        return str(paths[-1])

    yield make
    for path in paths:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


@pytest.fixture
def new_threads() -> Callable[[], set[threading.Thread]]:
    """Return a function that returns the threads started since, after a time to end in."""
    before = set(threading.enumerate())

    def alive() -> set[threading.Thread]:
        new = set(threading.enumerate()) - before
        for thread in new:
            thread.join(DEADLINE)
        return {thread for thread in new if thread.is_alive()}

    return alive


def classify(paths: Iterable[str | Failure], classifier: Classifier) -> Answers:
    return cast(Answers, stream.classify(paths, classifier))


def take(answers: Answers, count: int) -> list[str]:
    """Return the paths of the next answers; fail if they do not come."""
    taken: list[str] = []

    def draw() -> None:
        for answer in itertools.islice(answers, count):
            assert isinstance(answer, Answer)
            taken.append(answer.path)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert len(taken) == count, f"only {len(taken)} of {count} images are answered"
    return taken


def test_images_are_answered_in_order_and_as_in_an_evaluation(
    paths: list[str], classifier: Classifier, mnist_test: Dataset
) -> None:
    thousand = Dataset(mnist_test.images[:1000], mnist_test.labels[:1000])
    answers = [answer for answer in classify(paths, classifier) if isinstance(answer, Answer)]
    assert [answer.path for answer in answers] == paths
    predicted = [answer.prediction.digit for answer in answers]
    assert predicted == evaluate(classifier, thousand).predicted.tolist()


def test_answer_holds_the_input_of_the_network(
    paths: list[str], classifier: Classifier, mnist_test: Dataset
) -> None:
    (answer,) = classify(paths[:1], classifier)
    assert isinstance(answer, Answer)
    np.testing.assert_array_equal(answer.found.digit, mnist_test.images[0] / np.float32(255))


def test_json_form_has_the_documented_keys(paths: list[str], classifier: Classifier) -> None:
    (answer,) = classify(paths[:1], classifier)
    assert isinstance(answer, Answer)
    found = answer.to_dict()
    assert list(found) == ["path", "digit", "confidence", "probabilities"]
    assert found["path"] == paths[0]
    assert found["digit"] == 7
    probabilities = cast(list[float], found["probabilities"])
    assert probabilities[7] == found["confidence"]
    assert all(probability == round(probability, 6) for probability in probabilities)


def test_large_and_small_images_are_answered_in_order(
    paths: list[str], classifier: Classifier, mnist_test: Dataset, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(saved(photograph(mnist_test.images[0]), compress_level=1).getvalue())
    assert large.stat().st_size > 100_000
    mixed = [path for small in paths[:20] for path in (str(large), small)]
    assert take(classify(mixed, classifier), 40) == mixed


def test_a_pool_decodes_large_images_and_the_calling_thread_small_ones(
    paths: list[str],
    classifier: Classifier,
    mnist_test: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = str(tmp_path / "large.png")
    Path(large).write_bytes(saved(photograph(mnist_test.images[0]), compress_level=1).getvalue())
    threads: dict[str, threading.Thread] = {}

    def find_digit(path: str) -> Found:
        threads[path] = threading.current_thread()
        return images.find_digit(path)

    monkeypatch.setattr(stream, "find_digit", find_digit)
    assert len(list(classify([large, paths[0]], classifier))) == 2
    assert threads[large] != threading.current_thread()
    assert threads[paths[0]] == threading.current_thread()


def test_failure_takes_the_place_of_its_image(paths: list[str], classifier: Classifier) -> None:
    failure = Failure("empty", MnistctlError("empty: is a directory without an image"))
    first, missing, passed_on, last = classify(
        [paths[0], "nowhere.png", failure, paths[1]], classifier
    )
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert (first.path, last.path) == (paths[0], paths[1])
    assert isinstance(missing, Failure)
    assert missing.path == "nowhere.png"
    assert str(missing.error).startswith("nowhere.png: cannot be read: No such file")
    assert passed_on is failure


def test_no_paths_give_no_answers(classifier: Classifier) -> None:
    assert list(classify([], classifier)) == []


def test_image_is_answered_before_the_next_path_is_known(
    paths: list[str], classifier: Classifier
) -> None:
    answered = threading.Event()

    def slow_paths() -> Iterator[str]:
        yield paths[0]
        assert answered.wait(DEADLINE), "the second path was drawn before the first was answered"
        yield paths[1]

    answers = classify(slow_paths(), classifier)
    assert take(answers, 1) == paths[:1]
    answered.set()
    assert take(answers, 1) == paths[1:2]


def test_image_is_answered_while_the_pipe_after_it_is_open(
    paths: list[str], classifier: Classifier, make_fifo: Callable[[], str]
) -> None:
    fifo = make_fifo()
    answers = classify([paths[0], fifo], classifier)
    assert take(answers, 1) == [paths[0]]
    Path(fifo).write_bytes(Path(paths[1]).read_bytes())
    assert take(answers, 1) == [fifo]


@pytest.mark.parametrize("count", [31, 32, 33, 500])
def test_all_images_before_a_blocked_one_are_answered(
    count: int, paths: list[str], classifier: Classifier, make_fifo: Callable[[], str]
) -> None:
    fifo = make_fifo()
    answers = classify([*paths[:count], fifo, *paths[count:]], classifier)
    assert take(answers, count) == paths[:count]
    Path(fifo).write_bytes(Path(paths[0]).read_bytes())
    assert take(answers, 1 + 1000 - count) == [fifo, *paths[count:]]


def test_more_pipes_than_threads_are_answered_in_order(
    paths: list[str], classifier: Classifier, make_fifo: Callable[[], str]
) -> None:
    fifos = [make_fifo() for _ in range(2 * (os.cpu_count() or 1) + 3)]
    answers = classify(fifos, classifier)
    for fifo in fifos:
        writer = threading.Thread(
            target=Path(fifo).write_bytes, args=[Path(paths[0]).read_bytes()], daemon=True
        )
        writer.start()
        assert take(answers, 1) == [fifo]
        writer.join(DEADLINE)


def test_error_of_the_paths_is_raised_after_the_answers_before_it(
    paths: list[str], classifier: Classifier
) -> None:
    def failing_paths() -> Iterator[str]:
        yield from paths[:3]
        raise MnistctlError("the list is gone")

    answers = classify(failing_paths(), classifier)
    assert take(answers, 3) == paths[:3]
    with pytest.raises(MnistctlError, match="the list is gone"):
        next(answers)


def test_failing_model_is_an_error(
    paths: list[str], classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_classifier: Classifier, _images: object) -> None:
        raise MnistctlError("the model fails")

    monkeypatch.setattr(Classifier, "predict", fail)
    with pytest.raises(MnistctlError, match="the model fails"):
        next(classify(paths, classifier))


def test_thread_that_cannot_be_started_is_an_error(
    paths: list[str], classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(MnistctlError, match="images cannot be read: can't start new thread"):
        next(classify(paths, classifier))


def test_paths_are_not_drawn_far_ahead_of_the_answers(
    paths: list[str], classifier: Classifier
) -> None:
    drawn = 0

    def counted_paths() -> Iterator[str]:
        nonlocal drawn
        for path in paths * 10:
            drawn += 1
            yield path

    answers = classify(counted_paths(), classifier)
    for answered in range(1, 3001):
        next(answers)
        assert drawn - answered <= 1100
    answers.close()


def test_no_thread_is_left_after_the_last_answer(
    paths: list[str], classifier: Classifier, new_threads: Callable[[], set[threading.Thread]]
) -> None:
    assert len(list(classify(paths[:100], classifier))) == 100
    assert new_threads() == set()


@pytest.mark.parametrize("drawn", [1, 40])
def test_no_thread_is_left_after_an_early_end(
    drawn: int,
    paths: list[str],
    classifier: Classifier,
    new_threads: Callable[[], set[threading.Thread]],
) -> None:
    answers = classify(itertools.cycle(paths), classifier)
    take(answers, drawn)
    answers.close()
    assert new_threads() == set()


def test_no_thread_is_left_after_an_error_of_the_paths(
    paths: list[str], classifier: Classifier, new_threads: Callable[[], set[threading.Thread]]
) -> None:
    def failing_paths() -> Iterator[str]:
        yield paths[0]
        raise MnistctlError("the list is gone")

    with pytest.raises(MnistctlError, match="the list is gone"):
        list(classify(failing_paths(), classifier))
    assert new_threads() == set()


def test_thread_that_reads_a_pipe_ends_with_the_pipe(
    paths: list[str],
    classifier: Classifier,
    make_fifo: Callable[[], str],
    new_threads: Callable[[], set[threading.Thread]],
) -> None:
    fifo = make_fifo()
    answers = classify([paths[0], fifo, *paths], classifier)
    take(answers, 1)
    with Path(fifo).open("wb"):  # waits for the reader
        answers.close()
    assert new_threads() == set()


def test_standard_input_is_one_image(
    paths: list[str], classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(paths[0]).open() as file:
        monkeypatch.setattr("sys.stdin", file)
        (answer,) = classify(["-"], classifier)
    assert isinstance(answer, Answer)
    assert (answer.path, answer.prediction.digit) == ("-", 7)
