"""AI Modules and their ports, read off the dataclasses of the functions that they are."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnw_onnx.aif.types import STANDARD, Data

Direction = Literal["Input", "Output"]
Given = Mapping[str, Data]
"""Name of a port -> the data object at it."""


@dataclass(frozen=True)
class Port:
    """Where data objects enter or leave.

    Attributes:
        name: a label; unique among the ports of its module.
        direction: seen from the module.
        kind: type of the data objects.
        number: 1, 2, ... among the ports of the same direction and type.
        repeated: whether there are several such ports, so that the number must be told.
        optional: whether a module runs without it.
        depth: how many messages wait in it at most; None for the Controller's own number.
    """

    name: str
    direction: Direction
    kind: type[Data]
    number: int = 1
    repeated: bool = False
    optional: bool = False
    depth: int | None = None


class Headed:
    """What a module and a workflow have alike: a header, and ports."""

    acronym: str
    of: str
    version: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def header(self) -> str:
        """Such as NNW-MFM-V2.0; AIMName of its descriptor in form V3."""
        return f"{self.of}-{self.acronym}-{self.version}"

    @property
    def short(self) -> str:
        """Such as NNW-MFM; name in form V2."""
        return f"{self.of}-{self.acronym}"

    @property
    def ports(self) -> tuple[Port, ...]:
        """Inputs, then outputs."""
        return (*self.inputs, *self.outputs)


@dataclass(frozen=True)
class Module(Headed):
    """An AI Module: one function from files to files.

    Attributes:
        acronym: three letters, such as MFM.
        name: in one word, such as ModificationModule.
        title: in words.
        description: what it does.
        inputs: in the order of the function's dataclass.
        outputs: likewise.
        function: data objects by port, how the workflow is set up, folder to write into -> data
            objects by port. It is importable, so that another process can be sent it.
        of: first part of its header.
        version: last part of its header.
        alone: whether it must have a process of its own, because it measures costs.
    """

    acronym: str
    name: str
    title: str
    description: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    function: Callable[[Given, Any, Path], Given]
    of: str = STANDARD
    version: str = "V2.0"
    alone: bool = False


def port(name: str, *, optional: bool = False) -> Any:
    """A field of a dataclass of ports; where it is optional, it is None unless it is connected."""
    metadata = {"name": name, "optional": optional}
    return field(default=None, metadata=metadata) if optional else field(metadata=metadata)


def ports_of(kind: type, direction: Direction) -> tuple[Port, ...]:
    """The ports that the fields of a dataclass are, numbered by type."""
    hints, found = typing.get_type_hints(kind), list[Port]()
    for one in dataclasses.fields(kind):
        carried = next(k for k in (hints[one.name], *typing.get_args(hints[one.name])) if _is(k))
        number = sum(other.kind is carried for other in found) + 1
        optional = bool(one.metadata["optional"])
        found.append(Port(one.metadata["name"], direction, carried, number, optional=optional))
    kinds = [other.kind for other in found]
    return tuple(dataclasses.replace(p, repeated=kinds.count(p.kind) > 1) for p in found)


@dataclass(frozen=True)
class ByPort:
    """A function of two dataclasses of ports as one of data objects by the names of ports.

    Attributes:
        function: takes inputs, how the workflow is set up and a folder; gives outputs.
    """

    function: Callable[[Any, Any, Path], Any]

    def __call__(self, given: Given, setup: object, folder: Path) -> Given:
        """Call the function; what is written lies in the folder."""
        kind = typing.get_type_hints(self.function)["given"]
        fields = {one.name: given.get(one.metadata["name"]) for one in dataclasses.fields(kind)}
        made = self.function(kind(**fields), setup, folder)
        return {one.metadata["name"]: vars(made)[one.name] for one in dataclasses.fields(made)}


def module(
    function: Callable[[Any, Any, Path], Any], acronym: str, name: str, title: str
) -> Module:
    """The AI Module that a function is; its docstring is the description."""
    hints = typing.get_type_hints(function)
    return Module(
        acronym, name, title, " ".join((inspect.getdoc(function) or "").split()),
        ports_of(hints["given"], "Input"), ports_of(hints["return"], "Output"), ByPort(function),
    )  # fmt: skip


def _is(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Data)
