"""Which layer has filters long enough for Uchida's projections, and why."""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.arrays import carriers
from nnw_onnx.errors import InjectionError
from nnw_onnx.vocabulary import Layer, Network

_AMPLE = 4
_FEWEST_FILTERS = 16
_OPERATORS = ("Conv", "Gemm", "MatMul", "ConvTranspose")


def preference(network: Network, size: int) -> Iterator[Layer]:
    """Layers fit for `size` Symbols: the last ample Conv first, then those that change least.

    The relative change is about sqrt(T G / (L (M - T - 1))) for L filters of M weights.
    """
    found = [layer for layer in carriers.kernels(network) if _defect(layer, size) is None]
    ample = [layer for layer in found if _is_ample(layer, size)]
    yield from (layer for layer in reversed(ample) if layer.operator == "Conv")
    yield from (layer for layer in reversed(ample) if layer.operator != "Conv")
    yield from sorted(found, key=lambda layer: layer.size - layer.shape[0] * size, reverse=True)


def _is_ample(layer: Layer, size: int) -> bool:
    long = carriers.inputs_per_filter(layer) > _AMPLE * size
    return long and layer.shape[0] >= _FEWEST_FILTERS


def _defect(layer: Layer, size: int) -> str | None:
    inputs = carriers.inputs_per_filter(layer)
    if layer.operator not in _OPERATORS or layer.axes is None or len(layer.shape) < 2:
        return f"an operator {layer.operator} of shape {layer.shape} whose filters are unknown"
    return None if inputs > size else f"{inputs} weights a filter"


def refusal(network: Network, size: int) -> str:
    """Why no layer of the network holds `size` Symbols."""
    usable = [x for x in carriers.kernels(network) if _defect(x, 0) is None]
    best = max(map(carriers.inputs_per_filter, usable), default=0)
    return (
        f"uchida: expected a kernel with more than {size} weights a filter, got at most {best}; "
        "use a shorter payload or method block-spread"
    )


def explain(layer: Layer, size: int, *, chosen: bool) -> list[str]:
    """Why this layer, in words; raises `InjectionError` where its filters are too short."""
    defect = _defect(layer, size)
    if defect:
        raise InjectionError(
            f"layer {layer.name!r}: expected more than {size} weights a filter, got {defect}; "
            "use a shorter payload or another layer"
        )
    inputs = carriers.inputs_per_filter(layer)
    reason = (
        f"the last fit {layer.operator} kernel with at least {_FEWEST_FILTERS} filters of more "
        f"than {_AMPLE * size} weights"
        if _is_ample(layer, size)
        else "the kernel that changes least"
    )
    notes = [f"carrier {carriers.describe(layer)}: {reason if chosen else 'as asked'}"]
    if inputs <= _AMPLE * size:
        notes.append(
            f"ill-conditioned: {size} symbols in {inputs} weights a filter (more than a quarter) "
            "need a large change and survive little; prefer a shorter payload"
        )
    return notes
