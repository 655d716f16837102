"""Sizes of VGG16 as published: parameters of its forms, shapes of the layers that carry marks."""

from __future__ import annotations

import math

import onnx
import pytest
from onnx import TensorProto, helper

from nnw_onnx.graph import open_network
from nnw_onnx.kit import projections
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench

SHAPES = {
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256),
    14: (256, 256), 17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512),
    26: (512, 512), 28: (512, 512),
}  # fmt: skip
"""Number that torch gives a convolution -> its outputs and inputs."""
POOLED = {f"features.{place}.weight" for place in (2, 7, 14, 21, 28)}
# Parameters with their biases: torchvision's form for ImageNet (configuration D of Simonyan and
# Zisserman, arXiv 1409.1556), that of NNWTestbed for CIFAR-10 (Architectures/vgg.py), and that with
# one layer of 25,088 x 10 behind the convolutions.
FORMS = {
    "cifar10": ([(10, 512)], 32, 14_719_818),
    "one layer of 25,088": ([(10, 25_088)], 224, 14_965_578),
    "imagenet": ([(4096, 25_088), (4096, 4096), (1000, 4096)], 224, 138_357_544),
}


def tensors(shapes):
    """Tensors of these shapes that lie one behind the other in a file beside the model."""
    offset = 0
    for name, shape in shapes.items():
        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        length = 4 * math.prod(shape)
        for key, value in (("location", "w.bin"), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        offset += length
        yield tensor


def operators(names):
    """Operator, its weights and attributes, from the input to the scores."""
    for name in names:
        given = [name, name.replace("weight", "bias")]
        if name == "classifier.0.weight":
            yield "Flatten", [], {}
        if name.startswith("classifier"):
            yield "Gemm", given, {"transB": 1}
        else:
            yield "Conv", given, {"pads": [1, 1, 1, 1]}
        yield "Relu", [], {}
        if name in POOLED:
            yield "MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}


def saved(folder, heads, side):
    """VGG16 as a file; its weights are a hole in a sparse file beside it, and take no room."""
    kernels = {f"features.{place}.weight": (*shape, 3, 3) for place, shape in SHAPES.items()}
    kernels |= {f"classifier.{i}.weight": head for i, head in enumerate(heads)}
    shapes = {}
    for name, shape in kernels.items():
        shapes |= {name: shape, name.replace("weight", "bias"): shape[:1]}
    nodes = [
        helper.make_node(operator, [f"t{i}", *weights], [f"t{i + 1}"], **attributes)
        for i, (operator, weights, attributes) in enumerate(operators(kernels))
    ]
    image = helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["n", 3, side, side])
    scores = helper.make_tensor_value_info(f"t{len(nodes)}", TensorProto.FLOAT, ["n", heads[-1][0]])
    graph = helper.make_graph(nodes, "vgg16", [image], [scores], [*tensors(shapes)])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "vgg16.onnx")
    with (folder / "w.bin").open("wb") as file:
        file.truncate(4 * sum(map(math.prod, shapes.values())))
    return folder / "vgg16.onnx"


@pytest.mark.parametrize("form", FORMS)
def test_parameters_of_vgg16(form, tmp_path):
    heads, side, parameters = FORMS[form]
    network = open_network(saved(tmp_path, heads, side))
    assert network.parameters == parameters
    inner = [layer for layer in network.layers if layer.name.startswith("features")]
    assert sum(layer.size for layer in inner) == 14_714_688
    shapes = {layer.name: layer.shape for layer in network.layers}
    # The layers that Find the Lady (arXiv 2312.14182) and NNWTestbed mark and attack.
    assert shapes["features.17.weight"] == (512, 256, 3, 3)
    assert shapes["features.19.weight"] == (512, 512, 3, 3)


def test_filters_of_the_layer_that_the_testbed_marks_have_4608_weights(tmp_path, rng):
    """NNWTestbed puts Uchida's 64 bits into features.19, whose filter mean has 4,608 numbers."""
    name, (heads, side, _) = "features.19.weight", FORMS["cifar10"]
    network = open_network(saved(tmp_path, heads, side))
    network = network.with_weights({name: rng.standard_normal((512, 512, 3, 3))})
    key = Uchida().make_key(network, 64, bytes(32), ArrayBench(layers=(name,)))
    assert projections.matrix(key, "projection").shape == (64, 4608)
