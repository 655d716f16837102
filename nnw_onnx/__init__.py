"""nnw-onnx: evaluate the watermark of a neural network, whatever framework it came from.

Watermark and verify
    open               the network of an ONNX file
    inject             put a payload into a network, without training or by one
    save_key           write key and payload to a file, which is a claim
    load_key           read it again
    detect             is the watermark there? `if nnw.detect("suspect.onnx", claim): ...`
    decode             what does it say?
    verify             everything that a claim tells of a network
    verify_commitment  does the published hash bind this key and this unmarked network?

Try and measure
    modify             prune, quantize, fine-tune, ... a network
    evaluate           what a watermark costs and survives, with a report
    forecast           what an evaluation would do, and about how long it would take
    report             write the report of a run again
    read_evaluation    the configuration of an evaluation, from its TOML file

In a training of your own (the adapters nnw_onnx_torch and nnw_onnx_tensorflow do it for you)
    make_mark          a watermark to be put in by a training
    continue_mark      the same one after an interruption

Warnings and progress go to the logger "nnw_onnx" of the standard library. Names are loaded when
they are first used, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from nnw_onnx.version import __version__ as __version__

_FUNCTIONS = {
    "open": "api",
    "inject": "api",
    "save_key": "runs.keys",
    "load_key": "runs.keys",
    "detect": "api",
    "decode": "api",
    "verify": "api",
    "verify_commitment": "api",
    "modify": "api",
    "evaluate": "api",
    "forecast": "api",
    "report": "api",
    "read_evaluation": "runs.evaluation",
    "make_mark": "api",
    "continue_mark": "runs.marks",
}
_CLASSES = {
    "Payload": "vocabulary",
    "Claim": "vocabulary",
    "Key": "vocabulary",
    "Injection": "api",
    "Detection": "vocabulary",
    "Decoding": "vocabulary",
    "Verdict": "runs.verify",
    "Commitment": "runs.commitment",
    "Modified": "api",
    "Evaluation": "runs.evaluation",
    "Evaluated": "api",
    "Report": "reports.model",
    "Mark": "runs.marks",
    "Network": "vocabulary",
    "Layer": "vocabulary",
    "CarrierNotFoundError": "errors",
    "NnwError": "errors",
}
_PUBLIC = {**_FUNCTIONS, **_CLASSES}

# An application decides what is shown; without this, Python would print warnings by itself.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from nnw_onnx.api import Evaluated as Evaluated
    from nnw_onnx.api import Injection as Injection
    from nnw_onnx.api import Modified as Modified
    from nnw_onnx.api import decode as decode
    from nnw_onnx.api import detect as detect
    from nnw_onnx.api import evaluate as evaluate
    from nnw_onnx.api import forecast as forecast
    from nnw_onnx.api import inject as inject
    from nnw_onnx.api import make_mark as make_mark
    from nnw_onnx.api import modify as modify
    from nnw_onnx.api import open as open
    from nnw_onnx.api import report as report
    from nnw_onnx.api import verify as verify
    from nnw_onnx.api import verify_commitment as verify_commitment
    from nnw_onnx.errors import CarrierNotFoundError as CarrierNotFoundError
    from nnw_onnx.errors import NnwError as NnwError
    from nnw_onnx.reports.model import Report as Report
    from nnw_onnx.runs.commitment import Commitment as Commitment
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

__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604 - the names of the tables above


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nnw_onnx' has no attribute {name!r}")
    value = vars(importlib.import_module(f"nnw_onnx.{_PUBLIC[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
