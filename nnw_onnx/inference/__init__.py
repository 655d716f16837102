"""Running networks: the only room that imports onnxruntime.

Names are reached lazily, so that a worker process sets its thread limits before numpy loads.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnw_onnx.inference.isolation import (
        IsolatedPool,
        Outcome,
        leave_if_importing_main,
        run_isolated,
    )
    from nnw_onnx.inference.runtime import runtime_description
    from nnw_onnx.inference.sessions import (
        RunnableGraph,
        Session,
        SessionSettings,
        TensorInfo,
        check_providers,
    )

_MODULES = {
    "IsolatedPool": "isolation",
    "Outcome": "isolation",
    "leave_if_importing_main": "isolation",
    "run_isolated": "isolation",
    "runtime_description": "runtime",
    "RunnableGraph": "sessions",
    "Session": "sessions",
    "SessionSettings": "sessions",
    "TensorInfo": "sessions",
    "check_providers": "sessions",
}

__all__ = [
    "IsolatedPool",
    "Outcome",
    "RunnableGraph",
    "Session",
    "SessionSettings",
    "TensorInfo",
    "check_providers",
    "leave_if_importing_main",
    "run_isolated",
    "runtime_description",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
