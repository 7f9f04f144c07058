"""The command line, as a shell sees it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import MNISTCTL, Run, names, write_mnist

import mnistctl
from mnistctl import training
from mnistctl.dataset import Digits
from mnistctl.errors import ExitStatus

COMMANDS = ("train", "validate", "predict")


@pytest.fixture
def digits(tmp_path: Path, mnist_test: Digits) -> Path:
    """A directory with the first three test digits, 7, 2 and 1."""
    directory = tmp_path / "digits"
    directory.mkdir()
    for name, image in zip(("a.png", "b.png", "c.png"), mnist_test.images, strict=False):
        Image.fromarray(image).save(directory / name)
    return directory


def one_sentence(stderr: bytes) -> str:
    """What stderr says, which must be one line and no traceback."""
    text = stderr.decode()
    assert re.fullmatch(r"mnistctl: [^\n]+\.\n", text), text
    return text


# Help and version


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_describes_the_command_and_every_option(run: Run, arguments: list[str]) -> None:
    result = run(*arguments, env={**os.environ, "COLUMNS": "200"})
    text = result.stdout.decode()
    assert result.returncode == ExitStatus.OK
    options = re.findall(r"^│ +(?:--[a-z-]+|[A-Z]+)(?: +-\w)?(?: +<[^>]*>)*(.*)│$", text, re.M)
    assert options
    assert all(re.search(r"[A-Za-z]{2}", description) for description in options)


def test_help_names_the_defaults_that_training_has(run: Run) -> None:
    text = run("train", "--help", env={**os.environ, "COLUMNS": "200"}).stdout.decode()
    settings = training.Settings()
    for option, value in (
        ("epochs", settings.epochs),
        ("batch-size", settings.batch_size),
        ("lr", settings.learning_rate),
        ("seed", settings.seed),
    ):
        assert re.search(rf"--{option} .*default: \({value:g}\)", text)


def test_the_version_is_the_package_s(run: Run) -> None:
    assert run("--version").stdout.decode() == f"mnistctl {mnistctl.__version__}\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_load_no_heavy_package(argument: str) -> None:
    program = f"""
import sys
sys.argv[1:] = [{argument!r}]
from mnistctl.cli import main
try:
    main()
except SystemExit:
    print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    heavy = {"torch", "torchvision", "onnx", "onnxruntime", "numpy", "PIL"}
    assert heavy.isdisjoint(output.splitlines()[-1].split())


def test_predict_loads_no_pytorch(digit_png: Path) -> None:
    program = f"""
import sys
sys.argv[1:] = ["predict", {str(digit_png)!r}]
from mnistctl.cli import main
try:
    main()
except SystemExit:
    print("torch" in sys.modules)
"""
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output == "7\nFalse\n"


# Exit statuses


def test_ok_is_the_status_of_success(run: Run, digit_png: Path) -> None:
    assert run("predict", digit_png).returncode == ExitStatus.OK


def test_failure_is_the_status_of_a_picture_that_cannot_be_read(run: Run) -> None:
    assert run("predict", "nowhere.png").returncode == ExitStatus.FAILURE


