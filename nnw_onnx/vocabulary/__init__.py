"""The nouns of the project, in the words of MPAI-NNW: frozen values and protocols.

Only numpy and the standard library are imported here; every other room speaks these words.
"""

from nnw_onnx.vocabulary.modifications import Parameter, WeightModification
from nnw_onnx.vocabulary.networks import Layer, Network, Weights
from nnw_onnx.vocabulary.payloads import Payload
from nnw_onnx.vocabulary.quality import Dataset, Quality, Samples, Task
from nnw_onnx.vocabulary.specs import Spec
from nnw_onnx.vocabulary.watermarks import (
    SECRET_BYTES,
    Decoding,
    Detection,
    Key,
    WatermarkingMethod,
)

__all__ = [
    "SECRET_BYTES",
    "Dataset",
    "Decoding",
    "Detection",
    "Key",
    "Layer",
    "Network",
    "Parameter",
    "Payload",
    "Quality",
    "Samples",
    "Spec",
    "Task",
    "WatermarkingMethod",
    "WeightModification",
    "Weights",
]
