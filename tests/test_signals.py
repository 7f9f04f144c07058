"""Programs that send a signal to themselves."""

import signal
import subprocess
from pathlib import Path

import pytest
from support import run_program

SIGNALS = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
PREAMBLE = """
import os, signal, sys
from mnistctl import signals
from mnistctl.errors import Stopped

def log(text):
    print(text, flush=True)

number = {number}

def send_signal():
    os.kill(os.getpid(), number)

signal.signal(number, signal.SIG_DFL)
signals.install_handlers()
"""


def run(program: str, number: int, directory: Path) -> subprocess.CompletedProcess[str]:
    return run_program(PREAMBLE.format(number=int(number)) + program, directory)


@SIGNALS
def test_signal_ends_the_program_at_once(number: int, status: int, tmp_path: Path) -> None:
    program = """
try:
    log("before")
    send_signal()
    log("after")
finally:
    log("cleanup")
"""
    result = run(program, number, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (status, "before\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(number: int, tmp_path: Path) -> None:
    program = """
signal.signal(number, signal.SIG_IGN)
signals.install_handlers()
send_signal()
log("after")
"""
    result = run(program, number, tmp_path)
    assert (result.returncode, result.stdout) == (0, "after\n")


@SIGNALS
def test_signal_does_not_wait_for_other_threads(number: int, status: int, tmp_path: Path) -> None:
    program = """
import threading
read, write = os.pipe()
threading.Thread(target=os.read, args=(read, 1)).start()
send_signal()
"""
    result = run(program, number, tmp_path)
    assert (result.returncode, result.stderr) == (status, "")


@SIGNALS
@pytest.mark.parametrize(("awaited", "function"), [("path", "_next"), ("image", "wait")])
def test_predict_ends_at_a_signal_that_does_not_interrupt_its_wait(
    number: int, status: int, awaited: str, function: str, tmp_path: Path
) -> None:
    program = f"""
import threading
from mnistctl.classifier import Classifier
from mnistctl.images import stream

def hang(*arguments):
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != {function!r}:
        pass
    signal.pthread_kill(threading.get_ident(), number)  # this thread, not the main one, wakes
    threading.Event().wait()

def paths():
    yield "-" if {awaited!r} == "image" else hang()

stream.find_digit = hang
list(stream.classify(paths(), Classifier.load()))
"""
    result = run(program, number, tmp_path)
    assert (result.returncode, result.stderr) == (status, "")


@SIGNALS
def test_signal_waits_for_the_end_of_a_block(number: int, status: int, tmp_path: Path) -> None:
    program = """
try:
    with signals.deferred():
        send_signal()
        log("end of the block")
    log("after the block")
except Stopped as stop:
    log(int(stop.status))
"""
    result = run(program, number, tmp_path)
    assert result.stdout == f"end of the block\n{status}\n"
    assert (result.returncode, result.stderr) == (0, "")


@SIGNALS
def test_signal_waits_for_the_end_of_the_outermost_block(
    number: int, status: int, tmp_path: Path
) -> None:
    program = """
try:
    with signals.deferred():
        with signals.deferred():
            send_signal()
            log("end of the inner block")
        log("end of the outer block")
    log("after the blocks")
except Stopped as stop:
    log(int(stop.status))
"""
    result = run(program, number, tmp_path)
    assert result.stdout == f"end of the inner block\nend of the outer block\n{status}\n"
    assert (result.returncode, result.stderr) == (0, "")


@SIGNALS
def test_long_block_can_ask_for_a_signal(number: int, status: int, tmp_path: Path) -> None:
    program = """
with signals.deferred() as check_stop:
    check_stop()
    log("no signal")
    send_signal()
    try:
        check_stop()
    except Stopped as stop:
        log(int(stop.status))
"""
    result = run(program, number, tmp_path)
    assert result.stdout.splitlines()[:2] == ["no signal", str(status)]


def test_block_that_is_stopped_finishes_the_blocks_in_its_handlers(tmp_path: Path) -> None:
    program = """
try:
    with signals.deferred() as check_stop:
        send_signal()
        try:
            check_stop()
        except Stopped:
            with signals.deferred():
                log("saved")
            log("stopped")
            raise
except Stopped:
    log("end")
"""
    assert run(program, signal.SIGTERM, tmp_path).stdout == "saved\nstopped\nend\n"


def test_error_in_a_block_goes_before_the_signal(tmp_path: Path) -> None:
    program = """
try:
    with signals.deferred():
        send_signal()
        raise ValueError("the disk is full")
except ValueError as error:
    log(error)
"""
    assert run(program, signal.SIGTERM, tmp_path).stdout == "the disk is full\n"


def test_second_signal_in_a_block_waits_too(tmp_path: Path) -> None:
    program = """
try:
    with signals.deferred():
        send_signal()
        send_signal()
        log("end of the block")
except Stopped as stop:
    log(int(stop.status))
"""
    assert run(program, signal.SIGTERM, tmp_path).stdout == "end of the block\n143\n"


@SIGNALS
def test_signal_after_a_block_ends_the_program_at_once(
    number: int, status: int, tmp_path: Path
) -> None:
    program = """
with signals.deferred():
    log("block")
send_signal()
log("after")
"""
    result = run(program, number, tmp_path)
    assert (result.returncode, result.stdout) == (status, "block\n")


def test_signal_is_no_error_to_a_handler_of_errors(tmp_path: Path) -> None:
    program = """
try:
    with signals.deferred() as check_stop:
        send_signal()
        try:
            check_stop()
        except Exception:
            log("handled as an error")
except Stopped:
    log("stopped")
"""
    assert run(program, signal.SIGTERM, tmp_path).stdout == "stopped\n"
