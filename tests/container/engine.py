"""Docker, as the specifications of the images use it."""

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VARIANTS = ("predict", "cpu", "gpu")

Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]


def docker(*arguments: object, check: bool = True, **options: object) -> Completed:
    """Run ``docker``; where it fails and should not, the test fails with what it said."""
    options = {"capture_output": True, "text": True, "timeout": 1800, "cwd": ROOT, **options}
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run(["docker", *map(str, arguments)], check=False, **options)
    if check and result.returncode:
        pytest.fail(f"docker {' '.join(map(str, arguments))}\n{result.stdout}{result.stderr}")
    return result


@cache
def why_not() -> str | None:
    """Say why no image can be built here, if none can."""
    if not shutil.which("docker"):
        return "the images need Docker: there is no `docker` on the PATH"
    if docker("version", check=False).returncode:
        return "the images need a Docker Engine: none answers (docker version)"
    if docker("buildx", "version", check=False).returncode:
        return "the images need buildx: install Docker's buildx plugin"
    return None


def build_argument(name: str) -> str:
    """Return what the Dockerfile's ``ARG name`` is: the environment's, or else its default."""
    default = re.search(f"^ARG {name}=(.*)", (ROOT / "Dockerfile").read_text(), re.M)
    assert default
    value = os.environ.get(name, default[1])
    return re.sub(r"\$\{(\w+)\}", lambda other: build_argument(other[1]), value)


@cache
def torch_index_answers() -> bool:
    """Say whether the index of PyTorch's builds for the CPU can be reached."""
    try:
        with urllib.request.urlopen(f"{build_argument('TORCH_INDEX')}/torch/", timeout=10):
            return True
    except OSError:
        return False


def bake(*arguments: object, **options: object) -> Completed:
    """Run ``docker buildx bake``, without PyTorch's index where that cannot be reached."""
    files = ["--file=docker-bake.hcl"]
    if not torch_index_answers():
        files.append("--file=tests/container/docker-bake.hcl")
    return docker("buildx", "bake", *files, "--progress=plain", *arguments, **options)
