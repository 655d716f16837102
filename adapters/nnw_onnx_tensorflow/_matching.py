"""Which layer of an exported file is which variable of the Keras model: found by their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array, Layer, Network

_TOLERANCE = 1e-5
_CONSTANT = "its values are all equal, so that it cannot be told from other constants"


@dataclass(frozen=True)
class Match:
    """Where the layers of a model are in a file.

    Attributes:
        renamed: variable path -> name of the layer in the file, for every variable found.
        factors: variable path -> factor (out,) of each filter, where the exporter folded a
            normalization into the kernel.
        lost: variable path -> why it is not in the file.
    """

    renamed: Mapping[str, str]
    factors: Mapping[str, NDArray[np.float64]]
    lost: Mapping[str, str]


def match(model: Network, file: Network) -> Match:
    """Find the layers of a model in a file; equal values first, then kernels up to factors.

    A filter of one weight is proportional to any other, so kernels of such filters are found only
    where they are equal.
    """
    free = {layer.name: layer for layer in file.layers}
    renamed: dict[str, str] = {}
    factors: dict[str, NDArray[np.float64]] = {}
    constant = {x.name for x in model.layers if _constant(model.weights[x.name])}
    wanted = [layer for layer in model.layers if layer.name not in constant]
    for layer in wanted:
        found = next((x for x in free.values() if _equal(model, layer, file, x)), None)
        if found is not None:
            renamed[layer.name] = found.name
            del free[found.name]
    for layer in wanted:
        if layer.role != "kernel" or layer.name in renamed:
            continue
        for other in free.values():
            factor = _factors(model, layer, file, other)
            if factor is not None:
                renamed[layer.name], factors[layer.name] = other.name, factor
                del free[other.name]
                break
    lost = {
        layer.name: _CONSTANT if layer.name in constant else _reason(model, layer, file)
        for layer in model.layers
        if layer.name not in renamed
    }
    return Match(renamed, factors, lost)


def _constant(array: Array) -> bool:
    return array.size > 1 and bool((array == array.flat[0]).all())


def _equal(model: Network, layer: Layer, file: Network, other: Layer) -> bool:
    if layer.role == "kernel" and (other.role != "kernel" or layer.shape[0] != other.shape[0]):
        return False
    return _same_values(model, layer, file, other)


def _same_values(model: Network, layer: Layer, file: Network, other: Layer) -> bool:
    if layer.size != other.size:
        return False
    mine, its = model.weights[layer.name], file.weights[other.name]
    return bool(np.array_equal(mine.reshape(-1), its.reshape(-1)))


def _factors(
    model: Network, layer: Layer, file: Network, other: Layer
) -> NDArray[np.float64] | None:
    if layer.size != other.size or other.role != "kernel" or layer.shape[0] != other.shape[0]:
        return None
    mine = np.asarray(model.weights[layer.name], np.float64).reshape(layer.shape[0], -1)
    its = np.asarray(file.weights[other.name], np.float64).reshape(layer.shape[0], -1)
    energy = np.square(mine).sum(axis=1)
    if mine.shape[1] < 2 or not energy.all():
        return None
    factor: NDArray[np.float64] = (mine * its).sum(axis=1) / energy
    rest = np.linalg.norm(its - factor[:, None] * mine, axis=1)
    return factor if (rest <= _TOLERANCE * np.linalg.norm(its, axis=1)).all() else None


def _reason(model: Network, layer: Layer, file: Network) -> str:
    for other in file.layers:
        if _same_values(model, layer, file, other):
            return f"layer {other.name} has these values, but as {other.role} {other.shape}"
    if layer.role == "kernel":
        return "no kernel of the file has these values, or these up to a factor for each filter"
    return "the exporter merged it into other constants, or left it out"
