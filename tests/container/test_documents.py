"""The shell blocks of the documents that need an engine, or most of a minute."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from container.engine import Completed, build_argument, copy_checkout, docker
from documents import ROOT, Block, blocks

MARKED = [block for block in blocks() if block.mark == "run by tests/container"]
BUILD_WHEEL, INSTALL_WHEEL, INSTALL, TEST = (b.text for b in MARKED if b.language == "sh")


@pytest.mark.parametrize("block", [b for b in MARKED if b.language == "console"], ids=str)
@pytest.mark.usefixtures("images")
def test_block_prints_what_the_document_shows(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    block.run(tmp_path, {"PATH": path})


@contextmanager
def container(base: str, directory: str) -> Iterator[str]:
    """Start a container of a base image, in an empty directory."""
    # PyTorch with its CUDA libraries takes 6 GB, and in pip's cache 3 GB more.
    no_cache = "--env=PIP_NO_CACHE_DIR=1"
    created = docker(
        "run", "--detach", no_cache, f"--workdir={directory}", base, "sleep", "infinity"
    )
    try:
        yield created.stdout.strip()
    finally:
        docker("rm", "--force", created.stdout.strip())


@pytest.fixture
def debian(tmp_path: Path, engine: None) -> Iterator[str]:  # noqa: ARG001
    """A container of Debian with Python and a compiler, in a fresh clone."""
    copy_checkout(tmp_path / "clone")
    with container(build_argument("TOOLCHAIN"), "/clone") as debian:
        docker("cp", f"{tmp_path}/clone/.", f"{debian}:/clone")
        yield debian


@pytest.fixture
def slim(engine: None) -> Iterator[str]:  # noqa: ARG001
    """A container of Debian with Python, without a compiler, in an empty directory."""
    with container(build_argument("BASE"), "/work") as slim:
        yield slim


def in_new_shell(container: str, command: str) -> Completed:
    return docker("exec", container, "bash", "-c", command)


def test_the_readme_s_two_commands_pass_on_a_fresh_debian(debian: str) -> None:
    assert in_new_shell(debian, INSTALL).stdout.endswith("\n7\n")
    assert " passed" in in_new_shell(debian, TEST).stdout


def test_the_readme_s_wheel_installs_and_predicts_without_a_compiler(
    debian: str, slim: str, tmp_path: Path
) -> None:
    in_new_shell(debian, BUILD_WHEEL)
    for folder in ("dist", "examples"):
        docker("cp", f"{debian}:/clone/{folder}", tmp_path)
        docker("cp", tmp_path / folder, f"{slim}:/work")
    assert in_new_shell(slim, "! command -v c++ g++ gcc cc").stdout == ""
    assert in_new_shell(slim, INSTALL_WHEEL).stdout.endswith("\n7\n")
