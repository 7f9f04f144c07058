"""What people and programs see: results on stdout, everything else on stderr."""

import errno
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mnistctl.errors import ExitStatus, MnistctlError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnistctl.evaluation import Report
    from mnistctl.training import Step


class Stopped(BaseException):
    """The end of the program by a signal, or by a reader that wants no more.

    Like KeyboardInterrupt it is no Exception: nothing between here and ``main`` may take it for an
    error.
    """

    def __init__(self, status: ExitStatus) -> None:
        """Take the status to exit with."""
        super().__init__(status)
        self.status = status


def result(text: str) -> None:
    """Write a line to stdout, at once; bytes of a path that are not UTF-8 come out as they were.

    Raises:
        Stopped: the reader of the pipe is gone, which is no error (``| head -1``).
        MnistctlError: stdout is closed or full.
    """
    if sys.stdout is None:
        raise MnistctlError("standard output is closed: there is nowhere to print to")
    try:
        sys.stdout.buffer.write(os.fsencode(text) + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        raise output_failed(error) from error


def result_json(value: Mapping[str, object]) -> None:
    """Write an object as one line of JSON to stdout."""
    result(json.dumps(value))


def output_failed(error: OSError) -> MnistctlError:
    """Return the error of a stdout that takes no more, which from now on is silent.

    Raises:
        Stopped: the reader of the pipe is gone.
    """
    # What is buffered still would otherwise be tried again, and reported by Python, at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        raise Stopped(ExitStatus.OK) from error
    return MnistctlError(f"standard output cannot be written: {error.strerror}")


def note(text: str) -> None:
    """Write a line to stderr, if it is open and takes one."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def training_progress(epochs: int, *, quiet: bool) -> Iterator[Callable[["Step"], None]]:
    """Give a function that shows on stderr each step of a training: moving on a terminal.

    Elsewhere, and as the record that stays on a terminal, a plain line says how an epoch went.
    """
    began = time.monotonic()
    seen = 0

    def epoch_line(step: "Step") -> str:
        return f"epoch {step.epoch}/{epochs}  loss {step.loss:.4f}  {rate():,.0f} images/s"

    def rate() -> float:
        return seen / (time.monotonic() - began)

    def count(step: "Step") -> bool:
        nonlocal seen
        seen += step.batch_size
        return not quiet and step.batch == step.batches

    def plain(step: "Step") -> None:
        if count(step):
            note(epoch_line(step))

    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield plain
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(None), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as progress:
        task = progress.add_task("training", total=None)

        def moving(step: "Step") -> None:
            if count(step):
                progress.console.print(epoch_line(step), highlight=False)
            progress.update(
                task,
                total=epochs * step.batches,
                completed=(step.epoch - 1) * step.batches + step.batch,
                description=f"epoch {step.epoch}/{epochs}  batch {step.batch}/{step.batches}  "
                f"loss {step.loss:.4f}  {rate():,.0f} images/s",
            )

        yield moving


def report(found: "Report") -> None:
    """Write an evaluation to stdout, in colour on a terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=0, caption="row: label, column: prediction")
    table.add_column("digit", justify="right", style="bold")
    for digit in range(len(found.confusion)):
        table.add_column(str(digit), justify="right", min_width=4)
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right")
    for digit, row in enumerate(found.confusion.tolist()):
        cells = [
            Text(
                str(count) if count else "·",
                "dim" if not count else "red" if column != digit else "",
            )
            for column, count in enumerate(row)
        ]
        shares = (percent(found.precision[digit]), percent(found.recall[digit]))
        table.add_row(str(digit), *cells, *shares)
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = io.StringIO()
    Console(file=text, force_terminal=on_terminal, width=None if on_terminal else 80).print(table)
    right, count = int(found.confusion.trace()), int(found.confusion.sum())
    result(f"accuracy {percent(found.accuracy)}  ({right:,} of {count:,})  loss {found.loss:.4f}")
    result(text.getvalue().rstrip())


def drawing(image: "NDArray[np.float32]") -> str:
    """Return a picture (28, 28) in 0 to 1 as lines of text, two characters a pixel."""
    shades = " ░▒▓█"
    levels = (image * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[level] * 2 for level in row).rstrip() for row in levels)


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, as people read it."""
    return "–" if share is None else f"{share:.2%}".replace("%", " %")
