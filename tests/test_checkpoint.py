"""Checkpoint files; what is refused is never executed, and leaves the file."""

import json
import math
import os
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from support import names
from torch import Tensor

import mnistctl
from mnistctl.dataset import Dataset
from mnistctl.errors import MnistctlError
from mnistctl.settings import TrainSettings
from mnistctl.training import checkpoint
from mnistctl.training.checkpoint import Checkpoint
from mnistctl.training.loop import Training

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=2, batch_size=16, threads=1)


@pytest.fixture(scope="module")
def data(mnist_test: Dataset) -> Dataset:
    return Dataset(mnist_test.images[:64], mnist_test.labels[:64])


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> bytes:
    """The checkpoint of a training, of eight steps, after its first four."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.ckpt"
    training = Training(SETTINGS, data, CPU)

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(report=stop)
    training.save(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test puts its checkpoint: in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run.ckpt"


def parts(content: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a checkpoint."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata, safetensors.torch.load(content)


def assert_refused(path: Path, data: Dataset) -> None:
    with pytest.raises(MnistctlError, match=r"run\.ckpt: is not a valid mnistctl checkpoint: "):
        Training.resume(path, {}, data, CPU)


def test_checkpoint_round_trips(path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    checkpoint.write(
        path, Checkpoint(SETTINGS, checksum=2**32 - 1, processes=1, step=5, tensors=tensors)
    )
    found = checkpoint.read(path)
    assert (found.settings, found.checksum, found.step) == (SETTINGS, 2**32 - 1, 5)
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only names in UTF-8")
def test_the_path_of_a_checkpoint_need_not_be_utf_8(
    valid: bytes, path: Path, data: Dataset
) -> None:
    path = path.with_name(os.fsdecode(b"\xff.ckpt"))
    path.write_bytes(valid)
    assert Training.resume(path, {}, data, CPU).step == 4


def test_it_has_the_weights_the_optimizer_the_sums_and_the_settings(valid: bytes) -> None:
    metadata, tensors = parts(valid)
    assert json.loads(metadata["settings"]) == asdict(SETTINGS)
    assert (metadata["mnistctl"], metadata["step"]) == (mnistctl.__version__, "4")
    assert {name.partition(".")[0] for name in tensors} == {"network", "optimizer", "epoch"}


def test_nothing_in_it_names_pytorch_or_its_version(
    valid: bytes, path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"torch" not in valid
    assert torch.__version__.encode() not in valid
    path.write_bytes(valid)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert Training.resume(path, {}, data, CPU).step == 4


# Files that are not checkpoints


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
        lambda path: safetensors.torch.save_file({"weights": torch.zeros(3)}, path),
        lambda path: safetensors.torch.save_file({}, path, {"mnistctl": mnistctl.__version__}),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
    ],
    ids=["empty", "text", "hostile pickle", "hostile archive", "archive", "other tensors",
         "without settings", "FIFO", "directory"],
)  # fmt: skip
def test_what_is_not_a_checkpoint_is_refused_and_never_executed(
    make: Callable[[Path], object], path: Path, data: Dataset
) -> None:
    make(path)
    assert_refused(path, data)
    assert names(path.parent) == ["run.ckpt"]


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(
    valid: bytes, path: Path, data: Dataset, share: float
) -> None:
    path.write_bytes(valid[: int(share * len(valid))])
    assert_refused(path, data)


def test_a_file_that_is_too_large_is_refused(valid: bytes, path: Path, data: Dataset) -> None:
    with path.open("wb") as file:
        file.write(valid)
        file.truncate(50_000_001)
    assert_refused(path, data)


def test_a_file_that_is_missing_is_named(path: Path, data: Dataset) -> None:
    with pytest.raises(MnistctlError, match=r"run\.ckpt: cannot be read: No such file"):
        Training.resume(path, {}, data, CPU)


@pytest.mark.parametrize(
    "header",
    [
        {"__metadata__": None},
        {"a": {"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [0, 2**62, 4], "data_offsets": [0, 0]}},
    ],
    ids=["no metadata", "a dimension too large", "a stride too large"],
)
def test_a_header_that_safetensors_would_not_write_is_refused(
    header: dict[str, Any], path: Path, data: Dataset
) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert_refused(path, data)


# Checkpoints with a part that does not fit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "-1"),
        ("step", "9"),
        ("step", "9" * 5000),
        ("step", "four"),
        ("step", None),
        ("data", "abc"),
        ("data", None),
        ("processes", "0"),
        ("processes", "9" * 4000),
        ("processes", "two"),
        ("processes", None),
        ("settings", ""),
        ("settings", "{}"),
        ("settings", "[]"),
        ("settings", "null"),
        ("settings", "[" * 100_000),
        ("settings", None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_metadata_that_is_missing_or_does_not_fit_is_refused(
    name: str, value: str | None, valid: bytes, path: Path, data: Dataset
) -> None:
    metadata, tensors = parts(valid)
    if value is None:
        del metadata[name]
    else:
        metadata[name] = value
    safetensors.torch.save_file(tensors, path, metadata)
    assert_refused(path, data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 10**9),
        ("epochs", True),
        ("epochs", 2.0),
        ("batch_size", 1),
        ("learning_rate", 1e-310),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("seed", 2**32),
        ("threads", "2"),
        ("threads", 1025),
        ("momentum", 0.9),
        *((name, None) for name in asdict(SETTINGS)),
    ],
)
def test_a_setting_that_is_unknown_missing_or_outside_its_limits_is_refused(
    name: str, value: object, valid: bytes, path: Path, data: Dataset
) -> None:
    metadata, tensors = parts(valid)
    settings = json.loads(metadata["settings"]) | {name: value}
    if value is None:
        del settings[name]
    safetensors.torch.save_file(tensors, path, {**metadata, "settings": json.dumps(settings)})
    assert_refused(path, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.clear(),
        lambda tensors: tensors.pop("network.0.weight"),
        lambda tensors: tensors.pop("optimizer.0.weight.average"),
        lambda tensors: tensors.pop("epoch.loss"),
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update({"network.0.weight": torch.zeros(3)}),
        lambda tensors: tensors.update({"optimizer.0.weight.average": torch.zeros(1)}),
        lambda tensors: tensors.update({"epoch.correct": torch.zeros(2, dtype=torch.int64)}),
        lambda tensors: tensors.update({"epoch.correct": torch.zeros(())}),
        lambda tensors: tensors.update({"network.0.weight": tensors["network.0.weight"].double()}),
        lambda tensors: tensors["network.0.weight"].fill_(float("nan")),
        lambda tensors: tensors["optimizer.0.weight.square"].view(-1)[7:8].fill_(float("inf")),
        lambda tensors: tensors["epoch.loss"].fill_(float("nan")),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], Any], valid: bytes, path: Path, data: Dataset
) -> None:
    metadata, tensors = parts(valid)
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata)
    assert_refused(path, data)


def test_unchanged_metadata_and_tensors_are_accepted(
    valid: bytes, path: Path, data: Dataset
) -> None:
    metadata, tensors = parts(valid)
    safetensors.torch.save_file(tensors, path, metadata)
    assert Training.resume(path, {}, data, CPU).step == 4


def test_the_checkpoint_of_another_version_names_both(
    valid: bytes, path: Path, data: Dataset
) -> None:
    metadata, tensors = parts(valid)
    safetensors.torch.save_file(tensors, path, {**metadata, "mnistctl": "0.0.1\n"})
    versions = re.escape(r"mnistctl 0.0.1\n, not " + mnistctl.__version__)
    with pytest.raises(MnistctlError, match=rf"run\.ckpt: was written by {versions}: "):
        Training.resume(path, {}, data, CPU)
