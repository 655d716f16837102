"""Types of elements: ONNX's numbers, torch's names, and arrays from one library to the other."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Array

TORCH_TYPES: Mapping[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16,
    6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64,
    12: torch.uint32, 13: torch.uint64, 14: torch.complex64, 15: torch.complex128,
    16: torch.bfloat16, 17: torch.float8_e4m3fn, 18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2, 20: torch.float8_e5m2fnuz, 21: torch.uint8, 22: torch.int8,
    24: torch.float8_e8m0fnu, 25: torch.uint8, 26: torch.int8,
}  # fmt: skip
"""ONNX data type -> torch type; integers below a byte take one byte."""

_BY_NAME: Mapping[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype for dtype in TORCH_TYPES.values()
}

# Types that numpy lacks: seen as integers of their size on the way from one library to the other.
_VIEWED: Mapping[torch.dtype, tuple[type[np.generic], torch.dtype, type[np.generic]]] = {
    torch.bfloat16: (np.int16, torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (np.uint8, torch.uint8, ml_dtypes.float8_e4m3fn),
    torch.float8_e4m3fnuz: (np.uint8, torch.uint8, ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2: (np.uint8, torch.uint8, ml_dtypes.float8_e5m2),
    torch.float8_e5m2fnuz: (np.uint8, torch.uint8, ml_dtypes.float8_e5m2fnuz),
    torch.float8_e8m0fnu: (np.uint8, torch.uint8, ml_dtypes.float8_e8m0fnu),
}
_SMALL = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}


def torch_dtype(name: str) -> torch.dtype | None:
    """The type of numpy's name for it, or None where torch has none."""
    return _BY_NAME.get(name)


def to_tensor(array: Array) -> torch.Tensor:
    """A tensor of its own memory; integers below a byte become bytes.

    Raises `TypeError` for a type that torch does not have, such as text.
    """
    name = array.dtype.name
    dtype = _BY_NAME.get(name)
    if dtype is not None and dtype in _VIEWED:
        return torch.from_numpy(np.array(array).view(_VIEWED[dtype][0])).view(dtype)
    if name in _SMALL:
        return torch.from_numpy(np.array(array).astype(_SMALL[name]))
    return torch.from_numpy(np.array(array, order="C"))


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """The values in the memory of the CPU, without a history of gradients.

    Raises:
        TrainingError: what the device was given to do before has failed, which shows here first.
    """
    try:
        return tensor.detach().cpu()
    except RuntimeError as error:
        words = str(error).strip().partition("\n")[0][:300]
        raise TrainingError(
            f"device: expected values on {tensor.device}, got an error of torch ({words}); see "
            "that indices and classes are within their tables, or use device 'cpu'"
        ) from error


def to_numpy(tensor: torch.Tensor) -> Array:
    """An array of its own memory, C-contiguous, of the same type (of ml_dtypes where needed)."""
    host = on_host(tensor).contiguous()
    if host.dtype in _VIEWED:
        _, bits, dtype = _VIEWED[host.dtype]
        viewed: Array = host.view(bits).numpy().view(dtype)
        return viewed.copy()
    array: Array = host.numpy().copy()
    return array
