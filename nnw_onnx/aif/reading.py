"""Descriptors as untrusted input: JSON of either form to a workflow that can be started.

Only modules of this package are ever found. What a descriptor asks for beyond them, such as another
execution than "Exchange", is refused in one line instead of being left undone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from nnw_onnx.aif import files
from nnw_onnx.aif.codes import (
    MPAI_ERROR_CHANNEL_CREATION_FAILED,
    MPAI_ERROR_INIT,
    MPAI_ERROR_MODULE_NOT_FOUND,
    MPAI_ERROR_PORT_CREATION_FAILED,
)
from nnw_onnx.aif.ports import Module, Port
from nnw_onnx.aif.types import BY_HEADER, TYPES, Data
from nnw_onnx.aif.workflows import ALL_MODULES, Channel, End, Part, Workflow, in_order
from nnw_onnx.errors import FrameworkError, expected, shortened
from nnw_onnx.plugins import closest
from nnw_onnx.vocabulary import Json

MOST_DESCRIPTOR = 1 << 20
"""Bytes of a descriptor."""
_MOST = 1000
_HEADER = re.compile(r"([A-Z0-9]{3})-([A-Z0-9]{3})-(V\d{1,3}\.\d{1,3})")
_SHORT = re.compile(r"[A-Z0-9]{3}-[A-Z0-9]{3}")
_INSTANCE = re.compile(r"[0-9A-Za-z]*([A-Z]{3}-[A-Z]{3}-V\d{1,2}\.\d{1,2})-I\d+")

Text = Annotated[str, Field(max_length=4096)]


def _plain(name: str) -> str:
    """A name of a port, of which a name of a file is made."""
    if re.fullmatch("[A-Za-z0-9_ -]{0,120}", name) is None:
        raise ValueError("expected at most 120 letters, digits, blanks, _ and -")
    return name


Label = Annotated[str, AfterValidator(_plain)]
Number = Annotated[int, Field(ge=1, le=_MOST, strict=True)]
Uses: TypeAlias = JsonValue
Model = TypeVar("Model", bound="_Table")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _IdentifierV3(_Table):
    ImplementerID: Text
    ImplementationID: Text
    AIMName: Text
    Relation: Literal["Internal", ""] = ""


class _PortV3(_Table):
    Direction: Literal["Input", "Output"]
    DataType: Text
    Technology: Literal["Software", ""]
    IsRemote: Literal[False, "False", ""]
    Name: Label = ""
    PortNumber: Number = 1
    IsOptional: bool = False
    Protocol: Literal[""] = ""
    Depth: Number | None = None
    Overflow: Literal["Block"] = "Block"
    Transport: Literal["Controller"] = "Controller"
    AcceptedTransports: tuple[Text, ...] = ("Controller",)
    RecordType: Text = ""


class _EndV3(_Table):
    AIMName: Text
    DataType: Text | None = None
    PortName: Text | None = None
    PortNumber: Number = 1
    AIMNumber: Number = 1


class _ChannelV3(_Table):
    Output: _EndV3
    Input: _EndV3


class _SubAimV3(_Table):
    Identifier: _IdentifierV3
    AIMNumber: Number | None = None


class _InternalType(_Table):
    DataType: Text
    Name: Text = ""


class _V3(_Table):
    """Form V3: what the schema requires, and what this Controller does of the rest."""

    Header: Text
    Identifier: _IdentifierV3
    APIProfile: Literal["Basic"]
    Description: Text
    ExternalPorts: Annotated[tuple[_PortV3, ...], Field(min_length=1, max_length=_MOST)]
    Implementations: Annotated[tuple[Uses, ...], Field(min_length=1, max_length=_MOST)]
    SubAIMs: Annotated[tuple[_SubAimV3, ...], Field(max_length=_MOST)] = ()
    Topology: Annotated[tuple[_ChannelV3, ...], Field(max_length=_MOST)] = ()
    InternalTypes: Annotated[tuple[_InternalType, ...], Field(max_length=_MOST)] = ()
    Execution: Literal["Exchange"] = "Exchange"
    OnDegraded: Literal["Stop"] = "Stop"
    RestartLimit: Literal[0] = 0
    title: Text = ""
    schema_: Text = Field("", alias="$schema")
    comment: Text = Field("", alias="$comment")
    id: Text = Field("", alias="$id")
    ResourcePolicies: Uses = None
    Documentation: Uses = None
    DataXMData: Uses = None
    DescrMetadata: Annotated[str, Field(max_length=2048)] = ""


class _Standard(_Table):
    Standard: Text
    AIW: Text
    AIM: Text
    Version: Text
    Profile: Text = ""


class _Own(_Table):
    Name: Text
    Version: Text


class _IdentifierV2(_Table):
    ImplementerID: Text | int
    Specification: _Standard | _Own


class _Type(_Table):
    Name: Text
    Type: Text


class _PortV2(_Table):
    Name: Label
    Direction: Literal["InputOutput", "OutputInput"]
    RecordType: Text
    Technology: Literal["Software"]
    Protocol: Literal[""]
    IsRemote: Literal[False]


class _EndV2(_Table):
    AIMName: Text
    PortName: Text


class _ChannelV2(_Table):
    Output: _EndV2
    Input: _EndV2


class _SubAimV2(_Table):
    Name: Text
    Identifier: _IdentifierV2


class _V2(_Table):
    """Form V2."""

    Identifier: _IdentifierV2
    APIProfile: Literal["Basic"]
    Description: Text
    Types: Annotated[tuple[_Type, ...], Field(max_length=_MOST)]
    Ports: Annotated[tuple[_PortV2, ...], Field(min_length=1, max_length=_MOST)]
    SubAIMs: Annotated[tuple[_SubAimV2, ...], Field(max_length=_MOST)]
    Topology: Annotated[tuple[_ChannelV2, ...], Field(max_length=_MOST)]
    Implementations: Annotated[tuple[Uses, ...], Field(min_length=1, max_length=_MOST)]
    title: Text = ""
    schema_: Text = Field("", alias="$schema")
    id: Text = Field("", alias="$id")
    uri: Text = Field("", alias="$CanonicalURI")
    ResourcePolicies: Uses = None
    Documentation: Uses = None


def read_workflow(path: Path, modules: Sequence[Module] = ALL_MODULES) -> Workflow:
    """The workflow of a descriptor in a file; see `workflow_of`."""
    data = files.content(path, MOST_DESCRIPTOR)
    return workflow_of(files.parsed(data, path.name), modules, path.name)


def workflow_of(
    value: dict[str, Json],
    modules: Sequence[Module] = ALL_MODULES,
    name: str = "descriptor",
) -> Workflow:
    """The workflow of a descriptor, of which every name and every type fits.

    Args:
        value: the JSON object, of form V2 or V3.
        modules: those that it may name.
        name: for messages.

    Raises:
        FrameworkError: it is broken, is no workflow, names what there is not, or joins what does
            not fit.
    """
    if "ExternalPorts" in value:
        made = _from_v3(_valid(_V3, value, name), modules, name)
    elif "Ports" in value:
        made = _from_v2(_valid(_V2, value, name), modules, name)
    else:
        raise FrameworkError(
            f"{name}: expected ExternalPorts (form V3) or Ports (form V2), got neither; give a "
            "descriptor, such as 'nnw aif describe' writes",
            MPAI_ERROR_INIT,
        )
    return _checked(made, name)


def _valid(model: type[Model], value: dict[str, Json], name: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "descriptor"
        got = f", got {shortened(first['input'], 60)}"
        known = {
            "missing": "expected it, got none",
            "extra_forbidden": f"expected no such key{got}",
        }
        words = known.get(first["type"], f"{expected(first['msg'])}{got}")
        raise FrameworkError(f"{name}: {where}: {words}; correct it", MPAI_ERROR_INIT) from error


def _from_v3(given: _V3, modules: Sequence[Module], name: str) -> Workflow:
    header = _HEADER.fullmatch(given.Header)
    if header is None:
        raise FrameworkError(
            f"{name}: Header: expected three letters, three letters and a version such as "
            f"NNW-NIR-V2.0, got {shortened(given.Header, 60)}; correct it",
            MPAI_ERROR_INIT,
        )
    parts = tuple(_part_v3(sub, modules, name) for sub in given.SubAIMs)
    inputs = _external_v3([p for p in given.ExternalPorts if p.Direction == "Input"], name)
    outputs = _external_v3([p for p in given.ExternalPorts if p.Direction == "Output"], name)
    of, acronym, version = header.groups()
    bare = Workflow(
        acronym, acronym, given.title or acronym, given.Description, inputs, outputs, parts, (),
        of, version,
    )  # fmt: skip
    labels = _labels(given, name)
    channels = tuple(
        Channel(
            _end_v3(bare, one.Output, labels, source=True, name=name),
            _end_v3(bare, one.Input, labels, source=False, name=name),
        )
        for one in given.Topology
    )
    return _with(bare, channels)


def _with(bare: Workflow, channels: tuple[Channel, ...]) -> Workflow:
    return Workflow(**{**vars(bare), "channels": channels})


def _part_v3(sub: _SubAimV3, modules: Sequence[Module], name: str) -> Part:
    aim = _type_name(sub.Identifier.AIMName)
    return Part(_found(aim, {m.header: m for m in modules}, name), sub.AIMNumber)


def _type_name(aim: str) -> str:
    """The type of an AIM of which an installed instance may be named."""
    instance = _INSTANCE.fullmatch(aim)
    return aim if instance is None else instance[1]


def _found(aim: str, known: dict[str, Module], name: str) -> Module:
    if aim not in known:
        raise FrameworkError(
            f"{name}: SubAIMs: expected modules of this package, got {shortened(aim, 60)}"
            f"{closest(aim, known)}; 'nnw aif describe' lists them",
            MPAI_ERROR_MODULE_NOT_FOUND,
        )
    return known[aim]


def _external_v3(ports: Sequence[_PortV3], name: str) -> tuple[Port, ...]:
    kinds = [port.DataType for port in ports]
    return tuple(
        Port(
            port.Name or f"{_kind(port.DataType, name).name}{port.PortNumber}",
            port.Direction, _kind(port.DataType, name), port.PortNumber,
            kinds.count(port.DataType) > 1, port.IsOptional, port.Depth,
        )
        for port in ports
    )  # fmt: skip


def _kind(header: str, name: str) -> type[Data]:
    if header not in BY_HEADER:
        raise FrameworkError(
            f"{name}: DataType: expected one of {', '.join(BY_HEADER)}, got "
            f"{shortened(header, 60)}; correct it",
            MPAI_ERROR_PORT_CREATION_FAILED,
        )
    return BY_HEADER[header]


def _labels(given: _V3, name: str) -> dict[str, type[Data]]:
    """Label of the composite -> the data type that it stands for."""
    external = {port.Name: port.DataType for port in given.ExternalPorts if port.Name}
    inner = {one.Name: one.DataType for one in given.InternalTypes if one.Name}
    return {label: _kind(header, name) for label, header in {**inner, **external}.items()}


def _end_v3(
    bare: Workflow, end: _EndV3, labels: dict[str, type[Data]], *, source: bool, name: str
) -> End:
    """Where an end is: a port is told by data type and number; a name is a label of the whole."""
    part = _named_part(bare, end, name)
    ports = _candidates(bare, part, source)
    label = end.PortName
    if part is None and label is not None:
        found = [port for port in ports if port.name == label]
    else:
        kind = _type_of(end, labels, name)
        found = [port for port in ports if port.kind is kind and port.number == end.PortNumber]
    if not found:
        raise _undeclared(end.AIMName, label or f"{end.DataType} {end.PortNumber}", source, name)
    return End("" if part is None else part.name, found[0].name)


def _type_of(end: _EndV3, labels: dict[str, type[Data]], name: str) -> type[Data]:
    if end.DataType is not None:
        return _kind(end.DataType, name)
    if end.PortName is None or end.PortName not in labels:
        raise FrameworkError(
            f"{name}: Topology: expected a DataType or a label of this descriptor, got "
            f"{shortened(end.PortName, 60)}; name the DataType",
            MPAI_ERROR_CHANNEL_CREATION_FAILED,
        )
    return labels[end.PortName]


def _named_part(bare: Workflow, end: _EndV3, name: str) -> Part | None:
    if not end.AIMName:
        return None
    aim = _type_name(end.AIMName)
    same = [part for part in bare.parts if part.module.header == aim]
    found = [part for part in same if (part.number or 1) == end.AIMNumber]
    if not found:
        raise _no_part(f"{end.AIMName}@{end.AIMNumber}" if same else end.AIMName, name)
    return found[0]


def _no_part(aim: str, name: str) -> FrameworkError:
    return FrameworkError(
        f"{name}: Topology: expected modules that SubAIMs declares, got {shortened(aim, 60)}; "
        "declare it",
        MPAI_ERROR_CHANNEL_CREATION_FAILED,
    )


def _candidates(bare: Workflow, part: Part | None, source: bool) -> tuple[Port, ...]:
    if part is None:
        return bare.inputs if source else bare.outputs
    return part.module.outputs if source else part.module.inputs


def _undeclared(aim: str, port: str, source: bool, name: str) -> FrameworkError:
    side = "gives" if source == bool(aim) else "takes"
    return FrameworkError(
        f"{name}: Topology: expected a port that {aim or 'the workflow'} {side}, got "
        f"{shortened(port, 80)}; correct it",
        MPAI_ERROR_CHANNEL_CREATION_FAILED,
    )


def _from_v2(given: _V2, modules: Sequence[Module], name: str) -> Workflow:
    types = {one.Name: one.Type for one in given.Types}
    specification = given.Identifier.Specification
    own = specification.AIM if isinstance(specification, _Standard) else specification.Name
    if _SHORT.fullmatch(own) is None:
        raise FrameworkError(
            f"{name}: Identifier: expected three letters and three letters such as NNW-NIR, got "
            f"{shortened(own, 60)}; correct it",
            MPAI_ERROR_INIT,
        )
    of, acronym = own.split("-")
    parts = tuple(_part_v2(sub, modules, name) for sub in given.SubAIMs)
    sides = ("InputOutput", "OutputInput")
    inputs, outputs = (
        tuple(_external_v2(p, types, name) for p in given.Ports if p.Direction == side)
        for side in sides
    )
    bare = Workflow(
        acronym, acronym, given.title or own, given.Description, inputs, outputs, parts, (), of,
        specification.Version,
    )  # fmt: skip
    channels = tuple(
        Channel(
            _end_v2(bare, one.Output, source=True, name=name),
            _end_v2(bare, one.Input, source=False, name=name),
        )
        for one in given.Topology
    )
    return _with(bare, channels)


def _part_v2(sub: _SubAimV2, modules: Sequence[Module], name: str) -> Part:
    specification = sub.Identifier.Specification
    aim = specification.AIM if isinstance(specification, _Standard) else specification.Name
    return Part(_found(aim, {m.short: m for m in modules}, name), label=sub.Name)


def _external_v2(port: _PortV2, types: dict[str, str], name: str) -> Port:
    kind = next((kind for kind in TYPES if kind.name == port.RecordType), None)
    if kind is None or types.get(port.RecordType) != kind.raw:
        known = ", ".join(f"{kind.name} ({kind.raw})" for kind in TYPES)
        raise FrameworkError(
            f"{name}: Ports: expected a RecordType that Types declares, one of {known}, got "
            f"{shortened(port.RecordType, 60)}; correct it",
            MPAI_ERROR_PORT_CREATION_FAILED,
        )
    return Port(port.Name, "Input" if port.Direction == "InputOutput" else "Output", kind)


def _end_v2(bare: Workflow, end: _EndV2, *, source: bool, name: str) -> End:
    part = next((p for p in bare.parts if p.name == end.AIMName), None)
    if part is None and end.AIMName:
        raise _no_part(end.AIMName, name)
    if all(port.name != end.PortName for port in _candidates(bare, part, source)):
        raise _undeclared(end.AIMName, end.PortName, source, name)
    return End(end.AIMName, end.PortName)


def _checked(made: Workflow, name: str) -> Workflow:
    """The workflow; raises `FrameworkError` where it could not be started."""
    if not made.parts:
        raise FrameworkError(
            f"{name}: expected a workflow with SubAIMs and Topology, got a module alone; give the "
            "descriptor of a workflow",
            MPAI_ERROR_INIT,
        )
    _check_names(made, name)
    for channel in made.channels:
        _check_types(made, channel, name)
    _check_connected(made, name)
    ordered = {part.name for part in in_order(made)}
    if cycle := [part.name for part in made.parts if part.name not in ordered]:
        raise FrameworkError(
            f"{name}: Topology: expected no cycle, because each module runs once its inputs are "
            f"there, got one through {', '.join(cycle)[:200]}; cut it",
            MPAI_ERROR_CHANNEL_CREATION_FAILED,
        )
    return made


def _check_names(made: Workflow, name: str) -> None:
    for what, names in (
        ("SubAIMs", [part.name for part in made.parts]),
        ("ports", [f"{port.direction} {port.name}" for port in made.ports]),
        (
            "ports",
            [f"{p.direction} {p.kind.header()} {p.number}" for p in made.ports if p.repeated],
        ),
    ):
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise FrameworkError(
                f"{name}: expected {what} that differ, got {shortened(twice, 80)} twice; number or "
                "rename them",
                MPAI_ERROR_INIT,
            )


def _address(port: Port) -> str:
    return f"{port.direction} {port.kind.header()} {port.number}"


def _check_types(made: Workflow, channel: Channel, name: str) -> None:
    source = made.port(channel.source, source=True)
    target = made.port(channel.target, source=False)
    if source is None or target is None or source.kind is not target.kind:
        kinds = [None if p is None else p.kind.header() for p in (source, target)]
        raise FrameworkError(
            f"{name}: Topology: expected ports of one type, got {channel.source} of {kinds[0]} and "
            f"{channel.target} of {kinds[1]}; correct it",
            MPAI_ERROR_CHANNEL_CREATION_FAILED,
        )


def _check_connected(made: Workflow, name: str) -> None:
    targets = [channel.target for channel in made.channels]
    sources = {channel.source for channel in made.channels}
    inner = [
        (End(part.name, port.name), port) for part in made.parts for port in part.module.inputs
    ]
    wanted = [*inner, *((End("", port.name), port) for port in made.outputs)]
    for end, port in wanted:
        count = targets.count(end)
        if count > 1 or (count == 0 and not port.optional):
            raise FrameworkError(
                f"{name}: Topology: expected one channel into {end}, got {count or 'none'}; "
                "connect it once",
                MPAI_ERROR_CHANNEL_CREATION_FAILED,
            )
    for port in made.inputs:
        if End("", port.name) not in sources and not port.optional:
            raise FrameworkError(
                f"{name}: Topology: expected a channel from the input {port.name}, got none; "
                "connect it, or leave the port out",
                MPAI_ERROR_CHANNEL_CREATION_FAILED,
            )
