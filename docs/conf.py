"""Sphinx's configuration of the site; `build.py` beside this file gathers the pages and runs it."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from nnw_onnx.version import __version__

project = "nnw-onnx"
copyright = "BSD-3-Clause; reports made with nnw-onnx are no certificates"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "attrs_inline"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"nnw-onnx {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
pygments_style, pygments_dark_style = "friendly", "monokai"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports = [
    "lightning", "pytorch_lightning", "transformers", "tensorflow", "keras", "olive",
]  # fmt: skip
add_module_names = False
# One name stands in several modules: where it is defined and where it is found.
suppress_warnings = ["ref.python"]
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80

CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)(?=(\w?))")


def _as_rst(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring's marks of code, which are Markdown's, into those of reStructuredText."""
    lines[:] = [CODE.sub(_as_literal, _plain(line)) for line in lines]


def _as_literal(code: re.Match[str]) -> str:
    """The same code between two marks, apart from a letter that follows."""
    return f"``{code[1]}``" + (r"\ " if code[2] else "")


def _plain(line: str) -> str:
    """A line in which a star is a star, a bar a bar and a final underscore an underscore."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(
        part if part.startswith("`") else re.sub(r"(\*|\||(?<=\w)_(?=\W|$))", r"\\\1", part)
        for part in parts
    )


def setup(app: Sphinx) -> None:
    """Listen to docstrings after napoleon has read them."""
    app.connect("autodoc-process-docstring", _as_rst, priority=400)
