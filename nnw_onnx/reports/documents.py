"""The only writer of files of this room: a report as HTML, JSON, figures and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.kit.writing import replacing
from nnw_onnx.measures.compared import Comparison
from nnw_onnx.plugins import closest
from nnw_onnx.reports import forms, names, sentences, tables
from nnw_onnx.reports.latex import as_latex
from nnw_onnx.reports.matrix import matrix
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.runs.folders import expect_plain, make
from nnw_onnx.text import document
from nnw_onnx.vocabulary import Json

FORMATS = ("html", "json", "csv", "markdown", "latex", "model-card")
SCHEMA_URI = "https://json-schema.org/draft/2020-12/schema"
_WRITERS = {
    "csv": ("csv", forms.as_csv),
    "markdown": ("md", forms.as_markdown),
    "latex": ("tex", as_latex),
}
_LONG = frozenset({"pairs", "epochs", "cells"})
"""Tables that are files only, in CSV: a reader would not read them row by row."""
_WORDY = frozenset({"matrix"})
"""Tables in words, of which machines have another form."""

_PAGE = re.compile(r"(index\.html|view\.css|view\.js|data/[a-z0-9-]+(/[0-9]+)?\.js)")
"""Paths of the files of the page of many runs."""


def render(report: Report, form: str) -> str:
    """The whole report as one text: "html", "json", "csv", "markdown", "latex" or "model-card".

    CSV is every number, one a row; Markdown and LaTeX are tables; a model card is a section of one,
    in Markdown.

    Raises:
        ConfigurationError: for another form.
    """
    if form not in FORMATS:
        raise ConfigurationError(
            f"report: expected one of the formats {', '.join(FORMATS)}; got {form!r}"
            f"{closest(form, FORMATS)}; choose one of them"
        )
    return document(_rendered(report, form))


def write_documents(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.html, report.json, figures/* (SVG and PDF) and tables/* into a folder.

    Each is there as a whole or not at all.

    Returns:
        The files, report.html first.

    Raises:
        RunError: figures or tables is a link, so files would be written elsewhere; or they cannot
            be written.
    """
    _check_folders(folder)
    try:
        return tuple(_write(folder / name, content) for name, content in _contents(report))
    except OSError as error:
        raise RunError(
            f"{folder}: expected a folder that the report can be written into, got: "
            f"{error.strerror or error}; mend that, or give another with 'nnw report --into'"
        ) from error


def write_comparison(found: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write comparison.html, comparison.json and tables/* into a folder, as above.

    Returns:
        The files, comparison.html first.

    Raises:
        RunError: tables is a link, so files would be written elsewhere.
    """
    from nnw_onnx.reports import comparison

    _check_folders(folder)
    return tuple(_write(folder / name, content) for name, content in comparison.files(found))


def write_pages(
    files: Iterable[tuple[str, bytes]], folder: Path, *, force: bool
) -> tuple[Path, ...]:
    """Write the page of many runs as one folder; what it holds of other runs is removed.

    Args:
        files: path below the folder -> content, `view.Gallery.files`.
        folder: a new or empty one.
        force: whether it may be one that such a page was written into before.

    Returns:
        The files, the page itself first.

    Raises:
        RunError: the folder holds anything else, or cannot be made.
    """
    old = old_pages(folder, force=force)
    make(folder, "--out")
    written = tuple(_write(folder / name, content) for name, content in files)
    for path in old - {*written}:
        path.unlink()
    for path in {path.parent for path in old} - {path.parent for path in written}:
        if not any(path.iterdir()):
            path.rmdir()
    return written


def old_pages(folder: Path, *, force: bool) -> set[Path]:
    """The files of a page that was written before; raises as `write_pages` does."""
    expect_plain(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected a folder, got a file; give another with --out")
    old = {path for path in folder.rglob("*") if not path.is_dir()}
    for path in sorted(old):
        name = path.relative_to(folder).as_posix()
        if not _PAGE.fullmatch(name):
            raise RunError(
                f"{folder}: expected a new or empty folder, or one of 'nnw view --out', got one "
                f"with {name!r}; give another with --out"
            )
    if old and not force:
        raise RunError(
            f"{folder}: expected a new or empty folder, got one with a page; give another with "
            "--out, or --force to write it anew"
        )
    return old


def schema() -> dict[str, Json]:
    """The JSON Schema of a report; `report.schema.json` holds it."""
    return {"$schema": SCHEMA_URI, **Report.model_json_schema(mode="serialization")}


def _rendered(report: Report, form: str) -> str:
    if form == "html":
        from nnw_onnx.reports.page import page

        return page(report)
    if form == "model-card":
        from nnw_onnx.reports.card import card

        return card(report)
    if form == "json":
        return report.model_dump_json(indent=1) + "\n"
    return tables.all_rows(report) if form == "csv" else _told(report, form)


def _contents(report: Report) -> Iterator[tuple[str, str | bytes]]:
    from nnw_onnx.reports.drawing import Drawing
    from nnw_onnx.reports.figures import figures
    from nnw_onnx.reports.page import page
    from nnw_onnx.reports.pdf import pdf

    drawing = Drawing(report)
    yield "report.html", page(report, drawing)
    yield "report.json", render(report, "json")
    for figure in figures(drawing):
        yield f"figures/{figure.name}.svg", figure.svg
        yield f"figures/{figure.name}.pdf", pdf(document(figure.svg))
    yield "tables/all.csv", tables.all_rows(report)
    for made in drawing.tables.values():
        for form, (suffix, writer) in _WRITERS.items():
            if made.name not in (_WORDY if form == "csv" else _LONG):
                yield f"tables/{made.name}.{suffix}", writer(made)


def _tables(report: Report, called: tuple[Name, ...]) -> tuple[forms.Table, ...]:
    return tables.tables(report, matrix(report, called))


def _told(report: Report, form: str) -> str:
    """Verdicts, warnings and tables as one text."""
    called = names.technology_names(report)
    made = [t for t in _tables(report, called) if t.name not in _LONG]
    _, writer = _WRITERS[form]
    parts = [writer(t) for t in made]
    if form == "markdown":
        said = [sentences.lead(report), *map(str, sentences.verdicts(report, called))]
        lines = "".join(f"- {forms.markdown_escaped(text)}\n" for text in said)
        parts.insert(0, f"# {forms.markdown_escaped(report.title)}\n\n{lines}")
        if report.notices:
            warned = "".join(f"- {forms.markdown_escaped(n.text)}\n" for n in report.notices)
            parts.insert(1, f"## Warnings\n\n{warned}")
    return "\n".join(parts)


def _check_folders(folder: Path) -> None:
    for name in ("figures", "tables"):
        if (folder / name).is_symlink():
            raise RunError(
                f"{folder / name}: expected a folder of the run, got a link to another place; "
                "remove it"
            )


def _write(path: Path, content: str | bytes) -> Path:
    """Replace a file as a whole, so that a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(content if isinstance(content, bytes) else document(content).encode())
    return path
