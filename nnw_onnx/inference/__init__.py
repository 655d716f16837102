"""Running networks: the only room that imports onnxruntime.

Names are reached lazily, so that a worker process sets its thread limits before numpy loads.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnw_onnx.inference.device_memory import DeviceMemory, device_peak
    from nnw_onnx.inference.isolation import (
        IsolatedPool,
        leave_if_importing_main,
        limit_memory,
        memory_for,
        opened,
        packed,
        run_isolated,
        sheltered,
        unpacked,
        unwrap,
    )
    from nnw_onnx.inference.lifting import LiftedSession, is_worthwhile
    from nnw_onnx.inference.optimization import (
        fold_constants,
        newest_opset,
        optimize,
        simplify,
    )
    from nnw_onnx.inference.providers import bound_device, full_name
    from nnw_onnx.inference.quantization import (
        quantize_dynamic,
        quantize_products,
        quantize_static,
        to_float16,
    )
    from nnw_onnx.inference.runtime import runtime_description
    from nnw_onnx.inference.serving import Server
    from nnw_onnx.inference.sessions import (
        RunnableGraph,
        Session,
        check_providers,
        filled,
    )
    from nnw_onnx.inference.settings import SessionSettings
    from nnw_onnx.inference.sharing import Head, SharedSession

_MODULES = {
    "DeviceMemory": "device_memory",
    "device_peak": "device_memory",
    "LiftedSession": "lifting",
    "is_worthwhile": "lifting",
    "bound_device": "providers",
    "full_name": "providers",
    "IsolatedPool": "isolation",
    "leave_if_importing_main": "isolation",
    "limit_memory": "isolation",
    "memory_for": "isolation",
    "opened": "isolation",
    "packed": "isolation",
    "unpacked": "isolation",
    "fold_constants": "optimization",
    "newest_opset": "optimization",
    "optimize": "optimization",
    "simplify": "optimization",
    "quantize_dynamic": "quantization",
    "quantize_products": "quantization",
    "quantize_static": "quantization",
    "run_isolated": "isolation",
    "sheltered": "isolation",
    "unwrap": "isolation",
    "runtime_description": "runtime",
    "to_float16": "quantization",
    "RunnableGraph": "sessions",
    "Server": "serving",
    "Session": "sessions",
    "SessionSettings": "settings",
    "check_providers": "sessions",
    "filled": "sessions",
    "Head": "sharing",
    "SharedSession": "sharing",
}

__all__ = [
    "DeviceMemory",
    "Head",
    "IsolatedPool",
    "LiftedSession",
    "RunnableGraph",
    "Server",
    "Session",
    "SessionSettings",
    "SharedSession",
    "bound_device",
    "check_providers",
    "device_peak",
    "filled",
    "fold_constants",
    "full_name",
    "is_worthwhile",
    "leave_if_importing_main",
    "limit_memory",
    "memory_for",
    "newest_opset",
    "opened",
    "optimize",
    "packed",
    "quantize_dynamic",
    "quantize_products",
    "quantize_static",
    "run_isolated",
    "runtime_description",
    "sheltered",
    "simplify",
    "to_float16",
    "unpacked",
    "unwrap",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(importlib.import_module(f"{__name__}.{_MODULES[name]}"))[name]
