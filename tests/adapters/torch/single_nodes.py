"""Models of one node, and how they are run: by an operator's function, and by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper

from nnw_onnx_torch.graph.dtypes import to_numpy, to_tensor
from nnw_onnx_torch.graph.operators import OPERATORS, Call

Array = NDArray[Any]
Inputs = Sequence[Array | None]


def call_of(attributes: dict[str, Any], outputs: int = 1, opset: int = 20) -> Call:
    """What an operator is told of a node with all its outputs wanted."""
    return Call(attributes, (True,) * outputs, opset, False, False)


def by_torch(
    name: str, inputs: Inputs, attributes: dict[str, Any], outputs: int, opset: int, domain: str
) -> list[Array]:
    """The outputs of the function in the table."""
    function = OPERATORS[domain, name]
    given = [None if x is None else to_tensor(x) for x in inputs]
    results = function(call_of(attributes, outputs, opset), *given)
    results = results if isinstance(results, tuple) else (results,)
    return [to_numpy(result) for result in results[:outputs]]


def by_runtime(
    name: str, inputs: Inputs, attributes: dict[str, Any], outputs: int, opset: int, domain: str
) -> list[Array]:
    """The outputs of onnxruntime for a model with this node."""
    names = ["" if x is None else f"i{k}" for k, x in enumerate(inputs)]
    results = [f"o{k}" for k in range(outputs)]
    node = helper.make_node(name, names, results, domain=domain, **attributes)
    feeds = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in feeds.items()
        ],
        [onnx.ValueInfoProto(name=result) for result in results],
    )
    opsets = [helper.make_opsetid("", opset if not domain else 17)]
    if domain:
        opsets.append(helper.make_opsetid(domain, opset))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Fusions would replace the node that is looked at.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def exact_products() -> bool:
    """Whether onnxruntime multiplies signed bytes exactly, as it does on processors with VNNI."""
    described = Path("/proc/cpuinfo")
    return not described.exists() or "vnni" in described.read_text()


def assert_same(
    name: str,
    inputs: Inputs,
    attributes: dict[str, Any],
    *,
    outputs: int = 1,
    opset: int = 17,
    domain: str = "",
    tolerance: float = 1e-5,
) -> None:
    """Function and runtime agree in shape, type and value."""
    ours = by_torch(name, inputs, attributes, outputs, opset, domain)
    theirs = by_runtime(name, inputs, attributes, outputs, opset, domain)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.dtype == expected.dtype
        np.testing.assert_allclose(
            mine.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance
        )


def gradients_hold(name: str, inputs: Sequence[torch.Tensor | None], opset: int = 20,
                   domain: str = "", outputs: int = 1, **attributes: Any) -> bool:  # fmt: skip
    """Whether autograd agrees with finite differences for the float64 inputs."""
    function = OPERATORS[domain, name]
    call = call_of(attributes, outputs, opset)
    learned = [k for k, x in enumerate(inputs) if x is not None and x.dtype == torch.float64]

    def run(*values: torch.Tensor) -> Any:
        given = list(inputs)
        for k, value in zip(learned, values, strict=True):
            given[k] = value
        results = function(call, *given)
        results = results[:outputs] if isinstance(results, tuple) else (results,)
        return tuple(r for r in results if r is not None and r.is_floating_point())

    values = [inputs[k].clone().requires_grad_() for k in learned]  # type: ignore[union-attr]
    return torch.autograd.gradcheck(run, values)
