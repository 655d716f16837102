"""nnw-onnx: evaluate the watermark of a neural network, whatever framework it came from.

Public names are loaded when they are first used, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nnw_onnx.version import __version__ as __version__

_PUBLIC = {
    "open": "api",
    "inject": "api",
    "make_mark": "api",
    "continue_mark": "runs.marks",
    "decode": "api",
    "detect": "api",
    "verify": "api",
    "modify": "api",
    "evaluate": "api",
    "report": "api",
    "Injection": "api",
    "Modified": "api",
    "Evaluated": "api",
    "Mark": "runs.marks",
    "Verdict": "runs.verify",
    "save_key": "runs.keys",
    "load_key": "runs.keys",
    "Evaluation": "runs.evaluation",
    "read_evaluation": "runs.evaluation",
    "Report": "reports.model",
    "Payload": "vocabulary",
    "Claim": "vocabulary",
    "Key": "vocabulary",
    "Layer": "vocabulary",
    "Network": "vocabulary",
    "Decoding": "vocabulary",
    "Detection": "vocabulary",
    "CarrierNotFoundError": "errors",
    "NnwError": "errors",
}

if TYPE_CHECKING:
    from nnw_onnx.api import Evaluated as Evaluated
    from nnw_onnx.api import Injection as Injection
    from nnw_onnx.api import Modified as Modified
    from nnw_onnx.api import decode as decode
    from nnw_onnx.api import detect as detect
    from nnw_onnx.api import evaluate as evaluate
    from nnw_onnx.api import inject as inject
    from nnw_onnx.api import make_mark as make_mark
    from nnw_onnx.api import modify as modify
    from nnw_onnx.api import open as open
    from nnw_onnx.api import report as report
    from nnw_onnx.api import verify as verify
    from nnw_onnx.errors import CarrierNotFoundError as CarrierNotFoundError
    from nnw_onnx.errors import NnwError as NnwError
    from nnw_onnx.reports.model import Report as Report
    from nnw_onnx.runs.evaluation import Evaluation as Evaluation
    from nnw_onnx.runs.evaluation import read_evaluation as read_evaluation
    from nnw_onnx.runs.keys import load_key as load_key
    from nnw_onnx.runs.keys import save_key as save_key
    from nnw_onnx.runs.marks import Mark as Mark
    from nnw_onnx.runs.marks import continue_mark as continue_mark
    from nnw_onnx.runs.verify import Verdict as Verdict
    from nnw_onnx.vocabulary import Claim as Claim
    from nnw_onnx.vocabulary import Decoding as Decoding
    from nnw_onnx.vocabulary import Detection as Detection
    from nnw_onnx.vocabulary import Key as Key
    from nnw_onnx.vocabulary import Layer as Layer
    from nnw_onnx.vocabulary import Network as Network
    from nnw_onnx.vocabulary import Payload as Payload

__all__ = ["__version__", *sorted(_PUBLIC)]  # noqa: PLE0604 - the names of the table above


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nnw_onnx' has no attribute {name!r}")
    value = vars(importlib.import_module(f"nnw_onnx.{_PUBLIC[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
