"""nnw-onnx: evaluate the watermark of a neural network, whatever framework it came from.

Watermark and verify
    open               the network of an ONNX file, or of what an exporter returned
    inject             put a payload into a network, without training or by one
    save_key           write key and payload to a file, which is a claim
    load_key           read it again
    detect             is the watermark there? `if nnw.detect("suspect.onnx", claim): ...`
    decode             what does it say?
    verify             everything that a claim tells of a network
    verify_commitment  does the published hash bind this key and this unmarked network?
    trace              whose copy is it? of recipients who each got one of their own
    import_key         the claim of a mark that others have made, from their own arrays
    read_seed          a master seed from its file, for `secret_of`
    secret_of          the secret of one network and recipient, from the master seed

Is a network what it was?
    seal               hashes of all that it consists of; `.save(path)` keeps them beside it
    verify_seal        is it what was sealed, and what of it is not?
    state              the same in a form that signing tools take, with every file
    verify_statement   is it what such a statement says?
    restore            what a mark of integrity gives back

Try and measure
    modify             prune, quantize, fine-tune, ... a network
    evaluate           what a watermark costs and survives, with a report
    repeat             carry out the evaluation of a run once more, from its folder
    forecast           what an evaluation would do, and about how long it would take
    log                a finished run in MLflow: parameters, metrics, report
    report             write the report of a run again
    conform            the clauses of the standard, each asked of a run
    compare            the technologies of one or several runs side by side
    gate               does a marked network meet the thresholds of a file?
    read_evaluation    the configuration of an evaluation, from its TOML file
    allow_code         let Python files of your own run where a configuration or key names them

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
    "open": "api.marks",
    "inject": "api.marks",
    "save_key": "runs.keys",
    "load_key": "runs.keys",
    "detect": "api.marks",
    "decode": "api.marks",
    "verify": "api.marks",
    "verify_commitment": "api.marks",
    "trace": "api.actors",
    "import_key": "api.foreign",
    "read_seed": "runs.seed_files",
    "secret_of": "kit.derivation",
    "seal": "api.integrity",
    "verify_seal": "api.integrity",
    "state": "api.integrity",
    "verify_statement": "api.integrity",
    "restore": "api.integrity",
    "modify": "api.measuring",
    "evaluate": "api.measuring",
    "repeat": "api.measuring",
    "forecast": "api.measuring",
    "log": "api.tracking",
    "report": "api.measuring",
    "conform": "api.measuring",
    "compare": "api.measuring",
    "gate": "api.gating",
    "read_evaluation": "runs.evaluation",
    "allow_code": "kit.permissions",
    "make_mark": "api.marks",
    "continue_mark": "runs.marks",
}
_CLASSES = {
    "Payload": "vocabulary",
    "Claim": "vocabulary",
    "Key": "vocabulary",
    "Injection": "api.marks",
    "Detection": "vocabulary",
    "Decoding": "vocabulary",
    "Verdict": "runs.verify",
    "Commitment": "runs.commitment",
    "Modified": "api.measuring",
    "Evaluation": "runs.evaluation",
    "Evaluated": "api.measuring",
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
    from nnw_onnx.api.actors import trace as trace
    from nnw_onnx.api.foreign import import_key as import_key
    from nnw_onnx.api.gating import gate as gate
    from nnw_onnx.api.integrity import restore as restore
    from nnw_onnx.api.integrity import seal as seal
    from nnw_onnx.api.integrity import state as state
    from nnw_onnx.api.integrity import verify_seal as verify_seal
    from nnw_onnx.api.integrity import verify_statement as verify_statement
    from nnw_onnx.api.marks import Injection as Injection
    from nnw_onnx.api.marks import decode as decode
    from nnw_onnx.api.marks import detect as detect
    from nnw_onnx.api.marks import inject as inject
    from nnw_onnx.api.marks import make_mark as make_mark
    from nnw_onnx.api.marks import open as open
    from nnw_onnx.api.marks import verify as verify
    from nnw_onnx.api.marks import verify_commitment as verify_commitment
    from nnw_onnx.api.measuring import Evaluated as Evaluated
    from nnw_onnx.api.measuring import Modified as Modified
    from nnw_onnx.api.measuring import compare as compare
    from nnw_onnx.api.measuring import conform as conform
    from nnw_onnx.api.measuring import evaluate as evaluate
    from nnw_onnx.api.measuring import forecast as forecast
    from nnw_onnx.api.measuring import modify as modify
    from nnw_onnx.api.measuring import repeat as repeat
    from nnw_onnx.api.measuring import report as report
    from nnw_onnx.api.tracking import log as log
    from nnw_onnx.errors import CarrierNotFoundError as CarrierNotFoundError
    from nnw_onnx.errors import NnwError as NnwError
    from nnw_onnx.kit.derivation import secret_of as secret_of
    from nnw_onnx.kit.permissions import allow_code as allow_code
    from nnw_onnx.reports.model import Report as Report
    from nnw_onnx.runs.commitment import Commitment as Commitment
    from nnw_onnx.runs.evaluation import Evaluation as Evaluation
    from nnw_onnx.runs.evaluation import read_evaluation as read_evaluation
    from nnw_onnx.runs.keys import load_key as load_key
    from nnw_onnx.runs.keys import save_key as save_key
    from nnw_onnx.runs.marks import Mark as Mark
    from nnw_onnx.runs.marks import continue_mark as continue_mark
    from nnw_onnx.runs.seed_files import read_seed as read_seed
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
