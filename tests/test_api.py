"""The Python API: what ``import mnistctl`` offers."""

import io
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import error_allowed, names, run_program

import mnistctl
from mnistctl import (
    Classifier,
    Dataset,
    MnistctlError,
    Prediction,
    evaluate,
    load_dataset,
    read_image,
)
from mnistctl.dataset import as_input

MODEL = Path(mnistctl.__file__).with_name("model.onnx")
IMAGE = np.zeros((28, 28), np.float32)


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    for name in mnistctl.__all__:
        assert getattr(mnistctl, name).__name__ == name
        assert name in dir(mnistctl)


def test_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mnistctl' has no attribute 'nothing'"):
        _ = mnistctl.nothing  # type: ignore[attr-defined]


def test_import_loads_no_other_module_than_typing(tmp_path: Path) -> None:
    program = """
import sys, typing
before = {*sys.modules}
import mnistctl
print({*sys.modules} - before)
"""
    assert run_program(program, tmp_path).stdout == "{'mnistctl'}\n"


def test_prediction_of_an_image_file(digit_png: Path) -> None:
    (prediction,) = Classifier.load().predict(read_image(digit_png)[np.newaxis])
    assert isinstance(prediction, Prediction)
    assert prediction.digit == 7


def test_evaluation_of_a_data_set() -> None:
    test = load_dataset("test")
    few = Dataset(test.images[:30], test.labels[:30])
    assert evaluate(Classifier.load(), few).accuracy == 1


# Paths, bytes and files


@pytest.mark.parametrize("kind", [str, Path])
def test_model_is_named_by_text_or_a_path(kind: type) -> None:
    assert Classifier.load(kind(MODEL)).metadata == Classifier.load().metadata


@pytest.mark.parametrize("kind", [str, Path])
def test_data_set_is_named_by_text_or_a_path(kind: type, small_mnist: Path) -> None:
    assert len(load_dataset("train", kind(small_mnist))) == 640


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of train, test, not 'dev'"):
        load_dataset("dev")  # type: ignore[arg-type]


def test_image_is_a_path_its_content_or_an_open_file(digit_png: Path, mnist_test: Dataset) -> None:
    content = digit_png.read_bytes()
    with digit_png.open("rb") as file:
        for source in (digit_png, str(digit_png), content, file, io.BytesIO(content)):
            image = read_image(source)
            np.testing.assert_array_equal(image, mnist_test.images[0] / np.float32(255))
            assert image.dtype == np.float32


def test_open_file_is_read_from_its_position_and_stays_open(digit_png: Path) -> None:
    file = io.BytesIO(b"header" + digit_png.read_bytes())
    file.seek(6)
    assert read_image(file).shape == (28, 28)
    assert not file.closed


@pytest.mark.parametrize("source", [3, None, [b"png"], io.StringIO("png")])
def test_source_of_another_type_is_a_type_error(source: Any) -> None:
    with pytest.raises(TypeError, match="must be a path, bytes or a file open in binary mode"):
        read_image(source)


def test_temporary_file_open_in_text_mode_is_a_type_error() -> None:
    with tempfile.NamedTemporaryFile("w+") as file, pytest.raises(TypeError, match="binary mode"):
        read_image(file)


def test_file_open_in_text_mode_is_a_type_error(digit_png: Path) -> None:
    with digit_png.open() as file, pytest.raises(TypeError, match="not TextIOWrapper"):
        read_image(file)  # type: ignore[arg-type]


@given(st.binary(max_size=30))  # too short for an image of a digit
@example(b"PyCMYK")  # the start of an image
def test_bytes_that_are_no_image_are_one_error(content: bytes) -> None:
    with pytest.raises(MnistctlError, match=r"^image data: (is|cannot be decoded) "):
        read_image(content)


@given(st.text(st.characters(codec=None), max_size=20))
@example("\0")
@example("\ud800")
def test_any_path_is_read_or_one_error(path: str) -> None:
    with error_allowed():
        read_image(f"nowhere/{path}")
    with error_allowed():
        Classifier.load(f"nowhere/{path}")
    with error_allowed():
        load_dataset("test", f"nowhere/{path}")


def test_open_file_is_named_in_its_error(tmp_path: Path) -> None:
    (tmp_path / "seven.png").write_text("seven")
    refused = pytest.raises(MnistctlError, match=rf"^{tmp_path}/seven\.png: is not an image")
    with (tmp_path / "seven.png").open("rb") as file, refused:
        read_image(file)


@pytest.mark.parametrize("name", [None, "", 3])
def test_file_without_a_name_is_called_image_data(name: object) -> None:
    file = io.BytesIO()
    file.name = name
    with pytest.raises(MnistctlError, match=r"^image data: is empty$"):
        read_image(file)


