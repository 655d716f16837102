"""Descriptors of modules and workflows as JSON, generated from the dataclasses of their ports.

Two forms, which exclude each other: "v2" is that of MPAI-AIF V1 and V2, "v3" that of the schema
`AIF/V3.0/data/AIMMetadata.json` (see `SCHEMA`). The page of AIF V3.0 and other schema files want
other headers, so "valid for V3.0" means nothing unless the file of the schema is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from nnw_onnx.aif.ports import Module, Port
from nnw_onnx.aif.types import STANDARD
from nnw_onnx.aif.workflows import BY_FORM, End, Part, Workflow
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Json

Form = Literal["v2", "v3"]
FORMS: dict[str, Form] = {"v2": "v2", "v3": "v3"}
Described = Module | Workflow
Table = dict[str, Json]

PLACEHOLDER = "/* assigned by the Registration Authority of MPAI */"
"""Stands for an ImplementerID, which only its owner can fill in."""
SCHEMA = "https://schemas.mpai.community/AIF/V3.0/data/AIMMetadata.json"
SCHEMA_V2 = "https://schemas.mpai.community/AIF/V2.0/AIW-AIM-metadata.schema.json"
_REFERENCE = (
    "Form: schemas/AIF/V3.0/data/AIMMetadata.json of github.com/leonardo-chiariglione/mpai-cav, "
    "commit 50694104320c656cfc505e40cd28619d484af874."
)
_PAGES = {
    "v2": "https://mpai.community/standards/mpai-nnw/nnt/v1-1/",
    "v3": "https://mpai.community/standards/mpai-nnw/nnt/v2-0/",
}
_IMPLEMENTATION = f"nnw-onnx {__version__}"


def descriptor(
    thing: Described,
    form: Form = "v3",
    implementer: str = PLACEHOLDER,
    binaries: Sequence[str] = (),
) -> Table:
    """The descriptor of a module or workflow.

    Args:
        thing: what is described; a workflow of `workflows.BY_FORM` of the same form.
        form: of the descriptor.
        implementer: the ImplementerID.
        binaries: names of the files that implement it; one is named after it if empty.
    """
    make = {"v2": _v2, "v3": _v3}[form]
    return make(thing, implementer, list(binaries) or [f"{thing.short.lower()}.py"])


def _v3(thing: Described, implementer: str, binaries: list[str]) -> Table:
    made: Table = {
        "$schema": SCHEMA,
        "$comment": _REFERENCE,
        "title": f"{thing.title} {thing.version}",
        "Header": thing.header,
        "Identifier": _identifier(thing.header, implementer),
        "APIProfile": "Basic",
        "Description": thing.description,
    }
    if isinstance(thing, Workflow):
        made["Execution"] = "Exchange"
    made["ExternalPorts"] = [_port_v3(port) for port in thing.ports]
    if isinstance(thing, Workflow):
        made["SubAIMs"] = [_part_v3(part, implementer) for part in thing.parts]
        made["Topology"] = _topology(thing, _end_v3)
    return {**made, "Implementations": _implementations(binaries), **_documentation(thing, "v3")}


def _identifier(header: str, implementer: str) -> Table:
    return {
        "ImplementerID": implementer, "ImplementationID": _IMPLEMENTATION, "AIMName": header,
    }  # fmt: skip


def _port_v3(port: Port) -> Table:
    made: Table = {"Name": port.name, "Direction": port.direction, "DataType": port.kind.header()}
    if port.repeated:
        made["PortNumber"] = port.number
    if port.optional:
        made["IsOptional"] = True
    return {**made, "Technology": "Software", "IsRemote": False}


def _part_v3(part: Part, implementer: str) -> Table:
    number: Table = {} if part.number is None else {"AIMNumber": part.number}
    return {"Identifier": _identifier(part.module.header, implementer), **number}


def _end_v3(workflow: Workflow, end: End, port: Port) -> Table:
    """An end is addressed by data type and number: names are labels there."""
    part = next((p for p in workflow.parts if p.name == end.part), None)
    made: Table = {
        "AIMName": "" if part is None else part.module.header, "DataType": port.kind.header(),
    }  # fmt: skip
    if port.repeated:
        made["PortNumber"] = port.number
    if part is not None and part.number is not None:
        made["AIMNumber"] = part.number
    return made


def _v2(thing: Described, implementer: str, binaries: list[str]) -> Table:
    kinds = {port.kind.name: port.kind.raw for port in _all_ports(thing)}
    made: Table = {
        "$schema": SCHEMA_V2,
        "$id": f"urn:nnw-onnx:aif:{thing.short}",
        "title": thing.title,
        "Identifier": {
            "ImplementerID": implementer, "Specification": _specification(thing, thing),
        },
        "APIProfile": "Basic",
        "Description": thing.description,
        "Types": [{"Name": name, "Type": raw} for name, raw in kinds.items()],
        "Ports": [_port_v2(port) for port in thing.ports],
        "SubAIMs": [],
        "Topology": [],
    }  # fmt: skip
    if isinstance(thing, Workflow):
        made["SubAIMs"] = [_part_v2(thing, part, implementer) for part in thing.parts]
        made["Topology"] = _topology(thing, _end_v2)
    return {**made, "Implementations": _implementations(binaries), **_documentation(thing, "v2")}


def _all_ports(thing: Described) -> tuple[Port, ...]:
    inner = thing.parts if isinstance(thing, Workflow) else ()
    return (*thing.ports, *(port for part in inner for port in part.module.ports))


def _specification(workflow: Described, thing: Described) -> Table:
    """What the standard calls it; of what it does not know, name and version."""
    if thing.of != STANDARD:
        return {"Name": thing.short, "Version": thing.version}
    whole = workflow.short if isinstance(workflow, Workflow) else _workflow_of(thing)
    return {"Standard": "MPAI-NNW", "AIW": whole, "AIM": thing.short, "Version": "V1.1"}


def _workflow_of(thing: Described) -> str:
    """The first workflow that has this module."""
    return next(
        workflow.short
        for workflow in BY_FORM["v2"]
        if any(part.module.acronym == thing.acronym for part in workflow.parts)
    )


def _port_v2(port: Port) -> Table:
    return {
        "Name": port.name,
        "Direction": "InputOutput" if port.direction == "Input" else "OutputInput",
        "RecordType": port.kind.name,
        "Technology": "Software",
        "Protocol": "",
        "IsRemote": False,
    }


def _part_v2(workflow: Workflow, part: Part, implementer: str) -> Table:
    specification = _specification(workflow, part.module)
    identifier: Table = {"ImplementerID": implementer, "Specification": specification}
    return {"Name": _label(part), "Identifier": identifier}


def _end_v2(workflow: Workflow, end: End, port: Port) -> Table:
    part = next((p for p in workflow.parts if p.name == end.part), None)
    return {"AIMName": "" if part is None else _label(part), "PortName": port.name}


def _label(part: Part) -> str:
    return part.label or part.module.name


def _topology(workflow: Workflow, end: Callable[[Workflow, End, Port], Table]) -> list[Json]:
    found: list[Json] = []
    for channel in workflow.channels:
        source = workflow.port(channel.source, source=True)
        target = workflow.port(channel.target, source=False)
        if source is None or target is None:
            raise TypeError(f"{workflow.header}: {channel} is not declared")
        found.append({
            "Output": end(workflow, channel.source, source),
            "Input": end(workflow, channel.target, target),
        })  # fmt: skip
    return found


def _implementations(binaries: list[str]) -> list[Json]:
    return [
        {
            "BinaryName": name,
            "Architecture": "x86-64",
            "OperatingSystem": "Linux",
            "Version": __version__,
            "Source": "AIMStorage",
            "Destination": "",
        }
        for name in binaries
    ]


def _documentation(thing: Described, form: Form) -> Table:
    if thing.of != STANDARD:
        return {}
    return {"Documentation": [{"Type": "Specification", "URI": _PAGES[form]}]}
