"""``mnistctl train``; on 640 images, an epoch has five batches of 128."""

import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from commands import ASCII_ONLY, environment_with_home, one_sentence, run_main
from support import MNISTCTL, names, run_program, write_mnist
from torch import nn

import mnistctl.training
from mnistctl import cli, signals, terminal
from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset, load_dataset
from mnistctl.errors import ExitStatus
from mnistctl.evaluation import evaluate
from mnistctl.settings import TrainSettings
from mnistctl.training.loop import Progress, Training

TWO_EPOCHS = ("--epochs", "2", "--threads", "1")

Finished = tuple[Path, "subprocess.CompletedProcess[bytes]"]


# A training that comes to its end


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> Finished:
    """A finished training of two epochs: its working directory and what it printed."""
    directory = tmp_path_factory.mktemp("finished")
    return directory, run_main("train", *TWO_EPOCHS, "--data-dir", small_mnist, cwd=directory)


def test_the_result_is_the_model_file_and_its_accuracy(finished: Finished) -> None:
    _, result = finished
    assert result.returncode == ExitStatus.OK
    assert re.fullmatch(rb"model\.onnx  test accuracy \d+\.\d\d %\n", result.stdout)


def test_the_model_file_is_one_that_predicts(finished: Finished, digit_png: Path) -> None:
    directory, _ = finished
    result = run_main("predict", "--model", "model.onnx", digit_png, cwd=directory)
    assert re.fullmatch(rb"\d\n", result.stdout)


def test_the_model_is_trained_on_one_split_and_evaluated_on_the_other(
    mnist_test: Dataset, tmp_path: Path
) -> None:
    directory = write_mnist(tmp_path / "data", mnist_test.images[:640], mnist_test.labels[:640])
    wrong = (mnist_test.labels[640:680] + 1) % 10
    other = write_mnist(tmp_path / "other", mnist_test.images[640:680], wrong)
    for path in other.glob("t10k-*"):
        path.replace(directory / path.name)
    options = (*TWO_EPOCHS, "--checkpoint", "run.ckpt", "--data-dir", directory)
    result = run_main("train", *options, "--json", cwd=tmp_path)
    training = load_dataset("train", directory)
    assert Training.resume(tmp_path / "run.ckpt", {}, training, torch.device("cpu")).step == 10
    report = evaluate(Classifier.load(tmp_path / "model.onnx"), load_dataset("test", directory))
    assert json.loads(result.stdout.splitlines()[-1])["test_accuracy"] == report.accuracy


def test_the_model_file_is_the_only_file(finished: Finished) -> None:
    directory, _ = finished
    assert names(directory) == ["model.onnx"]


def test_away_from_a_terminal_an_epoch_is_a_plain_line(finished: Finished) -> None:
    _, result = finished
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {number}/2  loss \d\.\d{{4}}  accuracy \d+\.\d\d %  [\d,]+ images/s", line
        )


