"""Descriptors are generated from the dataclasses, and hold against the schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

import nnw_onnx.aif
from nnw_onnx.aif import descriptors
from nnw_onnx.aif.descriptors import PLACEHOLDER, descriptor
from nnw_onnx.aif.modules import MODULES
from nnw_onnx.aif.reading import workflow_of
from nnw_onnx.aif.workflows import ALL_MODULES, BY_FORM, NIR, NTI, in_order

SCHEMAS = Path(nnw_onnx.aif.__file__).parent / "schemas"
THINGS = [(form, thing) for form, ws in BY_FORM.items() for thing in (*ws, *ALL_MODULES)]
NAMES = [f"{form} {thing.short}" for form, thing in THINGS]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(("form", "thing"), THINGS, ids=NAMES)
def test_every_descriptor_holds_against_the_schema_of_its_form(form, thing):
    made = json.loads(json.dumps(descriptor(thing, form)))
    validator(f"aim-metadata-{form}").validate(made)
    other = {"v2": "v3", "v3": "v2"}[form]
    assert list(validator(f"aim-metadata-{other}").iter_errors(made))
    assert "certified" not in json.dumps(made).lower()


@pytest.mark.parametrize("form", ["v2", "v3"])
def test_what_is_described_is_what_is_read(form):
    for workflow in BY_FORM[form]:
        read = workflow_of(json.loads(json.dumps(descriptor(workflow, form))))
        assert (read.short, read.description) == (workflow.short, workflow.description)
        assert [p.name for p in read.inputs] == [p.name for p in workflow.inputs]
        assert [p.kind for p in read.outputs] == [p.kind for p in workflow.outputs]
        assert [p.module for p in read.parts] == [p.module for p in workflow.parts]
        ports = [(c.source.port, c.target.port) for c in workflow.channels]
        assert [(c.source.port, c.target.port) for c in read.channels] == ports


def test_ports_are_the_fields_of_the_dataclasses():
    comparator = descriptor(next(m for m in MODULES if m.acronym == "CMP"))
    keys = ("Name", "Direction", "DataType", "PortNumber")
    assert [tuple(p.get(key) for key in keys) for p in comparator["ExternalPorts"]] == [
        ("OriginalPayload", "Input", "NNW-PLD-V2.0", 1),
        ("RetrievedPayload", "Input", "NNW-PLD-V2.0", 2),
        ("CountError", "Output", "NNW-CER-V2.0", None),
    ]  # fmt: skip
    trainer = descriptor(next(m for m in MODULES if m.acronym == "MTR"))
    optional = [p["Name"] for p in trainer["ExternalPorts"] if p.get("IsOptional")]
    assert optional == ["UntrainedParameters"]


def test_form_v3_has_the_topology_that_the_standard_draws():
    """Source -> destination, from the public instances of NNW-NNT "V2.0"."""

    def ends(made):
        def words(end):
            number = f"#{end['PortNumber']}" if "PortNumber" in end else ""
            part = f"@{end['AIMNumber']}" if "AIMNumber" in end else ""
            return f"{end['AIMName'][4:7]}{part}.{end['DataType'][4:7]}{number}"

        return [f"{words(c['Output'])} -> {words(c['Input'])}" for c in made["Topology"]]

    assert ends(descriptor(NIR)) == [
        ".PLD -> CMP.PLD#1", ".PRM -> MFM.PRM", "MFM.PRM -> NWD.PRM", "NWD.PLD -> CMP.PLD#2",
        "NWD.PLD -> .PLD", "CMP.CER -> .CER",
    ]  # fmt: skip
    assert ends(descriptor(NTI)) == [
        ".DST#1 -> MTR@1.DST", "MTR@1.PRM -> UWM.PRM", ".DST#2 -> UWM.DST", "UWM.INF -> .INF#1",
        ".DST#3 -> MTR@2.DST", "MTR@2.PRM -> NWE.PRM", ".PLD -> NWE.PLD", "NWE.PRM -> WMM.PRM",
        ".DST#4 -> WMM.DST", "WMM.INF -> .INF#2",
    ]  # fmt: skip


def test_form_v2_names_ports_and_says_inputs_the_way_of_the_standard():
    made = descriptor(NIR, "v2")
    assert {p["Name"]: p["Direction"] for p in made["Ports"]} == {
        "OriginalPayload": "InputOutput",
        "WatermarkedParameters": "InputOutput",
        "RetrievedPayload": "OutputInput",
        "CountError": "OutputInput",
    }
    assert made["Types"][0] == {"Name": "Payload", "Type": "bitstring"}
    names = [p["Name"] for p in made["SubAIMs"]]
    assert names == ["ModificationModule", "NIRWatermarkDecoder", "Comparator"]


def test_cost_is_never_under_a_header_of_the_standard():
    workflow = BY_FORM["v3"][-1]
    assert workflow.short == "ONX-XCC"
    headers = re.findall("NNW-[A-Z]{3}-V", json.dumps(descriptor(workflow)))
    assert set(headers) <= {"NNW-PRM-V", "NNW-DST-V"}  # its data types, and no module
    own = descriptor(workflow, "v2")["Identifier"]["Specification"]
    assert own == {"Name": "ONX-XCC", "Version": "V1.0"}


def test_the_implementer_is_a_placeholder_until_somebody_says_who():
    assert PLACEHOLDER.startswith("/*")
    assert json.dumps(descriptor(NIR)).count(json.dumps(PLACEHOLDER)) == 4
    mine = json.dumps(descriptor(NIR, implementer="123"))
    assert PLACEHOLDER not in mine
    assert mine.count('"ImplementerID": "123"') == 4


def test_a_descriptor_names_the_file_and_commit_of_its_form():
    comment = descriptor(NIR)["$comment"]
    assert "schemas/AIF/V3.0/data/AIMMetadata.json" in comment
    assert re.search("commit [0-9a-f]{40}", comment)
    assert descriptor(NIR)["$schema"] == descriptors.SCHEMA


def test_each_module_comes_behind_those_that_it_hears():
    names = [part.name for part in in_order(NTI)]
    assert names.index("NNW-MTR-V2.0@2") < names.index("NNW-NWE-V2.0") < names.index("NNW-WMM-V2.0")


BROKEN = [
    ("v3", lambda d: d.pop("Header")),
    ("v3", lambda d: d.update(Header="AIF-AMD")),
    ("v3", lambda d: d.update(Other=1)),
    ("v3", lambda d: d.pop("SubAIMs")),
    ("v3", lambda d: d.update(ExternalPorts=[])),
    ("v3", lambda d: d["ExternalPorts"][2].update(Depth=3)),
    ("v3", lambda d: d["ExternalPorts"][0].update(Transport="Bus")),
    ("v3", lambda d: d["Topology"][0].update(Output={"AIMName": ""})),
    ("v3", lambda d: d["Implementations"][0].update(Source="AIMURL")),
    ("v3", lambda d: d["SubAIMs"][0]["Identifier"].update(Relation="Private")),
    ("v3", lambda d: d.update(APIProfile="robustness")),
    ("v2", lambda d: d["Ports"][0].update(Direction="Input")),
    ("v2", lambda d: d["Ports"][0].update(IsRemote="False")),
    ("v2", lambda d: d.pop("Types")),
    ("v2", lambda d: d["Identifier"].update(Specification={"Standard": "MPAI-NNW"})),
]


@pytest.mark.parametrize(("form", "harm"), BROKEN)
def test_schemas_refuse_what_is_damaged(form, harm):
    made = json.loads(json.dumps(descriptor(NIR, form)))
    harm(made)
    assert list(validator(f"aim-metadata-{form}").iter_errors(made))
