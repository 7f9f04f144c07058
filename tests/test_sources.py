import io
import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistctl.errors import MnistctlError
from mnistctl.images import sources
from mnistctl.images.sources import Failure

PATHS = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name and name != b"-")


def touch(directory: Path, *paths: str) -> None:
    for path in paths:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).touch()


def expanded(path: Path) -> list[str]:
    found = list(sources.expand([str(path)]))
    return [os.path.relpath(image, path) for image in found if isinstance(image, str)]


def read_list(path: Path, *, null: bool = False) -> list[str]:
    """Return the paths of a list, or raise the error of the failure with which it ends."""
    paths = []
    for entry in sources.read_list(str(path), null=null):
        if isinstance(entry, Failure):
            assert entry.path == str(path)
            raise entry.error
        paths.append(entry)
    return paths


def test_pipes_and_devices_in_a_directory_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "4.png")
    os.mkfifo(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to("/dev/zero")
    assert expanded(tmp_path) == ["1.png", "4.png"]


@pytest.mark.parametrize("target", ["missing.png", "1.png"])
def test_a_link_that_leads_nowhere_in_a_directory_is_reported(target: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to(target)
    assert expanded(tmp_path) == ["1.png"]


def test_directories_may_be_deeper_than_python_recurses(tmp_path: Path) -> None:
    image = tmp_path.joinpath(*["d"] * 300, "1.png")
    image.parent.mkdir(parents=True)
    image.touch()
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(250)
        assert list(sources.expand([str(tmp_path)])) == [str(image)]
    finally:
        sys.setrecursionlimit(limit)


def test_file_stays_as_written() -> None:
    assert list(sources.expand(["./a/../b.png"])) == ["./a/../b.png"]


def test_dash_stays_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "-/a.png")
    monkeypatch.chdir(tmp_path)
    assert list(sources.expand(["-", "./-"])) == ["-", "./-/a.png"]


def test_directory_becomes_the_image_files_under_it_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a/y.gif", "c/d/e.webp", "notes.txt", "a/README")
    assert expanded(tmp_path) == ["a/y.gif", "a/z.JPG", "b.png", "c/d/e.webp"]


@pytest.mark.parametrize("suffix", sources.SUFFIXES)
def test_image_file_is_found_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a{suffix}")
    assert expanded(tmp_path) == [f"a{suffix}"]


def test_directory_that_links_to_itself_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert expanded(tmp_path) == ["a.png"]


def test_directory_without_an_image_file_is_a_failure_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    before, failure, after = sources.expand(["a.png", str(tmp_path), "b.png"])
    assert (before, after) == ("a.png", "b.png")
    assert isinstance(failure, Failure)
    assert failure.path == str(tmp_path)
    assert str(failure.error).startswith(f"{tmp_path}: is a directory without an image file (.avif")


def test_directory_that_cannot_be_listed_is_a_failure_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list every directory
    before, failure, after = sources.expand(["a.png", str(tmp_path), "b.png"])
    assert (before, after) == ("a.png", "b.png")
    assert isinstance(failure, Failure)
    assert failure.path == str(tmp_path)
    assert str(failure.error) == f"{tmp_path}: cannot be read: Permission denied"


@given(st.lists(PATHS))
def test_list_ended_by_nul_holds_any_path(
    tmp_path_factory: pytest.TempPathFactory, paths: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    path.write_bytes(b"".join(name + b"\0" for name in paths))
    assert [os.fsencode(name) for name in read_list(path, null=True)] == paths


@given(
    st.lists(PATHS.filter(lambda name: b"\n" not in name and not name.endswith(b"\r"))),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_list_of_lines_holds_any_path_without_a_newline(
    tmp_path_factory: pytest.TempPathFactory, paths: list[bytes], newline: bytes, ended: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    path.write_bytes(newline.join(paths) + (newline if ended else b""))
    assert [os.fsencode(name) for name in read_list(path)] == paths


def test_long_list_is_read_in_order(tmp_path: Path) -> None:
    paths = [f"{index:06}.png" for index in range(20_000)]  # several reads
    (tmp_path / "list").write_text("\n".join(paths))
    assert read_list(tmp_path / "list") == paths


def test_dash_in_a_list_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("-\n")
    assert read_list(tmp_path / "list") == ["./-"]


def test_empty_lines_of_a_list_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("\na.png\n\n\r\nb.png\n\n")
    assert read_list(tmp_path / "list") == ["a.png", "b.png"]


def test_list_ended_by_nul_that_is_read_as_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    with pytest.raises(MnistctlError, match=r"list: is not a list of paths .*use -0 for `find"):
        read_list(tmp_path / "list")


@pytest.mark.parametrize("null", [True, False])
def test_file_that_is_not_a_list_is_refused_before_it_is_read_whole(
    tmp_path: Path, null: bool
) -> None:
    (tmp_path / "list").write_bytes(b"x" * 10_000_000)
    with pytest.raises(MnistctlError, match="list: is not a list of paths"):
        read_list(tmp_path / "list", null=null)


def test_endless_list_of_empty_paths_is_refused() -> None:
    with pytest.raises(MnistctlError, match="/dev/zero: contains an empty path"):
        read_list(Path("/dev/zero"), null=True)


def test_failure_of_a_list_comes_after_its_paths(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.png\n\0\n")
    first, failure = sources.expand(sources.read_list(str(tmp_path / "list"), null=False))
    assert first == "a.png"
    assert isinstance(failure, Failure)


def test_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="nowhere: cannot be read: No such file"):
        read_list(tmp_path / "nowhere")


def test_path_is_given_before_its_pipe_is_closed() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a.png\n")
    listed = sources.read_list(f"/dev/fd/{reading}", null=False)
    first: list[str | Failure] = []
    thread = threading.Thread(target=lambda: first.append(next(listed)), daemon=True)
    thread.start()
    thread.join(timeout=30)
    os.close(writing)
    assert first == ["a.png"]
    assert list(listed) == []
    os.close(reading)


def test_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MnistctlError, match="standard input is closed"):
        sources.open_stdin()


def test_list_on_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "input").write_text("a.png\nb.png\n")
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read_list(Path("-")) == ["a.png", "b.png"]


def test_standard_input_is_read_without_the_buffer_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input").write_bytes(b"bytes")
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with sources.open_stdin() as stdin:
            assert isinstance(stdin, io.BufferedReader)
            assert stdin.read() == b"bytes"
        assert not file.closed
