import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support import run_program

from mnistctl.classifier import BUNDLED, Classifier, argmax, log_softmax
from mnistctl.dataset import Dataset, as_input
from mnistctl.errors import MnistctlError


def other_model(image: list[str | int], classes: int, weight: float = 0.0) -> bytes:
    """Return a valid ONNX model that maps images of a shape to (batch, classes)."""
    size = math.prod(side for side in image[1:] if isinstance(side, int))
    weights = [weight] * size * classes
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [size, classes], weights)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    content: bytes = model.SerializeToString()
    return content


def test_bundled_model_is_small() -> None:
    assert BUNDLED.stat().st_size < 500_000


def test_bundled_model_is_valid_onnx() -> None:
    onnx.checker.check_model(onnx.load(BUNDLED), full_check=True)


def test_bundled_model_describes_itself(classifier: Classifier) -> None:
    assert classifier.metadata["classes"] == "0 1 2 3 4 5 6 7 8 9"
    assert classifier.metadata.keys() >= {
        "input", "epochs", "seed", "test_accuracy", "mnistctl", "torch", "onnxruntime",
    }  # fmt: skip


def test_probabilities_of_the_ten_digits_sum_to_one(
    classifier: Classifier, mnist_test: Dataset
) -> None:
    for prediction in classifier.predict(as_input(mnist_test.images[:50])):
        assert len(prediction.probabilities) == 10
        assert sum(prediction.probabilities) == pytest.approx(1)


def test_digit_is_the_most_probable_and_the_confidence_its_probability(
    classifier: Classifier, mnist_test: Dataset
) -> None:
    for prediction in classifier.predict(as_input(mnist_test.images[:50])):
        assert prediction.confidence == max(prediction.probabilities)
        assert prediction.digit == prediction.probabilities.index(prediction.confidence)


def test_batch_is_classified_as_its_images_are_one_by_one(
    classifier: Classifier, mnist_test: Dataset
) -> None:
    images = as_input(mnist_test.images[:20])
    alone = np.concatenate([classifier.logits(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(classifier.logits(images), alone, atol=1e-4)


def test_argmax_gives_the_digit_with_the_largest_logit() -> None:
    logits = np.eye(10, dtype=np.float32)[[7, 2, 1]]
    assert argmax(logits).tolist() == [7, 2, 1]


def test_log_softmax_of_huge_logits_is_finite() -> None:
    logs = log_softmax(np.array([[1e30, 0.0]], np.float32))
    np.testing.assert_allclose(logs, [[0.0, -1e30]])


def test_model_file_is_named_in_its_errors(tmp_path: Path) -> None:
    (tmp_path / "a\nb.onnx").write_bytes(b"not a model")
    with pytest.raises(
        MnistctlError, match=r"/a\\nb\.onnx: is not a model that ONNX Runtime can load"
    ):
        Classifier.load(tmp_path / "a\nb.onnx")


def test_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match=r"nowhere\.onnx: cannot be read: No such file"):
        Classifier.load(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", BUNDLED.read_bytes()[:1000]],
    ids=["empty", "text", "truncated"],
)
def test_file_that_is_not_onnx_is_refused(content: bytes) -> None:
    with pytest.raises(MnistctlError, match=r"^name: is not a model that ONNX Runtime can load"):
        Classifier(content, "name")


def test_damaged_model_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    # ONNX Runtime quotes the operator in an exception that is not UTF-8 either.
    damaged = BUNDLED.read_bytes().replace(b'"\x04Conv', b'"\x04Co\xffv', 1)
    with pytest.raises(MnistctlError, match=r"^name: is not a model that ONNX Runtime can load"):
        Classifier(damaged, "name")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("np.zeros((20_000, 28, 28), np.float32)", "Failed to allocate memory"),
        ("np.broadcast_to(np.float32(0), (200_000, 28, 28))", "Unable to allocate"),
    ],
)
def test_too_little_memory_for_the_images_is_not_blamed_on_the_model(
    images: str, reason: str, tmp_path: Path
) -> None:
    program = f"""
import resource
from pathlib import Path
import numpy as np
from mnistctl import Classifier
classifier = Classifier.load()
images = {images}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 10**8,) * 2)
try:
    classifier.predict(images)
except MemoryError as error:
    print(error)
"""
    result = run_program(program, tmp_path)
    assert result.stderr == ""
    assert reason in result.stdout


@pytest.mark.parametrize("name", [b"batch", b"images", b"logits"])
def test_model_with_a_name_that_is_not_utf8_is_refused(name: bytes) -> None:
    model = other_model(["batch", 1, 28, 28], 10)
    with pytest.raises(MnistctlError, match=r"^name: is not a model that ONNX Runtime can load"):
        Classifier(model.replace(name, name[:-1] + b"\xff"), "name")


@pytest.mark.parametrize(
    ("image", "classes"),
    [(["batch", 1, 32, 32], 10), (["batch", 3, 28, 28], 10), (["batch", 784], 10),
     ([1, 1, 28, 28], 10), (["batch", 1, 28, 28], 26)],
)  # fmt: skip
def test_model_of_other_images_or_classes_is_refused(image: list[str | int], classes: int) -> None:
    with pytest.raises(MnistctlError, match=r"^name: is not a digit classifier, which maps"):
        Classifier(other_model(image, classes), "name")


@pytest.mark.parametrize("weight", [math.nan, math.inf, 3e38])
def test_logits_that_are_not_finite_are_refused(weight: float) -> None:
    classifier = Classifier(other_model(["batch", 1, 28, 28], 10, weight), "name")
    with pytest.raises(MnistctlError, match=r"^name: does not give 10 numbers for an image"):
        classifier.predict(np.ones((1, 28, 28), np.float32))


def test_model_that_fails_when_it_runs_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.load_from_string(other_model(["batch", 1, 28, 28], 10))
    model.graph.node[-1].output[0] = "product"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["nothing", "index"], ["chosen"]),  # of one: 1 is too far
            helper.make_node("Add", ["product", "chosen"], ["logits"]),
        ]
    )
    model.graph.initializer.append(helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]))
    classifier = Classifier(model.SerializeToString(), "name")
    with pytest.raises(MnistctlError, match=r"^name: does not give 10 numbers for an image"):
        classifier.predict(np.ones((1, 28, 28), np.float32))
    assert capfd.readouterr() == ("", "")


def test_too_little_memory_is_not_reported_as_a_wrong_model(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(classifier, "_session", SimpleNamespace(run=run))
    with pytest.raises(MemoryError):
        classifier.logits(np.zeros((1, 28, 28), np.float32))


def test_model_reads_no_file_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(bytes(4 * 7840))
    model = onnx.load_from_string(other_model(["batch", 1, 28, 28], 10))
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights")
    with pytest.raises(MnistctlError, match=r"^name: is not a model that ONNX Runtime can load"):
        Classifier(model.SerializeToString(), "name")


def test_missing_extension_is_one_error_with_a_remedy(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["mnistctl._core"] = None  # as if there were no such module
from mnistctl.errors import MnistctlError
try:
    import mnistctl.classifier
except MnistctlError as error:
    print(error)
"""
    result = run_program(program, tmp_path)
    assert "lacks the compiled extension (_core): run `pip install -e .`" in result.stdout
    assert result.stderr == ""


def test_file_larger_than_any_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(MnistctlError, match=r"large\.onnx: is larger than 100,000,000 bytes"):
        Classifier.load(path)
