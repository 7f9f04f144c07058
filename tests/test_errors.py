from pathlib import Path

import pytest

from mnistctl.errors import ExitStatus, shown


@pytest.mark.parametrize(
    ("path", "text"),
    [("a b.png", "a b.png"), ("drei é.png", "drei é.png"), ("a\nb", r"a\nb"), ("a\tb", r"a\tb"),
     ("\x1b[31m", r"\x1b[31m"), ("\udcff", r"\xff")],
)  # fmt: skip
def test_a_path_is_shown_on_one_line_that_steers_no_terminal(path: str, text: str) -> None:
    assert shown(Path(path)) == text


def test_the_statuses_of_signals_are_the_shell_s() -> None:
    assert (ExitStatus.INTERRUPTED, ExitStatus.TERMINATED) == (128 + 2, 128 + 15)
