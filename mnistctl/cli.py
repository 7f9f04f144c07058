"""The command line: each command parses its arguments, calls one function and prints the result.

Commands import what they need when they run, so that ``--help`` and ``--version`` load none of
NumPy, ONNX Runtime and PyTorch.
"""

import os
import shlex
import sys
import warnings
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mnistctl import __version__, terminal
from mnistctl.errors import ExitStatus, MnistctlError, Stopped, display_path, json_path, path_error
from mnistctl.settings import TrainSettings
from mnistctl.terminal import OutputClosed, log

app = typer.Typer(
    pretty_exceptions_enable=False,
    suggest_commands=False,  # an error is one sentence
    epilog="Exit status: 0 done; 1 failed; 2 wrong usage; 129, 130, 143 stopped by a signal.",
)


def _path(text: str) -> Path:
    if not text:
        raise typer.BadParameter("a path is empty")
    return Path(text)


# Typer's own type calls a file without read permission wrong usage, even if it is only written.
_path_option = partial(typer.Option, parser=_path, metavar="<path>")

ModelOption = Annotated[
    Path | None,
    _path_option(envvar="MNISTCTL_MODEL", help="The model file.", show_default="the bundled model"),
]
DataDirOption = Annotated[
    Path | None,
    _path_option(
        envvar="MNISTCTL_DATA_DIR",
        help="A directory with the IDX files of a data set, gzipped or not.",
        show_default="the bundled MNIST",
    ),
]
Device = Literal["auto", "cpu", "cuda", "mps"]
_OUTPUT = Path("model.onnx")
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as lines of JSON.")]


def _setting(name: str, text: str) -> Any:
    return typer.Option(help=text, show_default=str(getattr(TrainSettings, name)))


