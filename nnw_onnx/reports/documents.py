"""The only writer of files of this room: a report as JSON, HTML, figures and tables."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.plugins import closest
from nnw_onnx.reports import forms, tables
from nnw_onnx.reports.model import Report

FORMATS = ("html", "json", "csv", "markdown", "latex")
_SUFFIXES = {"csv": "csv", "markdown": "md", "latex": "tex"}
SCHEMA_URI = "https://json-schema.org/draft/2020-12/schema"


def render(report: Report, form: str) -> str:
    """The whole report as one text: "html", "json", "csv", "markdown" or "latex".

    Raises:
        ConfigurationError: for another form.
    """
    if form == "html":
        from nnw_onnx.reports.html import html

        return html(report)
    if form == "json":
        return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    if form in _SUFFIXES:
        return tables.document(report, form)
    raise ConfigurationError(
        f"report: expected one of the formats {', '.join(FORMATS)}; got {form!r}"
        f"{closest(form, FORMATS)}"
    )


def write_documents(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.json, report.html, figures/*.svg and tables/* into a folder, each atomically.

    Returns:
        The files, report.html first.

    Raises:
        RunError: figures or tables is a link, so files would be written elsewhere.
    """
    from nnw_onnx.reports.html import html
    from nnw_onnx.reports.plots import figures

    for name in ("figures", "tables"):
        if (folder / name).is_symlink():
            raise RunError(
                f"{folder / name}: expected a folder of the run, got a link to another place; "
                "remove it"
            )
    drawn = figures(report)
    contents = {"report.html": html(report, drawn), "report.json": render(report, "json")}
    contents |= {f"figures/{figure.name}.svg": figure.svg for figure in drawn}
    for table in tables.tables(report):
        for form, suffix in _SUFFIXES.items():
            contents[f"tables/{table.name}.{suffix}"] = forms.write(table, form)
    return tuple(_write(folder / name, text) for name, text in contents.items())


def schema() -> dict[str, Any]:
    """The JSON Schema of a report; `report.schema.json` holds it."""
    return {"$schema": SCHEMA_URI, **Report.model_json_schema(mode="serialization")}


def _write(path: Path, text: str) -> Path:
    """Replace a file as a whole, so that a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
