"""Write a trained network to a model file.

The graph is built with onnx's own helper, a node for each layer. ``torch.onnx.export`` takes three
seconds and four more packages for that, and stores paths of the machine in the file.
"""

import copy
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from mnistctl import __version__, files, signals
from mnistctl.classifier import RUNTIME_VERSION, Classifier
from mnistctl.dataset import CLASSES, SIDE, Dataset, as_input
from mnistctl.errors import MnistctlError, Stopped
from mnistctl.evaluation import Report, evaluate

_OPSET = 17
_IR_VERSION = 8  # of opset 17: any ONNX Runtime since 1.13 reads it
_COMPARED_IMAGES = 256
_TOLERANCE = 1e-3


def export(
    network: nn.Sequential, test: Dataset, path: Path, settings: Mapping[str, object]
) -> Report:
    """Write a trained network to a model file, with settings as metadata, and evaluate it.

    The file replaces what was at ``path`` only if ONNX Runtime and PyTorch give the same logits
    for test images.

    Raises:
        MnistctlError: ONNX Runtime and PyTorch disagree, or ``path`` cannot be written.
        Stopped: a signal arrived before the file was written.
    """
    with signals.deferred():
        model, report = _build(network, test, settings)
    # A signal during the last write is too late: the training is complete.
    with suppress(Stopped), files.replace(path) as file:
        file.write(model.SerializeToString(deterministic=True))
    return report


def _build(
    network: nn.Sequential, test: Dataset, settings: Mapping[str, object]
) -> tuple[onnx.ModelProto, Report]:
    """Return the model with its metadata, and its evaluation."""
    network = copy.deepcopy(network).cpu().eval()
    model = to_onnx(network)
    classifier = Classifier(model.SerializeToString(), "the exported model")
    images = as_input(test.images[:_COMPARED_IMAGES])
    with torch.inference_mode():
        expected = network(torch.from_numpy(images[:, np.newaxis])).numpy()
    difference = float(np.abs(classifier.logits(images) - expected).max())
    if not difference <= _TOLERANCE:
        raise MnistctlError(
            f"the exported model's logits differ from PyTorch's by {difference:.2g}: nothing was "
            "written; report this with your versions of torch and onnxruntime"
        )
    report = evaluate(classifier, test)
    helper.set_model_props(
        model,
        {
            "classes": " ".join(map(str, range(CLASSES))),
            "input": f"float32 [batch, 1, {SIDE}, {SIDE}], 0 (background) to 1 (ink)",
            "test_accuracy": f"{report.accuracy:.4f}",
            "mnistctl": __version__,
            "torch": torch.__version__,
            "onnxruntime": RUNTIME_VERSION,
            **{name: str(value) for name, value in settings.items()},
        },
    )
    return model, report


def to_onnx(network: nn.Sequential) -> onnx.ModelProto:
    """Return the ONNX graph of a network in evaluation mode.

    It maps ``images``, float32 (batch, 1, 28, 28), to ``logits``, float32 (batch, 10).

    Raises:
        TypeError: there is no ONNX operator here for a layer.
    """
    nodes, tensors = [], []
    value = "images"
    for index, layer in enumerate(network):
        result = "logits" if index == len(network) - 1 else f"layer{index}"
        operator, attributes, weights = _operator(layer)
        names = [f"{result}.{weight}" for weight in weights]
        for name, weight in zip(names, weights, strict=True):
            tensor = layer.state_dict()[weight].contiguous()
            tensors.append(numpy_helper.from_array(tensor.numpy(), name))
        nodes.append(helper.make_node(operator, [value, *names], [result], **attributes))
        value = result
    float32 = onnx.TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", float32, ["batch", 1, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", float32, ["batch", CLASSES])
    model = helper.make_model(
        helper.make_graph(nodes, "mnistctl", [images], [logits], tensors),
        producer_name="mnistctl",
        producer_version=__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _operator(layer: nn.Module) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return a layer's ONNX operator, its attributes, and its weights in the operator's order."""
    match layer:
        case nn.Conv2d(kernel_size=kernel, stride=(1, 1), padding=(int(), int()) as pad, bias=None):
            return "Conv", {"kernel_shape": kernel, "pads": (*pad, *pad)}, ("weight",)
        case nn.MaxPool2d(kernel_size=int(side), padding=0):
            return "MaxPool", {"kernel_shape": (side, side), "strides": (side, side)}, ()
        case nn.BatchNorm2d(eps=epsilon):
            weights = ("weight", "bias", "running_mean", "running_var")
            return "BatchNormalization", {"epsilon": epsilon}, weights
        case nn.ReLU():
            return "Relu", {}, ()
        case nn.Flatten():
            return "Flatten", {}, ()
        case nn.Linear():
            return "Gemm", {"transB": 1}, ("weight", "bias")
    raise TypeError(f"there is no ONNX operator for {layer}")
