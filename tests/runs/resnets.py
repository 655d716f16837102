"""CIFAR-10 residual networks of the shared data as ONNX files, and pictures to show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.kit.samples import ArraySamples

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of each colour, by which these networks were trained."""


def pictures(shared_data: Path, split: str, mean=MEAN, std=STD) -> ArraySamples:
    """Pixel-exact pictures as a network takes them, with their classes."""
    arrays = np.load(shared_data / "cifar10" / "cifar10_lossless_subset.npz")
    scaled = (arrays[f"x_{split}"].astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return ArraySamples(
        {"x": np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))}, arrays[f"y_{split}"]
    )


def residual_network(shared_data: Path, name: str, target: Path) -> Path:
    """ResNet-20 or -56 (He et al. 2016, shortcuts of zeros) with its normalisations as they are."""
    torch = pytest.importorskip("torch")
    file = next((shared_data / "weights" / "cifar10").glob(f"akamaster_{name}-*.th"))
    loaded = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    weights = {k.removeprefix("module."): v.numpy() for k, v in loaded.items()}
    graph = _Graph(weights)
    now = graph.relu(graph.normalised("bn1", graph.convolved("conv1", "x", 1)))
    for stage in (1, 2, 3):
        for block in range(sum(f"layer{stage}.{k}.conv1.weight" in weights for k in range(9))):
            now = graph.block(f"layer{stage}.{block}", now, 2 if stage > 1 and not block else 1)
    now = graph.node("Flatten", graph.node("GlobalAveragePool", now))
    graph.node("Gemm", now, *graph.given("linear.weight", "linear.bias"), made="y", transB=1)
    graph.save(target)
    return target


class _Graph:
    def __init__(self, weights):
        self._weights, self._nodes, self._tensors = weights, [], {}

    def given(self, *names):
        for name in names:
            values = self._weights[name]
            self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return names

    def constant(self, name, values):
        self._tensors[name] = numpy_helper.from_array(np.asarray(values, np.int64), name)
        return name

    def node(self, operator, *inputs, made=None, **attributes):
        made = made or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [made], **attributes))
        return made

    def convolved(self, name, value, stride):
        (kernel,) = self.given(f"{name}.weight")
        return self.node("Conv", value, kernel, pads=[1] * 4, strides=[stride] * 2)

    def normalised(self, name, value):
        parts = ("weight", "bias", "running_mean", "running_var")
        return self.node("BatchNormalization", value, *self.given(*(f"{name}.{p}" for p in parts)))

    def relu(self, value):
        return self.node("Relu", value)

    def block(self, name, value, stride):
        now = self.relu(
            self.normalised(f"{name}.bn1", self.convolved(f"{name}.conv1", value, stride))
        )
        now = self.normalised(f"{name}.bn2", self.convolved(f"{name}.conv2", now, 1))
        if stride == 2:
            value = self._shortcut(name, value)
        return self.relu(self.node("Add", now, value))

    def _shortcut(self, name, value):
        """Every second pixel, and as many channels of zeros on either side as are missing."""
        more = len(self._weights[f"{name}.conv1.weight"]) // 4
        starts, ends, axes, steps = (
            self.constant(f"{name}.{part}", numbers)
            for part, numbers in (
                ("starts", [0, 0]), ("ends", [1 << 30] * 2), ("axes", [2, 3]), ("steps", [2, 2])
            )
        )  # fmt: skip
        cut = self.node("Slice", value, starts, ends, axes, steps)
        pads = self.constant(f"{name}.pads", [0, more, 0, 0, 0, more, 0, 0])
        return self.node("Pad", cut, pads)

    def save(self, target):
        graph = helper.make_graph(
            self._nodes,
            "resnet",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
            list(self._tensors.values()),
        )
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
        onnx.checker.check_model(model)
        onnx.save(model, target)
