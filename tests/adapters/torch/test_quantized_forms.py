"""The torch module and onnxruntime agree on every form of quantized weights, also on new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from nnw_onnx.graph import open_network  # noqa: E402
from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402

from ...graph import quantized_forms as forms  # noqa: E402, TID252 - shared by two rooms' tests
from .single_nodes import exact_products  # noqa: E402

_NO_TYPE = "float4"
"""Torch has no such type of elements."""
_LARGE_SUMS = ("MatMulInteger", "DynamicQuantizeMatMul")
FORMS = {
    **{f"DequantizeLinear {n}": form for n, form in forms.DEQUANTIZE_LINEAR.items()},
    **{f"MatMulNBits {n}": form for n, form in forms.MATMUL_NBITS.items()},
    **{f"Gather {n}": form for n, form in forms.GATHER.items() if n != _NO_TYPE},
    **forms.INTEGER_OPERATORS,
    **{n: form for n, form in forms.TWINS.items() if n.startswith("QAttention")},
}


def _by_runtime(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Fused operators would quantize the inputs as well.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float32)


def _by_torch(module: OnnxModule, x: NDArray[Any]) -> NDArray[Any]:
    with torch.no_grad():
        found = module.eval()(torch.from_numpy(x))
    return np.asarray((found[0] if isinstance(found, list) else found).float().numpy())


@pytest.mark.parametrize("name", FORMS, ids=lambda n: n.replace(" ", "-"))
def test_module_and_runtime(name: str, tmp_path: Path) -> None:
    if name.startswith(_LARGE_SUMS) and "uint8" not in name and not exact_products():
        pytest.skip("sums of products of signed bytes saturate on this processor")
    form = FORMS[name]()
    onnx.save(form.model, tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    x = forms.feed_of(form)["x"]
    module = OnnxModule(network)
    expected = _by_runtime(network.path, x)
    bound = max(form.tolerance, 1e-5) * np.abs(expected).max()
    np.testing.assert_allclose(_by_torch(module, x), expected, rtol=0, atol=bound)
    marked = network.with_weights({"q": network.weights["q"] * 0.6})
    marked.save(tmp_path / "marked.onnx")
    other = module.with_weights({"q": network.weights["q"] * 0.6})
    np.testing.assert_array_equal(other.weights["q"], marked.weights["q"])
    expected = _by_runtime(tmp_path / "marked.onnx", x)
    np.testing.assert_allclose(_by_torch(other, x), expected, rtol=0, atol=bound)
