import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import pytest
from documents import DOCUMENTS, ROOT, Block, blocks

README = ROOT / "README.md"
MARKS = r"run by (tests/container|\.ci/run)|not run: .+"
RUNNABLE = [block for block in blocks() if block.language in ("console", "sh", "python")]


@pytest.mark.parametrize("block", [block for block in RUNNABLE if not block.mark], ids=str)
def test_block_prints_what_the_document_shows(block: Block, tmp_path: Path) -> None:
    assert block.language != "sh", "mark where this block is run, or why it is not"
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    block.run(tmp_path, {"PATH": path})


@pytest.mark.parametrize("block", [block for block in RUNNABLE if block.mark], ids=str)
def test_mark_says_where_the_block_is_run_or_why_not(block: Block) -> None:
    assert re.fullmatch(MARKS, block.mark)


@pytest.mark.parametrize(
    "block", [block for block in RUNNABLE if block.mark == "run by .ci/run"], ids=str
)
def test_ci_runs_the_commands_marked_as_run_by_ci(block: Block) -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for command in re.findall(r"^\$ (.*)", block.text, re.M):
        assert command in script


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_code_block_is_fenced_and_names_its_language(document: Path) -> None:
    text = document.read_text()
    assert {block.language for block in blocks(document)} <= {"console", "sh", "python", "text"}
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.M)) == 2 * len(blocks(document))
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    assert not re.search(r"^\n {4,}\S", outside, re.M), "an indented block is never run"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_and_headings_resolve(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.M)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
            }, link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    folders = "benchmarks|csrc|docker|docs|examples|mnistctl|requirements|tests"
    for name in re.findall(rf"`((?:(?:{folders})/|\.ci/)[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


def test_readme_fits_in_150_lines() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_ci_installs_and_tests_as_the_readme_does() -> None:
    *_, install, test = (block.text.strip() for block in blocks(README) if block.language == "sh")
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert f"PIP_NO_CACHE_DIR=1 {install.split(' && ')[2]}" in script
    assert test.split(" && ")[-1] in script


def test_development_documents_the_training_of_the_bundled_model() -> None:
    from mnistctl.classifier import Classifier

    metadata = Classifier.load().metadata
    command = f"mnistctl train --epochs {metadata['epochs']} --threads {metadata['threads']}"
    assert metadata["seed"] == "0"
    assert command in (ROOT / "docs" / "development.md").read_text()


def test_table_and_chart_show_the_figures_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.images import chart
    from benchmarks.images.results import Results

    results = Results.load()
    assert results.section() in (ROOT / "benchmarks" / "README.md").read_text()
    committed, drawn = chart.FILE.read_text(), chart.draw(results)
    ET.fromstring(committed)
    # matplotlib writes each label as a comment before its outlines.
    assert re.findall("<!-- (.*) -->", committed) == re.findall("<!-- (.*) -->", drawn)


def test_the_compressed_size_on_record_is_that_of_gzip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1 $2" = "save image" ] && head -c 3000000 /dev/zero\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.images.__main__ import compressed_size

    assert compressed_size("image") == len(zlib.compress(bytes(3_000_000), wbits=31))
