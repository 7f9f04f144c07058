"""The command line: each command parses, calls what does the work, prints.

What does the work is imported when its command runs, so that ``--help`` and ``--version`` load none
of NumPy, ONNX Runtime or PyTorch.
"""

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from math import inf, isnan
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer

from mnistctl import __version__, terminal
from mnistctl.errors import ExitStatus, MnistctlError, shown, unreadable
from mnistctl.terminal import Stopped, note

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and apply a handwritten-digit classifier.",
    epilog="Exit status: 0 done; 1 something failed; 2 wrong usage; 130 interrupted; "
    "143 terminated.",
)


Model = Annotated[
    Path | None,
    typer.Option(envvar="MNISTCTL_MODEL", help="The model file.", show_default="the bundled model"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="MNISTCTL_DATA_DIR",
        help="A directory with the four IDX files of a data set, gzipped or not.",
        show_default="the bundled MNIST",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON, one object a line.")]


def main() -> None:
    """Run the command line and exit with the status that :class:`ExitStatus` documents."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        status = _run()
    except Stopped as stop:
        # Not sys.exit, which waits for pictures that are still being read: a pipe may never end.
        os._exit(stop.status)
    sys.exit(status)


def _run() -> int:
    try:
        if sys.stdout is None:
            raise MnistctlError("standard output is closed: there is nowhere to print to")
        return _run_app()
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "mnistctl"
        note(f"mnistctl: {error.format_message().rstrip('.')}; try '{command} --help'.")
        return ExitStatus.USAGE
    except MnistctlError as error:
        note(f"mnistctl: {error}.")
        return ExitStatus.FAILURE


def _run_app() -> int:
    try:
        return app(prog_name="mnistctl", standalone_mode=False) or ExitStatus.OK
    except OSError as error:
        if error.filename is not None:
            raise unreadable(error.filename, error) from error
        # Of the help, which Typer prints; all else goes through terminal.
        raise terminal.output_failed(error) from error
    except SystemExit as error:  # how Typer and Rich leave when the reader of the help is gone
        raise Stopped(ExitStatus.OK) from error


def _stop(signal_number: int, _frame: FrameType | None) -> None:
    raise Stopped(ExitStatus(128 + signal_number))


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


@contextmanager
def _stop_deferred() -> Iterator[Callable[[], None]]:
    """Give a function that raises Stopped once a signal came; the signal itself does nothing."""
    asked: list[ExitStatus] = []

    def stop_if_asked() -> None:
        if asked:
            raise Stopped(asked[0])

    _on_signals(lambda number, _frame: asked.append(ExitStatus(128 + number)))
    try:
        yield stop_if_asked
    finally:
        _on_signals(_stop)
    stop_if_asked()


def _keep_blas_small() -> None:
    """Keep NumPy from starting a thread a core, at its import, for matrix products.

    Nothing here computes one with it, and a prediction takes 5 % longer with two cores.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _require_pytorch() -> None:
    """Import what only training needs; say in a sentence why that cannot be done."""
    try:
        import mnistctl.export
        import mnistctl.training  # noqa: F401
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("onnx", "torch", "torchvision"):
            raise
        raise MnistctlError(
            f"train needs {package}, which is not installed: pip install '.[train]' in a clone of "
            "mnistctl installs it, and the images cpu and gpu hold it"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise MnistctlError(
            f"train needs onnx, torch and torchvision, of which one cannot be imported ({reason}): "
            "pip install --force-reinstall '.[train]' in a clone of mnistctl installs builds that "
            "belong together"
        ) from error


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < inf:
        raise typer.BadParameter("must be a positive number")
    return value


def _number(value: float | None) -> float | None:
    if value is not None and isnan(value):
        raise typer.BadParameter("must be a number")
    return value


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.result(f"mnistctl {__version__}")
        raise typer.Exit


@app.callback()
def mnistctl(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train and apply a handwritten-digit classifier."""


@app.command()
def train(
    epochs: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Passes over the data.", show_default="3")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, max=100_000, help="Pictures in a step.", show_default="256")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(callback=_positive, help="The highest learning rate.", show_default="0.02"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Where randomness starts from.", show_default="0"),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to train.")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="How many of the CPU.", show_default="a thread a core"),
    ] = None,
    data_dir: DataDir = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write.")] = Path(
        "model.onnx"
    ),
    checkpoint: Annotated[
        Path | None, typer.Option(help="Save the run here after each epoch, and when stopped.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on from a checkpoint, with its settings.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network and write it to a model file.

    Ctrl-C stops after the current batch and saves the checkpoint, if one was
    asked for; an earlier model file stays as it was.
    """
    _require_pytorch()
    from mnistctl import dataset, export, files, training

    _on_signals(_stop)  # which leaves no half-written file behind
    files.check_writable(output)
    if checkpoint:
        files.check_writable(checkpoint)
    options: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "threads": threads,
    }
    given = {name: value for name, value in options.items() if value is not None}
    to = training.choose_device(device)
    digits = dataset.load("train", data_dir)
    test = dataset.load("test", data_dir)
    if resume:
        run = training.Training.resumed(resume, given, digits, to)
    else:
        run = training.Training(training.Settings(**given), digits, to)
    with _stop_deferred() as stop_if_asked, terminal.training_progress(quiet=quiet) as show:
        try:
            for step in run.steps(stop_if_asked):
                show(step)
                if checkpoint and step.batch == step.batches:
                    run.save(checkpoint)
                stop_if_asked()
        except Stopped:
            if checkpoint:
                run.save(checkpoint)
            note(_how_to_resume(checkpoint))
            raise
    found = export.export(run.calibrated(), test, output, run.settings.facts())
    if json:
        terminal.result_json(
            {
                "model": str(output),
                "test_accuracy": found.accuracy,
                "test_loss": found.loss,
                **run.settings.facts(),
            }
        )
    else:
        terminal.result(f"{output}  test accuracy {terminal.percent(found.accuracy)}")


def _how_to_resume(checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "mnistctl: stopped; nothing was saved (--checkpoint FILE would have)."
    command = shlex.join(["mnistctl", *sys.argv[1:], "--resume", str(checkpoint)])
    return f"mnistctl: stopped; go on with: {command}"


@app.command()
def validate(
    model: Model = None,
    data_dir: DataDir = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, callback=_number, help="Exit with 1 below this accuracy, in percent."
        ),
    ] = None,
    mistakes: Annotated[
        Path | None,
        typer.Option(help="Draw the misclassified digits, up to 200, into this PNG file."),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Evaluate a model on the test set of a data set."""
    _keep_blas_small()
    from mnistctl import dataset, evaluation, files
    from mnistctl.classifier import Classifier

    _on_signals(_stop)  # which leaves no half-written file behind
    if mistakes:
        files.check_writable(mistakes)
    digits = dataset.load("test", data_dir)
    found = evaluation.evaluate(Classifier.load(model), digits)
    if mistakes:
        with files.replacing(mistakes) as file:
            evaluation.mistakes_picture(found, digits).save(file, "PNG")
        if not quiet:
            note(f"mnistctl: drew the mistakes into {shown(mistakes)}.")
    too_low = min_accuracy is not None and found.accuracy * 100 < min_accuracy
    try:
        if json:
            terminal.result_json(found.as_dict(digits))
        else:
            terminal.report(found)
    except Stopped as stop:
        # A reader that wants no more (| head -1) does not make a model good enough.
        if not too_low or stop.status != ExitStatus.OK:
            raise
    if too_low:
        raise MnistctlError(
            f"the accuracy, {terminal.percent(found.accuracy)}, is below --min-accuracy "
            f"{min_accuracy:g}"
        )


@app.command()
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="Pictures, or directories of them; '-' is one picture on standard input.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    files_from: Annotated[
        Path | None,
        typer.Option(help="Also the pictures this file lists, one a line; '-' is standard input."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list's paths end with NUL (find -print0).")
    ] = False,
    json: Json = False,
    show: Annotated[
        bool, typer.Option("--show", help="Draw on standard error what the network saw.")
    ] = False,
) -> None:
    """Tell the digit in each picture.

    One picture gives the digit alone; several, a list or a directory give PATH<TAB>DIGIT lines.
    """
    images = images or []
    if not images and files_from is None:
        raise typer.BadParameter("name a picture, a directory, '-', or a list", param_hint="IMAGE")
    if "" in images:
        raise typer.BadParameter("a path is empty", param_hint="IMAGE")
    if null and files_from is None:
        raise typer.BadParameter("it goes with --files-from", param_hint="--null")
    if [*images, str(files_from)].count("-") > 1:
        raise typer.BadParameter("standard input can be read only once", param_hint="'-'")

    _keep_blas_small()
    from mnistctl import sources, streaming
    from mnistctl.classifier import Classifier

    classifier = Classifier.load(model)
    listed = sources.listed(files_from, null=null) if files_from else ()
    alone = files_from is None and len(images) == 1 and not os.path.isdir(images[0])  # noqa: PTH112

    failed = False
    for answer in streaming.answers(sources.expanded(chain(images, listed)), classifier):
        if isinstance(answer, MnistctlError):
            note(f"mnistctl: {answer}.")
            failed = True
            continue
        if show:
            note(terminal.drawing(answer.image))
        if json:
            terminal.result_json(answer.as_dict())
        else:
            digit = answer.prediction.digit
            terminal.result(str(digit) if alone else f"{answer.path}\t{digit}")
    if failed:
        raise typer.Exit(ExitStatus.FAILURE)
