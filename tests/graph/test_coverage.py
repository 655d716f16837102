"""What "all" reaches of the stored weights, what learns, and which layers are copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork, open_network

from .arithmetic_models import MADE, conv, image_model, mask
from .handmade import make, node, values

Arrays = Mapping[str, NDArray[Any]]


def opened(model: onnx.ModelProto, folder: Path) -> OnnxNetwork:
    onnx.save(model, folder / "m.onnx")
    return open_network(folder / "m.onnx")


def everyday() -> onnx.ModelProto:
    """Conv with bias, BatchNormalization, PRelu, an idle Conv, and a number that nobody uses."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("BatchNormalization", ["c", "g", "h", "m", "v"], ["n"]),
        node("PRelu", ["n", "slope"], ["y"]),
        node("Conv", ["x", "idle"], ["nobody"]),
    ]
    arrays = {
        "w": values(4, 3, 1, 1), "b": values(4), "slope": values(4, 1, 1), "unused": values(7),
        "idle": values(2, 3, 1, 1), **{name: np.abs(values(4)) for name in "ghmv"},
        "size": np.array([1, 2], np.int64), "one": np.array(1, np.float32),
    }  # fmt: skip
    return image_model(nodes, arrays)


def test_every_stored_weight_is_reached_or_has_a_reason(tmp_path: Path) -> None:
    found = opened(everyday(), tmp_path).coverage()
    assert (found.reached, found.total) == (12, 12 + 4 + 16 + 4 + 6 + 7)
    assert found.left == {
        "norm": 8, "statistics": 8, "unused": 7, "dead": 6, "bias": 4, "other (PRelu)": 4,
    }  # fmt: skip
    assert list(found.left.values()) == sorted(found.left.values(), reverse=True)
    assert found.share == pytest.approx(12 / 49)


def test_named_layers_reach_themselves_and_their_parts(tmp_path: Path) -> None:
    network = opened(everyday(), tmp_path)
    assert network.coverage(["w", "b", "slope"]).reached == 20
    assert network.coverage([]).reached == 0
    with pytest.raises(CarrierNotFoundError, match="coverage: expected names of layers, got 'no'"):
        network.coverage(["no"])


@pytest.mark.parametrize(
    ("kind", "reached", "left"),
    [
        ("mask", 20, {"mask": 20}),
        ("weight norm, ReduceL2", 25, {}),
        ("low rank", 20 + 8 + 10, {}),
        ("spectral norm", 20, {"statistics": 9}),
        ("integers by hand", 20, {}),
    ],
)
def test_parts_of_weights(kind: str, reached: int, left: Any, tmp_path: Path) -> None:
    found = opened(MADE[kind]().model, tmp_path).coverage()
    assert (found.reached, found.left) == (reached, left)


def test_a_network_without_weights_is_reached_whole(tmp_path: Path) -> None:
    found = opened(make([node("Relu", ["x"], ["y"])], {}, (2, 4)), tmp_path).coverage()
    assert (found.reached, found.total, found.share) == (0, 0, 1.0)


def _with(nodes: Sequence[Any], arrays: Arrays) -> onnx.ModelProto:
    return image_model(nodes, {"w": values(3, 3, 3, 3), **arrays})


def _input_normalisation() -> onnx.ModelProto:
    nodes = [
        node("Cast", ["x"], ["f"], to=1),
        node("Sub", ["f", "mean"], ["s"]),
        node("Div", ["s", "std"], ["n"]),
        conv("c", "n", "w", "h"),
        node("Add", ["h", "shift"], ["a"]),
        node("Mul", ["a", "gain"], ["y"]),
    ]
    names = {"mean": 0, "std": 1, "shift": 2, "gain": 3}
    return _with(nodes, {n: np.abs(values(1, 3, 1, 1, seed=k)) for n, k in names.items()})


