"""The commands in the documents that need an engine, word for word."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.engine import ROOT, build_argument, docker, project_files
from documents import Block, blocks

MARK = "run by tests/container"
EXAMPLES = [block for block in blocks() if block.mark == MARK and block.language == "console"]


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
@pytest.mark.usefixtures("images")
def test_block_prints_what_the_document_shows(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    block.run(tmp_path)


@pytest.fixture
def clone() -> Iterator[str]:
    """A container of a fresh Debian with Python and a compiler, with a clone of the project.

    pip's cache is a volume, so that only the first run downloads PyTorch.
    """
    container = docker(
        *("run", "--detach", "--init", "--volume=mnistctl-pip-cache:/root/.cache/pip"),
        *("--workdir=/mnistctl", build_argument("TOOLCHAIN"), "sleep", "infinity"),
    ).stdout.strip()
    try:
        pack = ["tar", "--create", *project_files()]
        archive = subprocess.run(pack, cwd=ROOT, capture_output=True, check=True).stdout
        unpack = ["docker", "cp", "-", f"{container}:/mnistctl"]
        subprocess.run(unpack, input=archive, capture_output=True, check=True)
        yield container
    finally:
        docker("rm", "--force", container)


def test_the_readme_s_two_commands_pass_on_a_fresh_debian(clone: str) -> None:
    install, test = (block.text for block in blocks(ROOT / "README.md") if block.language == "sh")
    assert docker("exec", clone, "bash", "-c", install).stdout.endswith("\n7\n")
    assert " passed" in docker("exec", clone, "bash", "-c", test).stdout
