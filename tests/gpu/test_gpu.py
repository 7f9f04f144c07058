"""Training on an NVIDIA GPU, which these tests need: pytest -n 0 tests/gpu."""

from pathlib import Path

import pytest
import torch
from commands import one_sentence
from support import Run, names
from torch import Tensor

from mnistctl.dataset import Dataset, load_dataset
from mnistctl.settings import TrainSettings
from mnistctl.training import distributed, loop
from mnistctl.training.graph import Graph
from mnistctl.training.loop import Training

GPU = torch.device("cuda")
SETTINGS = TrainSettings(epochs=2)


@pytest.fixture(scope="module")
def data() -> Dataset:
    train = load_dataset("train")
    return Dataset(train.images[:4096], train.labels[:4096])


def weights(training: Training) -> list[Tensor]:
    return list(training.network.state_dict().values())


def test_random_numbers_in_a_graph_are_those_of_the_seed() -> None:
    drawn = torch.zeros(4, device=GPU)

    def draw(highest: Tensor) -> None:
        drawn.uniform_().mul_(highest)

    graph = Graph(draw)
    for seed in range(10):
        torch.manual_seed(seed)
        graph(torch.tensor(2.0, device=GPU))
        torch.manual_seed(seed)
        assert torch.equal(drawn, 2 * torch.rand(4, device=GPU))


def test_steps_in_a_graph_give_the_same_weights_as_single_kernels(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Training(SETTINGS, data, GPU)
    assert all(isinstance(update, Graph) for update in recorded._updates.values())
    recorded.run()
    monkeypatch.setattr(loop, "Graph", lambda function: function)
    launched = Training(SETTINGS, data, GPU)
    launched.run()
    for ours, theirs in zip(weights(recorded), weights(launched), strict=True):
        assert torch.equal(ours, theirs)


def test_a_resumed_training_gives_the_same_weights(data: Dataset, tmp_path: Path) -> None:
    whole = Training(SETTINGS, data, GPU)
    saved = tmp_path / "run.ckpt"
    whole.run(
        report=lambda progress: (
            whole.save(saved) if (progress.epoch, progress.batch) == (1, 20) else None
        )
    )
    resumed = Training.resume(saved, {}, data, GPU)
    resumed.run()
    for ours, theirs in zip(weights(resumed), weights(whole), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_step_does_not_wait_for_the_gpu(data: Dataset) -> None:
    training = Training(SETTINGS, data, GPU)
    indices = torch.arange(128, device=GPU)
    for _ in range(5):
        training._take_step(indices)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training._take_step(indices)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_train_uses_the_gpu_and_writes_a_model(run: Run, tmp_path: Path) -> None:
    result = run("train", "--device", "cuda", "--epochs", "1")
    assert result.returncode == 0, result.stderr
    assert b"model.onnx  test accuracy 99." in result.stdout
    assert names(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("left", [2**31, 2**28], ids=["little", "too little to start"])
def test_too_little_memory_gives_the_remedy(run: Run, tmp_path: Path, left: int) -> None:
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(free - left, 0), dtype=torch.uint8, device=GPU)
    result = run("train", "--quiet", "--device", "cuda", "--batch-size", "60000")
    del taken
    torch.cuda.empty_cache()
    assert result.returncode == 1
    assert "use a smaller --batch-size" in one_sentence(result.stderr)
    assert names(tmp_path) == []


def test_several_processes_record_no_graph(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "count", lambda: 2)
    updates = Training(SETTINGS, data, GPU)._updates.values()
    assert not any(isinstance(update, Graph) for update in updates)
