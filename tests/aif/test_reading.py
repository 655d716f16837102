"""Descriptors are untrusted input: what cannot be started is told in one line."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies

from nnw_onnx.aif import codes
from nnw_onnx.aif.descriptors import descriptor
from nnw_onnx.aif.reading import MOST_DESCRIPTOR, read_workflow, workflow_of
from nnw_onnx.aif.workflows import BY_FORM, NIR, NTI
from nnw_onnx.errors import FrameworkError


def of(thing=NIR, form="v3"):
    return json.loads(json.dumps(descriptor(thing, form)))


def topology(made, number, side, **changes):
    made["Topology"][number][side].update(changes)


def add_cycle(made):
    """Two more modules that hear each other."""
    identifier = made["SubAIMs"][0]["Identifier"]
    made["SubAIMs"] += [{"Identifier": identifier, "AIMNumber": n} for n in (2, 3)]
    end = {"AIMName": "NNW-MFM-V2.0", "DataType": "NNW-PRM-V2.0"}
    made["Topology"] += [
        {"Output": {**end, "AIMNumber": source}, "Input": {**end, "AIMNumber": target}}
        for source, target in ((2, 3), (3, 2))
    ]


MORE = {**of()["ExternalPorts"][1], "Name": "More", "PortNumber": 2}
V3 = [
    (lambda d: d.pop("Description"), r"d: Description: expected it, got none; correct it"),
    (lambda d: d.update(Header="NIR"), r"Header: expected three letters, .* got 'NIR'; correct it"),
    (lambda d: d.update(Other=1), r"Other: expected no such key, got 1; correct it"),
    (lambda d: d.update(Execution="Continuous"), r"Execution: expected 'Exchange', got 'Con"),
    (lambda d: d.update(Period=5), r"Period: "),
    (lambda d: d["ExternalPorts"][0].update(Name="../x"), r"at most 120 letters, .*'../x'"),
    (lambda d: d["ExternalPorts"][0].update(IsRemote=True), r"IsRemote: .*got True; correct it"),
    (lambda d: d["ExternalPorts"][0].update(Overflow="DropOldest"), r"Overflow: expected 'Block'"),
    (lambda d: d["ExternalPorts"][0].update(DataType="NNW-ABC-V2.0"), r"DataType: expected one"),
    (lambda d: d["ExternalPorts"][0].update(PortNumber=0), r"PortNumber: expected a number"),
    (
        lambda d: d["SubAIMs"][0]["Identifier"].update(AIMName="NNW-MFN-V2.0"),
        r"modules of this package, got 'NNW-MFN-V2.0' .did you mean 'NNW-MFM-V2.0'",
    ),
    (
        lambda d: d["SubAIMs"][0]["Identifier"].update(AIMName="os.system"),
        r"SubAIMs: expected modules of this package, got 'os.system'; ",
    ),
    (
        lambda d: topology(d, 2, "Input", AIMName="NNW-UWM-V2.0"),
        r"Topology: expected modules that SubAIMs declares, got 'NNW-UWM-V2.0'; declare it",
    ),
    (
        lambda d: topology(d, 2, "Input", AIMNumber=2),
        r"Topology: expected modules that SubAIMs declares, got 'NNW-NWD-V2.0@2'; declare it",
    ),
    (
        lambda d: topology(d, 2, "Output", DataType="NNW-INF-V2.0"),
        r"Topology: expected a port that NNW-MFM-V2.0 gives, got 'NNW-INF-V2.0 1'; correct it",
    ),
    (
        lambda d: topology(d, 0, "Input", PortNumber=3),
        r"Topology: expected a port that NNW-CMP-V2.0 takes, got 'NNW-PLD-V2.0 3'; correct it",
    ),
    (
        lambda d: d["Topology"][1].update(Input=d["Topology"][3]["Input"]),
        r"Topology: expected ports of one type, got \.WatermarkedParameters of NNW-PRM-V2\.0 and "
        r"NNW-CMP-V2\.0\.RetrievedPayload of NNW-PLD-V2\.0; correct it",
    ),
    (
        lambda d: d["Topology"].pop(2),
        r"expected one channel into NNW-NWD-V2.0.ModifiedParameters, got none; connect it",
    ),
    (
        lambda d: d["Topology"].append(d["Topology"][0]),
        r"expected one channel into NNW-CMP-V2.0.OriginalPayload, got 2; connect it once",
    ),
    (
        lambda d: d["ExternalPorts"].append(MORE),
        r"Topology: expected a channel from the input More, got none; connect it, or leave",
    ),
    (
        lambda d: d["SubAIMs"].append(d["SubAIMs"][0]),
        r"expected SubAIMs that differ, got 'NNW-MFM-V2.0' twice; number or rename them",
    ),
    (
        lambda d: d["ExternalPorts"].append({**d["ExternalPorts"][1]}),
        r"expected ports that differ, got 'Input WatermarkedParameters' twice; number or rename",
    ),
    (
        lambda d: topology(d, 2, "Output", DataType=None, PortName="Nothing"),
        r"Topology: expected a DataType or a label of this descriptor, got 'Nothing'; name the",
    ),
    (add_cycle, r"Topology: expected no cycle, .* got one through NNW-MFM-V2.0@2, NNW-MFM-V2.0@3"),
]  # fmt: skip
V2 = [
    (
        lambda d: d["Identifier"]["Specification"].update(AIM="../../tmp"),
        r"Identifier: expected three letters and three letters such as NNW-NIR, got '../../tmp'",
    ),
    (lambda d: d["Ports"][0].update(Name="a/b"), r"Ports.0.Name: .*got 'a/b'; correct it"),
    (
        lambda d: d["Ports"][0].update(RecordType="Picture"),
        r"expected a RecordType that Types declares, one of Payload \(bitstring\), .*'Picture'",
    ),
    (lambda d: d["Types"].pop(0), r"Ports: expected a RecordType that Types declares"),
    (lambda d: topology(d, 0, "Output", PortName="X"), r"port that the workflow takes, got 'X'"),
    (lambda d: topology(d, 0, "Input", AIMName="AttackModule"), r"SubAIMs declares, got 'Att"),
    (
        lambda d: d["SubAIMs"][0]["Identifier"]["Specification"].update(AIM="NNW-XXX"),
        r"SubAIMs: expected modules of this package, got 'NNW-XXX'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "line"), V3)
def test_what_is_wrong_in_form_v3_is_one_line(harm, line):
    made = of()
    harm(made)
    with pytest.raises(FrameworkError, match=line) as caught:
        workflow_of(made, name="d")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("harm", "line"), V2)
def test_what_is_wrong_in_form_v2_is_one_line(harm, line):
    made = of(form="v2")
    harm(made)
    with pytest.raises(FrameworkError, match=line) as caught:
        workflow_of(made, name="d")
    assert "\n" not in str(caught.value)


def test_an_unknown_module_has_the_code_of_the_standard():
    made = of()
    made["SubAIMs"][0]["Identifier"]["AIMName"] = "NNW-ZZZ-V2.0"
    with pytest.raises(FrameworkError) as caught:
        workflow_of(made)
    assert caught.value.code == codes.MPAI_ERROR_MODULE_NOT_FOUND


def test_a_module_alone_and_what_is_no_descriptor_are_refused():
    from nnw_onnx.aif.modules import MODULES

    with pytest.raises(
        FrameworkError, match=r"expected a workflow with SubAIMs and Topology, got a"
    ):
        workflow_of(of(MODULES[0]))
    with pytest.raises(
        FrameworkError, match=r"expected ExternalPorts \(form V3\) or Ports \(form V2"
    ):
        workflow_of({"Header": "NNW-NIR-V2.0"})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "expected JSON, got what is none"),
        (b"[1]", "expected a JSON object, got a list; correct it"),
        (b"{" * 100_000, "expected JSON, got what is none"),
        (b"\xff\xfe{}", "expected JSON, got what is none"),
        (b" " * (MOST_DESCRIPTOR + 1), "expected a file that can be read, got: more than 1 MiB"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, line):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(FrameworkError, match=line):
        read_workflow(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(
        FrameworkError,
        match="expected a file that can be read, got: No such file",
    ):
        read_workflow(tmp_path / "none.json")


def test_labels_and_installed_instances_are_understood():
    """A port may be named by a label of the whole, a module by the name of an instance."""
    made = of()
    made["SubAIMs"][0]["Identifier"]["AIMName"] = "7NNW-MFM-V2.0-I01"
    made["InternalTypes"] = [{"Name": "Modified", "DataType": "NNW-PRM-V2.0"}]
    made["Topology"][0]["Output"] = {"AIMName": "", "PortName": "OriginalPayload"}
    made["Topology"][2]["Output"] = {"AIMName": "7NNW-MFM-V2.0-I01", "PortName": "Modified"}
    assert workflow_of(made).channels == NIR.channels


def test_a_depth_is_that_of_the_port():
    made = of()
    made["ExternalPorts"][0]["Depth"] = 3
    assert [port.depth for port in workflow_of(made).inputs] == [3, None]


def test_optional_ports_may_stay_unconnected():
    """The trainer of the first workflow has an input that nothing is connected to."""
    assert len(workflow_of(of(NTI)).parts) == 5
    assert {len(BY_FORM["v2"][0].parts), len(BY_FORM["v3"][0].parts)} == {4, 5}


def test_what_public_instances_write_beside_it_is_read():
    """Empty lists, deprecated keys and placeholders, as in the files of NNW-NNT "V2.0"."""
    made = of()
    made |= {"InternalTypes": [], "DataXMData": {}, "ResourcePolicies": [{"Name": "Memory"}]}
    for port in made["ExternalPorts"]:
        port["Protocol"] = ""
    for sub in made["SubAIMs"]:
        sub["Identifier"]["Relation"] = ""
    made["Implementations"][0] |= {"MASPort": 443, "Architecture": "/* x86-64 | ARM64 */"}
    assert workflow_of(made).channels == NIR.channels


ANY = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=9),
    lambda inner: (
        strategies.lists(inner, max_size=2)
        | strategies.dictionaries(
            strategies.sampled_from(["Name", "AIMName", "x"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def places(value, above=()):
    """Where everything in a JSON value is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside:
        yield (*above, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*above, key))


@settings(max_examples=300, deadline=None)
@given(strategies.data())
def test_whatever_is_put_anywhere_is_read_or_refused(data):
    made = of(form=data.draw(strategies.sampled_from(["v2", "v3"])))
    for _ in range(data.draw(strategies.integers(1, 3))):
        *way, last = data.draw(strategies.sampled_from(list(places(made))))
        inside = made
        for key in way:
            inside = inside[key]
        inside[last] = data.draw(ANY)
    with suppress(FrameworkError):
        workflow_of(made)
