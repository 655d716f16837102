"""Olive: a watermark as a step of a workflow.

Public names are loaded when they are first used: importing the package imports no Olive.

Example:
    >>> from olive.workflows import run
    >>> run("workflow.json", package_config=package_config())

where the workflow has a pass of type "NnwWatermark" with the options of `NnwWatermark`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnw_onnx_olive.packaging import package_config as package_config
    from nnw_onnx_olive.watermark import NnwWatermark as NnwWatermark

_PUBLIC = {"NnwWatermark": "watermark", "package_config": "packaging"}

__all__ = ["NnwWatermark", "package_config"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = vars(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
