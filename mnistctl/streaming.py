"""Many pictures through the classifier: decoded in parallel, answered in order."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Lock, Thread

import numpy as np
from numpy.typing import NDArray

from mnistctl import images, sources
from mnistctl.classifier import Classifier, Prediction
from mnistctl.errors import MnistctlError, shown

_BATCH = 32
# Pictures decoded ahead of the one to answer: bounds the memory, however long the list.
_AHEAD = 1024
_LARGE_BYTES = 50_000


@dataclass(frozen=True)
class _End:
    """The end of the paths, or the error that ended them."""

    error: Exception | None = None


_Decoded = tuple[str, NDArray[np.float32]] | MnistctlError | _End


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
        decoded = [item[1] for item in batch if isinstance(item, tuple)]
        predictions = iter(classifier.predict(np.stack(decoded)) if decoded else ())
        for item in batch:
            if isinstance(item, _End):
                if item.error:
                    raise item.error
                return
            yield Answer(*item, next(predictions)) if isinstance(item, tuple) else item


def _batches(paths: Iterable[str | MnistctlError]) -> Iterator[list[_Decoded]]:
    """Yield what is decoded, in order, in batches of what had arrived together; endlessly.

    Threads, since decoding leaves Python's lock to others, and daemons, since reading a picture may
    never end. One more draws the paths: that may wait (on a pipe) while pictures are ready.

    Raises:
        MnistctlError: no thread may be started.
    """
    arriving: Queue[str | MnistctlError | _End] = Queue(_AHEAD)
    batches: Queue[Future[list[_Decoded]]] = Queue(_AHEAD // _BATCH)
    turn, one_at_a_time = Lock(), Lock()
    work = (arriving, turn, batches, one_at_a_time)
    started = 0
    try:
        Thread(target=_feed, args=(paths, arriving), daemon=True).start()
        while started < (os.cpu_count() or 1):
            Thread(target=_decode_batches, args=work, daemon=True).start()
            started += 1
    except RuntimeError as error:  # a limit on threads: one that decodes is enough
        if not started:
            raise MnistctlError(f"pictures cannot be read: {error}") from error
    while True:
        yield batches.get().result()


def _feed(
    paths: Iterable[str | MnistctlError], arriving: "Queue[str | MnistctlError | _End]"
) -> None:
    try:
        for path in paths:
            arriving.put(path)
    except Exception as error:  # raised where the answers are drawn
        arriving.put(_End(error))
    else:
        arriving.put(_End())


def _decode_batches(
    arriving: "Queue[str | MnistctlError | _End]",
    turn: Lock,
    batches: "Queue[Future[list[_Decoded]]]",
    one_at_a_time: Lock,
) -> None:
    """Decode what has arrived, batch by batch: small pictures one at a time.

    Decoding a small one is mostly Python, of which two threads at once do less than one.
    """
    while True:
        with turn:
            items = [arriving.get()]
            with suppress(Empty):
                while len(items) < _BATCH and not isinstance(items[-1], _End):
                    items.append(arriving.get_nowait())
            batch: Future[list[_Decoded]] = Future()
            batches.put(batch)
        try:
            with nullcontext() if any(map(_is_large, items)) else one_at_a_time:
                batch.set_result([_decode(item) for item in items])
        except Exception as error:  # raised where the answers are drawn
            batch.set_exception(error)
        if isinstance(items[-1], _End):
            return


def _is_large(item: str | MnistctlError | _End) -> bool:
    try:
        return isinstance(item, str) and os.stat(item).st_size > _LARGE_BYTES  # noqa: PTH116
    except OSError:
        return False


def _decode(item: str | MnistctlError | _End) -> _Decoded:
    if not isinstance(item, str):
        return item
    try:
        if item == sources.STDIN:
            return item, images.read(sources.stdin(), "standard input")
        return item, images.read(Path(item), shown(item))
    except MnistctlError as error:
        return error
