from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistctl.errors import MnistctlError, display_path, path_error, read_error, write_error


@pytest.mark.parametrize(
    ("path", "text"),
    [("a b.png", "a b.png"), ("drei é.png", "drei é.png"), ("a\nb", r"a\nb"), ("a\tb", r"a\tb"),
     ("\x1b[31m", r"\x1b[31m"), ("\udcff", r"\xff")],
)  # fmt: skip
def test_path_is_displayed_on_one_line_without_control_characters(path: str, text: str) -> None:
    assert display_path(path) == text
    assert display_path(Path(path)) == text


@given(st.binary())
def test_every_path_is_displayed_in_printable_characters(path: bytes) -> None:
    text = display_path(path.decode(errors="surrogateescape"))
    assert text.isprintable()
    assert text.encode().decode() == text


def test_error_about_a_path_starts_with_the_path_on_one_line() -> None:
    assert str(path_error("a\nb.png", "is blank")) == r"a\nb.png: is blank"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(2, "No such file or directory"), "No such file or directory"),
        (OSError("timed out"), "timed out"),
    ],
    ids=["of the operating system", "of a library"],
)
@pytest.mark.parametrize(
    ("create", "failure"), [(read_error, "cannot be read"), (write_error, "cannot be written")]
)
def test_error_of_a_path_names_the_path_and_the_reason(
    create: Callable[[str, OSError], MnistctlError], failure: str, error: OSError, reason: str
) -> None:
    assert str(create("a\nb.png", error)) == rf"a\nb.png: {failure}: {reason}"
