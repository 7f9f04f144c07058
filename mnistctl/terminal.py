"""What people and programs see: results on stdout, everything else on stderr."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from mnistctl.errors import ExitStatus, MnistctlError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from mnistctl.evaluation import Report
    from mnistctl.training import Step

_SHADES = " ░▒▓█"
_ASCII_SHADES = " .:*#"


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
        MnistctlError: stdout is full.
    """
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
    _silence(sys.stdout)
    if error.errno == errno.EPIPE:
        raise Stopped(ExitStatus.OK) from error
    return MnistctlError(f"standard output cannot be written: {error.strerror}")


def note(text: str) -> None:
    """Write a line to stderr, if it is open and takes one."""
    if sys.stderr is not None:
        try:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    # What is buffered still would otherwise be tried again at exit, and Python report it or, from
    # 3.13, exit with a status of its own.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[Callable[["Step"], None]]:
    """Give a function that shows on stderr each step of a training: moving on a terminal.

    Elsewhere, and as the record that stays on a terminal, a plain line says how an epoch went.
    """
    if quiet:
        yield lambda _step: None
        return
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda step: note(_epoch(step)) if step.batch == step.batches else None
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(None), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as progress:
        task = progress.add_task("training", total=None)

        def show(step: "Step") -> None:
            if step.batch == step.batches:
                progress.console.print(_epoch(step), highlight=False)
            progress.update(
                task,
                total=step.epochs * step.batches,
                completed=(step.epoch - 1) * step.batches + step.batch,
                description=f"epoch {step.epoch}/{step.epochs}  batch {step.batch}/{step.batches}  "
                f"loss {step.loss:.4f}  {step.images_per_second:,.0f} images/s",
            )

        yield show


def _epoch(step: "Step") -> str:
    return (
        f"epoch {step.epoch}/{step.epochs}  loss {step.loss:.4f}  "
        f"{step.images_per_second:,.0f} images/s"
    )


def report(found: "Report") -> None:
    """Write an evaluation to stdout, in colour on a terminal."""
    from rich.console import Console

    right, count = int(found.confusion.trace()), int(found.confusion.sum())
    result(f"accuracy {percent(found.accuracy)}  ({right:,} of {count:,})  loss {found.loss:.4f}")
    on_terminal = sys.stdout.isatty()
    text = io.StringIO()
    console = Console(file=text, force_terminal=on_terminal, width=None if on_terminal else 80)
    console.print(_confusion_matrix(found))
    result(text.getvalue().rstrip())


def _confusion_matrix(found: "Report") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=0, caption="row: label, column: prediction")
    table.add_column("digit", justify="right", style="bold")
    for digit in range(len(found.confusion)):
        table.add_column(str(digit), justify="right", min_width=4)
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right")
    for label, row in enumerate(found.confusion.tolist()):
        counts = [
            Text(str(count), "" if predicted == label else "red") if count else Text("·", "dim")
            for predicted, count in enumerate(row)
        ]
        shares = (percent(found.precision[label]), percent(found.recall[label]))
        table.add_row(str(label), *counts, *shares)
    return table


def drawing(image: "NDArray[np.float32]") -> str:
    """Return a picture (28, 28) in 0 to 1 as lines of text, two characters a pixel.

    They are such as stderr can write.
    """
    try:
        _SHADES.encode(sys.stderr.encoding)
        shades = _SHADES
    except (AttributeError, UnicodeEncodeError):  # closed, or of another encoding
        shades = _ASCII_SHADES
    levels = (image * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[level] * 2 for level in row).rstrip() for row in levels)


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, as people read it."""
    return "–" if share is None else f"{share:.2%}".replace("%", " %")
