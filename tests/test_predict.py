"""``mnistctl predict``."""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from commands import one_sentence, run_main
from PIL import Image
from support import Run, run_program

from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset
from mnistctl.errors import ExitStatus

uses_a_name_not_in_utf8 = pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS has only names in UTF-8"
)


@pytest.fixture
def digits(tmp_path: Path, mnist_test: Dataset) -> Path:
    """A directory with the first three test images: a 7, a 2 and a 1."""
    directory = tmp_path / "digits"
    directory.mkdir()
    for name, image in zip(("a.png", "b.png", "c.png"), mnist_test.images, strict=False):
        Image.fromarray(image).save(directory / name)
    return directory


def test_one_image_gives_the_digit_alone(tmp_path: Path, digit_png: Path) -> None:
    assert run_main("predict", digit_png, cwd=tmp_path).stdout == b"7\n"


@pytest.mark.usefixtures("digits")
def test_several_images_give_paths_and_digits_in_the_order_given(tmp_path: Path) -> None:
    result = run_main("predict", "digits/c.png", "digits/a.png", cwd=tmp_path)
    assert result.stdout == b"digits/c.png\t1\ndigits/a.png\t7\n"


@pytest.mark.usefixtures("digits")
def test_a_directory_gives_its_images_sorted(tmp_path: Path) -> None:
    result = run_main("predict", "digits", cwd=tmp_path)
    assert result.stdout == b"digits/a.png\t7\ndigits/b.png\t2\ndigits/c.png\t1\n"


def test_a_directory_of_one_image_gives_its_path_too(tmp_path: Path, digits: Path) -> None:
    for name in ("b.png", "c.png"):
        (digits / name).unlink()
    assert run_main("predict", "digits", cwd=tmp_path).stdout == b"digits/a.png\t7\n"


def test_a_dash_is_an_image_on_standard_input(tmp_path: Path, digit_png: Path) -> None:
    result = run_main("predict", "-", cwd=tmp_path, stdin=digit_png.read_bytes())
    assert result.stdout == b"7\n"


def test_a_dash_is_standard_input_beside_a_directory_of_that_name(
    tmp_path: Path, digit_png: Path
) -> None:
    (tmp_path / "-").mkdir()
    result = run_main("predict", "-", cwd=tmp_path, stdin=digit_png.read_bytes())
    assert result.stdout == b"7\n"


@pytest.mark.usefixtures("digits")
def test_a_list_may_have_the_name_dash(tmp_path: Path) -> None:
    (tmp_path / "-").write_text("digits/b.png\n")
    result = run_main("predict", "--files-from", "./-", cwd=tmp_path)
    assert result.stdout == b"digits/b.png\t2\n"


@pytest.mark.usefixtures("digits")
def test_a_list_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("digits/b.png\n")
    result = run_main("predict", "--files-from", "list", cwd=tmp_path)
    assert result.stdout == b"digits/b.png\t2\n"


@pytest.mark.usefixtures("digits")
def test_a_list_ended_by_nul_is_read_from_standard_input(tmp_path: Path) -> None:
    paths = b"digits/a.png\0digits/b.png\0"
    result = run_main("predict", "--files-from", "-", "-0", cwd=tmp_path, stdin=paths)
    assert result.stdout == b"digits/a.png\t7\ndigits/b.png\t2\n"


@pytest.mark.parametrize(
    "name",
    [
        b"a b.png",
        b"new\nline.png",
        b"tab\t.png",
        b"--help",
        b"\xc3\xa9.png",
        pytest.param(b"\xff.png", marks=uses_a_name_not_in_utf8),
    ],
)
def test_any_file_name_is_read_and_printed_unchanged(digits: Path, name: bytes) -> None:
    path = b"./" + name
    (digits / "a.png").rename(digits / os.fsdecode(name))
    result = run_main("predict", "--files-from", "-", "-0", cwd=digits, stdin=path + b"\0")
    assert result.stdout == path + b"\t7\n"


@uses_a_name_not_in_utf8
def test_a_name_that_is_not_utf8_survives_json(digits: Path) -> None:
    (digits / "a.png").rename(digits / "\udcff.png")
    result = run_main("predict", "--json", digits / "\udcff.png", cwd=digits)
    assert os.fsencode(json.loads(result.stdout)["path"]).endswith(b"/\xff.png")


@pytest.mark.usefixtures("digits")
def test_json_gives_an_object_a_line_with_stable_keys(tmp_path: Path) -> None:
    lines = run_main("predict", "--json", "digits", cwd=tmp_path).stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["digit"] for answer in answers] == [7, 2, 1]
    for answer in answers:
        assert list(answer) == ["path", "digit", "confidence", "probabilities"]
        assert len(answer["probabilities"]) == 10
        assert answer["confidence"] == max(answer["probabilities"])


def test_show_draws_on_standard_error_alone(tmp_path: Path, digit_png: Path) -> None:
    result = run_main("predict", "--show", digit_png, cwd=tmp_path)
    assert result.stdout == b"7\n"
    assert "██" in result.stderr.decode()
    assert result.stderr.count(b"\n") == 29