def test_the_same_seed_gives_the_same_file(
    finished: Finished, small_mnist: Path, tmp_path: Path
) -> None:
    result = run_main("train", *TWO_EPOCHS, "--data-dir", small_mnist, cwd=tmp_path)
    assert result.returncode == ExitStatus.OK
    directory, _ = finished
    assert (tmp_path / "model.onnx").read_bytes() == (directory / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def quiet_json(tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> Finished:
    """A finished training of one epoch with another seed, with --quiet and --json."""
    directory = tmp_path_factory.mktemp("quiet")
    options = ("--epochs", "1", "--threads", "1", "--seed", "5", "--data-dir", small_mnist)
    return directory, run_main("train", *options, "--quiet", "--json", cwd=directory)


def test_quiet_silences_the_epochs(quiet_json: Finished) -> None:
    _, result = quiet_json
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")


def test_json_ends_with_an_object_with_the_accuracy_and_the_settings(quiet_json: Finished) -> None:
    _, result = quiet_json
    values = json.loads(result.stdout.splitlines()[-1])
    assert values["model"] == "model.onnx"
    assert 0 <= values["test_accuracy"] <= 1
    assert values["test_loss"] > 0
    assert (values["epochs"], values["seed"]) == (1, 5)


def test_json_has_an_object_for_each_epoch(quiet_json: Finished) -> None:
    _, result = quiet_json
    *epochs, _ = map(json.loads, result.stdout.splitlines())
    assert [list(epoch) for epoch in epochs] == [["epoch", "loss", "accuracy", "images_per_second"]]
    assert epochs[0]["epoch"] == 1
    assert 0 <= epochs[0]["accuracy"] <= 1
    assert min(epochs[0]["loss"], epochs[0]["images_per_second"]) > 0


def test_another_seed_gives_another_network(finished: Finished, quiet_json: Finished) -> None:
    models = [Classifier.load(directory / "model.onnx") for directory, _ in (finished, quiet_json)]
    assert [model.metadata["seed"] for model in models] == ["0", "5"]
    images = np.zeros((1, 28, 28), np.float32)
    assert (models[0].logits(images) != models[1].logits(images)).any()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> Finished:
    """A training in a process of its own, with new directories, where output is ASCII alone."""
    directory = tmp_path_factory.mktemp("process")
    for name in ("home", "temporary", "work"):
        (directory / name).mkdir()
    environment = {
        **environment_with_home(directory / "home", directory / "temporary"),
        **ASCII_ONLY,
        "MNISTCTL_DATA_DIR": str(small_mnist),
    }
    return directory, subprocess.run(
        [*MNISTCTL, "train", "--epochs", "1", "--threads", "1", "--checkpoint", "run.ckpt"],
        cwd=directory / "work",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def test_train_writes_no_file_but_its_outputs(process: Finished) -> None:
    directory, result = process
    assert result.returncode == ExitStatus.OK
    assert names(directory / "home") == []
    assert names(directory / "work") == ["model.onnx", "run.ckpt"]


def test_train_prints_ascii_where_the_streams_take_no_more(process: Finished) -> None:
    _, result = process
    assert result.stdout.startswith(b"model.onnx  test accuracy ")
    assert result.stdout.isascii()
    assert result.stderr.startswith(b"epoch 1/1  loss ")
    assert result.stderr.isascii()


def test_the_environment_may_name_the_data_set(
    process: Finished, small_mnist: Path, tmp_path: Path
) -> None:
    """Its checkpoint has the checksum of the data, which resuming compares."""
    directory, _ = process
    checkpoint = directory / "work" / "run.ckpt"
    result = run_main("train", "--resume", checkpoint, "--data-dir", small_mnist, cwd=tmp_path)
    assert result.returncode == ExitStatus.OK
    finished = directory / "work" / "model.onnx"
    assert (tmp_path / "model.onnx").read_bytes() == finished.read_bytes()


def test_two_images_are_enough(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    result = run_main("train", *TWO_EPOCHS, "--data-dir", "data", cwd=tmp_path)
    assert result.returncode == ExitStatus.OK
    assert names(tmp_path) == ["data", "model.onnx"]


@pytest.mark.parametrize(("value", "expected"), [(None, "2000"), ("5", "5")])
def test_threads_soon_sleep_while_they_wait_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None, expected: str
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", value or "")
    if value is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    run_main("train", "--resume", "missing.ckpt", cwd=tmp_path)
    assert os.environ["GOMP_SPINCOUNT"] == expected


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_a_training_reuses_freed_memory_without_page_faults(tmp_path: Path) -> None:
    program = """
import os, resource, sys
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"  # a fault for each page
import numpy as np
from mnistctl import cli
sys.argv = ["mnistctl", "train", "--resume", "missing.ckpt"]
cli.main()
np.ones(20 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(20 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    assert int(run_program(program, tmp_path).stdout) < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_too_little_memory_is_one_sentence(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
import mnistctl.training.loop
from mnistctl import cli
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**9,) * 2)
sys.argv = ["mnistctl", "train", "--batch-size", "60000", "--threads", "1"]
sys.exit(cli.main())
"""
    result = run_program(program, tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert result.stderr == (
        "mnistctl: training needs more memory than there is: use a smaller --batch-size, "
        "or another --device.\n"
    )
    assert names(tmp_path) == []


def test_too_little_memory_after_the_last_epoch_is_one_sentence_too(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(_training: Training) -> NoReturn:
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 MiB.")

    monkeypatch.setattr(Training, "calibrate", calibrate)
    options = ("--epochs", "1", "--quiet", "--data-dir", small_mnist)
    result = run_main("train", *options, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "training needs more memory than there is" in one_sentence(result.stderr)


# A training that is stopped


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, ExitStatus.INTERRUPTED), (signal.SIGTERM, ExitStatus.TERMINATED)],
)
def test_a_signal_saves_the_checkpoint_and_leaves_the_earlier_model(
    number: int, status: ExitStatus, small_mnist: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    options = ["--epochs", "1000", "--threads", "1", "--data-dir", str(small_mnist)]
    options += ["--checkpoint", "run.ckpt"]
    with subprocess.Popen(
        [*MNISTCTL, "train", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("epoch 1/1000")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert output == ""
    command = shlex.split(errors.rpartition("mnistctl: stopped; resume with: ")[2])
    assert command == ["mnistctl", "train", *options, "--resume", "run.ckpt"]
    assert (tmp_path / "model.onnx").read_bytes() == b"earlier"
    assert names(tmp_path) == ["model.onnx", "run.ckpt"]
    data = load_dataset("train", small_mnist)
    assert Training.resume(tmp_path / "run.ckpt", {}, data, torch.device("cpu")).step >= 2


@contextmanager
def signals_are_handled() -> Iterator[None]:
    """Handle SIGTERM in this process as the program does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "_requested", None)
        earlier = signal.signal(signal.SIGTERM, signals._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, earlier)


@contextmanager
def signal_after_first_epoch() -> Iterator[None]:
    """Send this process SIGTERM after the first epoch of a training in the block."""

    @contextmanager
    def training_progress(**_options: bool) -> Iterator[Callable[[Progress], None]]:
        def report(progress: Progress) -> None:
            if (progress.epoch, progress.batch) == (1, progress.batches):
                signal.raise_signal(signal.SIGTERM)

        yield report

    with pytest.MonkeyPatch.context() as patch, signals_are_handled():
        patch.setattr(terminal, "training_progress", training_progress)
        yield


def test_a_signal_without_a_checkpoint_says_that_nothing_was_saved(
    small_mnist: Path, tmp_path: Path
) -> None:
    with signal_after_first_epoch():
        result = run_main("train", *TWO_EPOCHS, "--data-dir", small_mnist, cwd=tmp_path)
    assert result.returncode == ExitStatus.TERMINATED
    assert re.fullmatch(rb"mnistctl: stopped; nothing was saved .*--checkpoint.*\n", result.stderr)
    assert names(tmp_path) == []


def test_a_training_stopped_by_a_signal_is_finished_to_the_byte(
    finished: Finished, small_mnist: Path, tmp_path: Path
) -> None:
    options = (*TWO_EPOCHS, "--data-dir", small_mnist, "--checkpoint", "run.ckpt")
    with signal_after_first_epoch():
        stopped = run_main("train", *options, cwd=tmp_path)
    assert stopped.returncode == ExitStatus.TERMINATED
    resumed = run_main("train", "--resume", "run.ckpt", "--data-dir", small_mnist, cwd=tmp_path)
    assert resumed.returncode == ExitStatus.OK
    assert resumed.stderr.startswith(b"epoch 2/2  ")
    directory, _ = finished
    assert (tmp_path / "model.onnx").read_bytes() == (directory / "model.onnx").read_bytes()


def test_a_signal_after_the_last_epoch_says_how_to_resume(
    small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(training: Training) -> nn.Sequential:
        signal.raise_signal(signal.SIGTERM)
        return training.network

    monkeypatch.setattr(Training, "calibrate", calibrate)
    options = (*TWO_EPOCHS, "--data-dir", small_mnist, "--checkpoint", "run.ckpt")
    with signals_are_handled():
        result = run_main("train", *options, cwd=tmp_path)
    assert result.returncode == ExitStatus.TERMINATED
    assert result.stderr.endswith(b"--checkpoint run.ckpt --resume run.ckpt\n")
    assert names(tmp_path) == ["run.ckpt"]


@pytest.mark.parametrize(
    ("name", "printed"),
    [(b"a'b", "'a'\"'\"'b'"), (b"a\nb", r"$'a\nb'"), (b"\xff\\'", r"$'\xff\\\''")],
)
def test_the_command_that_resumes_has_each_path_as_bash_reads_it(
    name: bytes, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mnistctl", "train"])
    hint = cli._resume_hint(Path(os.fsdecode(name)), None, None, 1)
    assert hint == f"resume with: mnistctl train --resume {printed}"
    assert subprocess.check_output(["bash", "-c", f"printf %s {printed}"]) == name


def test_the_command_that_resumes_a_resumed_training_is_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path("run.ckpt")
    monkeypatch.setattr(sys, "argv", ["mnistctl", "train", "--resume", "run.ckpt"])
    assert cli._resume_hint(path, path, None, 1) == "resume with: mnistctl train --resume run.ckpt"


@pytest.mark.parametrize(
    ("given", "added"), [((), " --data-dir data"), (("--data-dir", "data"), "")]
)
def test_the_command_that_resumes_names_the_data_set(
    given: tuple[str, ...], added: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("run.ckpt")
    arguments = ["mnistctl", "train", *given, "--resume", "run.ckpt"]
    monkeypatch.setattr(sys, "argv", arguments)
    hint = cli._resume_hint(path, path, Path("data"), 1)
    assert hint == f"resume with: {' '.join(arguments)}{added}"


# A training that is refused


@pytest.fixture
def checkpoint(small_mnist: Path, tmp_path: Path) -> Path:
    """The checkpoint of a training of two epochs that has taken no step yet."""
    path = tmp_path / "run.ckpt"
    settings = TrainSettings(epochs=2, batch_size=64, threads=1)
    Training(settings, load_dataset("train", small_mnist), torch.device("cpu")).save(path)
    return path


def test_an_invalid_checkpoint_is_refused_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    result = run_main("train", "--resume", "run.ckpt", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (ExitStatus.FAILURE, b"")
    assert "run.ckpt: is not a valid mnistctl checkpoint" in one_sentence(result.stderr)


def test_a_checkpoint_of_other_data_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8))
    result = run_main("train", "--resume", checkpoint, "--data-dir", "data", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "was made with another data set" in one_sentence(result.stderr)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--epochs", "9", "was started with epochs 2, not 9"),
        ("--batch-size", "65", "was started with batch size 64, not 65"),
        ("--lr", "0.5", "was started with learning rate 0.015, not 0.5"),
        ("--seed", "1", "was started with seed 0, not 1"),
        ("--threads", "2", "was started with threads 1, not 2"),
    ],
)
def test_a_setting_that_is_not_the_checkpoints_is_refused(
    checkpoint: Path, small_mnist: Path, tmp_path: Path, option: str, value: str, reason: str
) -> None:
    options = ("--data-dir", small_mnist, option, value)
    result = run_main("train", "--resume", checkpoint, *options, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert reason in one_sentence(result.stderr)


def test_settings_equal_to_the_checkpoints_are_no_obstacle(
    checkpoint: Path, small_mnist: Path, tmp_path: Path
) -> None:
    options = ("--data-dir", small_mnist, "--epochs", "2", "--lr", "1.5e-2", "--seed", "0")
    result = run_main("train", "--resume", checkpoint, *options, cwd=tmp_path)
    assert result.returncode == ExitStatus.OK


@pytest.mark.parametrize("option", ["--checkpoint", "--resume"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("model.onnx", "model.onnx"), ("model.onnx", "./data/../model.onnx"), ("link", "model.onnx"),
     ("model.onnx", "link")],
)  # fmt: skip
def test_the_model_file_and_the_checkpoint_must_be_two_files(
    tmp_path: Path, option: str, first: str, second: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    (tmp_path / "link").symlink_to("model.onnx")
    (tmp_path / "data").mkdir()
    result = run_main("train", "--output", first, option, second, cwd=tmp_path)
    assert result.returncode == ExitStatus.USAGE
    assert "'--output': is also the checkpoint: name another" in one_sentence(result.stderr)
    assert (tmp_path / "model.onnx").read_bytes() == b"earlier"
    assert names(tmp_path) == ["data", "link", "model.onnx"]


def test_a_learning_rate_too_high_is_named_and_leaves_no_model(
    small_mnist: Path, tmp_path: Path
) -> None:
    result = run_main("train", "--lr", "1e30", "--data-dir", small_mnist, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "training diverged" in one_sentence(result.stderr)
    assert "try an --lr below 1e+30" in one_sentence(result.stderr)
    assert names(tmp_path) == []


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8))
    result = run_main("train", "--data-dir", "data", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "the data set has one image" in one_sentence(result.stderr)


@pytest.mark.parametrize(
    ("device", "found"), [("cuda", torch.cuda), ("mps", torch.backends.mps)], ids=["cuda", "mps"]
)
def test_a_device_that_is_not_there_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, found: object
) -> None:
    monkeypatch.setattr(found, "is_available", lambda: False)
    result = run_main("train", "--device", device, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert f"--device {device}: " in one_sentence(result.stderr)
    assert names(tmp_path) == []


@pytest.mark.parametrize("option", ["--output", "--checkpoint"])
def test_a_directory_that_is_missing_is_refused_before_training(
    tmp_path: Path, option: str
) -> None:
    result = run_main("train", option, "missing/file", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert (
        result.stderr == b"mnistctl: missing/file: cannot be written: No such file or directory.\n"
    )


@pytest.mark.parametrize("package", ["torch", "onnx", "safetensors"])
def test_without_the_train_extra_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    # A None makes an import fail as that of a package that is not installed.
    monkeypatch.setitem(sys.modules, package, None)
    result = run_main("train", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert f"train needs {package}" in one_sentence(result.stderr)
    assert "pip install onnx safetensors torch" in one_sentence(result.stderr)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "ImportError('no symbol\\nsee there')",
            "(no symbol): give more memory, or run pip install",
        ),
        ("ValueError", "(ValueError): give more memory, or run pip install"),
        ("MemoryError", "there is not enough memory"),
    ],
    ids=["import", "value", "memory"],
)
def test_a_package_that_cannot_be_imported_is_an_error(
    error: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "safetensors.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "safetensors")
    result = run_main("train", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert sentence in one_sentence(result.stderr)


def test_a_module_of_mnistctl_that_cannot_be_imported_is_no_broken_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(mnistctl.training, "loop", raising=False)
    monkeypatch.setitem(sys.modules, "mnistctl.training.loop", None)
    result = run_main("train", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    reason = "a package cannot be imported (import of mnistctl.training.loop halted"
    assert reason in one_sentence(result.stderr)
