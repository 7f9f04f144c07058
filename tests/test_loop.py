"""The training loop; on 200 images in batches of 16, an epoch has 12 steps."""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import names
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from mnistctl import signals
from mnistctl.dataset import Dataset, load_dataset
from mnistctl.errors import ExitStatus, MnistctlError, Stopped
from mnistctl.settings import TrainSettings
from mnistctl.training import distributed, loop
from mnistctl.training.loop import Progress, Training, learning_rate

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=2, batch_size=16, threads=1)


@pytest.fixture(scope="module")
def data(mnist_test: Dataset) -> Dataset:
    return Dataset(mnist_test.images[:200], mnist_test.labels[:200])


@pytest.fixture(scope="module")
def enough() -> Dataset:
    """Enough images for a network to learn something in two epochs."""
    train = load_dataset("train")
    return Dataset(train.images[:4096], train.labels[:4096])


@pytest.fixture(scope="module")
def learned(enough: Dataset) -> tuple[Training, list[Progress]]:
    """A finished training on enough images, and its reports."""
    reports: list[Progress] = []
    training = Training(TrainSettings(epochs=2, batch_size=64, threads=1), enough, CPU)
    training.run(report=reports.append)
    return training, reports


def weights(training: Training) -> dict[str, Tensor]:
    """Return a copy of the network's parameters and batch statistics."""
    return copy.deepcopy(dict(training.network.state_dict()))


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_training_learns(learned: tuple[Training, list[Progress]]) -> None:
    _, reports = learned
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].accuracy > 0.8


def test_reports_come_every_ten_steps_and_after_each_epoch(data: Dataset) -> None:
    reports: list[Progress] = []
    Training(SETTINGS, data, CPU).run(report=reports.append)
    assert [(report.epoch, report.batch) for report in reports] == [
        (1, 10), (1, 12), (2, 10), (2, 12),
    ]  # fmt: skip
    assert {(report.epochs, report.batches) for report in reports} == {(2, 12)}


def test_loss_and_accuracy_are_those_of_the_epochs_batches_without_label_smoothing(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "augment", lambda images, _labels: images / 255)
    monkeypatch.setattr(loop, "_has_fast_bfloat16", lambda _device: False)
    training = Training(TrainSettings(epochs=1, batch_size=200, threads=1), data, CPU)
    with torch.no_grad():
        images = torch.tensor(data.images).unsqueeze(1) / 255
        labels = torch.tensor(data.labels).long()
        logits = copy.deepcopy(training.network).train()(images)
    reports: list[Progress] = []
    training.run(report=reports.append)
    loss = functional.cross_entropy(logits, labels).item()
    smoothed = functional.cross_entropy(logits, labels, label_smoothing=0.1).item()
    assert abs(loss - smoothed) > 1e-3
    assert [report.loss for report in reports] == [pytest.approx(loss, abs=1e-5)]
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert reports[0].accuracy == pytest.approx(accuracy, abs=0.006)


def test_a_step_is_that_of_pytorchs_adamw_at_the_scheduled_learning_rate(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "augment", lambda images, _labels: images / 255)
    monkeypatch.setattr(loop, "_has_fast_bfloat16", lambda _device: False)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    settings = TrainSettings(epochs=4, batch_size=200, threads=1)
    training = Training(settings, data, CPU)
    network = copy.deepcopy(training.network).train()
    training.run()

    images = torch.tensor(data.images).unsqueeze(1) / 255
    labels = torch.tensor(data.labels).long()
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.05)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = learning_rate(step, 4, settings.learning_rate)
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(training.network.state_dict()[name], value)


