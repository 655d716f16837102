"""The nouns of the project, in the words of MPAI-NNW: frozen values and protocols.

Only numpy and the standard library (and bounds of `annotated_types`) are imported here; every
other room speaks these words.
"""

from nnw_onnx.vocabulary.modifications import Parameter, WeightModification
from nnw_onnx.vocabulary.networks import Layer, Network, Weights
from nnw_onnx.vocabulary.payloads import Payload
from nnw_onnx.vocabulary.quality import Dataset, Quality, Samples, Task
from nnw_onnx.vocabulary.specs import Spec
from nnw_onnx.vocabulary.training import (
    ActivationPenalty,
    Checkpoint,
    Epoch,
    InferringNetwork,
    Job,
    Mark,
    Penalty,
    Recipe,
    Trained,
    Trainer,
    TrainingData,
    TriggerSet,
    WeightPenalty,
    adds_to_training,
    needs_inference,
)
from nnw_onnx.vocabulary.watermarks import (
    SECRET_BYTES,
    Decoding,
    Detection,
    Key,
    WatermarkingMethod,
)
from nnw_onnx.vocabulary.workshop import TrainedModification, TrainingOutcome, Workshop

__all__ = [
    "SECRET_BYTES",
    "ActivationPenalty",
    "Checkpoint",
    "Dataset",
    "Decoding",
    "Detection",
    "Epoch",
    "InferringNetwork",
    "Job",
    "Key",
    "Layer",
    "Mark",
    "Network",
    "Parameter",
    "Payload",
    "Penalty",
    "Quality",
    "Recipe",
    "Samples",
    "Spec",
    "Task",
    "Trained",
    "TrainedModification",
    "Trainer",
    "TrainingData",
    "TrainingOutcome",
    "TriggerSet",
    "WatermarkingMethod",
    "WeightModification",
    "WeightPenalty",
    "Weights",
    "Workshop",
    "adds_to_training",
    "needs_inference",
]