def _masks() -> onnx.ModelProto:
    """A mask of activations, an added mask, a gain of ones, a table of positions, a rotation."""
    nodes = [
        conv("c", "x", "w", "h"),
        node("Mul", ["h", "dropped"], ["a"]),
        node("Add", ["a", "hidden"], ["b"]),
        node("Mul", ["b", "ones"], ["d"]),
        node("Add", ["d", "positions"], ["e"]),
        node("Mul", ["e", "rotation"], ["f"]),
        node("Where", ["cond", "f", "fill"], ["y"]),
    ]
    hidden = np.where(np.tri(6), 0, -1e9).astype(np.float32)
    return _with(nodes, {
        "dropped": np.array([0, 1, 1], np.float32).reshape(1, 3, 1, 1), "hidden": hidden,
        "ones": np.ones((3, 1, 1), np.float32), "positions": values(6, 6),
        "rotation": np.cos(values(6, 6)), "cond": values(6, 6) > 0, "fill": values(6, 6, seed=3),
    })  # fmt: skip


def _all_that_learns() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "g", "h", "m", "v"], ["n"]),
        node("PRelu", ["n", "slope"], ["p"]),
        node("Mul", ["p", "scale"], ["s"]),
        node("LayerNormalization", ["s", "lg", "lb"], ["y"]),
    ]
    arrays = {name: np.abs(values(3)) for name in ("b", "g", "h", "m", "v")}
    arrays |= {"slope": values(3, 1, 1), "scale": values(3, 1, 1, seed=2)}
    return _with(nodes, {**arrays, "lg": values(6), "lb": values(6)})


@pytest.mark.parametrize(
    ("make_model", "fixed"),
    [
        (_input_normalisation, {"mean", "std"}),
        (_masks, {"dropped", "hidden", "rotation", "fill"}),
        (_all_that_learns, {"m", "v"}),
        (lambda: MADE["mask"]().model, {"m"}),
        (lambda: MADE["spectral norm"]().model, {"u", "v"}),
        (lambda: MADE["low rank"]().model, set()),
        (lambda: MADE["weight norm, Pow"]().model, set()),
    ],
)
def test_masks_statistics_and_constants_do_not_learn(
    make_model: Any, fixed: set[str], tmp_path: Path
) -> None:
    network = opened(make_model(), tmp_path)
    assert {layer.name for layer in network.layers if not layer.learns} == fixed


def test_a_mask_without_a_zero_is_still_one(tmp_path: Path) -> None:
    """A network that is not pruned yet; ones of another size are a gain."""
    nodes = [
        node("Mul", ["w", "m"], ["a"]),
        node("Mul", ["a", "g"], ["k"]),
        node("MatMul", ["x", "k"], ["y"]),
    ]
    arrays = {"w": values(4, 5), "m": np.ones_like(mask()), "g": np.ones((1, 5), np.float32)}
    network = opened(make(nodes, arrays, (2, 4)), tmp_path)
    assert {layer.name: layer.learns for layer in network.layers} == {
        "w": True,
        "m": False,
        "g": True,
    }


def test_equal_tensors_are_told_however_they_lie(tmp_path: Path) -> None:
    """Tied weights that an exporter writes twice, once turned around; constants are no copies."""
    table = values(7, 4)
    nodes = [
        node("Cast", ["x"], ["i"], to=7),
        node("Gather", ["e", "i"], ["h"]),
        node("MatMul", ["h", "m"], ["l"]),
        node("MatMul", ["l", "p"], ["q"]),
        node("MatMul", ["q", "r"], ["s"]),
        node("MatMul", ["s", "t"], ["y"]),
    ]
    arrays = {"e": table, "m": table.T, "p": values(7, 7), "r": np.ones((7, 7), np.float32)}
    network = opened(make(nodes, {**arrays, "t": np.ones((7, 7), np.float32)}, (2,)), tmp_path)
    assert network.copies == (("e", "m"),)
    changed = network.with_weights({"m": table + 1})
    assert changed.copies == ()
    assert [layer.name for layer in network.layers if layer.in_all] == ["e", "m", "p", "r", "t"]


def test_sparse_values_are_counted_and_warned_of(tmp_path: Path) -> None:
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("", 1, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("", 7, [3], [0, 7, 19]),
        [4, 5],
    )
    nodes = [node("Constant", [], ["k"], sparse_value=sparse), node("MatMul", ["x", "k"], ["h"]),
             node("MatMul", ["h", "w"], ["y"])]  # fmt: skip
    network = opened(make(nodes, {"w": values(5, 6)}, (2, 4)), tmp_path)
    assert network.coverage().left == {"sparse": 3}
    assert "3 weights in sparse tensors: they are not listed" in network.warnings
