"""The templates: everything that they write is escaped."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from nnw_onnx.reports import words
from nnw_onnx.reports.glossary import explained
from nnw_onnx.text import harmless


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The environment of every page and figure; compiled once, as there are many figures."""
    made = Environment(
        loader=PackageLoader("nnw_onnx.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Names from files could hold what turns the direction of a page's text around, or what XML
        # forbids.
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )
    made.globals |= {"plural": words.plural, "listed": words.listed}
    made.filters["explained"] = explained
    return made
