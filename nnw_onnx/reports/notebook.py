"""A report where it is looked at interactively: a fragment of HTML, and a table of pandas."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import Any

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.reports import columns, names, sentences, tables
from nnw_onnx.reports.matrix import matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.templating import templates


def fragment(report: Report) -> str:
    """What a notebook shows: verdicts, warnings by name, and the matrix in words."""
    called = names.technology_names(report)
    made = tables.tables(report, matrix(report, called))[:1]
    return (
        templates()
        .get_template("notebook.html.j2")
        .render(
            report=report,
            lead=sentences.lead(report),
            verdicts=sentences.verdicts(report, called),
            table=next((t for t in made if t.name == "matrix"), None),
        )
    )


def to_pandas(report: Report) -> Any:
    """A DataFrame of every number and word, one a row; see `columns.Row`.

    Raises:
        ConfigurationError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigurationError(
            f"to_pandas: expected pandas, got: {error}; pip install pandas, or read tables/all.csv"
        ) from error
    return pandas.DataFrame([asdict(row) for row in columns.rows(report)])
