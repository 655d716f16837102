"""How new weights come down on the grid of a quantized layer, and what lies beside them there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.graph.arriving import Replaced, arrived
from nnw_onnx.graph.grids import Grid, next_numbers
from nnw_onnx.graph.layers import ListedLayer
from nnw_onnx.graph.overlay import Overlay
from nnw_onnx.graph.tensors import numpy_dtype
from nnw_onnx.vocabulary import Array

F64 = NDArray[np.float64]


def rounding(listed: ListedLayer, asked: Array, before: Replaced, after: Replaced) -> float:
    """RMS of (what arrives - what was asked for) over that of the change that was asked for."""
    wanted = _f64(asked)
    lost = float(np.linalg.norm(_f64(arrived(listed, after)) - wanted))
    change = float(np.linalg.norm(wanted - _f64(arrived(listed, before))))
    return lost / change if change else 0.0


def neighbours(listed: ListedLayer, replaced: Replaced) -> tuple[Array, Array]:
    """The next smaller and the next larger value of each weight, canonical; at an end itself."""
    address = listed.tensor.address
    now = replaced.get(address)
    stored = listed.tensor.array() if now is None else now
    overlay = Overlay.of(replaced)
    shifted = ({address: _shifted(listed, stored, by)} for by in (-1, 1))
    values = [arrived(listed, overlay.with_values(new)) for new in shifted]
    return np.minimum(*values), np.maximum(*values)


def words(listed: ListedLayer) -> str:
    """The grid in words, such as "4-bit grid of MatMulNBits in blocks of 32"."""
    how, layer = listed.dequantization, listed.layer
    if how is None:
        by = layer.quantization
        return f"{layer.dtype} grid{f' of {by}' if by not in (None, 'Cast', layer.dtype) else ''}"
    name = f"{how.bits}-bit" if how.bits else layer.dtype
    blocks = f" in blocks of {how.block}" if how.block and how.axis is not None else ""
    return f"{name} grid of {how.kind}{blocks}"


def _shifted(listed: ListedLayer, stored: Array, by: int) -> Array:
    if listed.dequantization is not None:
        return Grid(listed.tensor, listed.dequantization).shifted(stored, by)
    return next_numbers(stored, numpy_dtype(listed.tensor.data_type), by)


def _f64(array: Array) -> F64:
    return np.asarray(array, np.float64)
