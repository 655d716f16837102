"""The nouns of the project, in the words of MPAI-NNW.

What an author writes is a small abstract base class that he subclasses as a frozen dataclass
(`Method`, `Modification`, `Task`, ...); what he is given is a Protocol (`Network`, `Suspect`,
`Bench`, ...); everything that crosses a process or a file is a frozen value. Only numpy and the
standard library (and bounds of `annotated_types`) are imported here. What only evaluations speak of
is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nnw_onnx.vocabulary.bench import Bench
from nnw_onnx.vocabulary.cards import Card
from nnw_onnx.vocabulary.evidence import (
    SECRET_BYTES,
    Bound,
    Claim,
    Decoding,
    Detection,
    Found,
    Key,
    Null,
    Place,
    Use,
    Way,
)
from nnw_onnx.vocabulary.methods import (
    Code,
    Commits,
    Decodes,
    Detects,
    Embeds,
    Injects,
    Method,
    PutIn,
    Restores,
    SeesWhole,
    Trains,
    Widens,
)
from nnw_onnx.vocabulary.networks import (
    WEIGHT_ROLES,
    Around,
    Array,
    Ask,
    Coverage,
    Feeds,
    HiddenAxis,
    Layer,
    Network,
    Strand,
    Suspect,
    TensorInfo,
    Values,
    Weighted,
    Weights,
    WholeSuspect,
)
from nnw_onnx.vocabulary.payloads import Payload, symbols_for
from nnw_onnx.vocabulary.specs import Json, Need, PlugIn, Spec, Step
from nnw_onnx.vocabulary.tasks import (
    Batch,
    Dataset,
    Indices,
    Loss,
    MeanMeter,
    Measure,
    Meter,
    Quality,
    Samples,
    Scale,
    Targets,
    Task,
)

if TYPE_CHECKING:
    from nnw_onnx.vocabulary.additions import Additions, Moment, Penalty
    from nnw_onnx.vocabulary.modifications import (
        Family,
        FileModification,
        InputModification,
        Modification,
        Modified,
        Parameter,
        WeightModification,
    )
    from nnw_onnx.vocabulary.plans import (
        Claims,
        Engine,
        Outcome,
        Parcel,
        Portable,
        Technology,
        Trial,
    )
    from nnw_onnx.vocabulary.training import (
        Checkpoint,
        Epoch,
        Job,
        Recipe,
        Trained,
        Trainer,
    )

_LATER = {
    "Family": "modifications",
    "FileModification": "modifications",
    "InputModification": "modifications",
    "Modification": "modifications",
    "Modified": "modifications",
    "Parameter": "modifications",
    "WeightModification": "modifications",
    "Claims": "plans",
    "Engine": "plans",
    "Outcome": "plans",
    "Parcel": "plans",
    "Portable": "plans",
    "Technology": "plans",
    "Trial": "plans",
    "Additions": "additions",
    "Checkpoint": "training",
    "Epoch": "training",
    "Job": "training",
    "Moment": "additions",
    "Penalty": "additions",
    "Recipe": "training",
    "Trained": "training",
    "Trainer": "training",
}

__all__ = [
    "SECRET_BYTES",
    "WEIGHT_ROLES",
    "Additions",
    "Around",
    "Array",
    "Ask",
    "Batch",
    "Bench",
    "Bound",
    "Card",
    "Checkpoint",
    "Claim",
    "Claims",
    "Code",
    "Commits",
    "Coverage",
    "Dataset",
    "Decodes",
    "Decoding",
    "Detection",
    "Detects",
    "Embeds",
    "Engine",
    "Epoch",
    "Family",
    "Feeds",
    "FileModification",
    "Found",
    "HiddenAxis",
    "Indices",
    "Injects",
    "InputModification",
    "Job",
    "Json",
    "Key",
    "Layer",
    "Loss",
    "MeanMeter",
    "Measure",
    "Meter",
    "Method",
    "Modification",
    "Modified",
    "Moment",
    "Need",
    "Network",
    "Null",
    "Outcome",
    "Parameter",
    "Parcel",
    "Payload",
    "Penalty",
    "Place",
    "PlugIn",
    "Portable",
    "PutIn",
    "Quality",
    "Recipe",
    "Restores",
    "Samples",
    "Scale",
    "SeesWhole",
    "Spec",
    "Step",
    "Strand",
    "Suspect",
    "Targets",
    "Task",
    "Technology",
    "TensorInfo",
    "Trained",
    "Trainer",
    "Trains",
    "Trial",
    "Use",
    "Values",
    "Way",
    "WeightModification",
    "Weighted",
    "Weights",
    "WholeSuspect",
    "Widens",
    "symbols_for",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = vars(importlib.import_module(f"{__name__}.{_LATER[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
