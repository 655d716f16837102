"""Watermarks and Modifications on the grids of quantized weights."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.errors import InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.runs import grids
from nnw_onnx.vocabulary import Key, Spec

OUT, INNER, BLOCK = 48, 512, 32
PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")
SECRET = b"s" * 32


def _weights(seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return (0.05 * rng.standard_t(6, (OUT, INNER))).astype(np.float32)


def _saved(nodes, arrays, folder, name):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", INNER])],
        [helper.make_tensor_value_info("y", 1, ["n", OUT])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def linear(folder: Path, dtype, levels: int) -> Path:
    """DequantizeLinear with a scale for each output; symmetric levels."""
    weights = _weights().T
    scale = np.abs(weights).max(axis=0) / levels
    codes = np.clip(np.rint(weights / scale), -levels, levels).astype(dtype)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    arrays = {"q": codes, "s": scale.astype(np.float32)}
    return _saved(nodes, arrays, folder, np.dtype(dtype).name)


def packed(folder: Path, bits: int, *, groups: bool = False) -> Path:
    """MatMulNBits with a scale for each block of a row, or for a group of its columns."""
    middle, blocks = 1 << (bits - 1), INNER // BLOCK
    order = np.arange(INNER) // BLOCK
    if groups:
        order = np.random.Generator(np.random.PCG64(5)).permutation(order)
    weights = _weights()
    scale = np.stack([np.abs(weights[:, order == k]).max(axis=1) for k in range(blocks)], 1)
    scale = (scale / (middle - 0.5)).astype(np.float32)
    codes = np.clip(np.rint(weights / scale[:, order]) + middle, 0, 2 * middle - 1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = codes.astype(np.uint8).reshape(OUT, blocks, -1, 8 // bits) << shifts
    arrays = {"q": np.bitwise_or.reduce(parts, axis=-1), "s": scale}
    names = ["x", "q", "s"]
    if groups:
        arrays["g"] = order.astype(np.int32)
        names += ["", "g"]
    node = helper.make_node(
        "MatMulNBits", names, ["y"], domain="com.microsoft", N=OUT, K=INNER, bits=bits,
        block_size=BLOCK,
    )  # fmt: skip
    return _saved([node], arrays, folder, f"bits{bits}{groups}")


FORMS = {
    "int8": lambda folder: linear(folder, np.int8, 127),
    "int4": lambda folder: linear(folder, ml_dtypes.int4, 7),
    "bits8": lambda folder: packed(folder, 8),
    "bits4": lambda folder: packed(folder, 4),
    "bits4 groups": lambda folder: packed(folder, 4, groups=True),
    "bits2": lambda folder: packed(folder, 2),
}


@pytest.mark.parametrize("method", ["uchida", "block-spread", "levels", "presence"])
@pytest.mark.parametrize("form", FORMS)
def test_every_static_method_marks_every_grid(form, method, tmp_path):
    path = FORMS[form](tmp_path)
    payload = nnw.Payload() if method == "presence" else PAYLOAD
    made = nnw.inject(path, payload, method=method, seed=1)
    made.network.save(tmp_path / "marked.onnx")
    claim = made.claim
    if claim.payload:
        assert nnw.decode(tmp_path / "marked.onnx", made.key).payload == claim.payload
    assert nnw.detect(tmp_path / "marked.onnx", claim).detected
    assert not nnw.detect(path, claim).detected
    (told,) = [note for note in made.key.notes if "written on the" in note]
    network = nnw.open(path)
    moved = np.count_nonzero(made.network.weights["q"] != network.weights["q"])
    assert told.startswith(f"q: written on the {network.grid('q')}: {moved} of {OUT * INNER} ")
    again = nnw.inject(path, payload, method=method, seed=1)
    assert (again.network.digest, again.key.notes) == (made.network.digest, made.key.notes)


def test_a_change_far_below_a_step_arrives_on_average(tmp_path):
    network = open_network(packed(tmp_path, 4))
    old = np.asarray(network.weights["q"], np.float64)
    below, above = network.neighbours("q")
    inner = (below < old) & (old < above)
    asked = np.where(inner, old + 0.1 * (above - old), old)
    lost = network.with_weights({"q": asked})
    np.testing.assert_array_equal(lost.weights["q"], network.weights["q"])
    rule = grids.Rounding(SECRET, "test")
    drawn = network.rounded_by(rule).with_weights({"q": asked})
    moved = np.asarray(drawn.weights["q"]) != old
    # Binomial: 0.1 of so many weights, four standard deviations.
    count = int(inner.sum())
    assert abs(moved.sum() - 0.1 * count) < 4 * np.sqrt(0.09 * count)
    assert not (moved & ~inner).any()
    np.testing.assert_array_equal(drawn.weights["q"][moved], above[moved])
    other = network.rounded_by(grids.Rounding(SECRET, "other")).with_weights({"q": asked})
    assert not np.array_equal(other.weights["q"], drawn.weights["q"])


def test_draws_lie_beside_what_is_asked_wherever_that_is(tmp_path):
    network = open_network(linear(tmp_path, ml_dtypes.int4, 7))
    rng = np.random.Generator(np.random.PCG64(3))
    asked = rng.normal(0, 0.1, (OUT, INNER))
    drawn = network.rounded_by(grids.Rounding(SECRET, "test")).with_weights({"q": asked})
    found = np.asarray(drawn.weights["q"], np.float64)
    step = np.asarray(network.neighbours("q")[1] - network.neighbours("q")[0]).max(axis=1) / 2
    top = np.abs(asked) >= 7 * step[:, None]
    assert (np.abs(found - asked)[~top] < step[:, None].repeat(INNER, 1)[~top] * 1.0001).all()
    assert np.abs(np.mean((found - asked)[~top])) < 0.002


def _put(network, inject, errors=lambda found: 0):
    key = Key(Spec("made-up"), SECRET, 4, ("q",), ((OUT, INNER),))
    return grids.put(network, key, inject, errors)


def _shift(by):
    def inject(network):
        return network.with_weights({"q": network.weights["q"] + by})

    return inject


def test_what_the_nearest_values_keep_needs_no_draws(tmp_path):
    network = open_network(linear(tmp_path, np.int8, 127))
    made = _put(network, _shift(0.05))
    assert len(made.notes) == 1
    np.testing.assert_array_equal(made.network.weights["q"], _shift(0.05)(network).weights["q"])
    # The rule of the injection is not that of the network that comes out.
    again = made.network.with_weights({"q": made.network.weights["q"] + 1e-5})
    np.testing.assert_array_equal(again.weights["q"], made.network.weights["q"])


def test_a_stronger_change_is_the_last_way(tmp_path):
    """Symbols that are read only where twice as much arrives as the method asks for."""
    network = open_network(packed(tmp_path, 4))
    old = np.asarray(network.weights["q"], np.float64)

    def errors(found):
        return int(np.mean(found.weights["q"] - old) < 0.055)

    def inject(start):
        asked = np.maximum(np.asarray(start.weights["q"], np.float64), old) + 0.0
        return start.with_weights({"q": np.maximum(asked, old + 0.03)})

    made = _put(network, inject, errors)
    assert "2 times the change" in made.notes[-1] or "1.5 times the change" in made.notes[-1]
    assert errors(made.network) == 0


def test_symbols_that_no_way_keeps_are_refused_in_one_line(tmp_path):
    network = open_network(packed(tmp_path, 4))
    with pytest.raises(InjectionError) as error:
        _put(network, _shift(0.01), lambda found: 3)
    assert str(error.value) == (
        "layer q: expected all 4 symbols to be read back, got 3 wrong ones on the grid of "
        "quantized weights; use a larger strength, a shorter payload, or the network before "
        "quantization"
    )


def test_what_a_method_refuses_before_it_asks_for_weights_is_not_tried_again(tmp_path):
    network = open_network(packed(tmp_path, 4))
    calls = []

    def inject(start):
        calls.append(start)
        raise InjectionError("made-up: expected another payload, got this one; change it")

    with pytest.raises(InjectionError, match="made-up: expected another payload"):
        _put(network, inject)
    assert len(calls) == 1


def test_a_network_of_floats_is_injected_once_and_as_it_is(tmp_path):
    arrays = {"q": _weights().T.copy()}
    nodes = [helper.make_node("MatMul", ["x", "q"], ["y"])]
    network = open_network(_saved(nodes, arrays, tmp_path, "floats"))
    assert network.grid("q") is None
    made = _put(network, lambda start: start, lambda found: pytest.fail("not read back"))
    assert (made.network, made.notes) == (network, ())


@pytest.mark.parametrize("form", ["int8", "bits4"])
@pytest.mark.parametrize(
    ("modification", "intensity"),
    [("l1-pruning", 50), ("random-pruning", 10), ("quantizing", 3), ("gaussian-noise", 0.3)],
)
def test_modifications_land_on_the_grid(form, modification, intensity, tmp_path):
    path = FORMS[form](tmp_path)
    before = nnw.open(path)
    made = nnw.modify(path, modification, intensity=intensity, seed=1)
    assert made.layers == ("q",)
    made.network.save(tmp_path / "modified.onnx")
    after = nnw.open(tmp_path / "modified.onnx").weights["q"]
    np.testing.assert_array_equal(after, made.network.weights["q"])
    old = np.asarray(before.weights["q"], np.float64)
    change = np.sqrt(np.mean((after - old) ** 2)) / old.std()
    assert made.change == pytest.approx(change, rel=1e-6)
    zeros = np.count_nonzero(after == 0) / after.size
    if modification == "l1-pruning":
        assert zeros == pytest.approx(0.5, abs=1e-4)
    if modification == "gaussian-noise":
        assert change == pytest.approx(0.3, rel=0.1)


def test_averages_of_marked_copies_land_on_the_grid(tmp_path):
    path = FORMS["int8"](tmp_path)
    copies = []
    for k in range(3):
        made = nnw.inject(path, PAYLOAD, seed=k)
        made.network.save(tmp_path / f"copy{k}.onnx")
        copies.append(tmp_path / f"copy{k}.onnx")
    found = nnw.modify(copies[0], "averaging", copies=copies[1:], seed=1).network
    weights = [np.asarray(nnw.open(copy).weights["q"], np.float64) for copy in copies]
    step = np.asarray(nnw.open(path).neighbours("q")[1] - nnw.open(path).weights["q"]).max(axis=1)
    off = np.abs(found.weights["q"] - np.mean(weights, axis=0))
    assert (off <= 0.5001 * step[:, None]).all()
