"""Exit statuses, and the exceptions that lead to them."""

import os
from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of the command line."""

    OK = 0
    FAILURE = 1  # an image, a model, a data set, an accuracy below --min-accuracy
    USAGE = 2  # the command line was wrong; nothing was done
    HUNG_UP = 129  # the terminal was closed (SIGHUP)
    INTERRUPTED = 130  # Ctrl-C (SIGINT)
    TERMINATED = 143  # SIGTERM


class MnistctlError(Exception):
    """One sentence for the user: what failed, on which path or value, what to try."""


class Stopped(BaseException):
    """A signal asked the program to end.

    Like KeyboardInterrupt it is not an Exception, so that error handlers do not catch it.

    Attributes:
        status: the status to exit with.
    """

    def __init__(self, status: ExitStatus) -> None:
        """Take the exit status."""
        super().__init__(status)
        self.status = status


def display_path(path: str | os.PathLike[str]) -> str:
    r"""Return a path as one line of printable text.

    Control characters, which could break the line or control the terminal, and bytes that are
    not UTF-8 become backslash escapes: ``a\nb``, ``\xff``.
    """
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:  # no file can have this path
        name = os.fspath(path).encode(errors="backslashreplace")
    text = name.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_path(path: str | os.PathLike[str]) -> str:
    """Return a path as JSON has it: its bytes, in any locale, as UTF-8 with surrogate escapes."""
    return os.fsencode(path).decode(errors="surrogateescape")


def path_error(path: str | os.PathLike[str], reason: str) -> MnistctlError:
    """Return the error about a path, for a reason that continues the sentence."""
    return MnistctlError(f"{display_path(path)}: {reason}")


def read_error(path: str | os.PathLike[str], error: OSError) -> MnistctlError:
    """Return the error for a path that the operating system cannot read."""
    return path_error(path, f"cannot be read: {error.strerror or error}")


def write_error(path: str | os.PathLike[str], error: OSError) -> MnistctlError:
    """Return the error for a path that the operating system cannot write."""
    return path_error(path, f"cannot be written: {error.strerror or error}")
