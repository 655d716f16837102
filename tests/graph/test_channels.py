"""Hidden axes: whatever is listed changes places without a trace; what does not is not listed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network
from nnw_onnx.graph.channel_rules import RULES
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.kit import channels
from nnw_onnx.vocabulary import HiddenAxis, Strand

from .handmade import tensor, values

SHIPPED = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))
PLAIN = SessionSettings(optimization="disable")
REAL = {
    "cifar10/vnn21_resnet_4b.onnx": 8,
    "cifar10/vnn22_resnet_3b2_bn_mixup_adv_4.0_bs128_lr-1.onnx": 8,
    "cifar10/vnn21_oval_cifar_deep_kw.onnx": 5,
    "cifar10/tinycnn/model.onnx": 8,
    "mnist/java_cnn_mnist_pytorch.onnx": 3,
    "mnist/vnn21_ffnnSIGMOID_6x200.onnx": 6,
    "control/vnn21_ACASXU_1_1.onnx": 6,
    "regression/vnn22_NN_rul_small_window_20.onnx": 5,
    "regression/vnn22_nn4sys_mscn_128d_dual.onnx": 7,
    "imagenet/stm32_mobilenet_v2_128_0.5.onnx": 25,
    "ocr/ch_ppocr_mobile_v2.0_cls_infer.onnx": 26,
}
"""Networks by other people -> how many hidden axes they have.

Counted by hand in the smaller ones: a chain of n kernels has n - 1, and a residual stage one less
for each block, whose ends are tied.
"""


def opened(path: Path, nodes, constants, inputs, outputs=("y",), opset=17, **more):
    """A network of these nodes; `more` are sizes of values."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [tensor(v, n) for n, v in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]), path
    )
    return open_network(path)


