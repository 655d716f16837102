"""What is known of frequent operators is what onnx says of them."""

from __future__ import annotations

import onnx
import pytest

from nnw_onnx.graph import arities


@pytest.mark.parametrize("name", sorted(arities._FREQUENT))
def test_frequent_operators_may_have_so_many_in_every_set(name: str) -> None:
    inputs, outputs = arities._FREQUENT[name]
    known = 0
    for opset in range(arities._SINCE, onnx.defs.onnx_opset_version() + 1):
        try:
            schema = onnx.defs.get_schema(name, opset, "")
        except onnx.defs.SchemaError:
            continue  # it came later
        known += 1
        assert schema.min_input <= inputs.start
        assert inputs.stop <= schema.max_input + 1
        assert schema.min_output <= outputs.start
        assert outputs.stop <= schema.max_output + 1
    assert known


def test_onnx_is_asked_of_nothing_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(arities, "_arities", asked)
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"])
    arities.check_arity(node, arities._SINCE)
    with pytest.raises(AssertionError):
        arities.check_arity(node, arities._SINCE - 1)
    with pytest.raises(AssertionError):
        arities.check_arity(onnx.helper.make_node("Gemm", ["x"], ["y"]), arities._SINCE)
