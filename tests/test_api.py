"""The public names, as a person uses them."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import nnw_onnx as nnw

MODEL = Path(__file__).resolve().parents[1] / "models" / "digits" / "cnn-0.onnx"
PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")


@pytest.mark.parametrize("method", ["block-spread", "uchida"])
def test_inject_save_detect_and_decode(tmp_path, method):
    marked = nnw.inject(MODEL, PAYLOAD, method=method, seed=7)
    marked.network.save(tmp_path / "marked.onnx")
    nnw.save_key(marked.key, tmp_path / "key.npz")
    key = nnw.load_key(tmp_path / "key.npz")
    assert nnw.decode(tmp_path / "marked.onnx", key).payload == PAYLOAD
    found = nnw.detect(tmp_path / "marked.onnx", key)
    assert found.detected
    assert found.p_value == 0.5**64
    assert not nnw.detect(MODEL, key).detected
    assert 0 < marked.change < 0.5


def test_a_fresh_secret_is_drawn_without_a_seed():
    keys = {nnw.inject(MODEL, PAYLOAD).key.secret for _ in range(2)}
    assert len(keys) == 2
    same = {nnw.inject(MODEL, PAYLOAD, seed=1).key.secret for _ in range(2)}
    assert len(same) == 1


def test_the_key_of_another_seed_finds_nothing():
    marked = nnw.inject(MODEL, PAYLOAD, seed=1)
    other = nnw.inject(MODEL, PAYLOAD, seed=2)
    assert not nnw.detect(marked.network, other.key).detected


def test_detect_wants_a_payload():
    from dataclasses import replace

    marked = nnw.inject(MODEL, PAYLOAD, seed=1)
    bare = replace(marked.key, payload=None)
    with pytest.raises(nnw.NnwError, match="give the injected payload"):
        nnw.detect(marked.network, bare)
    assert nnw.detect(marked.network, bare, PAYLOAD).detected


def test_modify_is_the_standard_deviation_asked_for():
    modified = nnw.modify(MODEL, "gaussian-noise", 0.2, seed=3)
    assert modified.change == pytest.approx(0.2, rel=0.03)
    assert modified.warnings == ()
    assert len(modified.layers) == 4
    original = nnw.open(MODEL)
    for name in modified.layers:
        old = np.asarray(original.weights[name], np.float64)
        noise = np.asarray(modified.network.weights[name], np.float64) - old
        expected = 0.2 * old.std()
        assert noise.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * old.size))


def test_modify_warns_outside_the_range_of_the_standard():
    one_layer = nnw.modify(MODEL, "l1-pruning", 95, layers=["conv3.weight"])
    assert one_layer.warnings == ()
    everything = nnw.modify(MODEL, "l1-pruning", 95)
    assert everything.warnings == (
        "l1-pruning: intensity 95 is outside the standard's range 1 to 90 %",
    )


def test_modify_is_repeatable():
    weights = [
        nnw.modify(MODEL, "random-pruning", 10, seed=s).network.weights["conv3.weight"]
        for s in (0, 0, 1)
    ]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nnw.open("absent.onnx"), "absent.onnx"),
        (lambda: nnw.inject(MODEL, PAYLOAD, method="uchda"), "did you mean 'uchida'"),
        (lambda: nnw.inject(MODEL, PAYLOAD, options={"bugdet": 1}), "did you mean 'budget'"),
        (lambda: nnw.inject(MODEL, PAYLOAD, layer="conv3.wieght"), "did you mean 'conv3.weight'"),
        (lambda: nnw.modify(MODEL, "quantizing", 99), "option intensity"),
        (lambda: nnw.modify(MODEL, "quantizing", 4, layers=["x"]), "expected a layer of"),
        (lambda: nnw.evaluate("no-such-evaluation"), "nnw list evaluations"),
        (lambda: nnw.report("no-such-run"), "expected a run folder"),
    ],
)
def test_a_mistake_is_one_line(call, message):
    with pytest.raises(nnw.NnwError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_weights_says_why(tmp_path):
    node = helper.make_node(
        "LinearClassifier", ["x"], ["y", "s"], domain="ai.onnx.ml", coefficients=[1.0, 2.0],
        intercepts=[0.0], classlabels_ints=[0, 1],
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "l.onnx")
    for call in (
        lambda: nnw.inject(tmp_path / "l.onnx", PAYLOAD),
        lambda: nnw.modify(tmp_path / "l.onnx", "quantizing", 4),
    ):
        with pytest.raises(nnw.NnwError, match=r"attributes of ai\.onnx\.ml nodes"):
            call()


def test_constant_weights_are_named(tmp_path):
    zeros = numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])], [zeros],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "z.onnx")
    with pytest.raises(nnw.NnwError, match="the same value 0 everywhere in layer 'w'"):
        nnw.inject(tmp_path / "z.onnx", PAYLOAD)


def test_public_names_are_about_twenty_and_documented():
    names = [n for n in nnw.__all__ if n != "__version__"]
    assert 15 <= len(names) <= 25
    for name in names:
        value = getattr(nnw, name)
        assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nnw.nonsense  # noqa: B018 - the access is the test