def test_the_last_tenth_of_the_steps_see_the_images_as_they_are(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented: list[int] = []

    def augment(images: Tensor, _labels: Tensor) -> Tensor:
        augmented.append(training.step)
        return images / 255

    monkeypatch.setattr(loop, "augment", augment)
    training = Training(TrainSettings(epochs=1, batch_size=10, threads=1), data, CPU)
    training.run()
    assert training.step == 20
    assert augmented == list(range(18))


def test_a_process_counts_as_much_as_its_share_of_the_batch(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "add_up", lambda _tensors: None)
    training = Training(SETTINGS, data, CPU)
    for parameter in training.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    loss, correct = torch.tensor(1.0), torch.tensor(8)
    training._combine(0.25, loss, correct)
    assert all((gradient == 0.25).all() for gradient in training._gradients())
    assert (loss.item(), correct.item()) == (0.25, 8)


@pytest.mark.parametrize(
    ("capabilities", "threads", "dtype"),
    [
        ({"avx512_bf16": False}, 2, torch.float32),
        ({"avx512_bf16": True}, 2, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": True}, 2, torch.float32),
        ({"avx512_bf16": True, "amx_bf16": True}, 1, torch.bfloat16),
    ],
)
def test_training_uses_bfloat16_only_where_it_is_fast(
    capabilities: dict[str, bool],
    threads: int,
    dtype: torch.dtype,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    training = Training(TrainSettings(epochs=1, batch_size=200, threads=threads), data, CPU)
    dtypes = []
    training.network.register_forward_hook(lambda _net, _in, logits: dtypes.append(logits.dtype))
    training.run()
    assert set(dtypes) == {dtype}


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_network(data: Dataset, threads: int) -> None:
    settings = TrainSettings(epochs=1, batch_size=100, seed=3, threads=threads)
    trainings = [Training(settings, data, CPU) for _ in range(2)]
    for training in trainings:
        training.run()
    assert_equal(weights(trainings[0]), weights(trainings[1]))


def test_a_batch_has_at_most_the_whole_data_set(data: Dataset) -> None:
    reports: list[Progress] = []
    Training(TrainSettings(epochs=1, threads=1), data, CPU).run(report=reports.append)
    assert [report.batches for report in reports] == [1]


def test_the_settings_name_the_threads_that_are_used(data: Dataset) -> None:
    settings = Training(TrainSettings(), data, CPU).settings
    assert settings.threads == torch.get_num_threads()


def test_training_uses_the_threads_of_the_settings(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    Training(TrainSettings(threads=2), data, CPU)
    assert used == [2]


def test_calibration_starts_from_the_random_seed_of_the_settings(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def augment(images: Tensor, _labels: Tensor) -> Tensor:
        seeds.append(torch.initial_seed())
        return images / 255

    monkeypatch.setattr(loop, "augment", augment)
    training = Training(TrainSettings(seed=7, threads=1), data, CPU)
    torch.manual_seed(0)
    training.calibrate()
    assert seeds == [7]


def test_calibration_raises_the_confidence_of_correct_predictions_and_changes_none(
    learned: tuple[Training, list[Progress]], mnist_test: Dataset
) -> None:
    training, _ = learned
    before = weights(training)
    images = torch.tensor(mnist_test.images[:500]).unsqueeze(1) / 255
    with torch.inference_mode():
        raw = copy.deepcopy(training.network).eval()(images)
        calibrated = training.calibrate()(images)
    assert torch.equal(raw.argmax(1), calibrated.argmax(1))
    labels = torch.tensor(mnist_test.labels[:500]).long()
    assert functional.cross_entropy(calibrated, labels) < functional.cross_entropy(raw, labels)
    assert_equal(weights(training), before)


# Stopping and resuming


@pytest.fixture(scope="module")
def uninterrupted(data: Dataset) -> tuple[dict[str, Tensor], list[Progress]]:
    """The weights and the reports of a training that is not stopped."""
    reports: list[Progress] = []
    training = Training(SETTINGS, data, CPU)
    training.run(report=reports.append)
    return weights(training), reports


@pytest.mark.parametrize(
    ("reports_before", "step"),
    [(1, 10), (2, 12), (3, 22), (4, 24)],
    ids=["mid-epoch", "between epochs", "in the last epoch", "at the end"],
)
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    uninterrupted: tuple[dict[str, Tensor], list[Progress]],
    data: Dataset,
    tmp_path: Path,
    reports_before: int,
    step: int,
) -> None:
    reports: list[Progress] = []

    def stop(progress: Progress) -> None:
        reports.append(progress)
        if len(reports) == reports_before:
            raise Stopped(ExitStatus.INTERRUPTED)

    with pytest.raises(Stopped):
        Training(SETTINGS, data, CPU).run(tmp_path / "run.ckpt", stop)
    torch.manual_seed(99)
    resumed = Training.resume(tmp_path / "run.ckpt", {}, data, CPU)
    assert resumed.step == step
    resumed.run(report=reports.append)
    expected, all_reports = uninterrupted
    assert_equal(weights(resumed), expected)
    assert reports == all_reports


def test_a_stopped_training_may_go_on_itself(
    uninterrupted: tuple[dict[str, Tensor], list[Progress]], data: Dataset
) -> None:
    def stop(_progress: Progress) -> None:
        raise Stopped(ExitStatus.INTERRUPTED)

    training = Training(SETTINGS, data, CPU)
    with pytest.raises(Stopped):
        training.run(report=stop)
    training.run()
    assert_equal(weights(training), uninterrupted[0])


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A SIGTERM that came before, until the fixture's value is undone."""
    with monkeypatch.context() as patch:
        patch.setattr(signals, "_requested", ExitStatus.TERMINATED)
        yield patch


def test_a_signal_before_the_first_step_saves_the_checkpoint(
    uninterrupted: tuple[dict[str, Tensor], list[Progress]],
    data: Dataset,
    tmp_path: Path,
    signalled: pytest.MonkeyPatch,
) -> None:
    training = Training(SETTINGS, data, CPU)
    with pytest.raises(Stopped) as stop:
        training.run(tmp_path / "run.ckpt")
    assert stop.value.status == ExitStatus.TERMINATED
    assert training.step == 0
    signalled.undo()
    resumed = Training.resume(tmp_path / "run.ckpt", {}, data, CPU)
    resumed.run()
    assert_equal(weights(resumed), uninterrupted[0])


def test_a_checkpoint_is_saved_before_its_epoch_is_reported(data: Dataset, tmp_path: Path) -> None:
    steps: list[int] = []

    def report(progress: Progress) -> None:
        if progress.batch == progress.batches:
            steps.append(Training.resume(tmp_path / "run.ckpt", {}, data, CPU).step)

    Training(SETTINGS, data, CPU).run(tmp_path / "run.ckpt", report)
    assert steps == [12, 24]


def test_without_a_checkpoint_no_file_is_written(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Training(TrainSettings(epochs=1, threads=1), data, CPU).run()
    assert names(tmp_path) == []


# What is refused


def test_a_training_that_diverges_names_the_epoch_and_the_remedy(data: Dataset) -> None:
    training = Training(TrainSettings(batch_size=16, learning_rate=1e30, threads=1), data, CPU)
    with pytest.raises(MnistctlError, match=r"diverged in epoch 1 .*: try an --lr below 1e\+30"):
        training.run()


def test_a_training_that_diverges_in_its_last_step_is_refused_too(data: Dataset) -> None:
    settings = TrainSettings(epochs=1, batch_size=200, learning_rate=1e30, threads=1)
    training = Training(settings, data, CPU)
    training.run()
    with pytest.raises(MnistctlError, match="training diverged in epoch 1 "):
        training.calibrate()


def test_a_training_that_diverged_does_not_replace_the_checkpoint(
    data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.ckpt"
    training = Training(SETTINGS, data, CPU)
    training.save(path)
    earlier = path.read_bytes()
    training._averages["0.weight"][0] = math.nan
    with pytest.raises(MnistctlError, match="training diverged"):
        training.save(path)
    assert path.read_bytes() == earlier


def test_a_single_image_is_refused(data: Dataset) -> None:
    with pytest.raises(MnistctlError, match="one image: training needs at least two"):
        Training(SETTINGS, Dataset(data.images[:1], data.labels[:1]), CPU)


@pytest.mark.parametrize(
    ("available", "device"),
    [(["cuda"], "cuda"), (["mps"], "mps"), (["cuda", "mps"], "cuda"), ([], "cpu")],
    ids=str,
)
def test_auto_chooses_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch, available: list[str], device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in available)
    assert loop.choose_device("auto") == torch.device(device)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_gives_the_remedy(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    build = f"PyTorch {re.escape(torch.__version__)} finds no such device"
    with pytest.raises(MnistctlError, match=f"^--device {device}: {build} .*--device auto"):
        loop.choose_device(device)


# The learning rate


@given(st.integers(1, 600), st.floats(1e-6, 1e3))
def test_the_learning_rate_is_that_of_pytorchs_one_cycle_schedule(
    steps: int, highest: float
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    schedule = OneCycleLR(
        optimizer, highest, steps, div_factor=10, final_div_factor=1000, cycle_momentum=False
    )
    optimizer.step()
    expected = []
    for step in range(steps):
        expected += schedule.get_last_lr()
        if step < steps - 1:
            schedule.step()
    rates = [learning_rate(step, steps, highest) for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-9)
