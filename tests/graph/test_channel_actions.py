"""Signs, bases and heads of hidden axes: whatever is listed leaves every output where it was."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nnw_onnx.graph import open_network
from nnw_onnx.kit import channels

from .handmade import values
from .test_channels import CASES, answers, conv, distance, node, opened


def conditioned(size, rng):
    """A matrix that is neither orthogonal nor symmetric, of condition 4."""
    left, _, right = np.linalg.svd(rng.standard_normal((size, size)))
    return left @ np.diag(np.linspace(0.5, 2, size)) @ right


def prove(network, rng, tolerance=2e-5):
    """Carry out all that is listed, one after the other, and compare outputs; how much it was."""
    before, done = answers(network), 0
    for axis in network.hidden_axes:
        weights = network.weights
        tried = [channels.permuted(weights, axis, np.roll(np.arange(axis.size), 1).tolist())]
        for k in range(len(axis.scalings)):
            tried.append(channels.scaled(weights, axis, 2.0 ** rng.integers(-2, 3, axis.size), k))
        for k in range(len(axis.signs)):
            tried.append(channels.flipped(weights, axis, rng.choice([-1, 1], axis.size), k))
        if axis.mixings:
            tried.append(channels.mixed(weights, axis, conditioned(axis.size, rng)))
        for changed in tried:
            assert distance(before, answers(network.with_weights(changed))) < tolerance, axis
        if axis.resizable:
            assert distance(before, answers(_grown(network, axis, rng))) < tolerance, axis
        done += len(tried)
    return done


def _grown(network, axis, rng):
    """Channel 0 in three parts, channel 1 once more for nothing, all in another order."""
    chosen = np.array([*range(axis.size), 0, 0, 1])
    factors = np.array([0.25, *[1.0] * (axis.size - 1), 1.25, -0.5, 0.0])
    order = rng.permutation(len(chosen))
    weights = channels.resized(network.weights, axis, chosen[order], factors[order])
    return network.with_resized(axis, weights)


def _signs(network):
    """For each axis the layers whose signs change together."""
    return [
        {frozenset(s.layer for s, flips in zip(axis.strands, sign, strict=True) if flips)
         for sign in axis.signs}
        for axis in network.hidden_axes
    ]  # fmt: skip


def _normalised(path, activation):
    return opened(
        path,
        [
            conv("x w1 b1", "a"), node("BatchNormalization", "a g h m v", "b"),
            node(activation, "b", "c"), conv("c w2", "y"),
        ],
        {"w1": values(6, 3, 1, 1), "b1": values(6), "g": values(6), "h": values(6),
         "m": values(6), "v": np.abs(values(6)) + 1, "w2": values(2, 6, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "HardSwish", "Exp"])
def test_a_normalisation_undoes_signs_whatever_follows(tmp_path, rng, activation):
    network = _normalised(tmp_path / "m.onnx", activation)
    assert _signs(network) == [{frozenset({"w1", "b1", "m", "g"})}]
    assert prove(network, rng) >= 2


def test_odd_functions_pass_signs_on(tmp_path, rng):
    network = _normalised(tmp_path / "m.onnx", "Tanh")
    before, after = {"w1", "b1", "m", "g"}, {"g", "h", "w2"}
    assert _signs(network) == [{frozenset(before), frozenset(after)}]
    assert prove(network, rng) >= 3


@pytest.mark.parametrize(
    ("operator", "signs", "mixes"),
    [
        ("Relu", False, False), ("Tanh", True, False), ("Erf", True, False), ("Sin", True, False),
        ("Softsign", True, False), ("Cos", False, False), ("Abs", False, False),
        ("Identity", True, True), ("Neg", True, True), ("Sigmoid", False, False),
        ("AveragePool", True, True), ("MaxPool", False, False), ("GlobalAveragePool", True, True),
        ("GlobalMaxPool", False, False), ("Softmax", False, False), ("Round", True, False),
        ("Atan", True, False), ("LeakyRelu", False, False), ("Dropout", True, True),
    ],
)  # fmt: skip
def test_what_each_function_passes_on(tmp_path, rng, operator, signs, mixes):
    more = {"kernel_shape": [2, 2]} if operator in ("AveragePool", "MaxPool") else {}
    network = opened(
        tmp_path / "m.onnx",
        [conv("x w1", "a"), node(operator, "a", "b", **more), conv("b w2", "y")],
        {"w1": values(6, 3, 1, 1), "w2": values(2, 6, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )
    (axis,) = network.hidden_axes
    # What does not see signs leaves those of the kernel before it free.
    even = operator in ("Cos", "Abs")
    assert axis.signs == (((1, 0),) if even else ((1, 1),) if signs else ())
    assert axis.mixings == ((1, -1) if mixes else ())
    prove(network, rng)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 1.5])
def test_powers_are_odd_or_even(tmp_path, rng, exponent):
    network = opened(
        tmp_path / "m.onnx",
        [conv("x w1", "a"), node("Abs" if exponent == 1.5 else "Identity", "a", "p"),
         node("Pow", "p e", "b"), conv("b w2", "y")],
        {"w1": values(6, 3, 1, 1), "w2": values(2, 6, 1, 1), "e": np.float32(exponent)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip
    (axis,) = network.hidden_axes
    assert axis.signs == (((1, 1),) if exponent == 3 else ((1, 0),))
    prove(network, rng)


def test_residual_sums_tie_bases(tmp_path, rng):
    network = opened(
        tmp_path / "m.onnx",
        [
            conv("x w1 b1", "a"), conv("a w2", "b"), node("Relu", "b", "c"), conv("c w3 b3", "d"),
            node("Add", "a d", "e"), conv("e w4", "y"),
        ],
        {"w1": values(8, 3, 1, 1), "b1": values(8), "w2": values(6, 8, 1, 1),
         "w3": values(8, 6, 1, 1), "b3": values(8), "w4": values(2, 8, 1, 1)},
        {"x": [1, 3, 4, 4]},
    )  # fmt: skip
    stream = next(axis for axis in network.hidden_axes if axis.size == 8)
    powers = {s.layer: power for s, power in zip(stream.strands, stream.mixings, strict=True)}
    assert powers == {"w1": 1, "b1": 1, "w2": -1, "w3": 1, "b3": 1, "w4": -1}
    prove(network, rng)


HEADS, ENTRIES, LENGTH = 3, 4, 5
WIDTH = HEADS * ENTRIES


def _heads(path, *, stacked=False, mask=False, norm=False, broadcast=False):
    """Attention of three heads; one kernel for all or three, per-head arithmetic in between."""
    names, nodes = ["q", "k", "v"], []
    constants = {"wo": values(WIDTH, 6), "w2": values(6, 2), "scale": np.float32(0.5)}
    if stacked:
        nodes += [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Reshape", "c s", "r"),
                  node("Transpose", "r", "t", perm=[2, 0, 3, 1, 4])]  # fmt: skip
        constants |= {"w": values(6, 3 * WIDTH), "b": values(3 * WIDTH),
                      "s": np.array([0, 0, 3, HEADS, ENTRIES])}  # fmt: skip
        for k, name in enumerate(names):
            nodes += [node("Gather", f"t i{k}", f"{name}g", axis=0),
                      node("Squeeze", f"{name}g first", f"{name}h")]  # fmt: skip
            constants |= {f"i{k}": np.array([k]), "first": np.array([0])}
    else:
        constants["s"] = np.array([0, 0, HEADS, ENTRIES])
        for name in names:
            nodes += [node("MatMul", f"x w{name}", f"{name}1"),
                      node("Add", f"{name}1 b{name}", f"{name}2"),
                      node("Reshape", f"{name}2 s", f"{name}3"),
                      node("Transpose", f"{name}3", f"{name}h", perm=[0, 2, 1, 3])]  # fmt: skip
            constants |= {f"w{name}": values(6, WIDTH), f"b{name}": values(WIDTH)}
    query = "qh"
    if norm:
        nodes.append(node("LayerNormalization", "qh gain", "qn"))
        constants["gain"], query = values(ENTRIES), "qn"
    nodes += [node("Transpose", "kh", "kt", perm=[0, 1, 3, 2]), node("MatMul", f"{query} kt", "s1"),
              node("Mul", "s1 scale", "s2")]  # fmt: skip
    scores = "s2"
    if mask:
        nodes.append(node("Add", "s2 slopes", "s3"))
        constants["slopes"], scores = values(HEADS, 1, 1), "s3"
    nodes.append(node("Softmax", scores, "p", axis=-1))
    value = "vh"
    if broadcast:
        nodes.append(node("MatMul", "vh shared", "vs"))
        constants["shared"], value = values(ENTRIES, ENTRIES), "vs"
    nodes += [node("MatMul", f"p {value}", "o"), node("Transpose", "o", "ot", perm=[0, 2, 1, 3]),
              node("Reshape", "ot back", "f"), node("MatMul", "f wo", "z"),
              node("MatMul", "z w2", "y")]  # fmt: skip
    constants["back"] = np.array([0, 0, WIDTH])
    return opened(path, nodes, constants, {"x": [1, LENGTH, 6]})


@pytest.mark.parametrize("stacked", [False, True])
def test_heads_change_places_and_have_bases_of_their_own(tmp_path, rng, stacked):
    network = _heads(tmp_path / "m.onnx", stacked=stacked)
    heads = [axis for axis in network.hidden_axes if axis.size == HEADS]
    inner = [axis for axis in network.hidden_axes if axis.size == ENTRIES]
    assert len(heads) == 1
    assert {s.block for s in heads[0].strands} == {ENTRIES}
    assert not heads[0].scalings
    assert not heads[0].mixings
    assert len(inner) == 2 * HEADS  # queries with keys, and values, of each head
    assert all(axis.mixings and axis.scalings and axis.signs for axis in inner)
    assert not any(axis.resizable for axis in (*heads, *inner))
    assert prove(network, rng) >= 1 + 4 * 2 * HEADS


def test_what_is_the_same_for_all_heads_ties_their_entries(tmp_path, rng):
    shared = _heads(tmp_path / "m.onnx", broadcast=True)
    # Queries with keys by head; values before the kernel of all heads, and behind it.
    inner = [axis for axis in shared.hidden_axes if axis.size == ENTRIES]
    tied = [set(a.layers) for a in inner if any(s.repeat == HEADS for s in a.strands)]
    assert len(inner) == HEADS + 2
    assert tied == [{"wv", "bv", "shared"}, {"shared", "wo"}]
    prove(shared, rng)
    normed = _heads(tmp_path / "n.onnx", norm=True)
    tied = [a for a in normed.hidden_axes if any(s.layer == "gain" for s in a.strands)]
    assert [axis.size for axis in tied] == [ENTRIES]
    assert {s.repeat for s in tied[0].strands if s.layer == "wq"} == {HEADS}
    assert not tied[0].mixings
    prove(normed, rng)


def test_numbers_by_head_go_with_the_heads(tmp_path, rng):
    network = _heads(tmp_path / "m.onnx", mask=True)
    (heads,) = [axis for axis in network.hidden_axes if axis.size == HEADS]
    assert "slopes" in heads.layers
    prove(network, rng)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_all_that_is_listed_of_other_graphs(tmp_path, rng, make):
    prove(make(tmp_path / "m.onnx"), rng)


_UNARY = ("Relu", "Tanh", "Sigmoid", "Identity", "Abs", "Sin", "Neg", "Cos", "HardSwish")


def _random(path, rng):
    """A chain of convolutions, normalisations, functions, sums and products."""
    nodes, constants, live = [], {}, [("x", 4)]
    for k in range(int(rng.integers(5, 11))):
        name, size = live[-1]
        made = f"v{k}"
        match int(rng.integers(7)):
            case 0 | 1:
                out = int(rng.choice([4, 6]))
                constants[f"w{k}"] = values(out, size, 1, 1) / 2
                constants[f"b{k}"] = values(out)
                nodes.append(conv(f"{name} w{k} b{k}", made))
                size = out
            case 2:
                constants |= {f"{p}{k}": values(size) for p in "ghm"}
                constants[f"u{k}"] = np.abs(values(size)) + 1
                nodes.append(node("BatchNormalization", f"{name} g{k} h{k} m{k} u{k}", made))
            case 3:
                others = [n for n, s in live if s == size]
                operator = str(rng.choice(["Add", "Sub", "Mul", "Max"]))
                nodes.append(node(operator, f"{name} {rng.choice(others)}", made))
            case 4:
                constants[f"d{k}"] = values(size, 1, 1, 1)
                nodes.append(conv(f"{name} d{k}", made, group=size))
            case _:
                nodes.append(node(str(rng.choice(_UNARY)), name, made))
        live.append((made, size))
    constants["last"] = values(2, live[-1][1], 1, 1)
    nodes.append(conv(f"{live[-1][0]} last", "y"))
    return opened(path, nodes, constants, {"x": [1, 4, 3, 3]})


def test_random_graphs_keep_their_outputs(tmp_path):
    rng = np.random.Generator(np.random.PCG64(11))
    # Products of many values make some outputs tiny differences of large ones.
    assert sum(prove(_random(tmp_path / "m.onnx", rng), rng, 2e-4) for _ in range(60)) > 200


def _encoder(kind):
    import torch as framework

    framework.manual_seed(0)
    layer = framework.nn.TransformerEncoderLayer(
        24, 3, 20, dropout=0.0, batch_first=True, norm_first=kind == "first", activation="gelu"
    )
    return framework.nn.Sequential(
        framework.nn.Linear(7, 24), layer, framework.nn.Linear(24, 2)
    ).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["first", "last"])
def test_heads_of_torch_are_found(tmp_path, rng, kind):
    framework = pytest.importorskip("torch")
    module = _encoder(kind)
    framework.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            framework.onnx.export(
                module, (framework.zeros(1, 5, 7),), str(tmp_path / "m.onnx"), dynamo=False
            )
    finally:
        framework.backends.mha.set_fastpath_enabled(True)
    network = open_network(tmp_path / "m.onnx")
    heads = [axis for axis in network.hidden_axes if axis.size == 3]
    inner = [axis for axis in network.hidden_axes if axis.size == 8]
    assert len(heads) == 1
    assert len(inner) == 6
    assert all(axis.mixings for axis in inner)
    prove(network, rng)
