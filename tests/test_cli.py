"""The command line: help, usage, exit statuses, streams, and what commands leave alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NoReturn

import pytest
from commands import ASCII_ONLY, COMMANDS, environment_with_home, one_sentence, run_main, shell
from PIL import Image
from support import MNISTCTL, Run, names, run_program

import mnistctl
from mnistctl import cli
from mnistctl.classifier import BUNDLED
from mnistctl.dataset import Dataset
from mnistctl.errors import ExitStatus
from mnistctl.settings import TrainSettings

HELPS = [["--help"], *([command, "--help"] for command in COMMANDS)]
SIGNALS = [
    (signal.SIGINT, ExitStatus.INTERRUPTED),
    (signal.SIGTERM, ExitStatus.TERMINATED),
]
uses_dev_full = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")


@pytest.fixture(autouse=True)
def _small_data_set(monkeypatch: pytest.MonkeyPatch, small_mnist: Path) -> None:
    """Let ``validate`` take a small data set: here it is not about the result."""
    monkeypatch.setenv("MNISTCTL_DATA_DIR", str(small_mnist))


@pytest.fixture
def digits(tmp_path: Path, mnist_test: Dataset) -> Path:
    """A directory with the first two test images, a 7 and a 2."""
    directory = tmp_path / "digits"
    directory.mkdir()
    for name, image in zip(("a.png", "b.png"), mnist_test.images[:2], strict=True):
        Image.fromarray(image).save(directory / name)
    return directory


# Help and version


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_describes_the_command_and_every_option(tmp_path: Path, arguments: list[str]) -> None:
    result = run_main(*arguments, cwd=tmp_path, env={"COLUMNS": "200"})
    text = result.stdout.decode()
    assert result.returncode == ExitStatus.OK
    assert re.search(r"^ [A-Z][a-z -]+\.", text, re.M)
    options = re.findall(
        r"^│ +(?:--[a-z-]+|[A-Z]+)(?:\.\.\.)?(?: +-\w)?(?: +<[^>]*>)*(.*)│$", text, re.M
    )
    assert options
    assert all(re.search(r"[A-Za-z]{2}", description) for description in options)


def test_help_gives_the_defaults_of_the_settings(tmp_path: Path) -> None:
    result = run_main("train", "--help", cwd=tmp_path, env={"COLUMNS": "200"})
    settings = TrainSettings()
    for option, value in (
        ("epochs", settings.epochs),
        ("batch-size", settings.batch_size),
        ("lr", settings.learning_rate),
        ("seed", settings.seed),
    ):
        assert re.search(rf"--{option} .*default: \({value:g}\)", result.stdout.decode())


def test_no_arguments_print_the_help(run: Run) -> None:
    result = run()
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")
    assert result.stdout == run("--help").stdout


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout.decode() == f"mnistctl {mnistctl.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["train", "--help"], {}),
        (["--version"], {}),
        ([], {"_MNISTCTL_COMPLETE": "source_bash"}),
        ([], {"_MNISTCTL_COMPLETE": "complete_bash", "COMP_WORDS": "mnistctl ", "COMP_CWORD": "1"}),
    ],
    ids=["--help", "train --help", "--version", "completion script", "completion"],
)
def test_help_version_and_completion_load_no_large_package(
    tmp_path: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    program = f"""
import os, sys
os.environ.update({environment!r})
sys.argv = ["mnistctl", *{arguments!r}]
from mnistctl.cli import main
status = main()
print(status, *{{name.partition(".")[0] for name in sys.modules}})
"""
    status, *modules = run_program(program, tmp_path).stdout.splitlines()[-1].split()
    large = {"torch", "torchvision", "onnx", "onnxruntime", "safetensors", "numpy", "PIL"}
    assert status == "0"
    assert large.isdisjoint(modules)


def test_only_the_training_folder_imports_pytorch(tmp_path: Path) -> None:
    program = """
import importlib, pkgutil, sys
import mnistctl
for module in pkgutil.walk_packages(mnistctl.__path__, "mnistctl."):
    if not module.name.startswith("mnistctl.training."):
        importlib.import_module(module.name)
