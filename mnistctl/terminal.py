"""What is printed: results on stdout, everything else on stderr."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from mnistctl.errors import MnistctlError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from mnistctl.evaluation import Report
    from mnistctl.training.loop import Progress

_SHADES = " ░▒▓█"
_ASCII_SHADES = " .:*#"


class OutputClosed(Exception):  # noqa: N818
    """The reader of stdout has closed the pipe, as ``| head -1`` does. It is not an error."""


def emit(line: str | bytes) -> None:
    """Write a line to stdout at once; a path in it comes out with its original bytes.

    It is a single write, so that the lines of several processes do not mix.

    Raises:
        OutputClosed: the reader has closed the pipe.
        MnistctlError: stdout cannot be written.
    """
    content = (os.fsencode(line) if isinstance(line, str) else line) + b"\n"
    try:
        while content:  # without a buffer (python -u), a write may end early
            content = content[sys.stdout.buffer.write(content) or 0 :]
        sys.stdout.buffer.flush()
    except OSError as error:
        raise output_error(error) from error


def emit_json(value: Mapping[str, object]) -> None:
    """Write an object to stdout as one line of JSON."""
    emit(json.dumps(value))


def output_error(error: OSError) -> Exception:
    """Return the exception for an error of stdout, and discard what is written from now on."""
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return OutputClosed()
    return MnistctlError(f"standard output cannot be written: {error.strerror}")


def log(text: str) -> None:
    """Write a line to stderr, if it is open and can be written. It is a single write."""
    if sys.stderr is not None:
        try:
            print(f"{text}\n", end="", file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            _discard(sys.stderr)


def emit_report(report: "Report") -> None:
    """Write an evaluation to stdout, in colour on a terminal, and in ASCII if stdout is ASCII."""
    from rich.console import Console

    emit(
        f"accuracy {percent(report.accuracy)}  ({report.correct:,} of {report.count:,})  "
        f"loss {report.loss:.4f}"
    )
    # Rich chooses its characters by the encoding.
    text = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding, errors="replace", newline="\n")
    console = Console(file=text, force_terminal=sys.stdout.isatty(), width=120)
    console.print(_confusion_table(report))
    text.flush()
    emit(text.buffer.getvalue().rstrip())


def drawing(image: "NDArray[np.float32]") -> str:
    """Draw an image (28, 28) in 0 to 1 as text for stderr, two characters a pixel."""
    try:
        _SHADES.encode(sys.stderr.encoding)
        shades = _SHADES
    except (AttributeError, UnicodeEncodeError):  # closed, or another encoding
        shades = _ASCII_SHADES
    levels = (image * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[level] * 2 for level in row).rstrip() for row in levels)


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, in percent with two decimals."""
    return "-" if share is None else f"{100 * share:.2f} %"


@contextmanager
def training_progress(*, quiet: bool, json_lines: bool) -> Iterator[Callable[["Progress"], None]]:
    """Give a function that shows the progress of a training.

    Unless ``quiet``, there is one line on stderr for each epoch, and on a terminal a moving bar
    below. With ``json_lines``, there is also an object on stdout for each epoch.
    """

    def report_epoch(progress: "Progress") -> None:
        if progress.batch < progress.batches:
            return
        if not quiet:
            log(_line(progress))
        if json_lines:
            with suppress(OutputClosed):  # the training goes on: its result is a file
                emit_json(_epoch_to_dict(progress))

    # On the same terminal, the objects would break the bar.
    is_dumb = os.environ.get("TERM") in ("dumb", "unknown")  # it cannot move the cursor
    on_terminal = sys.stderr is not None and sys.stderr.isatty() and not is_dumb
    if quiet or not on_terminal or (json_lines and sys.stdout.isatty()):
        yield report_epoch
        return

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    columns = (TextColumn("{task.description}"), BarColumn(None), TimeRemainingColumn())
    bar = ProgressBar(*columns, console=Console(stderr=True), transient=True, expand=True)
    task = bar.add_task("", total=None)

    def show(progress: "Progress") -> None:
        report_epoch(progress)
        total = progress.epochs * progress.batches
        completed = (progress.epoch - 1) * progress.batches + progress.batch
        bar.update(task, total=total, completed=completed, description=_line(progress))
        # The bar hides the cursor, and after the last report a signal ends the program at once.
        bar.start()
        if completed == total:
            bar.stop()

    try:
        yield show
    finally:
        with suppress(OSError):  # the terminal may be closed
            bar.stop()


def _line(progress: "Progress") -> str:
    return (
        f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
        f"accuracy {percent(progress.accuracy)}  {progress.images_per_second:,.0f} images/s"
    )


def _epoch_to_dict(progress: "Progress") -> dict[str, object]:
    return {
        "epoch": progress.epoch,
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        "images_per_second": round(progress.images_per_second, 1),
    }


def _confusion_table(report: "Report") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=0, caption="row: label, column: prediction")
    table.add_column("digit", justify="right", style="bold")
    for digit in range(len(report.confusion)):
        table.add_column(str(digit), justify="right", min_width=4)
    table.add_column("precision", justify="right")
    table.add_column("recall", justify="right")
    for label, row in enumerate(report.confusion.tolist()):
        counts = [
            Text(str(count), "" if predicted == label else "red") if count else Text(".", "dim")
            for predicted, count in enumerate(row)
        ]
        shares = (percent(report.precision[label]), percent(report.recall[label]))
        table.add_row(str(label), *counts, *shares)
    return table


def _discard(stream: TextIO) -> None:
    # Python would write what is still buffered again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