def main() -> int:
    """Run the command line and return its exit status."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        if sys.stdout is None:
            raise MnistctlError("standard output is closed: there is nowhere to print to")
        return _run_app()
    except typer.TyperException as error:
        log(f"mnistctl: {error.format_message().rstrip('.')}; try '{_command(error)} --help'.")
        return ExitStatus.USAGE
    except MnistctlError as error:
        log(f"mnistctl: {error}.")
        return ExitStatus.FAILURE
    except MemoryError:
        log("mnistctl: there is not enough memory.")
        return ExitStatus.FAILURE
    except ImportError as error:  # too little memory, or an installation that is damaged
        reason = " ".join(str(error).split())[:200]
        log(f"mnistctl: a package cannot be imported ({reason}): give more memory, or reinstall.")
        return ExitStatus.FAILURE
    except OutputClosed:
        return ExitStatus.OK
    except Stopped as stop:
        return stop.status


def _command(error: typer.TyperException) -> str:
    """Return the command that was called wrongly."""
    if context := getattr(error, "ctx", None):
        return str(context.command_path)
    # The error of an option that lacks its value, or has one too many, has no context.
    is_known = sys.argv[1] in ("train", "validate", "predict")
    return f"mnistctl {sys.argv[1]}" if is_known else "mnistctl"


def _run_app() -> int:
    try:
        status: int | None = app(prog_name="mnistctl", standalone_mode=False)
        sys.stdout.flush()
        return status or ExitStatus.OK
    except OSError as error:
        if error.filename is not None:
            raise path_error(error.filename, error.strerror or str(error)) from error
        raise terminal.output_error(error) from error  # of the help, which Typer prints
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # Typer and Rich exit on a closed pipe
            raise OutputClosed from error
        return error.code if isinstance(error.code, int) else ExitStatus.FAILURE


@app.callback(invoke_without_command=True)
def mnistctl(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Train and apply a handwritten-digit classifier."""
    if version:
        terminal.emit(f"mnistctl {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def train(
    epochs: Annotated[int | None, _setting("epochs", "Passes over the data.")] = None,
    batch_size: Annotated[int | None, _setting("batch_size", "Images in a step.")] = None,
    lr: Annotated[float | None, _setting("learning_rate", "Maximum learning rate.")] = None,
    seed: Annotated[int | None, _setting("seed", "Random seed.")] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.", show_default="PyTorch's")
    ] = None,
    data_dir: DataDirOption = None,
    output: Annotated[Path, _path_option("--output", "-o", help="The new model file.")] = _OUTPUT,
    checkpoint: Annotated[Path | None, _path_option(help="Save checkpoints to this file.")] = None,
    resume: Annotated[Path | None, _path_option(help="Resume from this checkpoint.")] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Train a network and write it to a model file.

    The checkpoint is saved after each epoch, and when a signal such as Ctrl-C
    stops the training. The model file is only replaced by a complete training.
    """
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "threads": threads,
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    try:
        TrainSettings(**overrides)  # type: ignore[arg-type]
    except MnistctlError as error:
        raise typer.BadParameter(str(error)) from error
    _check_working_directory()
    if os.path.realpath(output) in map(os.path.realpath, filter(None, (checkpoint, resume))):
        raise typer.BadParameter("is also the checkpoint: name another", param_hint="'--output'")

    _limit_spinning()
    _keep_freed_memory()
    # PyTorch would print stack traces when processes do not find each other.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    _require_training_packages()
    from mnistctl.training import distributed, loop

    distributed.join()
    is_first = distributed.rank() == 0
    try:
        with terminal.training_progress(
            quiet=quiet or not is_first, json_lines=json and is_first
        ) as report:
            settings, evaluation = loop.train(
                overrides, output, data_dir, device, checkpoint, resume, report
            )
    except Stopped:
        if is_first:
            hint = _resume_hint(checkpoint, resume, data_dir, distributed.count())
            log(f"mnistctl: stopped; {hint}")
        raise
    if evaluation is None:  # the first process prints
        return
    if json:
        figures = {"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss}
        terminal.emit_json({"model": json_path(output), **figures, **settings})
    else:
        terminal.emit(f"{output}  test accuracy {terminal.percent(evaluation.accuracy)}")


def _resume_hint(
    checkpoint: Path | None, resumed: Path | None, data_dir: Path | None, processes: int
) -> str:
    if checkpoint is None:
        return "nothing was saved (no --checkpoint)"
    options = [] if checkpoint == resumed else ["--resume", str(checkpoint)]
    if data_dir and not any(word.startswith("--data-dir") for word in sys.argv):
        options += ["--data-dir", str(data_dir)]  # from a variable, which may not be set later
    if processes == 1:
        return f"resume with: {' '.join(map(_shell_word, ['mnistctl', *sys.argv[1:], *options]))}"
    addition = f" and: {' '.join(map(_shell_word, options))}" if options else ""
    return f"resume with the same command{addition}"


def _shell_word(argument: str) -> str:
    r"""Quote an argument for a shell: $'a\xff' is what cannot be printed otherwise."""
    if display_path(argument) == argument:
        return shlex.quote(argument)
    escaped = argument.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{display_path(escaped)}'"


def _check_working_directory() -> None:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise MnistctlError("the working directory does not exist: change to another") from error


def _require_training_packages() -> None:
    """Import the packages that only training needs, or say why that fails."""
    try:
        import onnx  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MnistctlError(
            f"train needs {error.name}, which is not installed: run pip install onnx safetensors "
            "torch, or use the image mnistctl:cpu or mnistctl:gpu"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # PyTorch raises other classes too, for a bad environment variable
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MnistctlError(
            f"a package that train needs cannot be imported ({reason}): give more memory, or run "
            "pip install --force-reinstall onnx safetensors torch"
        ) from error


@app.command()
def validate(
    model: ModelOption = None,
    data_dir: DataDirOption = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Exit with 1 below this accuracy, in percent.")
    ] = None,
    mistakes: Annotated[Path | None, _path_option(help="Draw the mistakes to this PNG.")] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Evaluate a model on the test set of a data set."""
    _refuse_torchrun()
    if min_accuracy is not None and not 0 <= min_accuracy <= 100:
        raise typer.BadParameter("must be from 0 to 100", param_hint="'--min-accuracy'")
    if mistakes:
        _check_working_directory()
    if mistakes and model and os.path.realpath(model) == os.path.realpath(mistakes):
        raise typer.BadParameter("is also the model: name another", param_hint="'--mistakes'")
    _limit_blas_threads()
    from mnistctl import evaluation, files
    from mnistctl.classifier import Classifier
    from mnistctl.dataset import load_dataset

    if mistakes:
        files.check_writable(mistakes)
    test = load_dataset("test", data_dir)
    classifier = Classifier.load(model)
    report = evaluation.evaluate(classifier, test)
    if mistakes:
        with files.replace(mistakes) as file:
            evaluation.draw_mistakes(report, test).save(file, "PNG")
        if not quiet:
            log(f"mnistctl: wrote the misclassified images to {display_path(mistakes)}.")
    with suppress(OutputClosed):
        if json:
            path = json_path(model) if model else None
            described = {"path": path, "metadata": dict(classifier.metadata)}
            terminal.emit_json({"model": described, **report.to_dict(test)})
        else:
            terminal.emit_report(report)
    if min_accuracy is not None and not report.reaches(min_accuracy):
        accuracy = f"{report.correct:,} of {report.count:,}"
        raise MnistctlError(f"the accuracy, {accuracy}, is below --min-accuracy {min_accuracy}")


