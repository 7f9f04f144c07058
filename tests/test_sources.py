import io
import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistctl import sources
from mnistctl.errors import MnistctlError

PATHS = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name and name != b"-")


def touch(directory: Path, *paths: str) -> None:
    for path in paths:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).touch()


def expanded(path: Path) -> list[str]:
    return [os.path.relpath(found, path) for found in sources.expanded([str(path)])]


def test_a_file_stays_as_written() -> None:
    assert list(sources.expanded(["./a/../b.png"])) == ["./a/../b.png"]


def test_a_directory_becomes_the_pictures_under_it_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a/y.gif", "c/d/e.webp", "notes.txt", "a/README")
    assert expanded(tmp_path) == ["a/y.gif", "a/z.JPG", "b.png", "c/d/e.webp"]


def test_a_directory_that_links_to_itself_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert expanded(tmp_path) == ["a.png"]


def test_a_directory_without_a_picture_is_an_error_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    before, error, after = sources.expanded(["a.png", str(tmp_path), "b.png"])
    assert (before, after) == ("a.png", "b.png")
    assert isinstance(error, MnistctlError)
    assert "is a directory without a picture" in str(error)


@given(st.lists(PATHS))
def test_a_list_ended_by_nul_holds_any_path(
    tmp_path_factory: pytest.TempPathFactory, paths: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    path.write_bytes(b"".join(name + b"\0" for name in paths))
    assert [os.fsencode(name) for name in sources.listed(path, null=True)] == paths


@given(
    st.lists(PATHS.filter(lambda name: b"\n" not in name and not name.endswith(b"\r"))),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_a_list_of_lines_holds_any_path_without_a_newline(
    tmp_path_factory: pytest.TempPathFactory, paths: list[bytes], newline: bytes, ended: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    path.write_bytes(newline.join(paths) + (newline if ended else b""))
    assert [os.fsencode(name) for name in sources.listed(path, null=False)] == paths


def test_a_dash_in_a_list_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("-\n")
    assert list(sources.listed(tmp_path / "list", null=False)) == ["./-"]


def test_a_list_ended_by_nul_that_is_read_as_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    with pytest.raises(MnistctlError, match="for `find -print0` give -0"):
        list(sources.listed(tmp_path / "list", null=False))


def test_a_file_that_is_no_list_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"x" * 10_000_000)
    with pytest.raises(MnistctlError, match="is not a list of paths"):
        list(sources.listed(tmp_path / "list", null=False))


def test_an_endless_list_of_nothing_is_refused() -> None:
    with pytest.raises(MnistctlError, match="has an empty path in it"):
        list(sources.listed(Path("/dev/zero"), null=True))


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="nowhere: cannot be read: No such file"):
        list(sources.listed(tmp_path / "nowhere", null=False))


def test_a_path_comes_before_the_pipe_it_is_in_ends() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a.png\n")
    listed = sources.listed(Path(f"/dev/fd/{reading}"), null=False)
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(next(listed)), daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert first == ["a.png"]
    os.close(writing)


def test_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MnistctlError, match="standard input is closed"):
        sources.stdin()


def test_standard_input_is_read_beside_python_s_own_buffer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(b"bytes")
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with sources.stdin() as stdin:
            assert isinstance(stdin, io.BufferedReader)
            assert stdin.read() == b"bytes"
