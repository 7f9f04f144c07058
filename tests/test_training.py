"""Training through the command line; on 640 digits, an epoch of two batches of 256."""

import json
import os
import pickle
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from support import MNISTCTL, Run, names, write_mnist
from torch.nn import functional

import mnistctl
from mnistctl import dataset, training
from mnistctl.classifier import Classifier
from mnistctl.errors import MnistctlError


@pytest.fixture
def settings() -> training.Settings:
    return training.Settings(epochs=2, batch_size=64, threads=1)


@contextmanager
def stopped_in_the_middle(
    tmp_path: Path, number: int, *arguments: object
) -> Iterator[subprocess.CompletedProcess[str]]:
    """Run a training of many epochs and send a signal after the first."""
    command = [*MNISTCTL, "train", "--epochs", "1000", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        first = process.stderr.readline()
        assert first.startswith("epoch 1/1000")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    yield subprocess.CompletedProcess(command, process.returncode, output, errors)


def test_a_run_can_be_stopped_while_an_epoch_is_made_ready(mnist_test: dataset.Digits) -> None:
    calls = 0

    def pause() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise InterruptedError

    run = training.Training(
        training.Settings(epochs=1, batch_size=50, threads=1),
        dataset.Digits(mnist_test.images[:300], mnist_test.labels[:300]),
        torch.device("cpu"),
    )
    with pytest.raises(InterruptedError):
        next(run.steps(pause))
    assert [step.batch for step in run.steps()] == [1, 2, 3, 4, 5, 6]


def test_a_model_file_and_its_accuracy_come_out(
    run: Run, small_mnist: Path, tmp_path: Path
) -> None:
    result = run("train", "--epochs", "1", "--data-dir", small_mnist)
    assert result.returncode == 0
    assert re.fullmatch(rb"model\.onnx  test accuracy \d+\.\d\d %\n", result.stdout)
    Classifier.load(tmp_path / "model.onnx")


def test_away_from_a_terminal_an_epoch_is_a_plain_line(run: Run, small_mnist: Path) -> None:
    result = run("train", "--epochs", "2", "--data-dir", small_mnist)
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"epoch {number}/2  loss \d\.\d{{4}}  [\d,]+ images/s", line)


def test_quiet_silences_the_epochs(run: Run, small_mnist: Path) -> None:
    assert run("train", "--epochs", "1", "--quiet", "--data-dir", small_mnist).stderr == b""


def test_json_is_one_object_with_the_accuracy_and_the_settings(run: Run, small_mnist: Path) -> None:
    result = run("train", "--epochs", "1", "--seed", "5", "--json", "--data-dir", small_mnist)
    found = json.loads(result.stdout)
    assert found["model"] == "model.onnx"
    assert 0 <= found["test_accuracy"] <= 1
    assert (found["epochs"], found["seed"]) == (1, 5)


def test_the_data_directory_may_come_from_the_environment(run: Run, small_mnist: Path) -> None:
    environment = {**os.environ, "MNISTCTL_DATA_DIR": str(small_mnist)}
    result = run("train", "--epochs", "1", "--batch-size", "320", "--json", env=environment)
    assert json.loads(result.stdout)["test_accuracy"] * 640 == pytest.approx(
        round(json.loads(result.stdout)["test_accuracy"] * 640)
    )


