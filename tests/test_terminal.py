import io
import json
import os
import re
import shlex
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from commands import run_main, run_on_terminal
from support import MNISTCTL, names

from mnistctl import terminal
from mnistctl.errors import ExitStatus, Stopped
from mnistctl.evaluation import Report
from mnistctl.training.loop import Progress, Training


def test_a_drawing_has_a_line_a_row_and_two_characters_a_pixel() -> None:
    image = np.zeros((28, 28), np.float32)
    image[2, 1:6] = [0.25, 0.5, 0.75, 1.0, 0.0]
    lines = terminal.drawing(image).split("\n")
    assert len(lines) == 28
    assert lines[2] == "  ░░▒▒▓▓██"


@pytest.mark.parametrize(("share", "text"), [(0.99514, "99.51 %"), (1.0, "100.00 %"), (None, "-")])
def test_a_share_is_printed_in_percent(share: float | None, text: str) -> None:
    assert terminal.percent(share) == text


Stop = tuple[Path, list[str], str]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> Stop:
    """A training on a terminal, stopped with Ctrl-C after two epochs.

    Returns its working directory, its command line and the text on the terminal.
    """
    directory = tmp_path_factory.mktemp("terminal")
    arguments = ["train", "--epochs", "1000", "--threads", "1", "--data-dir", str(small_mnist)]
    arguments += ["--output", "a model.onnx", "--checkpoint", "it's run.ckpt"]

    signalled: list[str] = []

    def stop(text: str, process: "subprocess.Popen[bytes]") -> None:
        if "epoch 2/1000" in text and not signalled:
            signalled.append(text)
            process.send_signal(signal.SIGINT)

    return directory, arguments, run_on_terminal(*arguments, cwd=directory, columns=80, watch=stop)


def test_a_training_shows_a_bar_and_a_line_for_each_epoch(stopped: Stop) -> None:
    _, _, text = stopped
    line = r"epoch 2/1000  loss \d\.\d{4}  accuracy \d+\.\d\d %"
    assert re.search(
        rf"\n{line}  [\d,]+ images/s *\r\n", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", text)
    )
    assert "━" in text


def test_the_bar_hides_the_cursor_only_between_the_first_and_the_last_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before and after, a signal ends the program at once."""
    hide, show = "\x1b[?25l", "\x1b[?25h"
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    progress = partial(Progress, 1, 1, batches=20, loss=0.5, accuracy=0.9, images_per_second=1.0)
    with terminal.training_progress(quiet=False, json_lines=False) as report:
        before = stderr.getvalue()
        report(progress(batch=10))
        between = stderr.getvalue()
        report(progress(batch=20))
        after = stderr.getvalue()
    assert hide not in before
    assert between.rfind(hide) > between.rfind(show)
    assert after.rfind(show) > after.rfind(hide)


def test_a_training_with_json_shows_no_bar_among_its_objects(
    small_mnist: Path, tmp_path: Path
) -> None:
    options = ("--json", "--epochs", "2", "--threads", "1", "--data-dir", small_mnist)
    lines = run_on_terminal("train", *options, cwd=tmp_path).splitlines()
    assert [line[:9] for line in lines[0::2]] == ["epoch 1/2", "epoch 2/2", '{"model":']
    assert [json.loads(line)["epoch"] for line in lines[1::2]] == [1, 2]


def test_a_terminal_that_cannot_move_the_cursor_shows_no_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "dumb")
    with terminal.training_progress(quiet=False, json_lines=False) as report:
        report(Progress(1, 1, 20, 20, loss=0.5, accuracy=0.9, images_per_second=1.0))
    line = "epoch 1/1  loss 0.5000  accuracy 90.00 %  1 images/s\n"
    assert stderr.getvalue() == line


def test_a_quiet_training_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.training_progress(quiet=True, json_lines=False) as report:
        report(Progress(1, 1, 10, 20, loss=0.5, accuracy=0.9, images_per_second=1.0))
    assert stderr.getvalue() == ""


class Unbuffered(io.RawIOBase):
    """Standard output without a buffer, which takes no more than three bytes at a time."""

    def __init__(self) -> None:
        self.buffer = self
        self.content = b""

    def write(self, content: Any, /) -> int:
        self.content += bytes(content[:3])
        return min(3, len(content))


def test_a_line_is_written_whole_without_a_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = Unbuffered()
    monkeypatch.setattr("sys.stdout", stdout)
    terminal.emit("accuracy")
    assert stdout.content == b"accuracy\n"


def test_a_closed_pipe_does_not_stop_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with terminal.training_progress(quiet=True, json_lines=True) as report:
            for epoch in (1, 2):
                report(Progress(epoch, 2, 5, 5, loss=0.5, accuracy=0.9, images_per_second=100.0))


def test_a_closed_terminal_stops_a_training_and_saves_its_checkpoint(
    small_mnist: Path, tmp_path: Path
) -> None:
    options = ["--epochs", "1000", "--threads", "1", "--checkpoint", "run.ckpt"]
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*MNISTCTL, "train", "--data-dir", small_mnist, *options],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup ignores it
    ) as process:
        os.close(theirs)
        while b"epoch 2/1000" not in os.read(ours, 65536):
            pass
        os.close(ours)
        process.send_signal(signal.SIGHUP)
    assert process.returncode == ExitStatus.HUNG_UP
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


def test_the_command_that_resumes_is_one_unbroken_line(stopped: Stop) -> None:
    directory, arguments, text = stopped
    line = text.rpartition("mnistctl: stopped; resume with: ")[2]
    assert shlex.split(line) == ["mnistctl", *arguments, "--resume", "it's run.ckpt"]
    assert line.count("\n") == 1
    assert names(directory) == ["it's run.ckpt"]


def test_the_command_that_resumes_works_when_pasted(
    stopped: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def run(training: Training, *_arguments: object) -> NoReturn:
        steps.append(training.step)
        raise Stopped(ExitStatus.INTERRUPTED)

    monkeypatch.setattr(Training, "run", run)
    directory, _, text = stopped
    command = shlex.split(text.rpartition("resume with: ")[2])
    assert run_main(*command[1:], cwd=directory).returncode == ExitStatus.INTERRUPTED
    assert steps[0] >= 2


def test_the_confusion_matrix_of_a_large_data_set_is_not_cut_off(
    capfd: pytest.CaptureFixture[str],
) -> None:
    none, confusion = np.empty(0, np.int64), 1_000_000 * np.eye(10, dtype=np.int64)
    terminal.emit_report(Report(10_000_000, 10_000_000, 0.0, confusion, none, none))
    rows = capfd.readouterr().out.splitlines()[4:14]
    assert [row.split()[-4:] for row in rows] == [["100.00", "%"] * 2] * 10


def test_the_confusion_matrix_fits_eighty_columns_and_marks_mistakes(tmp_path: Path) -> None:
    text = run_on_terminal("validate", cwd=tmp_path, columns=80)
    assert "\x1b[31m" in text
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[4:14]] == list("0123456789")