def test_show_says_where_the_digit_was_found(tmp_path: Path, digit_png: Path) -> None:
    result = run_main("predict", "--show", digit_png, cwd=tmp_path)
    line = result.stderr.decode().splitlines()[0]
    assert line.startswith(f"{digit_png}: light ink on dark, at 0 to 100 % of the width")


def test_show_draws_in_ascii_where_standard_error_is(run: Run, digit_png: Path) -> None:
    result = run("predict", "--show", digit_png, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    _, drawing = result.stderr.split(b"\n", 1)
    assert set(drawing) <= set(b" .:*#\n")
    assert b"##" in drawing


def test_a_bad_image_does_not_stop_the_others(tmp_path: Path, digits: Path) -> None:
    (digits / "b.png").write_text("seven")
    result = run_main("predict", "digits", cwd=tmp_path)
    assert result.stdout == b"digits/a.png\t7\ndigits/c.png\t1\n"
    assert one_sentence(result.stderr).startswith("mnistctl: digits/b.png: is not an image")
    assert result.returncode == ExitStatus.FAILURE


def test_json_gives_an_object_for_each_image_that_fails(tmp_path: Path, digits: Path) -> None:
    (digits / "b.png").write_text("seven")
    (tmp_path / "empty").mkdir()
    images = ("digits/a.png", "digits/b.png", "empty", "missing.png", "digits/c.png", "-")
    result = run_main("predict", "--json", *images, "--files-from", "list", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["path"] for answer in answers] == [*images, "list"]
    assert [answer.get("digit") for answer in answers] == [7, None, None, None, 1, None, None]
    failures = [answer for answer in answers if "digit" not in answer]
    assert all(list(failure) == ["path", "error"] for failure in failures)
    assert [f"mnistctl: {failure['error']}." for failure in failures] == (
        result.stderr.decode().splitlines()
    )
    assert failures[0]["error"].startswith("digits/b.png: is not an image that mnistctl reads")
    assert failures[3]["error"] == "standard input: is empty"


def test_json_of_one_image_that_fails_is_its_object(tmp_path: Path) -> None:
    result = run_main("predict", "--json", "missing.png", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    (failure,) = map(json.loads, result.stdout.splitlines())
    assert failure["path"] == "missing.png"


@pytest.mark.skipif(sys.platform != "linux", reason="packets in a pipe are Linux's")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "JSON"])
def test_each_line_is_a_single_write(run: Run, digits: Path, options: list[str]) -> None:
    reading, writing = os.pipe2(os.O_DIRECT)  # a read returns what one write has written
    streams = {"capture_output": False, "stdout": writing, "stderr": writing}
    run("predict", *options, digits, "missing.png", **streams)
    os.close(writing)
    writes = [*iter(lambda: os.read(reading, 65536), b"")]
    os.close(reading)
    assert len(writes) == (5 if options else 4)
    for line in writes:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1


def test_an_error_names_a_strange_path_on_one_printable_line(tmp_path: Path) -> None:
    result = run_main("predict", "a\n\x1b[31m.png", cwd=tmp_path)
    assert one_sentence(result.stderr).startswith(r"mnistctl: a\n\x1b[31m.png: cannot be read")


def test_an_unreadable_image_is_named(tmp_path: Path, digits: Path) -> None:
    if os.geteuid() == 0:  # root may read all but a few files
        path = Path("/proc/self/mem")
    else:
        path = digits / "a.png"
        path.chmod(0)
    result = run_main("predict", path, cwd=tmp_path)
    assert one_sentence(result.stderr).startswith(f"mnistctl: {path}: ")
    assert result.returncode == ExitStatus.FAILURE


@pytest.mark.parametrize(
    ("options", "environment"),
    [(["--model", "missing.onnx"], {}), ([], {"MNISTCTL_MODEL": "missing.onnx"})],
    ids=["option", "environment"],
)
def test_the_option_or_the_environment_names_a_model(
    tmp_path: Path, digit_png: Path, options: list[str], environment: dict[str, str]
) -> None:
    result = run_main("predict", digit_png, *options, cwd=tmp_path, env=environment)
    assert result.returncode == ExitStatus.FAILURE
    assert one_sentence(result.stderr).startswith("mnistctl: missing.onnx: cannot be read")


def test_predict_loads_no_package_of_training(tmp_path: Path, digit_png: Path) -> None:
    program = f"""
import sys
sys.argv = ["mnistctl", "predict", {str(digit_png)!r}]
from mnistctl.cli import main
main()
print({{"torch", "torchvision", "onnx", "safetensors"}} & {{*sys.modules}})
"""
    assert run_program(program, tmp_path).stdout == "7\nset()\n"


def test_too_little_memory_is_one_sentence(
    tmp_path: Path, digit_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path | None) -> NoReturn:
        raise MemoryError

    monkeypatch.setattr(Classifier, "load", fail)
    result = run_main("predict", digit_png, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert one_sentence(result.stderr) == "mnistctl: there is not enough memory.\n"