@app.command()
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, or directories of them; '-' is one image on stdin.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="<path>", help="Also classify the paths in this list; '-' is stdin."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list's paths end with NUL (find -print0).")
    ] = False,
    json: JsonOption = False,
    show: Annotated[bool, typer.Option("--show", help="Show the digit found, on stderr.")] = False,
) -> None:
    """Classify each image.

    Print the digit of one image. Print PATH<TAB>DIGIT lines for several images,
    a list or a directory.
    """
    _refuse_torchrun()
    images = images or []
    if not images and files_from is None:
        raise typer.BadParameter(
            "name an image, a directory, '-' or --files-from", param_hint="IMAGE"
        )
    if "" in (*images, files_from):
        raise typer.BadParameter("a path is empty", param_hint="IMAGE or --files-from")
    if null and files_from is None:
        raise typer.BadParameter("needs --files-from", param_hint="'--null'")
    if [*images, files_from].count("-") > 1:
        raise typer.BadParameter("standard input can be read only once", param_hint="'-'")

    _limit_blas_threads()
    from mnistctl.classifier import Classifier
    from mnistctl.images import sources, stream
    from mnistctl.images.sources import Failure

    classifier = Classifier.load(model)
    listed = sources.read_list(files_from, null=null) if files_from else ()
    single = files_from is None and len(images) == 1 and not sources.is_directory(images[0])

    failed = False
    with suppress(OutputClosed):
        for answer in stream.classify(sources.expand(chain(images, listed)), classifier):
            if isinstance(answer, Failure):
                log(f"mnistctl: {answer.error}.")
                failed = True
            elif show:
                log(f"{display_path(answer.path)}: {answer.found.describe()}")
                log(terminal.drawing(answer.found.digit))
            if json:
                terminal.emit_json(answer.to_dict())
            elif not isinstance(answer, Failure):
                digit = answer.prediction.digit
                terminal.emit(str(digit) if single else f"{answer.path}\t{digit}")
    if failed:
        raise typer.Exit(ExitStatus.FAILURE)


def _refuse_torchrun() -> None:
    count = os.environ.get("WORLD_SIZE") or "1"
    if count != "1":
        raise typer.BadParameter(
            f"is {count!r}, but only train runs in several processes: start without torchrun",
            param_hint="WORLD_SIZE",
        )


def _limit_blas_threads() -> None:
    """Keep NumPy's import from starting threads, which takes 5 % of a prediction on two cores."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _limit_spinning() -> None:
    """Let PyTorch's threads sleep while they wait for each other, so that others may work."""
    # With 1000, an epoch takes 13 % longer; with 4000, one beside another takes 8 % longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def _keep_freed_memory() -> None:
    """Let each step of a training reuse the memory of the step before.

    By default, glibc returns it to the system, and page faults take a tenth of the training.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # glibc; the numbers are M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of its malloc.h
        mallopt(-3, 32 << 20)
        mallopt(-1, 256 << 20)
