"""Networks with other numbers of channels: they open, list and run, and nothing else is resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import channels

from .handmade import values
from .test_channels import CASES, SHIPPED, answers, conv, distance, node, opened


def grown(network, axis, count=3):
    """The network with copies of the first channels that nothing takes in."""
    chosen = [*range(axis.size), *(k % axis.size for k in range(count))]
    factors = np.array([1.0] * axis.size + [0.0] * count)
    return network.with_resized(axis, channels.resized(network.weights, axis, chosen, factors))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_networks_grow_and_are_saved(path, tmp_path):
    network = open_network(path)
    before, now = answers(network), network
    resizable = [k for k, axis in enumerate(network.hidden_axes) if axis.resizable]
    assert resizable
    for k in resizable:
        now = grown(now, now.hidden_axes[k])
        assert now.hidden_axes[k].size == network.hidden_axes[k].size + 3
    assert now.digest != network.digest
    assert distance(before, answers(now)) < 1e-5
    now.save(tmp_path / "grown.onnx")
    saved = open_network(tmp_path / "grown.onnx")
    assert saved.digest == now.digest
    assert saved.hidden_axes == now.hidden_axes  # proved anew, they are those that were told
    assert [layer.name for layer in saved.layers] == [layer.name for layer in network.layers]
    assert distance(answers(now), answers(saved)) == 0
    first = saved.layers[0].name
    twice = now.with_weights({first: 2 * now.weights[first]})
    assert twice.digest != now.digest
    assert np.array_equal(twice.weights[first], 2 * now.weights[first])


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_axes_are_told_as_they_would_be_proved(tmp_path, make):
    network = make(tmp_path / "m.onnx")
    for axis in network.hidden_axes:
        if axis.resizable:
            other = grown(network, axis, 2)
            other.save(tmp_path / "other.onnx")
            assert open_network(tmp_path / "other.onnx").hidden_axes == other.hidden_axes


def test_channels_that_are_left_out_are_gone(tmp_path):
    network = opened(
        tmp_path / "m.onnx",
        [conv("x w1", "a"), node("Relu", "a", "b"), conv("b w2", "y")],
        {"w1": values(8, 3, 1, 1), "w2": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )
    (axis,) = network.hidden_axes
    kept = [0, 2, 5]
    small = network.with_resized(axis, channels.resized(network.weights, axis, kept))
    none = np.array(network.weights["w2"])
    none[:, [1, 3, 4, 6, 7]] = 0
    right = answers(network.with_weights({"w2": none}))
    assert small.weights["w1"].shape == (3, 3, 1, 1)
    assert distance(right, answers(small)) < 1e-6


def test_groups_and_what_is_told_of_sizes_follow(tmp_path):
    network = CASES_DEPTHWISE(tmp_path / "m.onnx")
    (axis,) = network.hidden_axes
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.value_info.append(
        onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 8, 4, 4])
    )
    for tensor in model.graph.initializer:  # as files before IR version 4 do
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    onnx.save(model, tmp_path / "told.onnx")
    told = open_network(tmp_path / "told.onnx")
    other = grown(told, told.hidden_axes[0], 2)
    other.save(tmp_path / "other.onnx")
    saved = onnx.load(tmp_path / "other.onnx")
    groups = [a.i for n in saved.graph.node for a in n.attribute if a.name == "group"]
    assert groups == [axis.size + 2]
    assert not saved.graph.value_info
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in saved.graph.input}
    assert sizes["w2"] == [2 * (axis.size + 2), 1, 1, 1]
    onnx.shape_inference.infer_shapes(saved, strict_mode=True)
    assert distance(answers(told), answers(other)) < 1e-6


CASES_DEPTHWISE = next(make for make in CASES if make.__name__ == "_depthwise")

NUMBERS = {
    "a size of Reshape": (
        [conv("x w1", "a"), node("Reshape", "a s", "b"), conv("b w2", "y")],
        {"s": np.array([1, 8, 4, 4])},
    ),
    "sizes of Split": (
        [conv("x w1", "a"), node("Split", "a s", "b c", axis=1), node("Concat", "c b", "d", axis=1),
         conv("d w2", "y")],
        {"s": np.array([3, 5])},
    ),
    "ends of Slice": (
        [conv("x w1", "a"), node("Slice", "a low high one", "b"), conv("b w2", "y")],
        {"low": np.array([0]), "high": np.array([8]), "one": np.array([1])},
    ),
    "groups": ([conv("x3 w3", "a", group=2), conv("a w2", "y")], {"w3": values(8, 2, 1, 1)}),
    "sizes of Resize": (
        [conv("x w1", "a"), node("Resize", "a  s".replace("  ", " roi scales "), "b"),
         conv("b w2", "y")],
        {"s": np.array([1, 8, 8, 8]), "roi": np.zeros(0, np.float32),
         "scales": np.zeros(0, np.float32)},
    ),
    "a mean over the channels": (
        [conv("x w1", "a"), node("ReduceMean", "a", "m", axes=[1]), node("Sub", "a m", "b"),
         conv("b w2", "y")],
        {},
    ),
    "a softmax over the channels": (
        [conv("x w1", "a"), node("Softmax", "a", "b", axis=1), conv("b w2", "y")], {},
    ),
    "a product with itself": (
        [conv("x w1", "a"), node("Reshape", "a s", "b"),
         node("Transpose", "b", "c", perm=[0, 2, 1]),
         node("MatMul", "c b", "y")],
        {"s": np.array([0, 0, -1])},
    ),
    "its size": (
        [conv("x w1", "a"), node("Shape", "a", "s"), node("Gather", "s one", "k", axis=0),
         node("Cast", "k", "f", to=1), node("Mul", "a f", "b"), conv("b w2", "y")],
        {"one": np.array([1])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NUMBERS)
def test_what_has_its_number_of_channels_in_the_graph_keeps_it(tmp_path, what):
    nodes, more = NUMBERS[what]
    constants = {"w1": values(8, 3, 1, 1), "w2": values(2, 8, 1, 1), **more}
    used = {name for one in nodes for name in one.input}
    constants = {name: value for name, value in constants.items() if name in used}
    inputs = {"x3": [1, 4, 4, 4]} if "x3" in used else {"x": [1, 3, 4, 4]}
    network = opened(tmp_path / "m.onnx", nodes, constants, inputs)
    answers(network)
    assert bool(network.hidden_axes) == (what != "a product with itself")
    assert not any(axis.resizable for axis in network.hidden_axes)


def test_what_asks_for_no_number_is_free(tmp_path):
    network = opened(
        tmp_path / "m.onnx",
        [conv("x w1", "a"), node("Slice", "a low high one", "b"), node("Shape", "b", "s"),
         node("Gather", "s zero", "n", axis=0), node("Concat", "n rest", "t", axis=0),
         node("Reshape", "b t", "c"), node("MatMul", "c w2", "y")],
        {"w1": values(8, 3, 1, 1), "w2": values(128, 2), "low": np.array([0]),
         "high": np.array([2**63 - 1]), "one": np.array([1]), "zero": np.array([0]),
         "rest": np.array([-1])},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip
    (axis,) = network.hidden_axes
    assert axis.resizable
    assert distance(answers(network), answers(grown(network, axis))) < 1e-6


def test_what_does_not_fit_is_refused(tmp_path):
    network = CASES_DEPTHWISE(tmp_path / "m.onnx")
    (axis,) = network.hidden_axes
    weights = channels.resized(network.weights, axis, [0, 1])
    less = {name: value for name, value in weights.items() if name != "b2"}
    with pytest.raises(ModelFileError, match=r"weights of all of its layers, got no weights of 'b"):
        network.with_resized(axis, less)
    with pytest.raises(ModelFileError, match=r"'w3': expected weights of shape \(2, 4, 1, 1\)"):
        network.with_resized(axis, {**weights, "w3": network.weights["w3"]})
    with pytest.raises(ModelFileError, match=r"layer 'w1': expected weights that are finite"):
        network.with_resized(axis, {**weights, "w1": np.full((2, 3, 1, 1), np.inf)})
    grouped = next(make for make in CASES if make.__name__ == "_grouped")(tmp_path / "g.onnx")
    with pytest.raises(ModelFileError, match="expected one of the hidden axes of 'm.onnx', got an"):
        network.with_resized(grouped.hidden_axes[0], weights)
    with pytest.raises(
        ModelFileError, match="expected a resizable axis .*, got 'w1', which is not"
    ):
        grouped.with_resized(grouped.hidden_axes[0], grouped.weights)


def test_a_data_file_is_taken_in(tmp_path):
    network = CASES_DEPTHWISE(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.save(model, tmp_path / "out.onnx", save_as_external_data=True, location="out.data",
              size_threshold=0)  # fmt: skip
    outside = open_network(tmp_path / "out.onnx")
    other = grown(outside, outside.hidden_axes[0])
    other.save(tmp_path / "one.onnx")
    assert not Path(f"{tmp_path / 'one.onnx'}.data").exists()
    assert distance(answers(network), answers(open_network(tmp_path / "one.onnx"))) < 1e-6