def node(operator: str, inputs: str, outputs: str, **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def answers(network, rng_seed=1, free=2):
    """What it answers to normal inputs, without optimisation."""
    rng = np.random.Generator(np.random.PCG64(rng_seed))
    fed = {}
    for info in network.inputs:
        sizes = [d if isinstance(d, int) and d > 0 else free for d in info.shape]
        fed[info.name] = rng.standard_normal(sizes).astype(np.float32)
    return Session(network.runnable(), PLAIN).run(fed)


def distance(before: Sequence, after: Sequence) -> float:
    """Largest difference over the largest answer, of the output where it is worst."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
        for a, b in zip(before, after, strict=True)
    )


def all_permuted(network, rng):
    changed = dict(network.weights)
    for axis in network.hidden_axes:
        changed |= channels.permuted(changed, axis, rng.permutation(axis.size))
    return network.with_weights({n: changed[n] for a in network.hidden_axes for n in a.layers})


def all_scaled(network, rng):
    changed = dict(network.weights)
    for axis in network.hidden_axes:
        for scaling in range(len(axis.scalings)):
            factors = 2.0 ** rng.integers(-2, 3, axis.size)
            changed |= channels.scaled(changed, axis, factors, scaling)
    return network.with_weights({n: changed[n] for a in network.hidden_axes for n in a.layers})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_kernel_of_shipped_networks_has_its_channels_listed(path, rng):
    network = open_network(path)
    kernels = [layer for layer in network.layers if layer.role == "kernel"]
    made = {s.layer for axis in network.hidden_axes for s in axis.strands if s.direction == "out"}
    assert made == {layer.name for layer in kernels[:-1]}  # all but the one that makes the classes
    assert all(axis.scalings for axis in network.hidden_axes)
    before = answers(network)
    for axis in network.hidden_axes:
        moved = channels.permuted(network.weights, axis, rng.permutation(axis.size))
        assert distance(before, answers(network.with_weights(moved))) < 1e-5
    assert distance(before, answers(all_scaled(network, rng))) == 0


@pytest.mark.parametrize("name", REAL)
def test_channels_of_real_networks_change_places(shared_data, name, rng):
    network = open_network(shared_data / "models" / name)
    assert len(network.hidden_axes) == REAL[name]
    before = answers(network)
    permuted = answers(all_permuted(network, rng))
    assert distance(before, permuted) < 1e-5
    if any(axis.scalings for axis in network.hidden_axes):
        assert distance(before, answers(all_scaled(network, rng))) < 1e-5


def test_a_chain_lists_what_lies_in_between(tmp_path):
    network = opened(
        tmp_path / "m.onnx",
        [
            node("Conv", "x w1 b1", "a", kernel_shape=[3, 3]),
            node("BatchNormalization", "a gamma beta mean var", "b"),
            node("PRelu", "b slope", "c"),
            node("Flatten", "c", "d"),
            node("Gemm", "d w2 b2", "y", transB=1),
        ],
        {
            "w1": values(6, 3, 3, 3), "b1": values(6), "gamma": values(6), "beta": values(6),
            "mean": values(6), "var": np.abs(values(6)) + 1, "slope": values(6, 1, 1),
            "w2": values(5, 24), "b2": values(5),
        },
        {"x": [None, 3, 4, 4]},
    )  # fmt: skip
    (axis,) = network.hidden_axes
    assert axis.size == 6
    assert axis.name == "w1"
    assert axis.strands == (
        Strand("w1", 0, "out"),
        Strand("b1", 0, "along"),
        Strand("gamma", 0, "along"),
        Strand("beta", 0, "along"),
        Strand("mean", 0, "along"),
        Strand("var", 0, "along"),
        Strand("slope", 0, "along"),
        Strand("w2", 1, "in", block=4),  # the 2 x 2 pixels of each channel
    )
    # Before the normalisation (kernel, bias and mean; gamma undoes it), and behind it.
    assert set(axis.scalings) == {(1, 1, -1, 0, 1, 0, 0, 0), (0, 0, 1, 1, 0, 0, 0, -1)}


def conv(inputs, outputs, **attributes):
    return node("Conv", inputs, outputs, kernel_shape=[1, 1], **attributes)


def _residual(path):
    return opened(
        path,
        [
            conv("x w1", "a"), conv("a w2", "b"), node("Relu", "b", "c"), conv("c w3", "d"),
            node("Add", "a d", "e"), conv("e w4", "y"),
        ],
        {"w1": values(8, 3, 1, 1), "w2": values(6, 8, 1, 1), "w3": values(8, 6, 1, 1),
         "w4": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip


def _concat(path):
    return opened(
        path,
        [
            conv("x w1", "a"), conv("x w2", "b"), node("Concat", "a b", "c", axis=1),
            node("BatchNormalization", "c g h m v", "d"), conv("d w3", "y"),
        ],
        {"w1": values(4, 3, 1, 1), "w2": values(6, 3, 1, 1), "w3": values(2, 10, 1, 1),
         "g": values(10), "h": values(10), "m": values(10), "v": np.abs(values(10)) + 1},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip


def _split(path):
    return opened(
        path,
        [
            conv("x w1", "a"), node("Split", "a sizes", "b c", axis=1), node("Relu", "c", "d"),
            conv("b w2", "e"), conv("d w3", "f"), node("Add", "e f", "y"),
        ],
        {"w1": values(10, 3, 1, 1), "w2": values(2, 4, 1, 1), "w3": values(2, 6, 1, 1),
         "sizes": np.array([4, 6])},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip


def _depthwise(path):
    return opened(
        path,
        [
            conv("x w1 b1", "a"), conv("a w2 b2", "b", group=4), node("Clip", "b low high", "c"),
            conv("c w3", "y"),
        ],
        {"w1": values(4, 3, 1, 1), "b1": values(4), "w2": values(8, 1, 1, 1), "b2": values(8),
         "w3": values(2, 8, 1, 1), "low": np.float32(0), "high": np.float32(6)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip


def _grouped(path):
    return opened(
        path,
        [conv("x w1", "a", group=2), node("Relu", "a", "b"), conv("b w2", "y")],
        {"w1": values(8, 2, 1, 1), "w2": values(2, 8, 1, 1)},
        {"x": [1, 4, 4, 4]},
    )


def _channels_last(path):
    """Flatten behind a Transpose: all channels of a pixel follow each other."""
    return opened(
        path,
        [
            conv("x w1", "a"), node("Transpose", "a", "b", perm=[0, 2, 3, 1]),
            node("Reshape", "b shape", "c"), node("MatMul", "c w2", "y"),
        ],
        {"w1": values(5, 3, 1, 1), "w2": values(20, 3), "shape": np.array([0, -1])},
        {"x": [1, 3, 2, 2]},
    )  # fmt: skip


def _attention(path):
    """Queries and keys meet in a product; normalised and summed over their channels before."""
    return opened(
        path,
        [
            node("MatMul", "x w1", "h"), node("LayerNormalization", "h g b", "n"),
            node("MatMul", "n wq", "q"), node("MatMul", "n wk", "k"),
            node("Transpose", "k", "kt", perm=[0, 2, 1]), node("MatMul", "q kt", "s"),
            node("Softmax", "s", "p"), node("MatMul", "n wv", "v"), node("MatMul", "p v", "o"),
            node("MatMul", "o wo", "r"), node("Add", "h r", "e"), node("MatMul", "e w2", "y"),
        ],
        {"w1": values(3, 8), "g": values(8), "b": values(8), "wq": values(8, 4),
         "wk": values(8, 4), "wv": values(8, 6), "wo": values(6, 8), "w2": values(8, 2)},
        {"x": [1, 5, 3]},
    )  # fmt: skip


CASES: dict[Callable, list[tuple[list[str], bool]]] = {
    _residual: [(["w1", "w2", "w3", "w4"], True), (["w2", "w3"], True)],
    _concat: [
        (["w1", "g", "h", "m", "v", "w3"], True),
        (["w2", "g", "h", "m", "v", "w3"], True),
    ],
    _split: [(["w1", "w2"], True), (["w1", "w3"], True)],
    _depthwise: [(["w1", "b1", "w2", "b2", "w3"], True)],
    _grouped: [(["w1", "w2"], True), (["w1", "w2"], True)],
    _channels_last: [(["w1", "w2"], True)],
    _attention: [
        (["w1", "g", "b", "wq", "wk", "wv", "wo", "w2"], True),
        (["wq", "wk"], True),
        (["wv", "wo"], True),
    ],
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_channels_are_followed_through(tmp_path, rng, make):
    network = make(tmp_path / "m.onnx")
    listed = [(sorted(axis.layers), bool(axis.scalings)) for axis in network.hidden_axes]
    assert sorted(listed) == sorted((sorted(names), s) for names, s in CASES[make])
    before = answers(network)
    for axis in network.hidden_axes:
        order = np.roll(np.arange(axis.size), 1)
        moved = network.with_weights(channels.permuted(network.weights, axis, order.tolist()))
        assert any(not np.array_equal(moved.weights[n], network.weights[n]) for n in axis.layers)
        assert distance(before, answers(moved)) < 1e-5
        for scaling in range(len(axis.scalings)):
            factors = 2.0 ** rng.integers(-2, 3, axis.size)
            scaled = channels.scaled(network.weights, axis, factors, scaling)
            assert distance(before, answers(network.with_weights(scaled))) < 1e-5


def test_strands_say_where_channels_lie(tmp_path):
    last = _channels_last(tmp_path / "last.onnx").hidden_axes[0].strands[-1]
    assert last == Strand("w2", 1, "in", repeat=4)
    several = {s.layer: s for s in _depthwise(tmp_path / "deep.onnx").hidden_axes[0].strands}
    assert several["w2"] == Strand("w2", 0, "along", block=2)
    assert several["w3"] == Strand("w3", 1, "in", block=2)
    cut = [s for axis in _concat(tmp_path / "concat.onnx").hidden_axes for s in axis.strands]
    assert Strand("w3", 1, "in", start=4) in cut


OPAQUE = {
    "an output": ([conv("x w1", "y")], {}),
    "an unknown operator": (
        [conv("x w1", "a"), node("LRN", "a", "b", size=3), conv("b w2", "y")],
        {},
    ),
    "a shuffle": (
        [conv("x w1", "a"), node("DepthToSpace", "a", "b", blocksize=1), conv("b w2", "y")],
        {},
    ),
    "an input beside it": ([conv("x w1", "a"), node("Add", "a z", "b"), conv("b w2", "y")], {}),
    "channels cut inside": (
        [conv("x w1", "a"), node("Reshape", "a shape", "b"), conv("b w2", "y")],
        {"shape": np.array([1, 4, 8, 4])},
    ),
    "one index of several": (
        [conv("x w1", "a"), node("Gather", "a k", "b", axis=1), conv("b w2", "y")],
        {"k": np.arange(8)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OPAQUE)
def test_what_needs_its_order_keeps_it(tmp_path, what):
    nodes, more = OPAQUE[what]
    into = 4 if "cut" in what else 8
    constants = {"w1": values(8, 3, 1, 1), "w2": values(2, into, 1, 1), **more}
    inputs = {"x": [1, 3, 4, 4], "z": [1, 8, 4, 4]}
    assert opened(tmp_path / "m.onnx", nodes, constants, inputs).hidden_axes == ()


def test_sigmoids_pass_no_scale(tmp_path):
    network = opened(
        tmp_path / "m.onnx",
        [conv("x w1", "a"), node("Sigmoid", "a", "b"), conv("b w2", "y")],
        {"w1": values(8, 3, 1, 1), "w2": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )
    assert network.hidden_axes == (
        HiddenAxis(8, (Strand("w1", 0, "out"), Strand("w2", 1, "in")), resizable=True),
    )


def test_a_shared_kernel_ties_its_uses(tmp_path, rng):
    network = opened(
        tmp_path / "m.onnx",
        [
            conv("x w1", "a"), conv("a w2", "b"), node("Relu", "b", "c"), conv("c w2", "d"),
            conv("d w3", "y"),
        ],
        {"w1": values(8, 3, 1, 1), "w2": values(8, 8, 1, 1), "w3": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip
    (axis,) = network.hidden_axes
    assert [(s.layer, s.axis) for s in axis.strands] == [
        ("w1", 0), ("w2", 0), ("w2", 1), ("w3", 1),
    ]  # fmt: skip
    assert distance(answers(network), answers(all_permuted(network, rng))) < 1e-5
    assert distance(answers(network), answers(all_scaled(network, rng))) < 1e-5


def test_quantized_kernels_and_masked_ones_keep_their_places(tmp_path):
    masked = opened(
        tmp_path / "masked.onnx",
        [node("Mul", "w1 mask", "w"), conv("x w", "a"), conv("a w2", "y")],
        {"w1": values(8, 3, 1, 1), "mask": values(8, 3, 1, 1), "w2": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )
    assert masked.hidden_axes == ()


def test_weights_of_another_network_are_told():
    strand = Strand("w", 1, "in", block=2)
    with pytest.raises(ModelFileError, match="expected 8 entries along axis 1, got weights of sha"):
        channels.by_channel(np.zeros((3, 6)), strand, 4)


def test_channels_are_taken_and_put_back(rng):
    weights = rng.standard_normal((3, 14, 2))
    strand = Strand("w", 1, "in", start=2, repeat=2, block=3)
    parts = channels.by_channel(weights, strand, 2)
    assert parts.shape == (2, 2, 3, 3, 2)
    assert np.array_equal(parts[1, 0, 2], weights[:, 2 + 3 + 2])  # repeat 0, channel 1, entry 2
    assert np.array_equal(parts[0, 1, 0], weights[:, 2 + 6])
    assert np.array_equal(channels.with_channels(weights, strand, parts), weights)
    changed = channels.with_channels(weights, strand, parts[::-1])
    assert np.array_equal(changed[:, 2:5], weights[:, 5:8])
    assert np.array_equal(changed[:, :2], weights[:, :2])


def test_balanced_weights_do_not_know_their_scales(rng):
    network = open_network(SHIPPED[-1])
    scaled = all_scaled(network, rng)
    first, second = (channels.balanced(n.weights, n.hidden_axes, 60) for n in (network, scaled))
    for name, values_ in first.items():
        np.testing.assert_allclose(values_, second[name], rtol=1e-3, atol=1e-5)


def test_hostile_graphs_are_followed_without_harm(tmp_path):
    """Inputs left out or exchanged, other axes and sizes: an answer, or `ModelFileError`."""
    rng = np.random.Generator(np.random.PCG64(4))
    seen = 0
    for make in CASES:
        make(tmp_path / "m.onnx")
        model = onnx.load(tmp_path / "m.onnx")
        for _ in range(40):
            changed = onnx.ModelProto.FromString(model.SerializeToString())
            _spoil(changed.graph, rng)
            onnx.save(changed, tmp_path / "spoilt.onnx")
            with contextlib.suppress(ModelFileError):
                seen += len(open_network(tmp_path / "spoilt.onnx").hidden_axes) >= 0
    assert seen > 150


def _spoil(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    one = graph.node[rng.integers(len(graph.node))]
    match rng.integers(5):
        case 0:
            del one.input[rng.integers(len(one.input)) :]
        case 1:
            names = [name for other in graph.node for name in other.input]
            one.input[rng.integers(len(one.input))] = str(rng.choice(names))
        case 2:
            value = int(rng.integers(-9, 9))
            one.attribute.append(
                helper.make_attribute(str(rng.choice(["axis", "group", "transB"])), value)
            )
        case 3:
            one.op_type = str(rng.choice(sorted(RULES)))
        case _:
            tensor_ = graph.initializer[rng.integers(len(graph.initializer))]
            if tensor_.data_type == TensorProto.INT64:
                count = len(tensor_.raw_data) // 8
                tensor_.raw_data = rng.integers(-3, 9, count).astype("<i8").tobytes()
