"""Reports: records in, documents out."""

from __future__ import annotations

from nnw_onnx.reports.build import build_report
from nnw_onnx.reports.documents import FORMATS, render, schema, write_documents
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.summary import summary

__all__ = [
    "FORMATS",
    "Report",
    "build_report",
    "render",
    "schema",
    "summary",
    "write_documents",
]
