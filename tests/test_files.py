import resource
from pathlib import Path

import pytest
from support import names

from mnistctl import files
from mnistctl.errors import MnistctlError


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    return path


def write(path: Path, content: bytes = b"later") -> None:
    with files.replacing(path) as file:
        file.write(content)


def test_the_file_is_replaced(earlier: Path) -> None:
    write(earlier)
    assert earlier.read_bytes() == b"later"


def test_nothing_else_is_left(earlier: Path) -> None:
    write(earlier)
    assert names(earlier.parent) == ["file"]


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_symbolic_link_stays_a_link(earlier: Path) -> None:
    link = earlier.with_name("link")
    link.symlink_to(earlier)
    write(link)
    assert link.is_symlink()
    assert earlier.read_bytes() == b"later"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_earlier_file_alone(earlier: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with files.replacing(earlier) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert earlier.read_bytes() == b"earlier"
    assert names(earlier.parent) == ["file"]


def test_a_full_disk_leaves_the_earlier_file_alone(earlier: Path) -> None:
    # A limit on the size of files stands in for a full disk, which only root could make.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(MnistctlError, match="file: cannot be written: File too large"):
            write(earlier, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert earlier.read_bytes() == b"earlier"
    assert names(earlier.parent) == ["file"]


@pytest.mark.parametrize("attempt", [write, files.check_writable])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/file", "No such file"),
        ("/proc/file", "No such file"),
        (".", "not an ordinary file"),
        ("/dev/full", "not an ordinary file"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(
    attempt: object, path: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(MnistctlError, match=why):
        attempt(tmp_path / path)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MnistctlError, match="loop: "):
        write(tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()


def test_checking_leaves_no_trace(earlier: Path) -> None:
    files.check_writable(earlier)
    files.check_writable(earlier.with_name("other"))
    assert names(earlier.parent) == ["file"]
    assert earlier.read_bytes() == b"earlier"