print("mnistctl.images.stream" in sys.modules, "torch" in sys.modules)
"""
    assert run_program(program, tmp_path).stdout == "True False\n"


# Completion


def test_the_completion_script_for_bash_calls_mnistctl(tmp_path: Path) -> None:
    result = shell("mnistctl --show-completion", tmp_path)
    assert result.returncode == ExitStatus.OK
    assert b"_MNISTCTL_COMPLETE=complete_bash" in result.stdout


@pytest.mark.parametrize(
    ("words", "completions"),
    [("mnistctl ", {*COMMANDS}), ("mnistctl pr", {"predict"}), ("mnistctl train --lr", {"--lr"})],
)
def test_completion_gives_commands_and_options(run: Run, words: str, completions: set[str]) -> None:
    environment = {
        "_MNISTCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    assert {*run(env={**os.environ, **environment}).stdout.decode().split()} == completions


# Exit statuses


def test_success_has_the_status_ok(run: Run, digit_png: Path) -> None:
    assert run("predict", digit_png).returncode == ExitStatus.OK


def test_an_image_that_cannot_be_read_has_the_status_failure(run: Run) -> None:
    assert run("predict", "missing.png").returncode == ExitStatus.FAILURE


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["trian"], ["--frobnicate"], ["predict"], ["predict", ""],
     ["predict", "-0", "a.png"], ["predict", "-", "-"], ["predict", "-", "--files-from", "-"],
     ["train", "--epochs", "0"], ["train", "--epochs", "three"], ["train", "--device", "tpu"],
     ["predict", "--files-from", ""], ["validate", "--model", "a.png", "--mistakes", "./a.png"],
     ["validate", "--min-accuracy", "101"], ["validate", "--min-accuracy", "nan"]],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_has_the_status_usage(tmp_path: Path, arguments: list[str]) -> None:
    result = run_main(*arguments, cwd=tmp_path)
    assert result.returncode == ExitStatus.USAGE
    assert one_sentence(result.stderr).endswith("--help'.\n")
    assert result.stdout == b""


@pytest.mark.parametrize("arguments", [["train", "--epochs"], ["train", "--json=1"]], ids=" ".join)
def test_an_option_without_its_value_names_the_help_of_its_command(
    tmp_path: Path, arguments: list[str]
) -> None:
    assert run_main(*arguments, cwd=tmp_path).stderr.endswith(b"; try 'mnistctl train --help'.\n")


def test_a_process_that_was_called_wrongly_ends_with_the_status_usage(run: Run) -> None:
    result = run("train", "--epochs", "0")
    assert result.returncode == ExitStatus.USAGE
    assert one_sentence(result.stderr).endswith("try 'mnistctl train --help'.\n")


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("--epochs", "0", "from 1 to 100000"),
        ("--batch-size", "1", "from 2 to 100000"),
        ("--lr", "1e-310", "from 1e-30 to 1e+30"),
        ("--lr", "nan", "from 1e-30 to 1e+30"),
        ("--seed", str(2**32), "from 0 to 4294967295"),
        ("--threads", "1025", "from 1 to 1024"),
    ],
)
def test_error_of_a_setting_names_its_limits(
    tmp_path: Path, option: str, value: str, limits: str
) -> None:
    assert limits in one_sentence(run_main("train", option, value, cwd=tmp_path).stderr)


def test_the_status_of_a_system_exit_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_arguments: object, **_options: object) -> NoReturn:
        raise SystemExit(3)

    monkeypatch.setattr(cli, "app", leave)
    assert run_main("predict", cwd=tmp_path).returncode == 3


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_ends_predict_quietly_with_its_status(
    number: int, status: ExitStatus, digit_png: Path
) -> None:
    command = [*MNISTCTL, "predict", "--files-from", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(os.fsencode(digit_png) + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(timeout=30) == status
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_ends_predict_in_the_middle_of_an_image_that_never_ends(
    number: int, status: ExitStatus, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*MNISTCTL, "predict", "pipe"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr
        with (tmp_path / "pipe").open("wb"):  # which waits until the image is being read
            process.send_signal(number)
            assert process.wait(timeout=30) == status
        assert process.stderr.read() == b""


# Streams that are closed or full, or take ASCII alone


def test_closed_pipe_is_not_an_error(digits: Path) -> None:
    paths = "for i in {1..30000}; do echo a.png; done"
    result = shell(
        f"{paths} | mnistctl predict --files-from - | head -1; echo ${{PIPESTATUS[1]}}", digits
    )
    assert result.stdout == b"a.png\t7\n0\n"
    assert b"mnistctl" not in result.stderr
    assert b"Traceback" not in result.stderr


def test_closed_pipe_hides_no_failed_image(digits: Path) -> None:
    paths = "(echo missing.png; for i in {1..30000}; do echo a.png; done)"
    result = shell(
        f"{paths} | mnistctl predict --files-from - | head -1; echo ${{PIPESTATUS[1]}}", digits
    )
    assert result.stdout == b"a.png\t7\n1\n"
    assert b"mnistctl: missing.png: cannot be read" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("argument", ["--help", "--version", "validate"])
def test_a_reader_that_has_left_before_is_not_an_error(run: Run, argument: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run(argument, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")


def test_an_empty_world_size_counts_as_unset(digit_png: Path, tmp_path: Path) -> None:
    result = run_main("predict", digit_png, cwd=tmp_path, env={"WORLD_SIZE": ""})
    assert (result.stdout, result.stderr) == (b"7\n", b"")


@pytest.mark.parametrize("command", ["train", "validate --mistakes mistakes.png"])
def test_a_working_directory_that_was_deleted_is_one_sentence(command: str, tmp_path: Path) -> None:
    program = f"""