@pytest.mark.parametrize(
    "arguments",
    [[], ["frobnicate"], ["--frobnicate"], ["predict"], ["predict", ""], ["predict", "-0", "a.png"],
     ["predict", "-", "-"], ["predict", "-", "--files-from", "-"],
     ["train", "--epochs", "0"], ["train", "--epochs", "three"], ["train", "--batch-size", "-1"],
     ["train", "--lr", "nan"], ["train", "--lr", "0"], ["train", "--lr", "inf"],
     ["train", "--threads", "0"], ["train", "--seed", "-1"], ["train", "--device", "tpu"],
     ["validate", "--min-accuracy", "101"], ["validate", "--min-accuracy", "nan"]],
    ids=" ".join,
)  # fmt: skip
def test_usage_is_the_status_of_a_wrong_command_line(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == ExitStatus.USAGE
    assert one_sentence(result.stderr).endswith("--help'.\n")
    assert result.stdout == b""


def test_a_wrong_option_is_explained_by_its_commands_help(run: Run) -> None:
    assert b"try 'mnistctl train --help'" in run("train", "--epochs", "0").stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, ExitStatus.INTERRUPTED), (signal.SIGTERM, ExitStatus.TERMINATED)],
)
def test_a_signal_ends_predict_quietly_with_its_status(
    number: int, status: ExitStatus, digit_png: Path
) -> None:
    command = [*MNISTCTL, "predict", "--files-from", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(os.fsencode(digit_png) + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(timeout=30) == status
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, ExitStatus.INTERRUPTED), (signal.SIGTERM, ExitStatus.TERMINATED)],
)
def test_a_signal_ends_predict_in_the_middle_of_a_picture_that_never_ends(
    number: int, status: ExitStatus, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [*MNISTCTL, "predict", "pipe"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        with (tmp_path / "pipe").open("wb"):  # which waits until the picture is being read
            process.send_signal(number)
            assert process.wait(timeout=30) == status
        assert process.stderr.read() == b""


# predict


def test_one_picture_gives_the_digit_alone(run: Run, digit_png: Path) -> None:
    assert run("predict", digit_png).stdout == b"7\n"


@pytest.mark.usefixtures("digits")
def test_several_pictures_give_paths_and_digits_in_the_order_given(run: Run) -> None:
    result = run("predict", "digits/c.png", "digits/a.png")
    assert result.stdout == b"digits/c.png\t1\ndigits/a.png\t7\n"


@pytest.mark.usefixtures("digits")
def test_a_directory_gives_its_pictures_sorted(run: Run) -> None:
    result = run("predict", "digits")
    assert result.stdout == b"digits/a.png\t7\ndigits/b.png\t2\ndigits/c.png\t1\n"


def test_a_directory_of_one_picture_gives_its_path_too(run: Run, digits: Path) -> None:
    for name in ("b.png", "c.png"):
        (digits / name).unlink()
    assert run("predict", "digits").stdout == b"digits/a.png\t7\n"


def test_a_dash_is_a_picture_on_standard_input(run: Run, digit_png: Path) -> None:
    assert run("predict", "-", input=digit_png.read_bytes()).stdout == b"7\n"


@pytest.mark.usefixtures("digits")
def test_a_list_is_read_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("digits/b.png\n")
    assert run("predict", "--files-from", "list").stdout == b"digits/b.png\t2\n"


@pytest.mark.usefixtures("digits")
def test_a_list_ended_by_nul_is_read_from_standard_input(run: Run) -> None:
    result = run("predict", "--files-from", "-", "-0", input=b"digits/a.png\0digits/b.png\0")
    assert result.stdout == b"digits/a.png\t7\ndigits/b.png\t2\n"


@pytest.mark.parametrize(
    "name", [b"a b.png", b"new\nline.png", b"tab\t.png", b"\xff.png", b"--help", b"\xc3\xa9.png"]
)
def test_any_file_name_is_taken_and_given_back(run: Run, digits: Path, name: bytes) -> None:
    path = b"./" + name
    (digits / "a.png").rename(digits / os.fsdecode(name))
    result = run("predict", "--files-from", "-", "-0", input=path + b"\0", cwd=digits)
    assert result.stdout == path + b"\t7\n"


def test_a_name_that_is_not_utf8_survives_json(run: Run, digits: Path) -> None:
    (digits / "a.png").rename(digits / "\udcff.png")
    result = run("predict", "--json", digits / "\udcff.png")
    assert os.fsencode(json.loads(result.stdout)["path"]).endswith(b"/\xff.png")


@pytest.mark.usefixtures("digits")
def test_json_gives_an_object_a_line_with_stable_keys(run: Run) -> None:
    lines = run("predict", "--json", "digits").stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["digit"] for answer in answers] == [7, 2, 1]
    for answer in answers:
        assert list(answer) == ["path", "digit", "confidence", "probabilities"]
        assert len(answer["probabilities"]) == 10
        assert answer["confidence"] == max(answer["probabilities"])


def test_show_draws_on_standard_error_alone(run: Run, digit_png: Path) -> None:
    result = run("predict", "--show", digit_png)
    assert result.stdout == b"7\n"
    assert "██" in result.stderr.decode()
    assert result.stderr.count(b"\n") == 28


def test_show_draws_in_ascii_where_standard_error_is(run: Run, digit_png: Path) -> None:
    result = run("predict", "--show", digit_png, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert set(result.stderr) <= set(b" .:*#\n")
    assert b"##" in result.stderr


def test_a_bad_picture_does_not_stop_the_others(run: Run, digits: Path) -> None:
    (digits / "b.png").write_text("seven")
    result = run("predict", "digits")
    assert result.stdout == b"digits/a.png\t7\ndigits/c.png\t1\n"
    assert one_sentence(result.stderr).startswith("mnistctl: digits/b.png: is not a picture")
    assert result.returncode == ExitStatus.FAILURE


def test_a_line_of_an_error_names_a_strange_path_safely(run: Run) -> None:
    result = run("predict", "a\n\x1b[31m.png")
    assert one_sentence(result.stderr).startswith(r"mnistctl: a\n\x1b[31m.png: cannot be read")


def test_an_unreadable_picture_is_named(run: Run, digits: Path) -> None:
    if os.geteuid() == 0:  # root may read all but a few files
        path = Path("/proc/self/mem")
    else:
        path = digits / "a.png"
        path.chmod(0)
    result = run("predict", path)
    assert one_sentence(result.stderr).startswith(f"mnistctl: {path}: ")
    assert result.returncode == ExitStatus.FAILURE


@pytest.mark.parametrize("command", ["predict", "validate --data-dir", "validate --mistakes"])
def test_a_path_longer_than_any_is_named(run: Run, command: str) -> None:
    path = "a" * 300
    result = run(*command.split(), path)
    assert result.returncode == ExitStatus.FAILURE
    assert one_sentence(result.stderr).startswith(f"mnistctl: {path}: ")


def test_nothing_is_kept_in_the_home_directory(run: Run, digit_png: Path, tmp_path: Path) -> None:
    run("predict", digit_png, env={**os.environ, "HOME": str(tmp_path)})
    assert names(tmp_path) == []


def test_a_model_is_named_by_option_or_environment(run: Run, digit_png: Path) -> None:
    environment = {**os.environ, "MNISTCTL_MODEL": "nowhere.onnx"}
    for result in (
        run("predict", digit_png, "--model", "nowhere.onnx"),
        run("predict", digit_png, env=environment),
    ):
        assert result.returncode == ExitStatus.FAILURE
        assert one_sentence(result.stderr).startswith("mnistctl: nowhere.onnx: cannot be read")


# Streams that are closed or full


def shell(line: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``mnistctl`` is the command under test."""
    script = f'mnistctl() {{ "{sys.executable}" -m mnistctl "$@"; }}; {line}'
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False, timeout=120)


def test_a_reader_that_leaves_is_no_error(digits: Path) -> None:
    paths = "for i in {1..30000}; do echo a.png; done"
    result = shell(
        f"{paths} | mnistctl predict --files-from - | head -1; echo ${{PIPESTATUS[1]}}", digits
    )
    assert result.stdout == b"a.png\t7\n0\n"
    assert b"mnistctl" not in result.stderr
    assert b"Traceback" not in result.stderr


def test_standard_input_that_is_closed_is_named(digits: Path) -> None:
    result = shell("mnistctl predict - <&-", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "standard input is closed" in one_sentence(result.stderr)


@pytest.mark.parametrize("arguments", ["predict a.png", "validate", "--version", "--help"])
def test_standard_output_that_is_closed_is_named(digits: Path, arguments: str) -> None:
    result = shell(f"mnistctl {arguments} >&-", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "standard output is closed" in one_sentence(result.stderr)


@pytest.mark.parametrize("arguments", ["predict a.png", "validate", "--version", "--help"])
def test_standard_output_that_is_full_is_named(digits: Path, arguments: str) -> None:
    result = shell(f"mnistctl {arguments} >/dev/full", digits)
    assert result.returncode == ExitStatus.FAILURE
    assert "No space left on device" in one_sentence(result.stderr)


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_standard_error_that_takes_nothing_changes_no_result(digits: Path, closed: str) -> None:
    result = shell(f"mnistctl predict a.png nowhere.png b.png {closed}", digits)
    assert result.stdout == b"a.png\t7\nb.png\t2\n"
    assert result.returncode == ExitStatus.FAILURE


# validate


def test_validate_prints_accuracy_loss_and_the_confusion_matrix(run: Run) -> None:
    text = run("validate").stdout.decode()
    assert re.match(r"accuracy 99\.\d\d %  \(9,9\d\d of 10,000\)  loss 0\.\d{4}\n", text)
    rows = re.findall(r"^ +(\d)(?: +[\d·]+){10}  +(\d+\.\d\d) % +(\d+\.\d\d) %", text, re.M)
    assert [row[0] for row in rows] == list("0123456789")


def test_validate_gives_json(run: Run) -> None:
    found = json.loads(run("validate", "--json").stdout)
    assert found["count"] == 10_000
    assert np.trace(found["confusion"]) == round(found["accuracy"] * 10_000)
    assert len(found["mistakes"]) == 10_000 - np.trace(found["confusion"])
    assert len(found["precision"]) == len(found["recall"]) == 10


def test_validate_takes_another_data_set(run: Run, tmp_path: Path, mnist_test: Digits) -> None:
    write_mnist(tmp_path / "data", mnist_test.images[:30], mnist_test.labels[:30])
    assert json.loads(run("validate", "--data-dir", "data", "--json").stdout)["count"] == 30


def test_an_accuracy_that_is_reached_passes(run: Run) -> None:
    assert run("validate", "--min-accuracy", "99").returncode == ExitStatus.OK


def test_an_accuracy_that_is_missed_fails_in_words_after_the_report(run: Run) -> None:
    result = run("validate", "--min-accuracy", "100")
    assert result.returncode == ExitStatus.FAILURE
    assert result.stdout.startswith(b"accuracy ")
    assert "is below --min-accuracy 100" in one_sentence(result.stderr)


def test_a_reader_that_leaves_hides_no_missed_accuracy(tmp_path: Path) -> None:
    result = shell("mnistctl validate --min-accuracy 100 | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert result.stdout == b"1\n"
    assert "is below --min-accuracy 100" in one_sentence(result.stderr)


def test_a_reader_that_leaves_keeps_the_picture_of_the_mistakes(tmp_path: Path) -> None:
    result = shell(
        "mnistctl validate --quiet --mistakes mistakes.png | true; echo ${PIPESTATUS[0]}", tmp_path
    )
    assert result.stdout == b"0\n"
    assert (tmp_path / "mistakes.png").exists()


def test_mistakes_are_drawn_into_a_png_file(run: Run, tmp_path: Path) -> None:
    run("validate", "--mistakes", "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as picture:
        assert picture.format == "PNG"


def test_mistakes_that_cannot_be_written_are_named(run: Run, tmp_path: Path) -> None:
    result = run("validate", "--mistakes", "nowhere/mistakes.png")
    assert result.returncode == ExitStatus.FAILURE
    assert "nowhere/mistakes.png: cannot be written" in one_sentence(result.stderr)
    assert names(tmp_path) == []


def test_a_data_set_that_is_damaged_is_named(run: Run, tmp_path: Path) -> None:
    result = run("validate", "--data-dir", tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "holds no t10k-images-idx3-ubyte" in one_sentence(result.stderr)
