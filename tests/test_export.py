from pathlib import Path

import numpy as np
import pytest
import torch
from support import names
from torch import nn

from mnistctl import dataset, export
from mnistctl.classifier import Classifier
from mnistctl.dataset import Digits
from mnistctl.errors import MnistctlError
from mnistctl.evaluation import as_input
from mnistctl.network import network


@pytest.fixture
def few(mnist_test: Digits) -> Digits:
    return Digits(mnist_test.images[:50], mnist_test.labels[:50])


@pytest.fixture
def untrained() -> nn.Sequential:
    """A network whose batch statistics are not the initial zeros and ones."""
    torch.manual_seed(0)
    made = network()
    made(torch.rand(64, 1, 28, 28))
    return made


def test_the_model_file_gives_pytorch_s_logits(
    tmp_path: Path, untrained: nn.Sequential, few: Digits
) -> None:
    path = tmp_path / "model.onnx"
    export.export(untrained, few, path, {})
    images = as_input(few.images)
    with torch.inference_mode():
        expected = untrained.eval()(torch.from_numpy(images)[:, None]).numpy()
    np.testing.assert_allclose(Classifier.load(path).logits(images), expected, atol=1e-4)


def test_the_model_file_records_facts_accuracy_and_versions(
    tmp_path: Path, untrained: nn.Sequential, few: Digits
) -> None:
    path = tmp_path / "model.onnx"
    report = export.export(untrained, few, path, {"epochs": 3})
    metadata = Classifier.load(path).metadata
    assert metadata["epochs"] == "3"
    assert float(metadata["test_accuracy"]) == pytest.approx(report.accuracy)
    assert metadata["torch"] == torch.__version__


def test_the_same_network_gives_the_same_bytes(
    tmp_path: Path, untrained: nn.Sequential, few: Digits
) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        export.export(untrained, few, path, {"epochs": 3})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_model_file_has_the_mode_of_any_new_file(
    tmp_path: Path, untrained: nn.Sequential, few: Digits
) -> None:
    path = tmp_path / "model.onnx"
    export.export(untrained, few, path, {})
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_logits_that_differ_from_pytorch_s_leave_the_earlier_file(
    tmp_path: Path, untrained: nn.Sequential, few: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"earlier")
    logits = Classifier.logits
    monkeypatch.setattr(Classifier, "logits", lambda self, images: logits(self, images) + 0.01)
    with pytest.raises(MnistctlError, match=r"differ from PyTorch's by 0\.01"):
        export.export(untrained, few, path, {})
    assert path.read_bytes() == b"earlier"
    assert names(tmp_path) == ["model.onnx"]


def test_a_layer_that_is_not_translated_is_named() -> None:
    with pytest.raises(TypeError, match="GELU"):
        export.to_onnx(nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(784, dataset.CLASSES)))
