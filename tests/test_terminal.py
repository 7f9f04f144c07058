import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import numpy as np
import pytest
from support import MNISTCTL

from mnistctl import terminal


def on_a_terminal(*arguments: object, columns: int = 100) -> str:
    """Run ``mnistctl`` on a terminal of its own and return all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*MNISTCTL, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ):
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # how Linux says that a terminal's last writer is gone
            pass
    os.close(ours)
    return written.decode()


def test_a_drawing_has_a_line_a_row_and_two_characters_a_pixel() -> None:
    image = np.zeros((28, 28), np.float32)
    image[2, 1:6] = [0.25, 0.5, 0.75, 1.0, 0.0]
    lines = terminal.drawing(image).split("\n")
    assert len(lines) == 28
    assert lines[2] == "  ░░▒▒▓▓██"


@pytest.mark.parametrize(("share", "text"), [(0.99514, "99.51 %"), (1.0, "100.00 %"), (None, "–")])
def test_a_share_is_shown_in_percent(share: float | None, text: str) -> None:
    assert terminal.percent(share) == text


def test_training_moves_on_a_terminal(small_mnist: Path, tmp_path: Path) -> None:
    seen = on_a_terminal(
        "train", "--epochs", "2", "--data-dir", small_mnist, "-o", tmp_path / "model.onnx"
    )
    assert "\x1b[" in seen
    assert re.search(r"epoch \d/2  batch \d/2  loss \d", seen)
    assert re.search(r"epoch 1/2  loss \d\.\d{4}  [\d,]+ images/s", seen)


def test_the_confusion_matrix_fits_eighty_columns_and_marks_mistakes() -> None:
    seen = on_a_terminal("validate", columns=80)
    assert "\x1b[31m" in seen
    assert all(digit in seen for digit in "0123456789")
    assert "…" not in seen
