"""Keyed projections of the mean of a layer's filters: which layer carries them, and their matrix.

The filter mean of a layer of L filters with M weights each is a vector of M numbers; T projections
of it can be given any values by the same change of every filter where T < M.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, foreign, keystream
from nnw_onnx.kit.carriers import Carrier
from nnw_onnx.vocabulary import Bench, Key, Layer, Network, Weighted

_AMPLE = 4
_FEWEST_FILTERS = 16
_PLAIN = ("Gemm", "MatMul", "ConvTranspose")


def chosen(method: str, network: Network, size: int, bench: Bench) -> tuple[Carrier, list[str]]:
    """The last Conv kernel with M > 4 size, or the one asked for (M > size), and why in words.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload.
    """
    carriers.check_size(size)
    name = carriers.asked(bench, method)
    if name is None:
        order = carriers.preferred(network, lambda found: by_preference(found, size))
        carrier = carriers.first_fit(network, order, _refusal(method, network, size))
    else:
        carrier = carriers.take(network, carriers.named(network, name))
    return carrier, _explain(carrier.layer, size, chosen=name is None)


def by_preference(layers: Iterable[Layer], size: int) -> Iterator[Layer]:
    """Layers fit for `size` Symbols: the last ample Conv first, then those that change least.

    The relative change is about sqrt(T G / (L (M - T - 1))) for L filters of M weights.
    """
    found = [layer for layer in layers if _defect(layer, size) is None]
    ample = [layer for layer in found if _is_ample(layer, size)]
    ranks = {"Conv": 0, **dict.fromkeys(_PLAIN, 1)}
    last_first = list(reversed(ample))
    yield from sorted(last_first, key=lambda layer: ranks.get(layer.operator, 2))
    yield from sorted(found, key=lambda layer: layer.size - layer.shape[0] * size, reverse=True)


def matrix(key: Key, label: str) -> NDArray[np.float64]:
    """The key matrix (size, M) of N(0, 1) numbers of the label "method/label", read-only.

    Of a key that was made elsewhere, the matrix that it holds.
    """
    inputs = int(np.prod(key.shapes[0][1:], dtype=np.int64))
    own = foreign.matrix(key, inputs)
    if own is not None:
        return own
    return gaussian(key.secret, f"{key.method.name}/{label}", key.size, inputs)


@lru_cache(maxsize=4)
def gaussian(secret: bytes, label: str, rows: int, columns: int) -> NDArray[np.float64]:
    """N(0, 1) numbers (rows, columns), read-only."""
    # Kept, because a training asks for the same matrix at every step.
    drawn = keystream.gaussian(secret, label, rows * columns).reshape(rows, columns)
    drawn.flags.writeable = False
    return drawn


def _is_ample(layer: Layer, size: int) -> bool:
    long = carriers.inputs_per_filter(layer) > _AMPLE * size
    return long and layer.shape[0] >= _FEWEST_FILTERS


def _defect(layer: Layer, size: int) -> str | None:
    inputs = carriers.inputs_per_filter(layer)
    if layer.axes is None or len(layer.shape) < 2:
        return f"an operator {layer.operator} of shape {layer.shape} whose filters are unknown"
    return None if inputs > size else f"{inputs} weights a filter"


def _refusal(method: str, network: Weighted, size: int) -> str:
    """Why no layer of the network holds `size` Symbols."""
    possible = list(carriers.preferred(network, list))
    known = [layer for layer in possible if _defect(layer, 0) is None]
    if known:
        got = f"at most {max(map(carriers.inputs_per_filter, known))}"
    elif possible:
        got = _defect(possible[0], 0) or ""
    else:
        got = carriers.why_none(network)
    return (
        f"{method}: expected a kernel with more than {size} weights a filter, got {got}; "
        "use a shorter payload or method block-spread"
    )


def _explain(layer: Layer, size: int, *, chosen: bool) -> list[str]:
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
