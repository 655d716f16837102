"""A page to look at many runs: list, filter, compare, and open a cell down to its records.

The page is one file of HTML with a style sheet and a script; what it shows are scripts of data that
it loads as they are asked for, because a page that is opened as a file may load scripts only. The
same files are served and written. Nothing secret is among them, nor what keys follow from: neither
seed and configuration of an evaluation, nor digests that a seed could be tried on.
"""

from __future__ import annotations

from nnw_onnx.reports.view.gallery import Gallery
from nnw_onnx.reports.view.server import serving

__all__ = ["Gallery", "serving"]
