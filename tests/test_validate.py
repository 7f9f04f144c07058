"""``mnistctl validate``."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import one_sentence, run_main, shell
from PIL import Image
from support import names, write_mnist

from mnistctl.classifier import BUNDLED, Classifier
from mnistctl.dataset import Dataset
from mnistctl.errors import ExitStatus


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, mnist_test: Dataset) -> Path:
    """The directory of a data set of 30 images, which the bundled model classifies correctly."""
    directory = tmp_path_factory.mktemp("few")
    return write_mnist(directory, mnist_test.images[:30], mnist_test.labels[:30])


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory, mnist_test: Dataset) -> Path:
    """The directory of a data set of 30 images, of which three have a wrong label."""
    labels = mnist_test.labels[:30].copy()
    labels[:3] = (labels[:3] + 1) % 10
    return write_mnist(tmp_path_factory.mktemp("wrong"), mnist_test.images[:30], labels)


def test_validate_prints_accuracy_loss_and_the_confusion_matrix(tmp_path: Path) -> None:
    text = run_main("validate", cwd=tmp_path).stdout.decode()
    assert re.match(r"accuracy 99\.\d\d %  \(9,9\d\d of 10,000\)  loss 0\.\d{4}\n", text)
    rows = re.findall(r"^ +(\d)(?: +[\d.]+){10}  +(\d+\.\d\d) % +(\d+\.\d\d) %", text, re.M)
    assert [row[0] for row in rows] == list("0123456789")


def test_json_gives_the_report_as_one_object(tmp_path: Path) -> None:
    result = run_main("validate", "--json", cwd=tmp_path)
    report = json.loads(result.stdout)
    assert result.stdout.count(b"\n") == 1
    assert report["count"] == 10_000
    assert np.trace(report["confusion"]) == round(report["accuracy"] * 10_000)
    assert len(report["mistakes"]) == 10_000 - np.trace(report["confusion"])
    assert len(report["precision"]) == len(report["recall"]) == 10


def test_json_describes_the_bundled_model(tmp_path: Path, few: Path) -> None:
    report = json.loads(run_main("validate", "--json", "--data-dir", few, cwd=tmp_path).stdout)
    assert report["model"]["path"] is None
    assert report["model"]["metadata"] == Classifier.load().metadata


def test_json_describes_another_model(tmp_path: Path, few: Path) -> None:
    (tmp_path / "copy.onnx").write_bytes(BUNDLED.read_bytes())
    options = ("--model", "copy.onnx", "--data-dir", few)
    report = json.loads(run_main("validate", "--json", *options, cwd=tmp_path).stdout)
    assert report["model"]["path"] == "copy.onnx"
    assert report["model"]["metadata"].keys() >= {"epochs", "seed", "test_accuracy"}


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_option_or_the_environment_names_a_data_set(tmp_path: Path, few: Path, by: str) -> None:
    options = ["--data-dir", str(few)] if by == "option" else []
    environment = {} if by == "option" else {"MNISTCTL_DATA_DIR": str(few)}
    result = run_main("validate", "--json", *options, cwd=tmp_path, env=environment)
    assert json.loads(result.stdout)["count"] == 30


@pytest.mark.parametrize("least", ["0", "89.99", "90"])
def test_an_accuracy_that_is_reached_passes(tmp_path: Path, mislabelled: Path, least: str) -> None:
    result = run_main("validate", "--min-accuracy", least, "--data-dir", mislabelled, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")


def test_an_accuracy_that_is_missed_fails_in_one_sentence_after_the_report(
    tmp_path: Path, mislabelled: Path
) -> None:
    result = run_main(
        "validate", "--min-accuracy", "90.01", "--data-dir", mislabelled, cwd=tmp_path
    )
    assert result.returncode == ExitStatus.FAILURE
    assert result.stdout.startswith(b"accuracy 90.00 %  (27 of 30)")
    assert "the accuracy, 27 of 30, is below --min-accuracy 90.01" in one_sentence(result.stderr)


def test_closed_pipe_hides_no_missed_accuracy(tmp_path: Path) -> None:
    result = shell("mnistctl validate --min-accuracy 100 | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert result.stdout == b"1\n"
    assert "is below --min-accuracy 100" in one_sentence(result.stderr)


def test_closed_pipe_keeps_the_sheet_of_mistakes(tmp_path: Path) -> None:
    result = shell(
        "mnistctl validate --quiet --mistakes mistakes.png | true; echo ${PIPESTATUS[0]}", tmp_path
    )
    assert result.stdout == b"0\n"
    assert (tmp_path / "mistakes.png").exists()


def test_mistakes_are_drawn_to_a_png_file(tmp_path: Path, mislabelled: Path) -> None:
    result = run_main(
        "validate", "--mistakes", "mistakes.png", "--data-dir", mislabelled, cwd=tmp_path
    )
    assert result.returncode == ExitStatus.OK
    assert b"wrote the misclassified images to mistakes.png" in result.stderr
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.format == "PNG"


def test_quiet_prints_no_note_on_the_mistakes(tmp_path: Path, few: Path) -> None:
    result = run_main(
        "validate", "--quiet", "--mistakes", "mistakes.png", "--data-dir", few, cwd=tmp_path
    )
    assert (result.returncode, result.stderr) == (ExitStatus.OK, b"")
    assert names(tmp_path) == ["mistakes.png"]


def test_mistakes_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    result = run_main("validate", "--mistakes", "missing/mistakes.png", cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "missing/mistakes.png: cannot be written" in one_sentence(result.stderr)
    assert names(tmp_path) == []


def test_a_directory_without_a_data_set_is_named(tmp_path: Path) -> None:
    result = run_main("validate", "--data-dir", tmp_path, cwd=tmp_path)
    assert result.returncode == ExitStatus.FAILURE
    assert "holds no t10k-images-idx3-ubyte" in one_sentence(result.stderr)
