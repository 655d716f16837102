"""The only room that imports onnx: open safely, list layers, read and replace weights, save.

Names are reached lazily, so that who only reads a network loads nothing of what changes one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnw_onnx.graph.changes import Makeup, expect_changed, makeup
    from nnw_onnx.graph.editing import to_plain_form
    from nnw_onnx.graph.files import Limits
    from nnw_onnx.graph.folding import Folded, fold_batch_norms, fold_normalisations
    from nnw_onnx.graph.memory import InMemory
    from nnw_onnx.graph.network import (
        CanonicalWeights,
        OnnxNetwork,
        Rule,
        open_in_memory,
        open_network,
    )
    from nnw_onnx.graph.opsets import convert_opset, newest_known, smallest_model
    from nnw_onnx.graph.renaming import drop_names
    from nnw_onnx.graph.runnable import Runnable
    from nnw_onnx.graph.splitting import Cut
    from nnw_onnx.graph.storing import (
        constants_to_initializers,
        initializers_to_constants,
        values_outside,
        weights_in_bfloat16,
    )
    from nnw_onnx.graph.widening import narrow_classifier, widen_classifier

_MODULES = {
    "Makeup": "changes",
    "expect_changed": "changes",
    "makeup": "changes",
    "to_plain_form": "editing",
    "Limits": "files",
    "Folded": "folding",
    "fold_batch_norms": "folding",
    "fold_normalisations": "folding",
    "InMemory": "memory",
    "CanonicalWeights": "network",
    "OnnxNetwork": "network",
    "Rule": "network",
    "open_in_memory": "network",
    "open_network": "network",
    "convert_opset": "opsets",
    "newest_known": "opsets",
    "smallest_model": "opsets",
    "drop_names": "renaming",
    "Runnable": "runnable",
    "Cut": "splitting",
    "constants_to_initializers": "storing",
    "initializers_to_constants": "storing",
    "values_outside": "storing",
    "weights_in_bfloat16": "storing",
    "narrow_classifier": "widening",
    "widen_classifier": "widening",
}

__all__ = [
    "CanonicalWeights",
    "Cut",
    "Folded",
    "InMemory",
    "Limits",
    "Makeup",
    "OnnxNetwork",
    "Rule",
    "Runnable",
    "constants_to_initializers",
    "convert_opset",
    "drop_names",
    "expect_changed",
    "fold_batch_norms",
    "fold_normalisations",
    "initializers_to_constants",
    "makeup",
    "narrow_classifier",
    "newest_known",
    "open_in_memory",
    "open_network",
    "smallest_model",
    "to_plain_form",
    "values_outside",
    "weights_in_bfloat16",
    "widen_classifier",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(importlib.import_module(f"{__name__}.{_MODULES[name]}"))[name]
