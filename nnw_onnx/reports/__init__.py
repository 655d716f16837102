"""Reports: records in, documents out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnw_onnx.reports.documents import render, write_documents
    from nnw_onnx.reports.model import Report
    from nnw_onnx.reports.summary import build_report

__all__ = ["Report", "build_report", "render", "write_documents"]

_HOMES = {
    "Report": "model",
    "build_report": "summary",
    "render": "documents",
    "write_documents": "documents",
}


def __getattr__(name: str) -> Any:
    """Public names, imported when they are first used: drawing is heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"nnw_onnx.reports.{_HOMES[name]}"), name)
