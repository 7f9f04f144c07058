"""What mnistctl says when something fails, and the statuses it exits with."""

import os
from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of the command line."""

    OK = 0  # all that was asked for was done
    FAILURE = 1  # a picture, a model, a data set, an accuracy below --min-accuracy
    USAGE = 2  # the command line was wrong, and nothing was done
    INTERRUPTED = 130  # Ctrl-C (SIGINT)
    TERMINATED = 143  # SIGTERM


class MnistctlError(Exception):
    """One sentence for a person: what failed, on which path or value, what to try."""


def shown(path: str | os.PathLike[str]) -> str:
    r"""Return a path fit for one line of a message.

    Control characters (which could span lines or steer a terminal) and bytes that are not
    UTF-8 appear as backslash escapes: ``a\nb``, ``\xff``.
    """
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unreadable(path: str | os.PathLike[str], error: OSError) -> MnistctlError:
    """Return the error that says why the operating system would not let a path be read."""
    return MnistctlError(f"{shown(path)}: cannot be read: {error.strerror or error}")


def unwritable(path: str | os.PathLike[str], error: OSError) -> MnistctlError:
    """Return the error that says why the operating system would not let a path be written."""
    return MnistctlError(f"{shown(path)}: cannot be written: {error.strerror or error}")
