"""Which images to read: arguments, directories and lists."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mnistctl.errors import MnistctlError, json_path, path_error, read_error

STDIN = "-"

# The image files of a directory. A file named on the command line may have any name.
SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".webp",
)  # fmt: skip

_MAX_PATH = 65536


@dataclass(frozen=True)
class Failure:
    """An image, a directory or a list that gives no answer.

    Attributes:
        path: as the user, a directory or a list gave it; ``-`` is standard input.
        error: says why.
    """

    path: str
    error: MnistctlError

    def to_dict(self) -> dict[str, object]:
        """Return the failure as JSON has it."""
        return {"path": json_path(self.path), "error": str(self.error)}


def open_stdin() -> BinaryIO:
    """Open standard input as bytes, under that name, or raise MnistctlError if it is closed.

    Not ``sys.stdin``: Python aborts if a thread is reading it when the program ends.
    """
    if sys.stdin is None:
        raise MnistctlError("standard input is closed: '-' needs one to read")
    number = sys.stdin.fileno()
    return open("standard input", "rb", opener=lambda _name, _flags: os.dup(number))


def is_directory(path: str) -> bool:
    """Say whether an argument of the command line is a directory."""
    # Not a Path, which would change the user's spelling.
    return path != STDIN and os.path.isdir(path)  # noqa: PTH112


def read_list(path: str, *, null: bool) -> Iterator[str | Failure]:
    """Read a list of paths, one a line (with LF or CRLF) or, with ``null``, ended by NUL bytes.

    Paths are yielded as they arrive: the list may be a pipe. A list that cannot be read, or is not
    a list of paths, ends with that failure.
    """
    try:
        with open_stdin() if path == STDIN else Path(path).open("rb") as file:
            for entry in _split(file, b"\0" if null else b"\n"):
                entry = entry if null else entry.removesuffix(b"\r")
                if len(entry) > _MAX_PATH or b"\0" in entry:
                    hint = "" if null else " (one a line; use -0 for `find -print0`)"
                    raise path_error(path, f"is not a list of paths{hint}")
                if entry:
                    # "-" means standard input only on the command line.
                    yield "./-" if entry == b"-" else os.fsdecode(entry)
                elif null:
                    raise path_error(path, "contains an empty path")
    except MnistctlError as error:
        yield Failure(path, error)
    except OSError as error:
        yield Failure(path, read_error(path, error))


def expand(paths: Iterable[str | Failure]) -> Iterator[str | Failure]:
    """Replace each directory by the image files under it, sorted.

    A directory that cannot be listed, or has no image file, becomes the failure that says so.
    """
    for path in paths:
        if isinstance(path, Failure) or not is_directory(path):
            yield path
            continue
        empty = True
        for found in _image_files(path):
            empty = False
            yield found
        if empty:
            reason = f"is a directory without an image file ({', '.join(SUFFIXES)})"
            yield Failure(path, path_error(path, reason))


def _image_files(directory: str) -> Iterator[str | Failure]:
    # A stack, since Python limits how deep a recursion may be.
    waiting = [(directory, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            if path.lower().endswith(SUFFIXES):
                yield path
            continue
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            yield Failure(path, read_error(path, error))
        else:
            waiting += [
                (entry.path, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not _is_special(entry)
            ]


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is, or links to, a pipe or a device, which may never end."""
    if entry.is_file(follow_symlinks=False):
        return False
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to nothing, which is reported when it is read
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _split(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Split a stream, reading no further than the next entry needs."""
    rest = b""
    while chunk := os.read(file.fileno(), 65536):
        *entries, rest = (rest + chunk).split(end)
        yield from entries
        if len(rest) > _MAX_PATH:
            break
    if rest:
        yield rest
