"""The only room that imports onnx: open safely, list layers, read and replace weights, save."""

from nnw_onnx.graph.editing import to_plain_form
from nnw_onnx.graph.files import Limits
from nnw_onnx.graph.folding import fold_batch_norms
from nnw_onnx.graph.network import CanonicalWeights, OnnxNetwork, Rule, open_network
from nnw_onnx.graph.runnable import Runnable
from nnw_onnx.graph.widening import widen_classifier

__all__ = [
    "CanonicalWeights",
    "Limits",
    "OnnxNetwork",
    "Rule",
    "Runnable",
    "fold_batch_norms",
    "open_network",
    "to_plain_form",
    "widen_classifier",
]
