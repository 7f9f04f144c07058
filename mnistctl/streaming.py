"""Many pictures through the classifier: decoded in parallel, answered in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from mnistctl import images, sources
from mnistctl.classifier import Classifier, Prediction
from mnistctl.errors import MnistctlError, shown

_BATCH = 64
# Pictures decoded ahead of the one to answer: bounds the memory, however long the list.
_AHEAD = 256

_Decoded = tuple[str, NDArray[np.float32]] | MnistctlError


@dataclass(frozen=True)
class Answer:
    """What became of one picture.

    Attributes:
        path: as the user wrote it, or as a directory or list held it; ``-`` is standard input.
        image: what the network saw, float32 (28, 28) in 0 to 1.
        prediction: what it said.
    """

    path: str
    image: NDArray[np.float32]
    prediction: Prediction

    def as_dict(self) -> dict[str, object]:
        """Return the answer in the terms of JSON, probabilities to six decimals."""
        return {
            "path": self.path,
            "digit": self.prediction.digit,
            "confidence": round(self.prediction.confidence, 6),
            "probabilities": [round(value, 6) for value in self.prediction.probabilities],
        }


def answers(
    paths: Iterable[str | MnistctlError], classifier: Classifier
) -> Iterator[Answer | MnistctlError]:
    """Classify pictures, each as soon as those before it are answered.

    A picture that cannot be read becomes its error, in its place, and so does an error among the
    paths. Memory stays the same however many paths there are.

    Raises:
        MnistctlError: as drawing from ``paths`` does, after the answers to those before.
    """
    for batch in _batches(paths):
        decoded = [item[1] for item in batch if not isinstance(item, MnistctlError)]
        predictions = iter(classifier.predict(np.stack(decoded)) if decoded else ())
        for item in batch:
            if isinstance(item, MnistctlError):
                yield item
            else:
                yield Answer(*item, next(predictions))


def _batches(paths: Iterable[str | MnistctlError]) -> Iterator[list[_Decoded]]:
    """Yield what is decoded, in order: as much as is ready, one picture at the least."""
    arriving: Queue[Future[_Decoded] | None] = Queue(_AHEAD)
    pool = ThreadPoolExecutor(os.cpu_count())
    Thread(target=_feed, args=(paths, pool, arriving), daemon=True).start()
    waiting: deque[Future[_Decoded] | None] = deque()
    try:
        while True:
            if not waiting:
                waiting.append(arriving.get())
            with suppress(Empty):
                while len(waiting) < _BATCH:
                    waiting.append(arriving.get_nowait())
            batch: list[_Decoded] = []
            while waiting and (future := waiting[0]) and (not batch or _is_answered(future)):
                waiting.popleft()
                batch.append(future.result())
            if not batch:
                return
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_answered(future: Future[_Decoded]) -> bool:
    return future.done() and future.exception() is None


def _feed(
    paths: Iterable[str | MnistctlError],
    pool: ThreadPoolExecutor,
    arriving: "Queue[Future[_Decoded] | None]",
) -> None:
    """Have the pictures of ``paths`` decoded.

    This is a thread's work, since drawing a path may wait (on a pipe) while pictures before it are
    ready to be answered.
    """
    try:
        for path in paths:
            arriving.put(pool.submit(_decode, path))
        arriving.put(None)
    except Exception as error:  # raised where the answers are drawn
        failed: Future[_Decoded] = Future()
        failed.set_exception(error)
        arriving.put(failed)


def _decode(path: str | MnistctlError) -> _Decoded:
    if isinstance(path, MnistctlError):
        return path
    try:
        if path == sources.STDIN:
            return path, images.read(sources.stdin(), "standard input")
        return path, images.read(Path(path), shown(path))
    except MnistctlError as error:
        return error
