"""Every form of quantized weights: read as onnxruntime does, and written on its grid."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import make, node, run_path, run_runnable, tensor
from .quantized_forms import (
    DEQUANTIZE_LINEAR,
    EXPERT_LAYERS,
    GATHER,
    INTEGER_OPERATORS,
    MATMUL_NBITS,
    TWINS,
    Form,
    feed_of,
    identity,
    integers,
    scales,
)

FORMS = {
    **{f"DequantizeLinear {name}": form for name, form in DEQUANTIZE_LINEAR.items()},
    **{f"MatMulNBits {name}": form for name, form in MATMUL_NBITS.items()},
    **{f"GatherBlockQuantized {name}": form for name, form in GATHER.items()},
    **{f"QMoE {name}": form for name, form in EXPERT_LAYERS.items()},
    **INTEGER_OPERATORS,
}
EVERY = {**FORMS, **TWINS}
_UP = 15
"""Codes above the middle of a type that are tried; operators of integers saturate beyond."""


def _ids(name: str) -> str:
    return name.replace(" ", "-")


def _opened(form: Form, folder: Path) -> OnnxNetwork:
    onnx.save(form.model, folder / "m.onnx")
    return open_network(folder / "m.onnx")


def _close(form: Form, found: NDArray[Any], expected: NDArray[Any]) -> None:
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=form.tolerance * largest)


@pytest.mark.parametrize("name", EVERY, ids=_ids)
def test_reading(name: str, tmp_path: Path) -> None:
    form = EVERY[name]()
    network = _opened(form, tmp_path)
    layer = next(found for found in network.layers if found.name == "q")
    assert (layer.shape, layer.role, layer.storage) == (form.shape, form.role, "quantized")
    assert layer.obstacle is None
    found = network.weights["q"]
    assert found.dtype == np.float32
    _close(form, found, form.effective(network.path))


def _bytes_of(path: Path) -> bytes:
    (found,) = [t for t in onnx.load(path).graph.initializer if t.name == "q"]
    return bytes(found.raw_data)


@pytest.mark.parametrize("name", EVERY, ids=_ids)
def test_round_trip(name: str, tmp_path: Path) -> None:
    """What is read is written as the same codes, and only what is asked for moves."""
    network = _opened(EVERY[name](), tmp_path)
    told = network.weights["q"]
    same = network.with_weights({"q": told})
    assert (same.digest, same.rounding) == (network.digest, {"q": 0.0})
    same.save(tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == network.path.read_bytes()
    asked = np.array(told, np.float64)
    below, above = network.neighbours("q")
    asked.flat[1] = below.flat[1] if below.flat[1] < told.flat[1] else above.flat[1]
    moved = network.with_weights({"q": asked})
    untouched = asked == told
    np.testing.assert_array_equal(moved.weights["q"][untouched], told[untouched])
    assert moved.digest != network.digest
    back = moved.with_weights({"q": told})
    back.save(tmp_path / "back.onnx")
    assert _bytes_of(tmp_path / "back.onnx") == _bytes_of(network.path)


@functools.cache
def _values_of_codes(name: str) -> NDArray[Any]:
    """What onnxruntime makes of each code in every place (codes, *shape), in rising order."""
    with tempfile.TemporaryDirectory() as folder:
        return _computed(FORMS[name](), Path(folder))


def _computed(form: Form, folder: Path) -> NDArray[Any]:
    (stored,) = [t for t in form.model.graph.initializer if t.name == "q"]
    array = onnx.numpy_helper.to_array(stored)
    bits = next(
        (a.i for n in form.model.graph.node for a in n.attribute if a.name.endswith("bits")), 8
    )
    tables = []
    for code in _codes(array.dtype, bits):
        filled = np.full(array.shape, code).astype(array.dtype)
        stored.CopyFrom(tensor(filled, "q"))
        onnx.save(form.model, folder / "one.onnx")
        tables.append(form.effective(folder / "one.onnx"))
    return np.sort(np.stack(tables), axis=0)


def _codes(dtype: np.dtype[Any], bits: int) -> NDArray[Any]:
    """Codes of elements, or bytes that hold the same number of some bits several times."""
    if dtype == np.uint8 and bits < 8:
        return np.arange(1 << bits) * sum(1 << k for k in range(0, 8, bits))
    if dtype.name.startswith("float"):
        words = np.arange(1 << (4 if "float4" in dtype.name else 7), dtype=np.uint8)
        found = words.view(dtype).astype(np.float32)
        return np.unique(found[np.isfinite(found)])[-2 * _UP :]
    low, high = int(ml_dtypes.iinfo(dtype).min), int(ml_dtypes.iinfo(dtype).max)
    middle = (low + high + 1) // 2
    return np.arange(max(low, middle - _UP), min(high, middle + _UP) + 1)


@pytest.mark.parametrize("name", FORMS, ids=_ids)
def test_the_nearest_value_of_the_grid(name: str, tmp_path: Path) -> None:
    """Among the values that onnxruntime makes of all codes the nearest one arrives."""
    form = FORMS[name]()
    network = _opened(form, tmp_path)
    table = _values_of_codes(name)
    rng = np.random.Generator(np.random.PCG64(1))
    below = rng.integers(0, len(table) - 1, form.shape)
    low = np.take_along_axis(table, below[None], 0)[0]
    high = np.take_along_axis(table, below[None] + 1, 0)[0]
    share = rng.choice([rng.uniform(0.02, 0.45), rng.uniform(0.55, 0.98)], form.shape)
    nearest = np.where(share < 0.5, low, high)
    marked = network.with_weights({"q": low + share * (high - low)})
    _close(form, marked.weights["q"], nearest)
    marked.save(tmp_path / "marked.onnx")
    _close(form, form.effective(tmp_path / "marked.onnx"), nearest)


@pytest.mark.parametrize("name", FORMS, ids=_ids)
def test_neighbours_are_the_next_values(name: str, tmp_path: Path) -> None:
    form = FORMS[name]()
    network = _opened(form, tmp_path)
    table = _values_of_codes(name)
    rng = np.random.Generator(np.random.PCG64(1))
    place = rng.integers(1, len(table) - 1, form.shape)
    before, here, after = (np.take_along_axis(table, place[None] + k, 0)[0] for k in (-1, 0, 1))
    below, above = network.with_weights({"q": here}).neighbours("q")
    _close(form, below, before)
    _close(form, above, after)


@pytest.mark.parametrize("name", EVERY, ids=_ids)
def test_what_arrives_is_what_runs(name: str, tmp_path: Path) -> None:
    """In the saved file, in the session without a file, and in a file opened again."""
    form = EVERY[name]()
    network = _opened(form, tmp_path)
    old = network.weights["q"]
    rng = np.random.Generator(np.random.PCG64(2))
    marked = network.with_weights({"q": old * rng.uniform(0.3, 0.9, old.shape)})
    marked.save(tmp_path / "marked.onnx")
    _close(form, marked.weights["q"], form.effective(tmp_path / "marked.onnx"))
    np.testing.assert_array_equal(
        open_network(tmp_path / "marked.onnx").weights["q"], marked.weights["q"]
    )
    feeds = feed_of(form)
    np.testing.assert_array_equal(
        run_runnable(marked.runnable(), feeds)[0], run_path(tmp_path / "marked.onnx", feeds)[0]
    )
    assert marked.replaced == {"q"}
    assert 0 < marked.rounding["q"] < 1


def test_halves_go_to_the_even_code_and_ends_hold(tmp_path: Path) -> None:
    scale, zero = np.array(0.5, np.float32), np.array(10, np.uint8)
    arrays = {"q": np.full((5, 1), 9, np.uint8), "s": scale, "z": zero}
    nodes = [node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    form = Form(make(nodes, arrays, (5, 5)), (1, 5), identity(5))
    network = _opened(form, tmp_path)
    marked = network.with_weights({"q": np.array([[0.25, 0.75, -0.25, 1e9, -1e9]])})
    codes = np.array([10, 12, 10, 255, 0])  # 10.5, 11.5 and 9.5 are halves
    np.testing.assert_array_equal(marked.weights["q"][0], (codes - 10) * 0.5)


def test_a_scale_of_zero_keeps_the_code(tmp_path: Path) -> None:
    arrays = {"q": integers(np.int8, 4, 2), "s": np.array([0, 0.1], np.float32)}
    nodes = [node("DequantizeLinear", ["q", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    network = _opened(Form(make(nodes, arrays, (4, 4)), (2, 4), identity(4)), tmp_path)
    marked = network.with_weights({"q": np.full((2, 4), 0.3)})
    np.testing.assert_allclose(marked.weights["q"], [[0] * 4, [0.3] * 4], rtol=1e-6)
    marked.save(tmp_path / "marked.onnx")
    (stored,) = [t for t in onnx.load(tmp_path / "marked.onnx").graph.initializer if t.name == "q"]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored)[:, 0], arrays["q"][:, 0])


@pytest.mark.parametrize("name", ["MatMulNBits 4 bits 16 packed", "MatMulNBits vectors"])
def test_unused_bits_stay(name: str, tmp_path: Path) -> None:
    """Rows of 70 weights fill 4 blocks of 16 and 6 of a fifth; the other 10 are nobody's."""
    form = FORMS[name]()
    network = _opened(form, tmp_path)
    marked = network.with_weights({"q": network.weights["q"] * 0.5})
    marked.save(tmp_path / "marked.onnx")
    used = form.shape[1]
    before, after = (
        np.frombuffer(_bytes_of(path), np.uint8).reshape(form.shape[0], -1)
        for path in (network.path, tmp_path / "marked.onnx")
    )
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(before[:, used // 2 :], after[:, used // 2 :])


@pytest.mark.parametrize(
    "name", ["DequantizeLinear int4", "MatMulNBits groups", "GatherBlockQuantized uint4"]
)
def test_external_data(name: str, tmp_path: Path) -> None:
    form = FORMS[name]()
    onnx.save(
        form.model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    network = open_network(tmp_path / "m.onnx")
    _close(form, network.weights["q"], form.effective(network.path))
    old = network.weights["q"]
    marked = network.with_weights({"q": old * 0.5})
    (tmp_path / "out").mkdir()
    marked.save(tmp_path / "out" / "marked.onnx")
    _close(form, form.effective(tmp_path / "out" / "marked.onnx"), marked.weights["q"])
    assert np.count_nonzero(marked.weights["q"] != old) > 0


def test_rounding_is_the_part_of_the_change_that_is_lost(tmp_path: Path) -> None:
    network = _opened(FORMS["DequantizeLinear per tensor"](), tmp_path)
    old, step = network.weights["q"], float(scales())
    inner = np.abs(old) < 100 * step
    lost = network.with_weights({"q": np.where(inner, old + 0.4 * step, old)})
    assert lost.rounding["q"] == pytest.approx(1.0)  # all of it
    doubled = network.with_weights({"q": np.where(inner, old + 0.6 * step, old)})
    assert doubled.rounding["q"] == pytest.approx(0.4 / 0.6, rel=1e-4)
    assert network.rounding == {}


def test_computed_scales_are_the_reason(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", ["x"], ["s"], keepdims=0),
        node("DequantizeLinear", ["q", "s"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    model = make(nodes, {"q": integers(np.int8, 4, 5)}, (2, 4))
    network = _opened(Form(model, (5, 4), identity(4)), tmp_path)
    (layer,) = network.layers
    assert layer.obstacle == "its scales are computed while the network runs"
    with pytest.raises(ModelFileError) as error:
        network.with_weights({"q": np.zeros((5, 4))})
    assert str(error.value) == (
        "layer 'q': expected a layer that takes new weights, got one where its scales are computed "
        "while the network runs; choose another one with `nnw layers`"
    )
