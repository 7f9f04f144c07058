"""Every example of the README runs and prints what it shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def examples(block: str) -> list[tuple[str, str]]:
    """The commands after each ``$`` and the output shown below them."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.splitlines()[0])
def test_the_examples_print_what_they_show(block: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    for command, output in examples(block):
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shown = re.escape(output).replace("…", ".*")
        assert re.fullmatch(shown, result.stdout), result.stdout


def test_ci_installs_and_tests_with_the_readme_s_commands() -> None:
    install, test = blocks("sh")
    script = (ROOT / ".ci" / "run").read_text()
    assert install.split(" && ")[2] in script
    assert script.splitlines()[-1].endswith(test.strip())


def test_the_command_that_made_the_bundled_model_is_its_metadata_s() -> None:
    from mnistctl.classifier import Classifier

    metadata = Classifier.load().metadata
    assert metadata["seed"] == "0"
    assert f"`mnistctl train --epochs {metadata['epochs']} --output mnistctl/model.onnx`" in README
