"""Matrix products."""

from __future__ import annotations

import torch

from nnw_onnx_torch.graph.operators._table import Call, operator


@operator("MatMul")
def matmul(call: Call, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Product of matrices, batched as numpy does."""
    if not left.is_floating_point() and left.dtype not in (torch.int32, torch.int64):
        return torch.matmul(left.long(), right.long()).to(left.dtype)
    return torch.matmul(left, right)


@operator("Gemm")
def gemm(
    call: Call, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None = None
) -> torch.Tensor:
    """The sum alpha * A B + beta * C, with A and B transposed on request."""
    if call.get("transA"):
        a = a.t()
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if not a.is_floating_point():
        return _integer_gemm(call, a, b, c)
    plain = call.get("transB") and alpha == 1.0 and (c is None or (beta == 1.0 and c.dim() == 1))
    if plain and (c is None or len(c) == len(b)):
        return torch.nn.functional.linear(a, b, c)
    product = a @ (b.t() if call.get("transB") else b)
    if alpha != 1.0:
        product = product * alpha
    if c is None or beta == 0.0:
        return product
    return product + (c if beta == 1.0 else c * beta)


def _integer_gemm(
    call: Call, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor | None
) -> torch.Tensor:
    """The same for integers, whose factors are cut to integers."""
    product = a.long() @ (b.t() if call.get("transB") else b).long() * int(call.get("alpha", 1.0))
    if c is not None:
        product = product + c.long() * int(call.get("beta", 1.0))
    return product.to(a.dtype)
