"""SIGINT and SIGTERM: they end the program at once, or at the end of a block that defers them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread

from mnistctl.errors import ExitStatus, Stopped

_SIGNALS = {signal.SIGINT, signal.SIGTERM}

_lock = Lock()
_blocks = 0
_requested: ExitStatus | None = None


def install_handlers() -> None:
    """End the program on SIGINT and SIGTERM, with status 130 and 143.

    A thread waits for the signals. A handler of Python's runs in the main thread, and not before
    that returns from C: never, if the signal comes just before it waits for another thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    Thread(target=_handle_signals, daemon=True).start()


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Let a block finish before a signal ends the program. Blocks may be nested.

    A long block calls the function that it is given between its steps. The function, and the end
    of the outermost block, raise Stopped if a signal has come.
    """
    global _blocks
    with _lock:
        _blocks += 1
    try:
        yield _check_stop
    finally:
        with _lock:
            _blocks -= 1
    if not _blocks:
        _check_stop()


def _handle_signals() -> None:
    global _requested
    while True:
        number = signal.sigwait(_SIGNALS)
        with _lock:
            if not _blocks:
                # Not sys.exit, which waits for threads: one may be reading a pipe that never ends.
                os._exit(128 + number)
            _requested = ExitStatus(128 + number)


def _check_stop() -> None:
    if _requested is not None:
        raise Stopped(_requested)
