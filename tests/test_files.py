import os
import resource
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import names, run_program

from mnistctl import files
from mnistctl.errors import MnistctlError


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    return path


def write(path: Path, content: bytes = b"later") -> None:
    with files.replace(path) as file:
        file.write(content)


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a path, as the kernel writes it, a mount point."""

    def mount(path: str) -> None:
        lines = [
            "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw",
            "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            f"31 27 254:0 /home/file {path} rw,relatime - ext4 /dev/vda rw",
        ]
        (tmp_path / "mountinfo").write_text("".join(f"{line}\n" for line in lines))

    (tmp_path / "mountinfo").touch()
    monkeypatch.setattr(files, "_MOUNTS", tmp_path / "mountinfo")
    return mount


def test_file_is_replaced(earlier: Path) -> None:
    write(earlier)
    assert earlier.read_bytes() == b"later"


def test_file_is_created(tmp_path: Path) -> None:
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"later"


def test_earlier_file_stays_until_the_block_ends(earlier: Path) -> None:
    with files.replace(earlier) as file:
        file.write(b"later")
        file.flush()
        assert earlier.read_bytes() == b"earlier"


def test_no_other_file_is_left(earlier: Path) -> None:
    write(earlier)
    assert names(earlier.parent) == ["file"]


def test_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_mode_of_an_earlier_file_is_kept(earlier: Path) -> None:
    earlier.chmod(0o640)
    write(earlier)
    assert earlier.stat().st_mode & 0o777 == 0o640


def test_symbolic_link_stays_a_link(earlier: Path) -> None:
    link = earlier.with_name("link")
    link.symlink_to(earlier)
    write(link)
    assert link.is_symlink()
    assert earlier.read_bytes() == b"later"


def test_file_of_another_user_in_a_sticky_directory_is_refused_before_the_work(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier.parent.chmod(0o1777)
    files.check_writable(earlier)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    files.check_writable(earlier.with_name("new"))
    with pytest.raises(MnistctlError, match="belongs to another user: name another file"):
        files.check_writable(earlier)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_keeps_the_earlier_file(earlier: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with files.replace(earlier) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert earlier.read_bytes() == b"earlier"
    assert names(earlier.parent) == ["file"]


def test_full_disk_keeps_the_earlier_file(earlier: Path) -> None:
    # A limit on the size of files acts as a full disk, which only root can make.
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
    ("path", "reason"),
    [
        ("nowhere/file", "cannot be written: No such file"),
        ("/proc/file", "cannot be written: No such file"),
        (".", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        ("a" * 300, "cannot be written: File name too long"),
    ],
)
def test_path_that_cannot_be_written_is_refused(
    attempt: Callable[[Path], None], path: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(MnistctlError, match=reason):
        attempt(tmp_path / path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("attempt", [write, files.check_writable])
def test_pipe_is_refused(attempt: Callable[[Path], None]) -> None:
    ends = os.pipe()
    try:
        with pytest.raises(MnistctlError, match="is not a regular file"):
            attempt(Path(f"/dev/fd/{ends[1]}"))
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names a deleted file")
@pytest.mark.parametrize("attempt", [write, files.check_writable])
def test_deleted_file_is_refused(attempt: Callable[[Path], None], tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        (tmp_path / "file").unlink()
        with pytest.raises(MnistctlError, match="is not a regular file"):
            attempt(Path(f"/dev/fd/{file.fileno()}"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("attempt", [write, files.check_writable])
def test_path_without_room_for_the_temporary_file_beside_it_is_refused(
    attempt: Callable[[Path], None], earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: count * "long" * 10)
    with pytest.raises(MnistctlError, match="file: cannot be written: File name too long"):
        attempt(earlier)
    assert earlier.read_bytes() == b"earlier"


def test_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MnistctlError, match="loop: "):
        write(tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()


@pytest.mark.parametrize("attempt", [write, files.check_writable])
@pytest.mark.parametrize(
    ("name", "escaped"),
    [("file", "file"), ("a b", r"a\040b"), ("a\\b", r"a\134b"), ("a\tb\nc", r"a\011b\012c"),
     ("é", "é"), ("a #", r"a\040#")],
    ids=["plain", "space", "backslash", "tab and newline", "not ASCII", "number sign"],
)  # fmt: skip
def test_file_mounted_by_itself_from_its_own_filesystem_is_refused(
    attempt: Callable[[Path], None],
    name: str,
    escaped: str,
    tmp_path: Path,
    mount: Callable[[str], None],
) -> None:
    (tmp_path / name).write_bytes(b"earlier")
    mount(f"{tmp_path}/{escaped}")
    with pytest.raises(MnistctlError, match="is mounted by itself: mount its directory"):
        attempt(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"earlier"


def test_link_to_a_file_mounted_by_itself_is_refused(
    earlier: Path, mount: Callable[[str], None]
) -> None:
    earlier.with_name("link").symlink_to("file")
    mount(str(earlier))
    with pytest.raises(MnistctlError, match="link: is mounted by itself"):
        files.check_writable(earlier.with_name("link"))


def test_file_in_a_mounted_directory_is_writable(
    earlier: Path, mount: Callable[[str], None]
) -> None:
    mount(str(earlier.parent))
    write(earlier)
    assert earlier.read_bytes() == b"later"


@pytest.mark.parametrize("mounted", [True, False])
def test_system_without_a_list_of_mounts_is_asked_for_the_mount_point(
    earlier: Path, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    monkeypatch.setattr(files, "_MOUNTS", earlier.with_name("nowhere"))
    monkeypatch.setattr(os.path, "ismount", lambda path: mounted and Path(path) == earlier)
    if mounted:
        with pytest.raises(MnistctlError, match="is mounted by itself"):
            files.check_writable(earlier)
    else:
        files.check_writable(earlier)


def test_checking_leaves_no_trace(earlier: Path) -> None:
    files.check_writable(earlier)
    files.check_writable(earlier.with_name("other"))
    assert names(earlier.parent) == ["file"]
    assert earlier.read_bytes() == b"earlier"


# Each child process gets the signal before another instruction of mnistctl. The first one that gets
# none has executed them all.
INTERRUPTED_REPLACEMENT = """
import os, signal, sys
from pathlib import Path
from mnistctl import files, signals
from mnistctl.errors import Stopped

path = Path("folder", "file")
traced = [files.replace.__wrapped__.__code__, signals.deferred.__wrapped__.__code__]
os.fsync = lambda descriptor: None

def replace():
    with files.replace(path) as file:
        file.write(b"later")

def end_child(instruction):
    def trace(frame, event, argument):
        nonlocal instruction
        if frame.f_code not in traced:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            instruction -= 1
            if instruction == 0:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    signals.install_handlers()
    sys.settrace(trace)
    try:
        replace()
    except Stopped as stop:
        os._exit(stop.status)
    os._exit(0)

replace()  # imports what it needs
contents, instruction, status = set(), 0, None
while status != 0:
    instruction += 1
    path.write_bytes(b"earlier")
    process = os.fork() or end_child(instruction)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, 143), (instruction, status)
    assert os.listdir("folder") == ["file"], (instruction, os.listdir("folder"))
    contents.add(path.read_text())
assert instruction > 50, instruction
print(*sorted(contents))
"""


def test_signal_at_any_instruction_leaves_one_of_the_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    result = run_program(INTERRUPTED_REPLACEMENT, tmp_path)
    assert (result.stdout, result.stderr) == ("earlier later\n", "")
