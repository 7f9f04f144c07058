"""Writing a file whole or not at all."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mnistctl import signals
from mnistctl.errors import path_error, write_error

_MOUNTS = Path("/proc/self/mountinfo")


@contextmanager
def replace(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``path`` when the block ends without an error.

    After an error, ``path`` is unchanged. A symbolic link stays a link, and the mode of an earlier
    file is kept. A signal waits for the end of the block. As in safetensors, the content goes to a
    temporary file in the same directory, which ``os.replace`` then renames.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    target = _target(path)
    temporary = _temporary(target)
    with signals.deferred():
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                with suppress(OSError):  # a new file, or a filesystem without modes
                    os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink()


def check_writable(path: Path) -> None:
    """Fail before long work, not after it, where :func:`replace` could not write.

    Raises:
        MnistctlError: ``path`` cannot be written.
    """
    temporary = _temporary(_target(path))
    with signals.deferred():
        try:
            temporary.touch(exist_ok=False)
            temporary.unlink()
        except OSError as error:
            raise write_error(path, error) from error


def _temporary(target: Path) -> Path:
    """Return the path of the file that is written first."""
    return target.with_name(f".mnistctl-{secrets.token_hex(8)}")


def _target(path: Path) -> Path:
    """Return the file to replace, which ``path`` may link to."""
    try:
        target = Path(os.path.realpath(path))
        with suppress(FileNotFoundError):
            target.lstat()  # fails where the name is too long
    except OSError as error:
        raise write_error(path, error) from error
    # In /dev/fd, a pipe or a deleted file is a link to a target that does not exist.
    if (os.path.lexists(target) or os.path.exists(path)) and not os.path.isfile(target):  # noqa: PTH110, PTH113 (no OSError)
        raise path_error(path, "is not a regular file: name another file")
    if _is_mount_point(target):
        raise path_error(path, "is mounted by itself: mount its directory")
    if _belongs_to_another_user(target):
        raise path_error(path, "belongs to another user: name another file")
    return target


def _belongs_to_another_user(path: Path) -> bool:
    """Say whether only another user may replace a file: its directory is sticky, as /tmp is."""
    with suppress(FileNotFoundError):
        file, directory = path.stat(), path.parent.stat()
        owners = {0, file.st_uid, directory.st_uid}
        return bool(directory.st_mode & stat.S_ISVTX) and os.geteuid() not in owners
    return False


def _is_mount_point(path: Path) -> bool:
    """Say whether a file is a mount point, which cannot be replaced.

    ``os.path.ismount`` misses a file that is bind-mounted from its directory's own filesystem.
    Linux lists every mount: its mount point is the fifth field, with white space in octal.
    """
    try:
        mounts = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return os.path.ismount(path)
    escaped = b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in os.fsencode(path)
    )
    return any(line.split(b" ")[4] == escaped for line in mounts)
