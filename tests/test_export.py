import os
import signal
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support import names
from torch import nn

import mnistctl
from mnistctl import dataset, signals
from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset, as_input
from mnistctl.errors import ExitStatus, MnistctlError, Stopped
from mnistctl.training import export
from mnistctl.training.network import build_network


@pytest.fixture
def few(mnist_test: Dataset) -> Dataset:
    return Dataset(mnist_test.images[:50], mnist_test.labels[:50])


@pytest.fixture
def untrained() -> nn.Sequential:
    """A network whose batch statistics are not the initial zeros and ones."""
    torch.manual_seed(0)
    network = build_network()
    network(torch.rand(64, 1, 28, 28))
    return network


def test_the_model_file_gives_the_logits_of_pytorch(
    tmp_path: Path, untrained: nn.Sequential, few: Dataset
) -> None:
    path = tmp_path / "model.onnx"
    export.export(untrained, few, path, {})
    images = as_input(few.images)
    with torch.inference_mode():
        expected = untrained.eval()(torch.from_numpy(images)[:, None]).numpy()
    np.testing.assert_allclose(Classifier.load(path).logits(images), expected, atol=1e-4)


def test_the_model_file_stores_settings_accuracy_and_versions_as_metadata(
    tmp_path: Path, untrained: nn.Sequential, few: Dataset
) -> None:
    path = tmp_path / "model.onnx"
    report = export.export(untrained, few, path, {"epochs": 3})
    metadata = Classifier.load(path).metadata
    assert metadata["epochs"] == "3"
    assert float(metadata["test_accuracy"]) == pytest.approx(report.accuracy)
    assert metadata["torch"] == torch.__version__
    assert metadata["mnistctl"] == mnistctl.__version__
    assert metadata["onnxruntime"] == onnxruntime.__version__
    assert metadata["classes"] == "0 1 2 3 4 5 6 7 8 9"
    assert metadata["input"] == "float32 [batch, 1, 28, 28], 0 (background) to 1 (ink)"


def test_the_same_network_gives_the_same_bytes(
    tmp_path: Path, untrained: nn.Sequential, few: Dataset
) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        export.export(untrained, few, path, {"epochs": 3})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_logits_that_differ_from_those_of_pytorch_leave_the_earlier_file(
    tmp_path: Path, untrained: nn.Sequential, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"earlier")
    logits = Classifier.logits
    monkeypatch.setattr(Classifier, "logits", lambda self, images: logits(self, images) + 0.01)
    with pytest.raises(MnistctlError, match=r"differ from PyTorch's by 0\.01"):
        export.export(untrained, few, path, {})
    assert path.read_bytes() == b"earlier"
    assert names(tmp_path) == ["model.onnx"]


def test_a_layer_without_an_onnx_operator_is_named() -> None:
    with pytest.raises(TypeError, match="GELU"):
        export.to_onnx(nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(784, dataset.CLASSES)))


def test_a_signal_during_the_last_write_is_too_late(
    untrained: nn.Sequential, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_requested", None)
    monkeypatch.setattr(os, "fsync", lambda _file: signals._handle(signal.SIGINT, None))
    report = export.export(untrained, few, tmp_path / "model.onnx", {})
    assert report.count == 50
    assert names(tmp_path) == ["model.onnx"]


def test_a_signal_before_the_last_write_leaves_the_earlier_model(
    untrained: nn.Sequential, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"earlier")
    monkeypatch.setattr(signals, "_requested", ExitStatus.INTERRUPTED)
    with pytest.raises(Stopped):
        export.export(untrained, few, path, {})
    assert path.read_bytes() == b"earlier"