def test_closed_file_is_one_error(digit_png: Path) -> None:
    with digit_png.open("rb") as file:
        pass
    with pytest.raises(MnistctlError, match="closed file"):
        read_image(file)


class Broken(io.BytesIO):
    """A file that cannot be read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError("the connection is lost")


def test_file_that_fails_is_one_error() -> None:
    with pytest.raises(MnistctlError, match="the connection is lost"):
        read_image(Broken())


# What a classifier takes


@pytest.mark.parametrize(
    ("images", "given_form"),
    [
        (IMAGE.astype(np.float64)[np.newaxis], r"float64 with shape \(1, 28, 28\)$"),
        (IMAGE.astype(np.uint8)[np.newaxis], r"uint8 with shape \(1, 28, 28\)$"),
        (IMAGE[np.newaxis, np.newaxis], r"float32 with shape \(1, 1, 28, 28\)$"),
        (IMAGE.reshape(1, 784), r"float32 with shape \(1, 784\)$"),
        (np.zeros((2, 32, 32), np.float32), r"float32 with shape \(2, 32, 32\)$"),
        (IMAGE, r"float32 with shape \(28, 28\): use image\[np\.newaxis\]$"),
    ],
)
def test_images_of_another_form_are_refused(
    classifier: Classifier, images: Any, given_form: str
) -> None:
    expected = r"^images must be a NumPy array of float32 with shape \(batch, 28, 28\), not "
    with pytest.raises(ValueError, match=expected + given_form):
        classifier.predict(images)


def test_images_that_are_no_array_are_a_type_error(classifier: Classifier) -> None:
    with pytest.raises(TypeError, match=r"with shape \(batch, 28, 28\), not list$"):
        classifier.predict([[0.0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (255, "0 to 255"),
        (-1, "-1 to 0"),
        (1 + 2**-23, "0 to 1.00000012"),
        (np.nan, "nan to nan"),
        (np.inf, "0 to inf"),
    ],
)
def test_values_outside_0_to_1_are_refused(
    classifier: Classifier, value: float, values: str
) -> None:
    images = np.zeros((2, 28, 28), np.float32)
    images[1, 3, 4] = value
    with pytest.raises(ValueError, match=rf"to 1 \(ink\), not from {values}$"):
        classifier.predict(images)


def test_no_images_give_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict(np.empty((0, 28, 28), np.float32)) == []


def test_array_need_not_be_contiguous(classifier: Classifier, mnist_test: Dataset) -> None:
    images = as_input(mnist_test.images[:20])
    turned = np.ascontiguousarray(images.transpose(0, 2, 1)).transpose(0, 2, 1)
    assert classifier.predict(turned[::2]) == classifier.predict(images[::2])


# In a larger program


def test_threads_may_share_a_classifier(mnist_test: Dataset) -> None:
    classifier = Classifier.load()
    images = as_input(mnist_test.images[:400])
    batches = [images[start : start + 8] for start in range(0, 400, 8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(classifier.predict, batches))
    assert together == [classifier.predict(batch) for batch in batches]


def test_threads_may_read_images_at_once(digit_png: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, [digit_png] * 100))
    assert all(np.array_equal(image, images[0]) for image in images)


STATE_PROGRAM = """
import locale, logging, os, signal, sys, threading, warnings
import numpy
from PIL import Image, ImageChops, ImageDraw, ImageFile, ImageFilter, ImageFont, ImageOps

def state():
    return {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "umask": (os.umask(0o22), os.umask(0o22))[1],
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "logging": (list(logging.root.handlers), logging.root.level, logging.root.disabled),
        "loggers": {name for name in logging.root.manager.loggerDict if "mnist" in name},
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, list(sys.meta_path)),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "locale": locale.setlocale(locale.LC_ALL),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "threads": threading.active_count(),
    }

before = state()
from mnistctl import *
(prediction,) = Classifier.load().predict(read_image("seven.png")[numpy.newaxis])
after = state()
print(prediction.digit, [name for name in before if before[name] != after[name]])
"""


def test_global_state_stays_as_it_was(tmp_path: Path, digit_png: Path) -> None:
    (tmp_path / "seven.png").write_bytes(digit_png.read_bytes())
    result = run_program(STATE_PROGRAM, tmp_path)
    assert (result.stdout, result.stderr) == ("7 []\n", "")


def test_nothing_is_written(
    tmp_path: Path, digit_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    program = f"from mnistctl import *; Classifier.load(); read_image({str(digit_png)!r})"
    result = run_program(program, tmp_path / "work")
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("home", "temporary", "work"):
        assert names(tmp_path / name) == []


def test_own_setting_of_the_usage_data_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "true")
    program = "import os; from mnistctl import *; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run_program(program, tmp_path).stdout == "true\n"
