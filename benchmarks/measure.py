"""Run commands as whole processes, and write tables of their figures."""

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Run:
    """A finished process: wall time, peak memory in MiB, and stdout."""

    seconds: float
    mebibytes: float
    output: str


def run(command: Sequence[str]) -> Run:
    """Run a command and measure it.

    Raises:
        SystemExit: the command failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit status {process.returncode} of: {' '.join(command)}")
    # Linux counts kibibytes here, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Run(seconds, usage.ru_maxrss / unit, output)


def alternate(commands: Sequence[Sequence[str]], times: int) -> list[list[Run]]:
    """Run commands A, B, A, B, ..., so that a machine that slows down slows both.

    Returns:
        The runs of each command.
    """
    rounds = [[run(command) for command in commands] for _ in range(times)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def seconds(runs: Sequence[Run]) -> float:
    """Return the median wall time."""
    return statistics.median(run.seconds for run in runs)


def mebibytes(runs: Sequence[Run]) -> float:
    """Return the highest peak memory."""
    return max(run.mebibytes for run in runs)


def machine() -> str:
    """Describe the processor and the Python version."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        processor = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    return f"{os.cpu_count()} cores of {processor}, Python {platform.python_version()}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(name: str, text: str) -> None:
    """Replace the text between the markers of a section of benchmarks/README.md."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = README.read_text().split(begin)
    after = rest.split(end)[1]
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}")
