"""Ways to run ``mnistctl``: in this process, in a shell, and on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from support import MNISTCTL

from mnistctl import cli

COMMANDS = ("train", "validate", "predict")
ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def run_main(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in this process, where PyTorch is already imported.

    Args:
        arguments: those of ``mnistctl``.
        cwd: the working directory.
        stdin: what standard input has.
        env: variables to add to the environment.
    """
    argv = ["mnistctl", *map(str, arguments)]
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in _STREAMS]
        files[0].write(stdin)
        files[0].seek(0)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(cwd)
        patch.setattr(sys, "argv", argv)
        patch.setenv("OPENBLAS_NUM_THREADS", os.environ.get("OPENBLAS_NUM_THREADS", "1"))
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        for number, (name, mode) in enumerate(_STREAMS.items()):
            stack.enter_context(_redirected(number, files[number]))
            stream = stack.enter_context(open(number, mode, encoding="utf-8", closefd=False))
            patch.setattr(sys, name, stream)
        status = cli.main()
        sys.stdout.flush()
        sys.stderr.flush()
        output, errors = (os.pread(file.fileno(), 10**7, 0) for file in files[1:])
    return subprocess.CompletedProcess(argv, status, output, errors)


@contextmanager
def _redirected(number: int, file: BinaryIO) -> Iterator[None]:
    """Let a file descriptor be another file during the block."""
    saved = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


def environment_with_home(home: Path, temporary: Path) -> dict[str, str]:
    """Return the environment with other directories for a user's files and for temporary ones.

    ONNX Runtime's variables are left out, as they are in a new user's environment.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))
    }
    return {**kept, "HOME": str(home), "TMPDIR": str(temporary)}


def shell(line: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``mnistctl`` is the command under test."""
    script = f'mnistctl() {{ "{sys.executable}" -m mnistctl "$@"; }}; {line}'
    command = ["bash", "-c", script]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False, timeout=120)


def run_on_terminal(
    *arguments: str | Path,
    cwd: Path,
    columns: int = 100,
    watch: Callable[[str, "subprocess.Popen[bytes]"], object] = lambda _text, _process: None,
) -> str:
    """Run ``mnistctl`` on a terminal of its own and return all that it writes there.

    Args:
        arguments: those of ``mnistctl``.
        cwd: the working directory.
        columns: the width of the terminal.
        watch: called with the text so far, and the process, after each piece of output.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    written = b""
    with subprocess.Popen(
        [*MNISTCTL, *map(str, arguments)],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        while part := _read(ours):
            written += part
            watch(written.decode(errors="replace"), process)
    os.close(ours)
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that a terminal's last writer is gone
        return b""


def one_sentence(stderr: bytes) -> str:
    """Return what stderr has, which must be one line and no traceback."""
    text = stderr.decode()
    assert re.fullmatch(r"mnistctl: [^\n]+\.\n", text), text
    return text
