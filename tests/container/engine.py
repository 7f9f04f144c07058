"""Functions that run Docker for the tests of the images."""

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Protocol

import pytest

ROOT = Path(__file__).parents[2]
VARIANTS = ("predict", "cpu", "gpu")

Completed = subprocess.CompletedProcess[str]


class Run(Protocol):
    """Runs an image; the flags are those of ``docker run``."""

    def __call__(self, image: str, *arguments: str, flags: Sequence[str] = ()) -> Completed: ...


def docker(
    *arguments: str | Path,
    check: bool = True,
    cwd: Path = ROOT,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
) -> Completed:
    """Run ``docker``. With ``check`` the test fails if docker does, and shows its output."""
    command = ["docker", *map(str, arguments)]
    result = subprocess.run(
        command, cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=1800, check=False
    )
    if check and result.returncode:
        pytest.fail(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result


def run_python(image: str, program: str) -> Completed:
    """Run a Python program in an image."""
    return docker("run", "--rm", "--entrypoint=python", image, "-c", program, check=False)


def inspect(image: str, template: str) -> str:
    """Return what a Go template makes of an image's configuration."""
    return docker("image", "inspect", f"--format={template}", image).stdout.strip()


def missing() -> str | None:
    """Say what is missing to build images, or return None."""
    if not shutil.which("docker"):
        return "There is no docker command, which the tests of the images need."
    if docker("version", check=False).returncode:
        return "No Docker Engine answers (docker version), which the tests of the images need."
    if docker("buildx", "version", check=False).returncode:
        return "Docker has no buildx plugin, which the tests of the images need."
    return None


def build_argument(name: str) -> str:
    """Return the value of a build argument: the environment's, or the Dockerfile's default."""
    default = re.search(f"^ARG {name}=(.*)", (ROOT / "Dockerfile").read_text(), re.M)
    assert default
    value = os.environ.get(name, default[1])
    return re.sub(r"\$\{(\w+)\}", lambda match: build_argument(match[1]), value)


@cache
def torch_index_answers() -> bool:
    """Say whether the index of PyTorch's CPU builds can be reached."""
    try:
        with urllib.request.urlopen(f"{build_argument('TORCH_INDEX')}/torch/", timeout=10):
            return True
    except OSError:
        return False


def bake(*targets: str, check: bool = True, cwd: Path = ROOT) -> Completed:
    """Run ``docker buildx bake``. Without PyTorch's index, ``cpu`` gets the CUDA build."""
    files = ["--file=docker-bake.hcl"]
    if not torch_index_answers():
        files.append("--file=tests/container/docker-bake.hcl")
    return docker("buildx", "bake", *files, "--progress=plain", *targets, check=check, cwd=cwd)


def copy_checkout(directory: Path) -> None:
    """Copy the repository's files: those that git tracks, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():  # a deleted file is still tracked
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
