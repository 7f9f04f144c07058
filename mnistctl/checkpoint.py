"""The file that a training goes on from."""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnistctl import __version__, files
from mnistctl.errors import MnistctlError, shown, unreadable

# What a setting may be, in a checkpoint as on the command line.
_LIMITS = {
    "epochs": (1, 100_000),
    "batch_size": (2, 100_000),
    "learning_rate": (1e-300, 1e300),
    "seed": (0, 2**63 - 1),
    "threads": (1, 1024),
}
_LARGEST_CHECKPOINT = 50_000_000


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint file: a state of tensors and plain values, and this version.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    content = io.BytesIO()
    torch.save({"mnistctl": __version__, **state}, content)
    with files.replacing(path) as file:
        file.write(content.getbuffer())


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint file. Nothing in it is ever executed.

    Returns:
        The state. Of its parts ``settings``, ``data`` and ``done`` are known to be sound; the
        others are whatever the file holds.

    Raises:
        MnistctlError: the file cannot be read, or is no checkpoint of this version.
    """
    try:
        with path.open("rb") as file:
            content = io.BytesIO(file.read(_LARGEST_CHECKPOINT))
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        with zipfile.ZipFile(content) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_CHECKPOINT:
                raise unsound(path)
        content.seek(0)
        state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        version, settings = state["mnistctl"], state["settings"]
        sound = (
            isinstance(version, str)
            and type(state["data"]) is type(state["done"]) is int
            and settings.keys() == _LIMITS.keys()
            and all(
                type(settings[name]) is type(least) and least <= settings[name] <= most
                for name, (least, most) in _LIMITS.items()
            )
        )
    except Exception as error:  # torch.load raises whatever a damaged file makes it raise
        raise unsound(path) from error
    if not sound:
        raise unsound(path)
    if version != __version__:
        raise MnistctlError(
            f"{shown(path)}: was written by mnistctl {shown(version)}, this is {__version__}: "
            "finish it with that version or train anew"
        )
    del state["mnistctl"]
    return state


def is_alike(found: object, expected: object) -> bool:
    """Say whether a value has the types, shapes and keys of another, and only finite numbers."""
    if isinstance(expected, Tensor):
        return (
            isinstance(found, Tensor)
            and (found.shape, found.dtype) == (expected.shape, expected.dtype)
            and bool(torch.isfinite(found).all())
        )
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            is_alike(found[key], value) for key, value in expected.items()
        )
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(is_alike, found, expected))
    return not isinstance(found, float) or math.isfinite(found)


def is_same_but(found: dict[str, Any], expected: dict[str, Any], changing: tuple[str, ...]) -> bool:
    """Say whether two mappings are the same but for what belongs to some keys."""
    return {**found, **dict.fromkeys(changing)} == {**expected, **dict.fromkeys(changing)}


def unsound(path: Path) -> MnistctlError:
    """Return the error of a file that holds no checkpoint, or a damaged one."""
    return MnistctlError(f"{shown(path)}: is damaged, or no checkpoint of mnistctl: train anew")
