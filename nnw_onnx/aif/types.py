"""The data types that travel between AI Modules, each as a file.

The five of NNW-NNT "V2.0" have its acronyms; what their data are inside is this project's choice.
Costs have no type there, so theirs is under a header of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

STANDARD, OWN = "NNW", "ONX"
"""First part of a header: of what the standard names, and of what it does not."""


@dataclass(frozen=True)
class Data:
    """One data object, as the file that holds its data.

    Attributes:
        path: the file.
        acronym: three letters.
        name: of the type, from which the keys of its JSON form are made.
        raw: type in a descriptor of form V2, which knows no data types.
        suffix: of the file.
        of: `STANDARD` or `OWN`.
        version: of the type.
    """

    path: Path

    acronym: ClassVar[str]
    name: ClassVar[str]
    raw: ClassVar[str] = "uint8[]"
    suffix: ClassVar[str] = ".json"
    of: ClassVar[str] = STANDARD
    version: ClassVar[str] = "V2.0"

    @classmethod
    def header(cls) -> str:
        """Such as NNW-PLD-V2.0."""
        return f"{cls.of}-{cls.acronym}-{cls.version}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and what lies beside it because it is too large for it."""
        return (self.path,)


@dataclass(frozen=True)
class PayloadFile(Data):
    """Symbols, as the JSON object of the type."""

    acronym = "PLD"
    name = "Payload"
    raw = "bitstring"


@dataclass(frozen=True)
class ParametersFile(Data):
    """A network with its Weights, as an ONNX file."""

    acronym = "PRM"
    name = "Parameters"
    suffix = ".onnx"

    @property
    def files(self) -> tuple[Path, ...]:
        """The ONNX file, and the one with external data where there is one."""
        beside = self.path.with_name(f"{self.path.name}.data")
        return (self.path, beside) if beside.is_file() else (self.path,)


@dataclass(frozen=True)
class DatasetFile(Data):
    """Samples as a network is fed them, and what is right for each: arrays of an .npz file."""

    acronym = "DST"
    name = "Dataset"
    suffix = ".npz"


@dataclass(frozen=True)
class InferenceFile(Data):
    """What a network answers to a data set, one array an output, in an .npz file."""

    acronym = "INF"
    name = "Inference"
    suffix = ".npz"


@dataclass(frozen=True)
class CountErrorFile(Data):
    """How many Symbols differ, as the JSON object of the type."""

    acronym = "CER"
    name = "CountError"
    raw = "uint32"


@dataclass(frozen=True)
class CostFile(Data):
    """One measurement of computational cost, as a JSON object; no type of the standard."""

    acronym = "CST"
    name = "Cost"
    of = OWN
    version = "V1.0"


TYPES: tuple[type[Data], ...] = (
    PayloadFile, ParametersFile, DatasetFile, InferenceFile, CountErrorFile, CostFile,
)  # fmt: skip
"""Every type, in the order of the standard's table."""
BY_HEADER: dict[str, type[Data]] = {kind.header(): kind for kind in TYPES}
