"""Many images through the classifier: decoded in parallel, answered in order."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Semaphore
from typing import TypeVar

import numpy as np

from mnistctl.classifier import Classifier, Prediction
from mnistctl.errors import MnistctlError, json_path
from mnistctl.images import find_digit, sources
from mnistctl.images.normalise import Found
from mnistctl.images.sources import Failure

_BATCH = 32
# Images decoded ahead of the one to answer: bounds the memory, however long the list is.
_AHEAD = 1024

_SMALL_BYTES = 50_000
# A signal that comes just before the main thread starts to wait does not end the wait, so waits are
# short: Python runs signal handlers between them.
_WAIT_SECONDS = 0.5

_Decoded = tuple[str, Found] | Failure
_Result = TypeVar("_Result")
_Pending = str | Failure | Future[_Decoded]


@dataclass(frozen=True)
class Answer:
    """The answer for one image.

    Attributes:
        path: as the user, a directory or a list gave it; ``-`` is standard input.
        found: where the digit is in the image, and the network's input.
        prediction: the network's output.
    """

    path: str
    found: Found
    prediction: Prediction

    def to_dict(self) -> dict[str, object]:
        """Return the answer as JSON has it, with probabilities to six decimals."""
        return {
            "path": json_path(self.path),
            "digit": self.prediction.digit,
            "confidence": round(self.prediction.confidence, 6),
            "probabilities": [round(value, 6) for value in self.prediction.probabilities],
        }


def classify(paths: Iterable[str | Failure], classifier: Classifier) -> Iterator[Answer | Failure]:
    """Classify images in order, each as soon as those before it are answered.

    A thread draws the paths, since a list may be a pipe. A pool decodes large images and reads
    pipes. Small images are decoded by the calling thread: that is mostly Python code, and two
    threads are slower than one (GIL). Memory stays constant, however many paths there are. An
    image that cannot be read is answered with a failure; failures among the paths are passed on.

    Raises:
        MnistctlError: the model fails, no thread can be started, or ``paths`` raises it.
    """
    pending: SimpleQueue[_Pending | None] = SimpleQueue()
    free = Semaphore(_AHEAD)
    closed = Event()
    pool = ThreadPoolExecutor(1 + (os.cpu_count() or 1))

    def feed() -> None:
        try:
            for path in paths:
                free.acquire()
                if closed.is_set():
                    return
                pending.put(_start(pool, _decode, path) if _is_slow(path) else path)
        finally:
            pending.put(None)

    batch: list[_Decoded] = []

    def answers() -> Iterator[Answer | Failure]:
        if batch:
            yield from _predict(batch, classifier)
            free.release(len(batch))
            batch.clear()

    try:
        feeding = _start(pool, feed)
        while (item := _next(pending)) is not None:
            if isinstance(item, Future):
                if not item.done():
                    yield from answers()
                while not item.done():
                    wait([item], _WAIT_SECONDS)
                batch.append(item.result())
            else:
                batch.append(_decode(item))
            if len(batch) == _BATCH or pending.empty():
                yield from answers()
        yield from answers()
        feeding.result()
    finally:
        closed.set()
        free.release()
        pool.shutdown(wait=False, cancel_futures=True)


def _start(
    pool: ThreadPoolExecutor, function: Callable[..., _Result], *arguments: object
) -> Future[_Result]:
    try:
        return pool.submit(function, *arguments)
    except RuntimeError as error:  # no more threads
        raise MnistctlError(f"images cannot be read: {error}") from error


def _next(pending: SimpleQueue[_Pending | None]) -> _Pending | None:
    while True:
        with suppress(Empty):
            return pending.get(timeout=_WAIT_SECONDS)


def _predict(batch: list[_Decoded], classifier: Classifier) -> Iterator[Answer | Failure]:
    decoded = [item[1].digit for item in batch if isinstance(item, tuple)]
    predictions = iter(classifier.predict(np.stack(decoded)) if decoded else ())
    for item in batch:
        yield Answer(*item, next(predictions)) if isinstance(item, tuple) else item


def _is_slow(path: str | Failure) -> bool:
    """Say whether an image takes long to decode, or is in a pipe, which may take forever."""
    if isinstance(path, Failure) or path == sources.STDIN:
        return path == sources.STDIN
    try:
        status = os.stat(path)  # noqa: PTH116 (faster than Path)
    except OSError:  # _decode reports it
        return False
    return not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL_BYTES


def _decode(path: str | Failure) -> _Decoded:
    if isinstance(path, Failure):
        return path
    try:
        if path != sources.STDIN:
            return path, find_digit(path)
        with sources.open_stdin() as file:
            return path, find_digit(file)
    except MnistctlError as error:
        return Failure(path, error)
