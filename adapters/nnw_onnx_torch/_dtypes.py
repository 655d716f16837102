"""Types of elements: ONNX's numbers, torch's names, and arrays from one library to the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

TORCH_TYPES: Mapping[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16,
    6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64,
    12: torch.uint32, 13: torch.uint64, 14: torch.complex64, 15: torch.complex128,
    16: torch.bfloat16, 17: torch.float8_e4m3fn, 18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2, 20: torch.float8_e5m2fnuz, 21: torch.uint8, 22: torch.int8,
    24: torch.float8_e8m0fnu, 25: torch.uint8, 26: torch.int8,
}  # fmt: skip
"""ONNX data type -> torch type; integers below a byte take one byte."""

_VIEWED: Mapping[str, tuple[type[np.generic], torch.dtype]] = {
    "bfloat16": (np.int16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e4m3fnuz": (np.uint8, torch.float8_e4m3fnuz),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
    "float8_e5m2fnuz": (np.uint8, torch.float8_e5m2fnuz),
    "float8_e8m0fnu": (np.uint8, torch.float8_e8m0fnu),
}
_NUMPY_TYPES = {
    torch_type: (torch.int16 if name == "bfloat16" else torch.uint8, getattr(ml_dtypes, name))
    for name, (_, torch_type) in _VIEWED.items()
}
_SMALL = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor of its own memory; integers below a byte become bytes.

    Raises `TypeError` for a type that torch does not have, such as text.
    """
    name = array.dtype.name
    if name in _VIEWED:
        bits, dtype = _VIEWED[name]
        return torch.from_numpy(np.array(array).view(bits)).view(dtype)
    if name in _SMALL:
        return torch.from_numpy(np.array(array).astype(_SMALL[name]))
    return torch.from_numpy(np.array(array, order="C"))


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """An array of its own memory, C-contiguous, of the same type (of ml_dtypes where needed)."""
    host = tensor.detach().cpu().contiguous()
    if host.dtype in _NUMPY_TYPES:
        bits, dtype = _NUMPY_TYPES[host.dtype]
        viewed: NDArray[Any] = host.view(bits).numpy().view(dtype)
        return viewed.copy()
    array: NDArray[Any] = host.numpy().copy()
    return array
