"""The only room that imports onnx: open safely, list layers, read and replace weights, save."""

from nnw_onnx.graph.description import TensorInfo
from nnw_onnx.graph.files import Limits
from nnw_onnx.graph.network import CanonicalWeights, OnnxNetwork, open_network
from nnw_onnx.graph.runnable import Runnable

__all__ = [
    "CanonicalWeights",
    "Limits",
    "OnnxNetwork",
    "Runnable",
    "TensorInfo",
    "open_network",
]
