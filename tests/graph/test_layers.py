"""The lister and the overlay on one small model of every kind, judged by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network

from .handmade import CASES, Case, make, node, run_path, run_runnable, tensor, values


@pytest.fixture(params=CASES, ids=lambda n: n.replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture
def network(case: Case, tmp_path: Path) -> OnnxNetwork:
    onnx.save(case.model, tmp_path / "m.onnx")
    return open_network(tmp_path / "m.onnx")


def _feed(case: Case) -> dict[str, NDArray[Any]]:
    return {"x": np.abs(values(*case.feed, seed=7)) + np.float32(0.1)}


def _layer(network: OnnxNetwork, name: str) -> Any:
    return next(found for found in network.layers if found.name == name)


def test_layer_is_listed(case: Case, network: OnnxNetwork) -> None:
    layer = _layer(network, case.layer)
    assert (layer.shape, layer.role, layer.storage) == (case.shape, case.role, case.storage)
    for name, value in case.expected.items():
        assert getattr(layer, name) == value, name
    assert network.weights[case.layer].shape == layer.shape
    assert not network.weights[case.layer].flags.writeable


def test_output_axis(case: Case, network: OnnxNetwork) -> None:
    """Changing slice 0 of the canonical array changes output channel 0 and no other."""
    if case.axis < 0:
        pytest.skip("several output channels depend on one slice, or the axis is unknown")
    array = np.array(network.weights[case.layer])
    array[0] = array[0] + array.dtype.type(3)
    changed = network.with_weights({case.layer: array})
    before = run_runnable(network.runnable(), _feed(case))[0]
    after = run_runnable(changed.runnable(), _feed(case))[0]
    different = np.moveaxis(before != after, case.axis, 0).reshape(before.shape[case.axis], -1)
    assert different[0].any()
    assert not different[1:].any()


def test_overlay_saves_and_runs(case: Case, network: OnnxNetwork, tmp_path: Path) -> None:
    array = network.weights[case.layer]
    new = (np.asarray(array, np.float64) * 1.5 + 0.25).astype(np.float32)
    changed = network.with_weights({case.layer: new})
    expected = new.astype(array.dtype)
    if case.step:
        expected = changed.weights[case.layer]
        assert np.abs(expected - new).max() <= case.step / 2 + 1e-6
    np.testing.assert_array_equal(changed.weights[case.layer], expected)
    changed.save(tmp_path / "changed.onnx")
    again = open_network(tmp_path / "changed.onnx")
    np.testing.assert_array_equal(again.weights[case.layer], expected)
    assert again.layers == network.layers
    assert changed.replaced == {case.layer}
    for name in set(network.weights) - {case.layer}:
        np.testing.assert_array_equal(again.weights[name], network.weights[name])
    by_path = run_path(tmp_path / "changed.onnx", _feed(case))
    by_runnable = run_runnable(changed.runnable(), _feed(case))
    assert all(np.array_equal(a, b) for a, b in zip(by_path, by_runnable, strict=True))


def test_unchanged_is_identical(case: Case, network: OnnxNetwork, tmp_path: Path) -> None:
    network.save(tmp_path / "same.onnx")
    original = (tmp_path / "m.onnx").read_bytes()
    assert (tmp_path / "same.onnx").read_bytes() == original
    same = network.with_weights({case.layer: network.weights[case.layer]})
    same.save(tmp_path / "equal.onnx")
    assert (tmp_path / "equal.onnx").read_bytes() == original
    a, b = run_path(network.path, _feed(case)), run_runnable(network.runnable(), _feed(case))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_only_the_changed_tensor_differs(tmp_path: Path) -> None:
    """Unknown fields and the order of fields survive; the bytes of the tensor alone change."""
    model = CASES["conv"]().model
    data = model.SerializeToString() + b"\xaa\x3e\x03own"  # an unknown field of the message
    (tmp_path / "m.onnx").write_bytes(data)
    network = open_network(tmp_path / "m.onnx")
    new = network.weights["w"] + np.float32(1)
    network.with_weights({"w": new}).save(tmp_path / "n.onnx")
    saved = (tmp_path / "n.onnx").read_bytes()
    start = data.index(values(6, 3, 3, 3).tobytes())
    stop = start + new.nbytes
    assert saved[:start] + data[start:stop] + saved[stop:] == data
    assert saved[start:stop] == new.tobytes()


def _table(model: onnx.ModelProto, path: Path) -> OnnxNetwork:
    onnx.save(model, path)
    return open_network(path)


def test_names_in_both_branches_stay_apart(tmp_path: Path) -> None:
    network = _table(CASES["subgraph"]().model, tmp_path / "m.onnx")
    assert [layer.name for layer in network.layers] == ["if.else_branch/w", "if.then_branch/w"]
    np.testing.assert_array_equal(network.weights["if.then_branch/w"], values(4, 5, seed=1).T)
    np.testing.assert_array_equal(network.weights["if.else_branch/w"], values(4, 5, seed=2).T)


def test_settings_are_no_layers(tmp_path: Path) -> None:
    nodes = [
        node("Clip", ["x", "low", "high"], ["c"]),
        node("Mul", ["c", "two"], ["d"]),
        node("Pow", ["d", "power"], ["p"]),
        node("Resize", ["p", "", "scales"], ["y"]),
        node("Shape", ["only_shape"], ["unused"]),
    ]
    arrays = {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "two": np.array([2], np.float32),
        "power": np.array([2, 2, 2, 2], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "only_shape": values(3, 3),
        "nobody": values(3, 3),
    }
    network = _table(make(nodes, arrays, (1, 1, 4, 4)), tmp_path / "m.onnx")
    assert network.layers == ()
    assert network.parameters == network.weight_count == 0
    assert network.no_weights_reason == "this model has no weights"


def test_roles_of_a_small_network(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("BatchNormalization", ["c", "g", "h", "m", "v"], ["n"]),
        node("PRelu", ["n", "slope"], ["p"]),
        node("Add", ["p", "added"], ["y"]),
    ]
    arrays = {"w": values(4, 3, 1, 1), "slope": values(4, 1, 1), "added": values(4, 1, 1)}
    arrays |= {name: np.abs(values(4)) for name in "bghmv"}
    network = _table(make(nodes, arrays, (1, 3, 2, 2)), tmp_path / "m.onnx")
    roles = {layer.name: layer.role for layer in network.layers}
    expected = {"w": "kernel", "slope": "other", "added": "bias", "b": "bias"}
    expected |= {"g": "norm", "h": "norm", "m": "other", "v": "other"}
    assert roles == expected
    assert network.parameters == 12 + 4 + 4 + 5 * 4
    assert network.weight_count == 12


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            {"nobody": np.zeros(1)},
            "weights: expected the name of a layer of 'm.onnx', got 'nobody'; list the layers "
            "with `nnw layers`",
        ),
        (
            {"w": np.zeros((3, 6, 3, 3))},
            "layer 'w': expected real weights of shape (6, 3, 3, 3), got float64 of shape "
            "(3, 6, 3, 3); keep the shape (out, in, *kernel)",
        ),
        (
            {"w": np.zeros((6, 3, 3, 3), complex)},
            "layer 'w': expected real weights of shape (6, 3, 3, 3), got complex128 of shape "
            "(6, 3, 3, 3); keep the shape (out, in, *kernel)",
        ),
        (
            {"w": np.full((6, 3, 3, 3), np.nan)},
            "layer 'w': expected finite weights, got NaN or infinity; correct the values",
        ),
        (
            {"w": np.full((6, 3, 3, 3), 1e300)},
            "layer 'w': expected weights that fit its type float32, got larger ones; reduce the "
            "change",
        ),
    ],
)
def test_refused_weights(new: Any, message: str, tmp_path: Path) -> None:
    network = _table(CASES["conv"]().model, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError) as error:
        network.with_weights(new)
    assert str(error.value) == message


@pytest.mark.parametrize("kind", ["float16", "float8"])
def test_overflow_of_small_types(kind: str, tmp_path: Path) -> None:
    network = _table(CASES[kind]().model, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="expected weights that fit its type float"):
        network.with_weights({"w": np.full((5, 4), 1e6, np.float32)})


def test_overlays_are_values(tmp_path: Path) -> None:
    network = _table(CASES["conv"]().model, tmp_path / "m.onnx")
    given = np.ones((6, 3, 3, 3), np.float32)
    first = network.with_weights({"w": given})
    second = first.with_weights({"b": np.zeros(6)})
    given[:] = 5
    assert second.replaced == {"w", "b"}
    assert first.replaced == {"w"}
    assert network.replaced == frozenset()
    assert (first.weights["w"] == 1).all()
    np.testing.assert_array_equal(network.weights["w"], values(6, 3, 3, 3))
    assert second.sha256 == network.sha256
    with pytest.raises(ValueError, match="read-only"):
        first.weights["w"][0] = 0


def test_description(tmp_path: Path) -> None:
    model = make([node("Relu", ["x"], ["y"])], {}, ("batch", 3))
    network = _table(model, tmp_path / "m.onnx")
    (given,), (made,) = network.inputs, network.outputs
    assert (given.name, given.shape, given.dtype) == ("x", ("batch", 3), "float32")
    assert (made.name, made.dtype) == ("y", "float32")
    assert network.opset == {"": 21, "com.microsoft": 1}
    assert network.producer == "hand"
    import hashlib

    assert network.sha256 == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert "0 layers" in repr(network)


def test_initializer_is_no_input(tmp_path: Path) -> None:
    network = _table(CASES["initializer as input"]().model, tmp_path / "m.onnx")
    assert [i.name for i in network.inputs] == ["x"]


def test_warnings(tmp_path: Path) -> None:
    nodes = [
        node("Special", ["x", "w"], ["s"], domain="their.own"),
        node("EPContext", ["s"], ["e"], domain="com.microsoft"),
        node("Conv", ["e", "w"], ["n"], domain="com.microsoft.nchwc"),
        node("BatchNormalization", ["n", "k", "k", "k", "k"], ["y", "", ""], training_mode=1),
    ]
    bad = values(4, 4)
    bad[1, 1] = np.nan
    network = _table(make(nodes, {"w": bad, "k": np.ones(4, np.float32)}, (1, 4)), tmp_path / "m")
    found = "\n".join(network.warnings)
    for part in (
        "1 nodes of the custom domain 'their.own': onnxruntime cannot run them without",
        "nodes of com.microsoft.nchwc: this file was optimised for one kind of processor",
        "EPContext nodes: weights compiled for one device are hidden inside them",
        "1 BatchNormalization nodes in training mode: outputs depend on the batch",
        "layer 'w': NaN or infinite weights",
        "onnx.checker: ",
    ):
        assert part in found
    model = onnx.shape_inference.infer_shapes(CASES["conv"]().model)
    clean = _table(model, tmp_path / "clean.onnx")
    assert clean.warnings == ()


def test_weights_in_attributes(tmp_path: Path) -> None:
    classifier = node(
        "LinearClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml",
        coefficients=[0.1] * 6, intercepts=[0.0, 0.0], classlabels_ints=[0, 1],
    )  # fmt: skip
    network = _table(make([classifier], {}, (1, 3)), tmp_path / "m.onnx")
    assert network.no_weights_reason == (
        "the weights of this model are attributes of ai.onnx.ml nodes (LinearClassifier), not "
        "tensors that a watermark could change"
    )


def test_only_other_roles(tmp_path: Path) -> None:
    network = _table(CASES["layer norm"]().model, tmp_path / "m.onnx")
    assert network.no_weights_reason == (
        "this model has no kernel (Conv, Gemm, MatMul ...), only norm tensors"
    )


def test_constants_defined_twice(tmp_path: Path) -> None:
    """Runtimes load such files; what the name stands for is not known, so it is not listed."""
    nodes = [
        node("Constant", [], ["w"], value=tensor(values(4, 5), "")),
        node("MatMul", ["x", "w"], ["y"]),
        node("Constant", [], ["w"], value=tensor(values(4, 5, seed=3), "")),
    ]
    assert _table(make(nodes, {}, (2, 4)), tmp_path / "m.onnx").layers == ()


def test_cycles_end(tmp_path: Path) -> None:
    nodes = [
        node("Mul", ["h", "two"], ["g2"]),
        node("Mul", ["g2", "two"], ["h"]),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    arrays = {"w": values(4, 5), "two": np.array(2, np.float32)}
    network = _table(make(nodes, arrays, (2, 4)), tmp_path / "m.onnx")
    assert [layer.name for layer in network.layers] == ["w"]
