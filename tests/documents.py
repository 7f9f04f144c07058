"""The code blocks of the documents, and a way to run them.

A block with the language ``console`` or ``python`` is run by ``test_docs.py``. The line above a
block may say otherwise: ``<!-- run by WHERE -->`` or ``<!-- not run: REASON -->``. A block with the
language ``sh`` needs such a line.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "examples" / "service" / "README.md",
    ]
)
_BLOCK = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
_EXAMPLE = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.M)
_PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced code block of a document.

    Attributes:
        mark: the comment above it, or an empty string.
    """

    document: Path
    mark: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.text.partition(chr(10))[0]}"

    def run(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        """Run each command, or the Python program, and compare the output with the document.

        The output of a command is below it. That of a program is in the comments behind ``print``.
        In the document ``…`` marks output that varies within a line. Spaces at the end of a line
        are ignored.
        """
        commands = self._commands()
        assert commands, f"{self} has no command"
        for command, expected in commands:
            result = subprocess.run(
                command,
                cwd=directory,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
            output = re.sub(r" +$", "", result.stdout, flags=re.M)
            pattern = re.escape(expected).replace("…", ".*")
            assert re.fullmatch(pattern, output), f"{command}\n{output}"

    def _commands(self) -> list[tuple[list[str], str]]:
        """Return the commands of the block, each with its output."""
        if self.language == "python":
            expected = "".join(f"{line}\n" for line in _PRINTED.findall(self.text))
            return [([sys.executable, "-c", self.text], expected)]
        return [(["sh", "-c", command], output) for command, output in _EXAMPLE.findall(self.text)]


def blocks(document: Path | None = None) -> list[Block]:
    """Return the code blocks of one document, or of all."""
    return [
        Block(path, mark, language, text)
        for path in ([document] if document else DOCUMENTS)
        for mark, language, text in _BLOCK.findall(path.read_text())
    ]
