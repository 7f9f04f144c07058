"""Writing a file whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mnistctl.errors import MnistctlError, shown, unwritable


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends without an error.

    Until then, and for good after an error, whatever was at ``path`` stays as it was. The new
    file has the mode that any new file would have, and a symbolic link stays a link. The idea is
    that of safetensors: a sibling temporary file, then ``os.replace``.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    target, temporary = _target_and_temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_writable(path: Path) -> None:
    """Fail now, rather than after long work, where :func:`replacing` would fail to begin.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    _, temporary = _target_and_temporary(path)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def _target_and_temporary(path: Path) -> tuple[Path, Path]:
    try:
        target = Path(os.path.realpath(path))
    except OSError as error:
        raise unwritable(path, error) from error
    if os.path.lexists(target) and not os.path.isfile(target):  # noqa: PTH113 (of any path)
        raise MnistctlError(f"{shown(path)}: is not an ordinary file: name another to write to")
    if os.path.ismount(target):
        raise MnistctlError(f"{shown(path)}: is mounted by itself: mount the directory it is in")
    return target, target.with_name(f".mnistctl-{secrets.token_hex(8)}")
