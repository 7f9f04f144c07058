"""The lists of what is pruned, and the program that reads them."""

import re
from pathlib import Path

import prune
import pytest

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a few installed files."""
    site = tmp_path / "site"
    for name in (
        "a/tests/test_a.py",
        "a/b/tests/test_b.py",
        "a/code.py",
        "lib/one.so",
        "lib/two.so",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    return site


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The path of a list."""
    return tmp_path / "prune_example.txt"


def files(site: Path) -> set[str]:
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}


def test_only_matching_files_are_deleted(site: Path, rules: Path) -> None:
    rules.write_text("# A list.\na/tests  tests\na/*/tests  tests\nlib/t*.so  not used\n")
    prune.prune_or_exit(site, rules)
    assert files(site) == {"a/code.py", "lib/one.so"}


def test_a_path_marked_with_an_exclamation_mark_is_kept(site: Path, rules: Path) -> None:
    rules.write_text("lib/*.so  not used\n!lib/one.so  used\n")
    prune.prune_or_exit(site, rules)
    assert files(site) == {"a/tests/test_a.py", "a/b/tests/test_b.py", "a/code.py", "lib/one.so"}


def test_a_path_to_keep_that_does_not_exist_stops_the_build(site: Path, rules: Path) -> None:
    rules.write_text("lib/*.so  not used\n!lib/three.so  used\n")
    with pytest.raises(SystemExit, match=r"lists what does not exist: !lib/three\.so"):
        prune.prune_or_exit(site, rules)


def test_only_the_lines_of_the_build_and_of_both_apply(site: Path, rules: Path) -> None:
    rules.write_text("both a/tests tests\ncpu lib/one.so not used\ngpu lib/two.so not used\n")
    prune.prune_or_exit(site, rules, "cpu")
    assert files(site) == {"a/b/tests/test_b.py", "a/code.py", "lib/two.so"}


def test_a_path_that_does_not_exist_stops_the_build(site: Path, rules: Path) -> None:
    rules.write_text("a/tests  tests\na/c/*  moved\n")
    with pytest.raises(SystemExit, match=r"^prune_example.txt lists what does not exist: a/c/\*\."):
        prune.prune_or_exit(site, rules)


def test_a_path_marked_with_a_question_mark_may_be_missing(site: Path, rules: Path) -> None:
    rules.write_text("lib/o*?  with some versions\nlib/three.so?  with some versions\n")
    prune.prune_or_exit(site, rules)
    assert "lib/one.so" not in files(site)


def test_a_path_of_another_build_may_be_missing(site: Path, rules: Path) -> None:
    rules.write_text("gpu nvidia/lib not used\n")
    prune.prune_or_exit(site, rules, "cpu")


@pytest.mark.parametrize(("name", "columns"), [("inference", 2), ("system", 2), ("torch", 3)])
def test_every_line_of_a_list_has_a_reason(name: str, columns: int) -> None:
    lines = (DOCKER / f"prune_{name}.txt").read_text().splitlines()
    entries = [line.split(maxsplit=columns - 1) for line in lines if not line.startswith("#")]
    assert all(len(entry) == columns for entry in entries)


def test_every_line_for_pytorch_names_its_build() -> None:
    lines = (DOCKER / "prune_torch.txt").read_text().splitlines()
    builds = {line.split()[0] for line in lines if not line.startswith("#")}
    assert builds == {"both", "cpu", "gpu"}


@pytest.mark.parametrize("name", ["inference", "system", "torch"])
def test_no_list_names_a_platform(name: str) -> None:
    text = (DOCKER / f"prune_{name}.txt").read_text()
    assert re.search("x86|amd64|aarch64|arm64|armv8", text) is None


@pytest.mark.parametrize(
    ("name", "build"),
    [("inference", None), ("system", None), ("torch", "cpu"), ("torch", "gpu")],
)
def test_no_path_is_listed_twice(name: str, build: str | None) -> None:
    listed = list(prune.patterns((DOCKER / f"prune_{name}.txt").read_text(), build))
    assert len(listed) == len(set(listed))
