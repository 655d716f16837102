"""Conformance: the clauses of the standard, each asked of a run.

Clauses and departures are data (`profiles/*.toml`, `departures.toml`), in our words; a clause names
a check, which is a small function over the report of a run. No answer is a judgement of anybody
but this program, and the standard itself has no pass or fail.
"""

from __future__ import annotations

from nnw_onnx.reports.conformance.asking import conformances
from nnw_onnx.reports.conformance.clauses import DEFAULT, departures, find, names

__all__ = ["DEFAULT", "conformances", "departures", "find", "names"]
