"""The state of an unfinished training in a file: tensors and plain values, never code."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from mnistctl import __version__, files
from mnistctl.errors import MnistctlError, display_path, path_error, read_error
from mnistctl.settings import TrainSettings

INVALID = "is not a valid mnistctl checkpoint: start a new training"
_MAX_BYTES = 50_000_000
_MAX_PROCESSES = 100_000


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training.

    Attributes:
        checksum: of the data set.
        processes: the number of processes that train together.
        step: the number of finished steps.
        tensors: the weights, the optimizer's state and the sums over the epoch, by name.
    """

    settings: TrainSettings
    checksum: int
    processes: int
    step: int
    tensors: dict[str, Tensor]


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as a safetensors file.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    metadata = {
        "mnistctl": __version__,
        "settings": json.dumps(asdict(checkpoint.settings)),
        "data": str(checkpoint.checksum),
        "processes": str(checkpoint.processes),
        "step": str(checkpoint.step),
    }
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    with files.replace(path) as file:
        file.write(safetensors.torch.save(tensors, metadata))


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, whose tensors may have any names, shapes and types.

    Raises:
        MnistctlError: the file cannot be read, is not a checkpoint, or is of another version.
    """
    try:
        if path.stat().st_size > _MAX_BYTES or not path.is_file():
            raise path_error(path, INVALID)
        content = path.read_bytes()
        tensors = safetensors.torch.load(content)
    except OSError as error:
        raise read_error(path, error) from error
    # PyTorch raises TypeError and RuntimeError for an empty tensor with an impossible shape.
    except (KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise path_error(path, INVALID) from error
    # safetensors reads metadata only from a file whose name is UTF-8. It is in the JSON object
    # at the start, after its length.
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    version = metadata.get("mnistctl", __version__)
    if version != __version__:
        writer = f"mnistctl {display_path(version)[:64]}, not {__version__}"
        raise path_error(path, f"was written by {writer}: resume it with that version")
    try:
        values = json.loads(metadata["settings"])
        settings = TrainSettings(**values)
        checksum, processes, step = (int(metadata[name]) for name in ("data", "processes", "step"))
    except (KeyError, TypeError, ValueError, RecursionError, MnistctlError) as error:
        raise path_error(path, INVALID) from error
    # A setting that the file lacks would get its default.
    if values != asdict(settings) or not 1 <= processes <= _MAX_PROCESSES:
        raise path_error(path, INVALID)
    return Checkpoint(settings, checksum, processes, step, tensors)
