"""The shell blocks of the documents that need an engine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.engine import Completed, build_argument, copy_checkout, docker
from documents import ROOT, Block, blocks

MARKED = [block for block in blocks() if block.mark == "run by tests/container"]
# Keeps the packages that pip downloads: PyTorch with its CUDA libraries takes 3 GB.
PIP_CACHE = "mnistctl-pip-cache"


@pytest.mark.parametrize("block", [b for b in MARKED if b.language == "console"], ids=str)
@pytest.mark.usefixtures("images")
def test_block_prints_what_the_document_shows(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    block.run(tmp_path)


@pytest.fixture
def debian(tmp_path: Path, engine: None) -> Iterator[str]:  # noqa: ARG001
    """A container of Debian with Python and a compiler, in a fresh clone."""
    copy_checkout(tmp_path / "clone")
    cache = f"--volume={PIP_CACHE}:/root/.cache/pip"
    base = build_argument("TOOLCHAIN")
    created = docker("create", cache, "--workdir=/clone", base, "sleep", "infinity")
    container = created.stdout.strip()
    try:
        docker("cp", f"{tmp_path}/clone/.", f"{container}:/clone")
        docker("start", container)
        yield container
    finally:
        docker("rm", "--force", container)


def test_the_readme_s_two_commands_pass_on_a_fresh_debian(debian: str) -> None:
    def in_new_shell(command: str) -> Completed:
        return docker("exec", debian, "bash", "-c", command)

    install, test = (block.text for block in MARKED if block.language == "sh")
    assert in_new_shell(install).stdout.endswith("\n7\n")
    assert " passed" in in_new_shell(test).stdout