def test_the_same_seed_gives_the_same_file(run: Run, small_mnist: Path, tmp_path: Path) -> None:
    for output in ("a.onnx", "b.onnx"):
        run("train", "--epochs", "2", "--threads", "2", "--data-dir", small_mnist, "-o", output)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_another_seed_gives_another_file(run: Run, small_mnist: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        run("train", "--epochs", "1", "--seed", seed, "--data-dir", small_mnist, "-o", seed)
    assert Classifier.load(tmp_path / "1").metadata["seed"] == "1"
    images = np.zeros((1, 28, 28), np.float32)
    logits = [Classifier.load(tmp_path / seed).logits(images) for seed in ("1", "2")]
    assert (logits[0] != logits[1]).any()


def test_a_training_learns(settings: training.Settings) -> None:
    digits = dataset.load("train")
    digits = dataset.Digits(digits.images[:4096], digits.labels[:4096])
    steps = list(training.Training(settings, digits, torch.device("cpu")).steps())
    assert steps[-1].loss < 0.5 * steps[0].loss


def test_calibration_changes_no_decision_and_makes_right_ones_surer(
    settings: training.Settings, mnist_test: dataset.Digits
) -> None:
    digits = dataset.load("train")
    digits = dataset.Digits(digits.images[:4096], digits.labels[:4096])
    run = training.Training(settings, digits, torch.device("cpu"))
    for _ in run.steps():
        pass
    images = torch.tensor(mnist_test.images[:500]).unsqueeze(1) / 255
    with torch.inference_mode():
        before = run.network.eval()(images)
        after = run.calibrated()(images)
    assert torch.equal(before.argmax(1), after.argmax(1))
    labels = torch.tensor(mnist_test.labels[:500]).long()
    assert functional.cross_entropy(after, labels) < functional.cross_entropy(before, labels)


@pytest.mark.parametrize("done", [1, 10, 11], ids=["early", "between epochs", "late"])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    done: int, settings: training.Settings, small_mnist: Path, tmp_path: Path
) -> None:
    digits, cpu = dataset.load("train", small_mnist), torch.device("cpu")
    whole = training.Training(settings, digits, cpu)
    whole_steps = list(whole.steps())
    first = training.Training(settings, digits, cpu)
    for _, _ in zip(range(done), first.steps(), strict=False):
        pass
    first.save(tmp_path / "run.ckpt")
    torch.manual_seed(99)
    second = training.Training.resumed(tmp_path / "run.ckpt", {}, digits, cpu)
    assert list(second.steps()) == whole_steps[done:]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value), name


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_checkpoint_and_leaves_the_earlier_model(
    number: int, status: int, small_mnist: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    options = ("--data-dir", small_mnist, "--checkpoint", "run.ckpt")
    with stopped_in_the_middle(tmp_path, number, *options) as stopped:
        assert stopped.returncode == status
        assert stopped.stdout == ""
        command = stopped.stderr.strip().rpartition(": mnistctl ")[2].split()
        assert command == ["train", *stopped.args[4:], "--resume", "run.ckpt"]
        assert (tmp_path / "model.onnx").read_bytes() == b"earlier"
        assert names(tmp_path) == ["model.onnx", "run.ckpt"]


def test_a_signal_without_a_checkpoint_says_that_nothing_was_saved(
    small_mnist: Path, tmp_path: Path
) -> None:
    with stopped_in_the_middle(tmp_path, signal.SIGINT, "--data-dir", small_mnist) as stopped:
        assert stopped.returncode == 130
        assert "nothing was saved (--checkpoint FILE would have)" in stopped.stderr
        assert names(tmp_path) == []


def test_a_run_stopped_by_a_signal_is_finished_to_the_byte(
    run: Run, small_mnist: Path, tmp_path: Path
) -> None:
    """The checkpoint of an epoch's end is what a run stopped right after it leaves."""
    options = ("--epochs", "3", "--threads", "1", "--data-dir", small_mnist)
    command = [*MNISTCTL, "train", *map(str, options), "--checkpoint", "run.ckpt"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    resumed = run("train", "--resume", "run.ckpt", "--data-dir", small_mnist, "-o", "resumed.onnx")
    whole = run("train", *options, "-o", "whole.onnx")
    assert (resumed.returncode, whole.returncode) == (0, 0)
    assert (tmp_path / "resumed.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: path.write_bytes(pickle.dumps(Hostile())),
        lambda path: torch.save({"mnistctl": Hostile()}, path),
        lambda path: torch.save({"weights": torch.zeros(3)}, path),
        lambda path: torch.save({"mnistctl": mnistctl.__version__, "settings": {}}, path),
    ],
    ids=["empty", "text", "hostile pickle", "hostile archive", "another's", "without a state"],
)
def test_what_is_no_checkpoint_is_refused_and_never_executed(
    make: object, tmp_path: Path, small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.ckpt"
    make(path)
    digits = dataset.load("train", small_mnist)
    with pytest.raises(MnistctlError, match=r"run\.ckpt: is damaged, or no checkpoint"):
        training.Training.resumed(path, {}, digits, torch.device("cpu"))
    assert names(tmp_path) == ["run.ckpt"]


@pytest.fixture
def checkpoint(settings: training.Settings, small_mnist: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.ckpt"
    digits = dataset.load("train", small_mnist)
    training.Training(settings, digits, torch.device("cpu")).save(path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(done=-1),
        lambda state: state.update(done=10**18),
        lambda state: state.update(data=torch.zeros(2)),
        lambda state: state.update(loss_sum=float("nan")),
        lambda state: state["settings"].update(epochs=10**9),
        lambda state: state["settings"].update(threads="2"),
        lambda state: state["settings"].pop("seed"),
        lambda state: state["network"].update({"0.weight": torch.zeros(3)}),
        lambda state: state["network"]["0.weight"].fill_(float("nan")),
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
        lambda state: state["optimizer"]["state"].clear(),
        lambda state: state["optimizer"]["param_groups"][0].update(betas=(2.0, 3.0)),
        lambda state: state["schedule"].update(total_steps=1),
        lambda state: state["schedule"].update(last_epoch=3),
        lambda state: state["schedule"].clear(),
        lambda state: state.update(mnistctl=torch.zeros(2)),
    ],
)
def test_a_checkpoint_with_a_part_that_does_not_fit_is_refused(
    change: object, settings: training.Settings, small_mnist: Path, tmp_path: Path
) -> None:
    path, cpu = tmp_path / "run.ckpt", torch.device("cpu")
    digits = dataset.load("train", small_mnist)
    run = training.Training(settings, digits, cpu)
    next(run.steps())
    run.save(path)
    state = torch.load(path)
    change(state)
    torch.save(state, path)
    with pytest.raises(MnistctlError, match=r"run\.ckpt: is damaged, or no checkpoint"):
        training.Training.resumed(path, {}, digits, cpu)


def test_a_truncated_checkpoint_is_refused(checkpoint: Path, run: Run) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    result = run("train", "--resume", checkpoint)
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"run.ckpt: is damaged, or no checkpoint of mnistctl" in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_a_checkpoint_of_another_version_is_refused(checkpoint: Path, run: Run) -> None:
    state = torch.load(checkpoint)
    torch.save({**state, "mnistctl": "0.0.1"}, checkpoint)
    result = run("train", "--resume", checkpoint)
    assert result.returncode == 1
    assert b"was written by mnistctl 0.0.1, this is" in result.stderr


def test_a_checkpoint_of_other_data_is_refused(checkpoint: Path, run: Run) -> None:
    result = run("train", "--resume", checkpoint)
    assert result.returncode == 1
    assert b"was made with another data set" in result.stderr


def test_a_setting_that_is_not_the_checkpoint_s_is_refused(
    checkpoint: Path, run: Run, small_mnist: Path
) -> None:
    options = ("--epochs", "9", "--data-dir", small_mnist)
    result = run("train", "--resume", checkpoint, *options)
    assert result.returncode == 1
    assert b"was begun with epochs 2, not 9" in result.stderr


def test_a_learning_rate_too_high_is_named_and_leaves_no_model(
    run: Run, small_mnist: Path, tmp_path: Path
) -> None:
    result = run("train", "--lr", "1e30", "--data-dir", small_mnist)
    assert result.returncode == 1
    assert b"training diverged" in result.stderr
    assert b"try an --lr below 1e+30" in result.stderr
    assert names(tmp_path) == []


def test_a_single_picture_is_refused(run: Run, tmp_path: Path) -> None:
    write_mnist(tmp_path, np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8))
    result = run("train", "--data-dir", tmp_path)
    assert result.returncode == 1
    assert b"a single picture" in result.stderr


def test_two_pictures_train(run: Run, tmp_path: Path) -> None:
    write_mnist(tmp_path, np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    assert run("train", "--epochs", "1", "--data-dir", tmp_path).returncode == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so CUDA is not refused")
def test_cuda_where_there_is_none_is_refused_at_once(run: Run, tmp_path: Path) -> None:
    result = run("train", "--device", "cuda")
    assert result.returncode == 1
    assert b"--device cuda: " in result.stderr
    assert names(tmp_path) == []


@pytest.mark.parametrize("option", ["--output", "--checkpoint"])
def test_a_directory_that_is_missing_is_refused_before_training(run: Run, option: str) -> None:
    result = run("train", option, "nowhere/file")
    assert result.returncode == 1
    assert (
        result.stderr == b"mnistctl: nowhere/file: cannot be written: No such file or directory.\n"
    )


@pytest.mark.parametrize("package", ["torch", "torchvision", "onnx"])
def test_without_the_train_extra_it_says_how_to_get_it(
    run: Run, tmp_path: Path, package: str
) -> None:
    # A None in sys.modules makes an import fail as that of a package that is not installed.
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = run("train", env={**os.environ, "PYTHONPATH": path})
    assert result.returncode == 1
    assert f"train needs {package}".encode() in result.stderr
    assert b"pip install '.[train]'" in result.stderr


def test_builds_of_pytorch_that_do_not_belong_together_are_an_error(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator does not exist\\nsee there')\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = run("train", env={**os.environ, "PYTHONPATH": path})
    assert result.returncode == 1
    assert result.stderr.startswith(b"mnistctl: train needs onnx, torch and torchvision, of which")
    assert b"(operator does not exist)" in result.stderr
    assert result.stderr.count(b"\n") == 1
