"""Signals that end the program, at once or at the end of a block that defers them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mnistctl.errors import ExitStatus, Stopped

_blocks = 0
_requested: ExitStatus | None = None


def install_handlers() -> None:
    """End the program on SIGINT, SIGTERM and SIGHUP, with status 130, 143 and 129.

    One that is ignored stays ignored: nohup sets that, and a shell for a job in the background.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Let a block finish before a signal ends the program. Blocks may be nested.

    A long block calls the function that it is given between its steps. The function, and the end
    of the outermost block, raise Stopped if a signal has come.
    """
    global _blocks
    _blocks += 1
    try:
        yield _check_stop
    finally:
        _blocks -= 1
    if not _blocks:
        _check_stop()


def _handle(number: int, _frame: FrameType | None) -> None:
    global _requested
    if not _blocks:
        # Not sys.exit, which waits for threads: one may be reading a pipe that never ends.
        os._exit(128 + number)
    _requested = ExitStatus(128 + number)


def _check_stop() -> None:
    if _requested is not None:
        raise Stopped(_requested)
