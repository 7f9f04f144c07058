"""Several processes that train together. ``processes.py`` is the program of two of them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import one_sentence, run_main
from processes import CPU, SETTINGS, augmented, few_images
from support import MNISTCTL, names

from mnistctl.classifier import Classifier
from mnistctl.errors import ExitStatus, MnistctlError
from mnistctl.training import checkpoint, distributed, loop
from mnistctl.training.loop import Training

Ended = subprocess.CompletedProcess[str]


@contextmanager
def taken_port() -> Iterator[int]:
    """Listen at a free port during the block."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def variables(rank: int, port: int) -> dict[str, str]:
    """Return what torchrun sets for one of two processes."""
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    values = (2, rank, rank, "127.0.0.1", port, 1)
    return dict(zip(names, map(str, values), strict=True))


def run_two(command: Callable[[int], Sequence[str | Path]], directory: Path) -> list[Ended]:
    """Run two processes until both have ended, and return them."""
    with taken_port() as port:
        pass  # it is free now
    processes = [
        subprocess.Popen(
            command(rank),
            cwd=directory,
            env={**os.environ, **variables(rank, port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    return [
        Ended(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


# The steps of a training


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    """The two processes of ``processes.py``."""
    program = Path(__file__).with_name("processes.py")
    directory = tmp_path_factory.mktemp("pair")
    return run_two(lambda _rank: [sys.executable, program, "run.ckpt"], directory)


@pytest.fixture(scope="module")
def both(pair: list[Ended]) -> list[dict[str, Any]]:
    """What the two processes printed."""
    assert [process.stderr for process in pair] == ["", ""]
    return [json.loads(process.stdout.splitlines()[0]) for process in pair]


def test_each_process_takes_its_share_of_every_batch(both: list[dict[str, Any]]) -> None:
    first, second = ([hashes for _, hashes in each["augmented"]] for each in both)
    together = [sorted([*a, *b]) for a, b in zip(first, second, strict=True)]
    alone = augmented(Training(SETTINGS, few_images(), CPU))
    assert together == [sorted(hashes) for _, hashes in alone]
    assert {(len(a), len(b)) for a, b in zip(first, second, strict=True)} == {(8, 7)}


def test_no_two_processes_or_steps_have_the_same_random_numbers(
    both: list[dict[str, Any]],
) -> None:
    seeds = [seed for each in both for seed, _ in each["augmented"]]
    assert len(seeds) == 20
    assert len(set(seeds)) == len(seeds)


def test_all_processes_have_the_same_state(both: list[dict[str, Any]]) -> None:
    assert both[0]["finished"] == both[1]["finished"]
    assert both[0]["stopped"] == both[1]["stopped"]


def test_loss_and_accuracy_are_those_of_all_processes(both: list[dict[str, Any]]) -> None:
    assert both[0]["reports"] == both[1]["reports"]
    for _, batch, _, accuracy in both[0]["reports"]:
        correct = accuracy * batch * SETTINGS.batch_size
        assert correct == pytest.approx(round(correct))


def test_a_signal_to_one_process_stops_all(both: list[dict[str, Any]]) -> None:
    assert [each["status"] for each in both] == [ExitStatus.TERMINATED] * 2


def test_all_processes_stop_at_the_next_report(both: list[dict[str, Any]]) -> None:
    assert [each["steps"] for each in both] == [10, 10]  # the signal arrived in step 2


def test_a_resumed_training_ends_as_an_uninterrupted_one(both: list[dict[str, Any]]) -> None:
    assert both[0]["resumed"] == both[0]["finished"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this scheduling policy")
def test_linux_schedules_the_processes_as_batch(both: list[dict[str, Any]]) -> None:
    assert [each["is_batch"] for each in both] == [True, True]


def test_processes_with_different_options_are_refused_by_all(both: list[dict[str, Any]]) -> None:
    for each in both:
        assert each["different"].startswith("the processes have different options, data sets, ")


def test_a_process_that_is_killed_is_an_error_in_the_other(pair: list[Ended]) -> None:
    first, second = pair
    assert second.returncode == -signal.SIGKILL
    assert first.stdout.splitlines()[1].startswith(
        '{"lost": "another process of this training has ended'
    )


# The command line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> tuple[Path, Ended]:
    """A training by torchrun: its working directory and what it printed."""
    directory = tmp_path_factory.mktemp("finished")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    train = ["train", "--epochs", "2", "--data-dir", str(small_mnist), "--checkpoint", "run.ckpt"]
    return directory, subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "mnistctl", *train],
        cwd=directory,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # without it, torchrun prints a warning
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_first_process_alone_prints(finished: tuple[Path, Ended]) -> None:
    _, result = finished
    assert result.returncode == ExitStatus.OK
    assert re.fullmatch(r"model\.onnx  test accuracy \d+\.\d\d %\n", result.stdout)
    lines = result.stderr.splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]


def test_there_is_one_model_file_and_one_checkpoint(finished: tuple[Path, Ended]) -> None:
    directory, _ = finished
    assert names(directory) == ["model.onnx", "run.ckpt"]


def test_the_files_name_the_number_of_processes(finished: tuple[Path, Ended]) -> None:
    directory, _ = finished
    assert Classifier.load(directory / "model.onnx").metadata["processes"] == "2"
    assert checkpoint.read(directory / "run.ckpt").processes == 2


def test_another_number_of_processes_cannot_resume(
    finished: tuple[Path, Ended], small_mnist: Path, tmp_path: Path
) -> None:
    options = ("--resume", finished[0] / "run.ckpt", "--data-dir", small_mnist)
    result = run_main("train", *options, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "was started with processes 2, not 1: start that many" in one_sentence(result.stderr)


def test_an_error_of_the_first_process_ends_the_other(small_mnist: Path, tmp_path: Path) -> None:
    """Only the first one writes, so it alone notices that the directory is missing."""
    train = [*MNISTCTL, "train", "--data-dir", str(small_mnist), "--output", "missing/model.onnx"]
    first, second = run_two(lambda _rank: train, tmp_path)
    assert (first.returncode, second.returncode) == (ExitStatus.FAILURE, ExitStatus.FAILURE)
    assert "missing/model.onnx: cannot be written" in one_sentence(first.stderr.encode())
    assert "another process of this training has ended" in one_sentence(second.stderr.encode())
    assert names(tmp_path) == []


@pytest.mark.parametrize("command", [("predict", "seven.png"), ("validate",)], ids=" ".join)
def test_other_commands_refuse_several_processes(command: tuple[str, ...], tmp_path: Path) -> None:
    result = run_main(*command, cwd=tmp_path, env={"WORLD_SIZE": "2"})
    assert result.returncode == ExitStatus.USAGE
    assert "only train runs in several processes" in one_sentence(result.stderr)


def test_a_single_process_of_torchrun_is_an_ordinary_one(tmp_path: Path, digit_png: Path) -> None:
    result = run_main("predict", digit_png, cwd=tmp_path, env={"WORLD_SIZE": "1", "RANK": "0"})
    assert result.stdout == b"7\n"


@pytest.mark.parametrize("number", ["", "1"])
def test_a_single_process_joins_no_other(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", number)
    distributed.join()
    assert (distributed.count(), distributed.rank()) == (1, 0)


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("WORLD_SIZE", "0", "1 to 100000"),
        ("RANK", "2", "0 to 1"),
        ("RANK", "-1", "0 to 1"),
        ("LOCAL_RANK", "one", "0 to 1"),
        ("MASTER_PORT", "65536", "1 to 65535"),
    ],
)
def test_a_damaged_variable_is_refused(name: str, value: str, limits: str, tmp_path: Path) -> None:
    result = run_main("train", cwd=tmp_path, env={**variables(0, 1), name: value})
    assert result.returncode == ExitStatus.FAILURE
    expected = f"mnistctl: {name} must be from {limits}, not '{value}': start with torchrun.\n"
    assert result.stderr.decode() == expected


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        result = run_main("train", cwd=tmp_path, env=variables(0, port))
    assert result.returncode == ExitStatus.FAILURE
    assert f"port {port} is taken: choose another" in one_sentence(result.stderr)


def test_a_process_that_reaches_another_program_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process could not listen at the port; the second waits for its answer."""
    monkeypatch.setattr(distributed, "_TIMEOUT", timedelta(seconds=1))
    with taken_port() as port:
        result = run_main("train", cwd=tmp_path, env=variables(1, port))
    assert result.returncode == ExitStatus.FAILURE
    assert "2 processes do not find each other at" in one_sentence(result.stderr)


# What each process gets


@pytest.fixture
def second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")


@pytest.mark.usefixtures("second_of_three")
def test_a_batch_needs_an_image_for_each_process() -> None:
    with pytest.raises(MnistctlError, match="a batch of 2 images is too small for 3 processes"):
        Training(replace(SETTINGS, batch_size=2), few_images(), CPU)


@pytest.mark.usefixtures("second_of_three")
def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert loop.choose_device("auto") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(MnistctlError, match="a GPU for only 2 of this machine's"):
        loop.choose_device("cuda")


@pytest.mark.usefixtures("second_of_three")
def test_several_processes_do_not_use_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert loop.choose_device("auto") == torch.device("cpu")
    with pytest.raises(MnistctlError, match=r"^--device mps trains in one process"):
        loop.choose_device("mps")