import os, sys
from mnistctl import cli
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
sys.argv = ["mnistctl", *{command.split()!r}]
sys.exit(cli.main())
"""
    result = run_program(program, tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    sentence = "mnistctl: the working directory does not exist: change to another.\n"
    assert result.stderr == sentence


def test_standard_input_that_is_closed_is_named(digits: Path) -> None:
    result = shell("mnistctl predict - <&-", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "standard input is closed" in one_sentence(result.stderr)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--output"),
        ("train", "--checkpoint"),
        ("train", "--resume"),
        ("train", "--data-dir"),
        ("validate", "--model"),
        ("validate", "--mistakes"),
        ("predict", "--model"),
    ],
)
def test_an_empty_path_is_wrong_usage(command: str, option: str, tmp_path: Path) -> None:
    result = run_main(command, option, "", cwd=tmp_path)
    assert result.returncode == ExitStatus.USAGE
    assert f"Invalid value for '{option}'" in one_sentence(result.stderr)
    assert "a path is empty" in one_sentence(result.stderr)


def test_a_path_is_not_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    (tmp_path / "mistakes.png").touch()
    result = run_main("validate", "--model", BUNDLED, "--mistakes", "mistakes.png", cwd=tmp_path)
    assert result.returncode == ExitStatus.OK


@pytest.mark.parametrize("arguments", ["predict a.png", "validate", "--version", "--help"])
def test_standard_output_that_is_closed_is_named(digits: Path, arguments: str) -> None:
    result = shell(f"mnistctl {arguments} >&-", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "standard output is closed" in one_sentence(result.stderr)


@uses_dev_full
@pytest.mark.parametrize("arguments", ["predict a.png", "validate", "--version", "--help"])
def test_standard_output_that_is_full_is_named(digits: Path, arguments: str) -> None:
    result = shell(f"mnistctl {arguments} >/dev/full", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "No space left on device" in one_sentence(result.stderr)


@pytest.mark.parametrize("redirection", ["2>&-", pytest.param("2>/dev/full", marks=uses_dev_full)])
def test_standard_error_that_takes_nothing_changes_no_result(
    digits: Path, redirection: str
) -> None:
    result = shell(f"mnistctl predict a.png missing.png b.png {redirection}", digits)
    assert result.stdout == b"a.png\t7\nb.png\t2\n"
    assert result.returncode == ExitStatus.FAILURE


@pytest.mark.parametrize(
    "arguments",
    [*HELPS, ["validate"], ["predict", "a.png"], ["predict", "--json", "a.png"]],
    ids=" ".join,
)
def test_output_is_ascii_where_stdout_takes_no_more(
    run: Run, digits: Path, arguments: list[str]
) -> None:
    result = run(*arguments, cwd=digits, env={**os.environ, **ASCII_ONLY})
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")
    assert result.stdout
    assert result.stdout.isascii()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["predict", "é.png"], ExitStatus.FAILURE),
        (["predict", "--show", "a.png"], ExitStatus.OK),
        (["train", "--é"], ExitStatus.USAGE),
    ],
)
def test_errors_and_drawings_are_ascii_where_stderr_takes_no_more(
    run: Run, digits: Path, arguments: list[str], status: ExitStatus
) -> None:
    result = run(*arguments, cwd=digits, env={**os.environ, **ASCII_ONLY})
    assert result.returncode == status
    assert result.stderr
    assert result.stderr.isascii()
    assert b"Traceback" not in result.stderr


def test_json_is_the_same_in_every_locale(run: Run, digits: Path) -> None:
    (digits / "a.png").rename(digits / "été.png")
    outputs = [
        run("predict", "--json", "été.png", cwd=digits, env={**os.environ, **variables}).stdout
        for variables in (ASCII_ONLY, {"LC_ALL": "C.UTF-8"})
    ]
    assert outputs[0] == outputs[1] != b""


# What commands leave alone


@pytest.mark.parametrize("arguments", [["predict", "a.png"], ["validate"]], ids=" ".join)
def test_predict_and_validate_write_no_file(
    run: Run, digits: Path, tmp_path: Path, arguments: list[str]
) -> None:
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    environment = environment_with_home(tmp_path / "home", tmp_path / "temporary")
    result = run(*arguments, cwd=digits, env=environment)
    assert result.returncode == ExitStatus.OK
    assert names(digits) == ["a.png", "b.png"]
    assert names(tmp_path / "home") == names(tmp_path / "temporary") == []


@pytest.mark.parametrize("command", ["predict", "validate --data-dir", "validate --mistakes"])
def test_a_path_longer_than_any_is_named(tmp_path: Path, command: str) -> None:
    path = "a" * 300
    result = run_main(*command.split(), path, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert one_sentence(result.stderr).startswith(f"mnistctl: {path}: ")


def test_a_package_that_is_not_compiled_gives_the_remedy(tmp_path: Path) -> None:
    """As in a clone after ``pip install .``: its folder comes before the installed package."""
    compiled = [f"*{suffix}" for suffix in EXTENSION_SUFFIXES]
    shutil.copytree(
        Path(mnistctl.__file__).parent,
        tmp_path / "mnistctl",
        ignore=shutil.ignore_patterns(*compiled, "mnist", "__pycache__"),
    )
    result = subprocess.run(
        # Without site, an editable installation does not help out.
        [sys.executable, "-S", "-m", "mnistctl", "predict", "x.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (ExitStatus.FAILURE, b"")
    assert "pip install -e ." in one_sentence(result.stderr)
