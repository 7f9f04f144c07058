"""Which pictures to read: arguments, directories, lists."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mnistctl.errors import MnistctlError, shown, unreadable

STDIN = "-"

# Named by suffix in a directory; a file named on the command line is read whatever its name.
SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".webp",
)  # fmt: skip

_LONGEST_PATH = 65536


def stdin() -> BinaryIO:
    """Return standard input as bytes.

    It is opened anew, since a thread that still waits on ``sys.stdin`` when the program ends
    would make Python abort.

    Raises:
        MnistctlError: it is closed.
    """
    if sys.stdin is None:
        raise MnistctlError("standard input is closed: nothing can be read from '-'")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def listed(path: Path, *, null: bool) -> Iterator[str]:
    """Read a list of paths, one a line or, with ``null``, each ended by a NUL byte.

    Paths come as they arrive, so that a list may be a pipe that never ends. A line may end as on
    Windows.

    Raises:
        MnistctlError: the list cannot be read, or holds no list of paths.
    """
    try:
        with stdin() if str(path) == STDIN else path.open("rb") as file:
            for entry in _entries(file, b"\0" if null else b"\n"):
                entry = entry if null else entry.removesuffix(b"\r")
                if len(entry) > _LONGEST_PATH or b"\0" in entry:
                    raise MnistctlError(
                        f"{shown(path)}: is not a list of paths"
                        + ("" if null else " (one a line; for `find -print0` give -0)")
                    )
                if entry:
                    # "-" is standard input on the command line alone.
                    yield "./-" if entry == b"-" else os.fsdecode(entry)
                elif null:
                    raise MnistctlError(f"{shown(path)}: has an empty path in it")
    except OSError as error:
        raise unreadable(path, error) from error


def expanded(paths: Iterable[str]) -> Iterator[str | MnistctlError]:
    """Replace each directory by the pictures under it, sorted; leave every other path.

    A directory that cannot be listed, or holds no picture, comes as the error that says so.
    """
    for path in paths:
        if path != STDIN and os.path.isdir(path):  # noqa: PTH112 (a str keeps the user's spelling)
            empty = True
            for found in _pictures_under(path):
                empty = False
                yield found
            if empty:
                yield MnistctlError(
                    f"{shown(path)}: is a directory without a picture ({', '.join(SUFFIXES)})"
                )
        else:
            yield path


def _pictures_under(directory: str) -> Iterator[str | MnistctlError]:
    try:
        with os.scandir(directory) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield unreadable(directory, error)
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _pictures_under(entry.path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry.path


def _entries(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Split a stream without waiting for more of it than an entry needs."""
    rest = b""
    while part := os.read(file.fileno(), 65536):
        *entries, rest = (rest + part).split(end)
        yield from entries
        if len(rest) > _LONGEST_PATH:
            break
    if rest:
        yield rest
