import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mnistctl.classifier import BUNDLED, Classifier, log_softmax
from mnistctl.dataset import Digits
from mnistctl.errors import MnistctlError
from mnistctl.evaluation import as_input


def other_model(image: list[object], classes: int, weight: float = 0.0) -> bytes:
    """A sound ONNX model that maps pictures of shape ``image`` to (batch, classes)."""
    size = int(np.prod([side for side in image[1:] if isinstance(side, int)]))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [
            helper.make_tensor(
                "weight", TensorProto.FLOAT, [size, classes], [weight] * size * classes
            )
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return model.SerializeToString()


def test_the_bundled_model_is_small() -> None:
    assert BUNDLED.stat().st_size < 500_000


def test_the_bundled_model_says_what_it_is() -> None:
    metadata = Classifier.load().metadata
    assert metadata["classes"] == "0 1 2 3 4 5 6 7 8 9"
    assert metadata.keys() >= {
        "input", "epochs", "seed", "test_accuracy", "mnistctl", "torch", "onnxruntime",
    }  # fmt: skip


def test_probabilities_are_of_the_ten_digits_and_sum_to_one(mnist_test: Digits) -> None:
    for prediction in Classifier.load().predict(as_input(mnist_test.images[:50])):
        assert len(prediction.probabilities) == 10
        assert sum(prediction.probabilities) == pytest.approx(1)


def test_the_digit_is_the_most_probable_and_the_confidence_its_probability(
    mnist_test: Digits,
) -> None:
    for prediction in Classifier.load().predict(as_input(mnist_test.images[:50])):
        assert prediction.confidence == max(prediction.probabilities)
        assert prediction.digit == prediction.probabilities.index(prediction.confidence)


def test_a_batch_is_classified_as_its_pictures_are_one_by_one(mnist_test: Digits) -> None:
    classifier = Classifier.load()
    images = as_input(mnist_test.images[:20])
    alone = np.concatenate([classifier.logits(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(classifier.logits(images), alone, atol=1e-4)


def test_log_softmax_stands_huge_logits() -> None:
    logs = log_softmax(np.array([[1e30, 0.0]], np.float32))
    np.testing.assert_allclose(logs, [[0.0, -1e30]])


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="cannot be read: No such file"):
        Classifier.load(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", BUNDLED.read_bytes()[:1000]])
def test_what_is_no_onnx_is_refused(content: bytes) -> None:
    with pytest.raises(MnistctlError, match="name: is not a model that ONNX Runtime can load"):
        Classifier(content, "name")


@pytest.mark.parametrize(
    ("image", "classes"),
    [(["batch", 1, 32, 32], 10), (["batch", 3, 28, 28], 10), (["batch", 784], 10),
     ([1, 1, 28, 28], 10), (["batch", 1, 28, 28], 26)],
)  # fmt: skip
def test_a_model_of_other_pictures_or_classes_is_refused(image: list[object], classes: int) -> None:
    with pytest.raises(MnistctlError, match="name: is not a digit classifier: it maps"):
        Classifier(other_model(image, classes), "name")


@pytest.mark.parametrize("weight", [math.nan, math.inf, 3e38])
def test_logits_that_are_no_numbers_are_refused(weight: float) -> None:
    classifier = Classifier(other_model(["batch", 1, 28, 28], 10, weight), "name")
    with pytest.raises(MnistctlError, match="name: gives no 10 numbers for each picture"):
        classifier.predict(np.ones((1, 28, 28), np.float32))


def test_a_model_that_fails_when_it_is_run_is_refused() -> None:
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
    with pytest.raises(MnistctlError, match="name: fails when it is run"):
        classifier.predict(np.ones((1, 28, 28), np.float32))


def test_a_model_reads_no_file_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(bytes(4 * 7840))
    model = onnx.load_from_string(other_model(["batch", 1, 28, 28], 10))
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights")
    with pytest.raises(MnistctlError, match="not a model that ONNX Runtime can load"):
        Classifier(model.SerializeToString(), "name")


def test_the_bundled_model_is_valid_onnx() -> None:
    onnx.checker.check_model(onnx.load(BUNDLED), full_check=True)
