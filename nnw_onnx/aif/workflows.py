"""The AI Workflows: modules joined by their ports.

The four of NNW-NNT are as form V2.0 of the standard draws them. The pages of V1.1 have one trainer
in the first of them, and one port for each data set in the first two: form V2 describes those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.aif.cost_modules import COST_MODULES
from nnw_onnx.aif.modules import MODULES
from nnw_onnx.aif.ports import Direction, Headed, Module, Port
from nnw_onnx.aif.types import (
    OWN,
    STANDARD,
    CostFile,
    CountErrorFile,
    Data,
    DatasetFile,
    InferenceFile,
    ParametersFile,
    PayloadFile,
)

ALL_MODULES: tuple[Module, ...] = (*MODULES, *COST_MODULES)
"""Every module that a workflow may name; nothing else is ever executed."""


@dataclass(frozen=True)
class Part:
    """A module in a workflow.

    Attributes:
        module: which one.
        number: 1, 2, ... where the workflow has it several times; None where it has it once.
        label: its name in form V2, which knows no numbers; "" for that of the module.
    """

    module: Module
    number: int | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """Such as NNW-MTR-V2.0, or NNW-MTR-V2.0@2 for the second of several; a label is kept."""
        if self.label:
            return self.label
        return self.module.header if self.number is None else f"{self.module.header}@{self.number}"


@dataclass(frozen=True)
class End:
    """One end of a channel: a port of a part, or of the workflow itself, whose part is ""."""

    part: str
    port: str

    def __str__(self) -> str:
        return f"{self.part}.{self.port}"


@dataclass(frozen=True)
class Channel:
    """Messages go from the source to the target."""

    source: End
    target: End


@dataclass(frozen=True)
class Workflow(Headed):
    """Modules joined by their ports.

    Attributes:
        acronym: three letters, such as NIR.
        name: in one word.
        title: in words.
        description: what it does.
        inputs: what it is given.
        outputs: what it gives.
        parts: its modules.
        channels: in the order in which the descriptor tells them.
        of: first part of its header.
        version: last part of its header.
    """

    acronym: str
    name: str
    title: str
    description: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parts: tuple[Part, ...]
    channels: tuple[Channel, ...]
    of: str = STANDARD
    version: str = "V2.0"

    def port(self, end: End, source: bool) -> Port | None:
        """The port of an end, as a source or a target of messages; None where there is none."""
        if not end.part:
            found = self.inputs if source else self.outputs
        else:
            own = next((p.module for p in self.parts if p.name == end.part), None)
            found = () if own is None else own.outputs if source else own.inputs
        return next((p for p in found if p.name == end.port), None)


def _ports(direction: Direction, *given: tuple[str, type[Data]]) -> tuple[Port, ...]:
    kinds = [kind for _, kind in given]
    return tuple(
        Port(name, direction, kind, kinds[: at + 1].count(kind), kinds.count(kind) > 1)
        for at, (name, kind) in enumerate(given)
    )


def _parts(*names: str) -> tuple[Part, ...]:
    """Parts by their acronyms, with a number behind @ where there are several."""
    by_acronym = {one.acronym: one for one in ALL_MODULES}
    found = []
    for name in names:
        acronym, _, number = name.partition("@")
        found.append(Part(by_acronym[acronym], int(number) if number else None))
    return tuple(found)


def _channels(parts: Sequence[Part], *lines: str) -> tuple[Channel, ...]:
    """Channels written as PART.PORT > PART.PORT, where an empty part is the workflow itself."""
    names = {
        part.module.acronym + (f"@{part.number}" if part.number else ""): part.name
        for part in parts
    }

    def end(text: str) -> End:
        part, _, port = text.strip().partition(".")
        return End(names[part] if part else "", port)

    ends = (line.split(">") for line in lines)
    return tuple(Channel(end(source), end(target)) for source, target in ends)


def _workflow(
    acronym: str,
    name: str,
    title: str,
    description: str,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    parts: tuple[Part, ...],
    lines: Sequence[str],
    **header: str,
) -> Workflow:
    channels = _channels(parts, *lines)
    return Workflow(acronym, name, title, description, inputs, outputs, parts, channels, **header)


_INFERENCES = _ports(
    "Output", ("UnwatermarkedInference", InferenceFile), ("WatermarkedInference", InferenceFile)
)
_FOUR_SETS = _ports(
    "Input",
    ("TrainingDataset1", DatasetFile),
    ("TestingDataset1", DatasetFile),
    ("TrainingDataset2", DatasetFile),
    ("TestingDataset2", DatasetFile),
    ("Payload", PayloadFile),
)
_TWO_SETS = _ports(
    "Input",
    ("TrainingDataset", DatasetFile),
    ("TestingDataset", DatasetFile),
    ("Payload", PayloadFile),
)
_FOUND = _ports("Output", ("RetrievedPayload", PayloadFile), ("CountError", CountErrorFile))
_NTI = (
    "NTI", "NoTrainingImperceptibility", "No Training Imperceptibility",
    "Tells what a watermark that is put in without training costs in quality: both networks answer "
    "the testing data set.",
)  # fmt: skip
_WTI = (
    "WTI", "WithTrainingImperceptibility", "With Training Imperceptibility",
    "Tells what a watermark that training puts in costs in quality: the network and its twin, "
    "trained alike without a watermark, answer the testing data set.",
)  # fmt: skip
_INFER_U = (
    "MTR.UnwatermarkedParameters > UWM.UnwatermarkedParameters",
    "UWM.UnwatermarkedInference > .UnwatermarkedInference",
)
_INFER_W = "WMM.WatermarkedInference > .WatermarkedInference"

NTI = _workflow(
    *_NTI, _FOUR_SETS, _INFERENCES, _parts("MTR@1", "MTR@2", "UWM", "NWE", "WMM"),
    (
        ".TrainingDataset1 > MTR@1.TrainingDataset",
        "MTR@1.UnwatermarkedParameters > UWM.UnwatermarkedParameters",
        ".TestingDataset1 > UWM.TestingDataset",
        "UWM.UnwatermarkedInference > .UnwatermarkedInference",
        ".TrainingDataset2 > MTR@2.TrainingDataset",
        "MTR@2.UnwatermarkedParameters > NWE.UnwatermarkedParameters",
        ".Payload > NWE.Payload",
        "NWE.WatermarkedParameters > WMM.WatermarkedParameters",
        ".TestingDataset2 > WMM.TestingDataset",
        _INFER_W,
    ),
)  # fmt: skip
NTI_V1 = _workflow(
    *_NTI, _TWO_SETS, _INFERENCES, _parts("MTR", "UWM", "NWE", "WMM"),
    (
        ".TrainingDataset > MTR.TrainingDataset",
        *_INFER_U,
        ".TestingDataset > UWM.TestingDataset",
        "MTR.UnwatermarkedParameters > NWE.UnwatermarkedParameters",
        ".Payload > NWE.Payload",
        "NWE.WatermarkedParameters > WMM.WatermarkedParameters",
        ".TestingDataset > WMM.TestingDataset",
        _INFER_W,
    ),
)  # fmt: skip
WTI = _workflow(
    *_WTI, _FOUR_SETS, _INFERENCES, _parts("MTR", "UWM", "WWE", "WMM"),
    (
        ".TrainingDataset1 > MTR.TrainingDataset",
        *_INFER_U,
        ".TestingDataset1 > UWM.TestingDataset",
        ".TrainingDataset2 > WWE.TrainingDataset",
        ".Payload > WWE.Payload",
        "WWE.WatermarkedParameters > WMM.WatermarkedParameters",
        ".TestingDataset2 > WMM.TestingDataset",
        _INFER_W,
    ),
)  # fmt: skip
WTI_V1 = _workflow(
    *_WTI, _TWO_SETS, _INFERENCES, _parts("MTR", "UWM", "WWE", "WMM"),
    (
        ".TrainingDataset > MTR.TrainingDataset",
        *_INFER_U,
        ".TestingDataset > UWM.TestingDataset",
        ".TrainingDataset > WWE.TrainingDataset",
        ".Payload > WWE.Payload",
        "WWE.WatermarkedParameters > WMM.WatermarkedParameters",
        ".TestingDataset > WMM.TestingDataset",
        _INFER_W,
    ),
)  # fmt: skip
NIR = _workflow(
    "NIR", "NoInferenceRobustness", "No Inference Robustness",
    "Tells what of a payload that is read from the parameters survives a Modification.",
    _ports("Input", ("OriginalPayload", PayloadFile), ("WatermarkedParameters", ParametersFile)),
    _FOUND, _parts("MFM", "NWD", "CMP"),
    (
        ".OriginalPayload > CMP.OriginalPayload",
        ".WatermarkedParameters > MFM.WatermarkedParameters",
        "MFM.ModifiedParameters > NWD.ModifiedParameters",
        "NWD.RetrievedPayload > CMP.RetrievedPayload",
        "NWD.RetrievedPayload > .RetrievedPayload",
        "CMP.CountError > .CountError",
    ),
)  # fmt: skip
WIR = _workflow(
    "WIR", "WithInferenceRobustness", "With Inference Robustness",
    "Tells what of a payload that is read from the answers survives a Modification.",
    _ports(
        "Input", ("OriginalPayload", PayloadFile), ("TestingDataset", DatasetFile),
        ("WatermarkedParameters", ParametersFile),
    ),
    _FOUND, _parts("MFM", "MDM", "WWD", "CMP"),
    (
        ".OriginalPayload > CMP.OriginalPayload",
        ".TestingDataset > MDM.TestingDataset",
        ".WatermarkedParameters > MFM.WatermarkedParameters",
        "MFM.ModifiedParameters > MDM.ModifiedParameters",
        "MDM.ModifiedInference > WWD.ModifiedInference",
        "WWD.RetrievedPayload > CMP.RetrievedPayload",
        "WWD.RetrievedPayload > .RetrievedPayload",
        "CMP.CountError > .CountError",
    ),
)  # fmt: skip
XCC = _workflow(
    "XCC", "ComputationalCost", "Computational Cost",
    "Measures what injection, detection, decoding and inference cost; no workflow of NNW-NNT.",
    _ports(
        "Input", ("UnwatermarkedParameters", ParametersFile),
        ("WatermarkedParameters", ParametersFile), ("TestingDataset", DatasetFile),
    ),
    _ports(
        "Output", ("InjectionCost", CostFile), ("DetectionCost", CostFile),
        ("DecodingCost", CostFile), ("InferenceCost", CostFile),
    ),
    _parts("CIJ", "CDT", "CDC", "CIF"),
    (
        ".UnwatermarkedParameters > CIJ.UnwatermarkedParameters",
        ".UnwatermarkedParameters > CIF.UnwatermarkedParameters",
        ".WatermarkedParameters > CDT.WatermarkedParameters",
        ".WatermarkedParameters > CDC.WatermarkedParameters",
        ".WatermarkedParameters > CIF.WatermarkedParameters",
        ".TestingDataset > CIF.TestingDataset",
        "CIJ.InjectionCost > .InjectionCost",
        "CDT.DetectionCost > .DetectionCost",
        "CDC.DecodingCost > .DecodingCost",
        "CIF.InferenceCost > .InferenceCost",
    ),
    of=OWN, version="V1.0",
)  # fmt: skip

BY_FORM: dict[str, tuple[Workflow, ...]] = {
    "v2": (NTI_V1, WTI_V1, NIR, WIR, XCC),
    "v3": (NTI, WTI, NIR, WIR, XCC),
}
"""Form of a descriptor -> the workflows as it describes them."""


def in_order(workflow: Workflow) -> Iterator[Part]:
    """The parts so that each comes behind those that it hears; what is in a cycle is left out."""
    heard: dict[str, set[str]] = {part.name: set() for part in workflow.parts}
    for channel in workflow.channels:
        if channel.source.part and channel.target.part in heard:
            heard[channel.target.part].add(channel.source.part)
    done: set[str] = set()
    left = list(workflow.parts)
    while found := next((part for part in left if heard[part.name] <= done), None):
        left.remove(found)
        done.add(found.name)
        yield found
