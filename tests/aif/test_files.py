"""Data objects as files: what is written is read, and what is damaged is told in one line."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from nnw_onnx.aif import files
from nnw_onnx.aif.modules import Replay
from nnw_onnx.aif.types import (
    TYPES,
    CountErrorFile,
    DatasetFile,
    InferenceFile,
    ParametersFile,
    PayloadFile,
)
from nnw_onnx.errors import DatasetError, FrameworkError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Payload, Scale, TensorInfo

from .test_descriptors import validator


@pytest.mark.parametrize(
    "payload", [Payload.from_bits("0110"), Payload((9, 0, 3), 10), Payload((255,), 256)]
)
def test_a_payload_comes_back_with_its_alphabet(tmp_path, payload):
    file = files.write_payload(tmp_path / "RetrievedPayload.json", payload)
    assert files.read_payload(file) == payload
    value = files.from_json(file.path)
    validator("data-objects").validate(value)
    assert (value["Header"], value["PayloadID"]) == ("NNW-PLD-V2.0", "RetrievedPayload")


def test_symbols_are_bits_most_significant_first(tmp_path):
    file = files.write_payload(tmp_path / "p.json", Payload((9, 0, 3), 10))
    value = files.from_json(file.path)
    assert (value["PayloadData"], value["DescrMetadata"]) == ("100100000011", "alphabet=10")


def test_counts_and_costs_come_back(tmp_path):
    count = files.write_count(tmp_path / "CountError.json", 7)
    assert files.read_count(count) == 7
    cost = files.write_cost(tmp_path / "c.json", {"seconds": 0.5})
    assert files.read_cost(cost) == {"seconds": 0.5}
    for file in (count, cost):
        validator("data-objects").validate(files.from_json(file.path))


def samples(**changes):
    feeds = {"x": np.arange(24, dtype=np.float32).reshape(4, 6)}
    scale = Scale((1.0,), (0.0,), "flat", (1, 2, 3))
    kept = {"feeds": feeds, "targets": np.arange(4), "facts": {"classes": list("abcd")}, **changes}
    return ArraySamples(kept["feeds"], kept["targets"], kept["facts"], scale=scale)


def test_samples_come_back_with_facts_and_scale(tmp_path):
    files.write_samples(tmp_path / "d.npz", samples(), 3)
    read = files.read_samples(tmp_path / "d.npz")
    whole = read.read(np.arange(4))
    assert np.array_equal(whole.feeds["x"], samples().read(np.arange(4)).feeds["x"])
    assert np.array_equal(whole.targets, np.arange(4))
    assert read.facts == {"classes": list("abcd")}
    assert read.scale == samples().scale
    with np.load(tmp_path / "d.npz") as plain:
        assert set(plain) == {"inputs", "labels", "about"}


def test_a_network_of_several_inputs_has_an_array_for_each(tmp_path):
    feeds = {"ids": np.zeros((4, 2), np.int64), "mask": np.ones((4, 2), np.int64)}
    files.write_samples(tmp_path / "d.npz", samples(feeds=feeds), 3)
    with np.load(tmp_path / "d.npz") as plain:
        assert set(plain) == {"inputs/ids", "inputs/mask", "labels", "about"}
    assert set(files.read_samples(tmp_path / "d.npz").read(np.arange(1)).feeds) == set(feeds)


def test_somebody_elses_inputs_and_labels_are_samples_too(tmp_path):
    np.savez(tmp_path / "d.npz", inputs=np.zeros((3, 2), np.float32), labels=np.zeros(3, np.int64))
    read = files.read_samples(tmp_path / "d.npz")
    port = TensorInfo("image", (None, 2), "float32")
    assert list(read.fitted([port]).read(np.arange(3)).feeds) == ["image"]


def test_targets_of_different_sizes_are_refused(tmp_path):
    with pytest.raises(
        FrameworkError, match="dataset: expected targets of one size, got one array"
    ):
        files.write_samples(tmp_path / "d.npz", samples(targets=[np.zeros(n) for n in range(4)]), 3)


def test_answers_come_back_and_what_is_no_tensor_keeps_its_place(tmp_path):
    values = {
        "scores": np.eye(3, dtype=np.float32),
        "maps": np.full(3, None, np.object_),
        "words": np.array(["a", "b", "c"], np.object_),
    }
    files.write_values(tmp_path / "i.npz", values)
    read = files.read_values(tmp_path / "i.npz")
    assert list(read) == list(values)
    assert np.array_equal(read["scores"], values["scores"])
    assert read["maps"].tolist() == [None] * 3
    assert read["words"].tolist() == ["a", "b", "c"]


def test_files_are_the_same_whenever_they_are_written(tmp_path):
    for name in "ab":
        files.write_samples(tmp_path / f"{name}.npz", samples(), 3)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_replay_tells_answers_in_their_order_and_no_more():
    told = Replay({"y": np.arange(5)})
    assert told({"x": np.zeros(2)})["y"].tolist() == [0, 1]
    assert told({"x": np.zeros(3)})["y"].tolist() == [2, 3, 4]
    with pytest.raises(
        FrameworkError, match="inference: expected answers to 6 inputs, got 5; give"
    ):
        told({"x": np.zeros(1)})
    with pytest.raises(FrameworkError, match="expected a method that reads answers, got one that"):
        told({"x": np.zeros(1)}, ["layer"])


def test_everything_has_a_json_object_that_holds_against_the_schema(tmp_path):
    contents = {".json": None, ".onnx": b"model", ".npz": b"arrays"}
    files.write_payload(tmp_path / "Payload.json", Payload.from_bits("01"))
    files.write_count(tmp_path / "CountError.json", 1)
    files.write_cost(tmp_path / "Cost.json", {})
    for kind in TYPES:
        path = tmp_path / f"{kind.name}{kind.suffix}"
        if contents[kind.suffix] is not None:
            path.write_bytes(contents[kind.suffix])
        value = files.as_object(kind(path), kind.name)
        validator("data-objects").validate(value)
        given = tmp_path / f"{kind.name}.object.json"
        given.write_text(json.dumps(value))
        back = files.given(kind, given, tmp_path / f"back{kind.suffix}")
        assert back.suffix == kind.suffix
        if contents[kind.suffix] is not None:
            assert back.path.read_bytes() == contents[kind.suffix]


def test_a_network_with_external_data_is_no_single_object(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"m")
    (tmp_path / "m.onnx.data").write_bytes(b"d")
    data = ParametersFile(tmp_path / "m.onnx")
    assert files.digest(data)[1] == 2
    with pytest.raises(
        FrameworkError, match="m.onnx: expected a network in one file, got one with"
    ):
        files.as_object(data, "x")
    copied = files.copy(data, files.make_folder(tmp_path / "there"))
    assert len(copied.files) == 2


PAYLOADS = [
    ({"Header": "NNW-PRM-V2.0"}, "expected the header NNW-PLD-V2.0, got 'NNW-PRM-V2.0'; give"),
    ({"Header": "NNW-PLD-V2.0"}, "expected PayloadData, got none; correct it"),
    ({"PayloadData": "012"}, "expected PayloadData of 0 and 1, 1 a Symbol, got another value"),
    ({"PayloadData": ""}, "expected PayloadData of 0 and 1, 1 a Symbol, got another value"),
    ({"PayloadData": 5}, "expected PayloadData of 0 and 1, 1 a Symbol, got another value"),
    (
        {"PayloadData": "10111", "DescrMetadata": "alphabet=10"},
        "expected PayloadData of 0 and 1, 4 a Symbol, got another value",
    ),
    ({"PayloadData": "1111", "DescrMetadata": "alphabet=10"}, "expected Symbols below 10, got 15"),
    (
        {"PayloadData": "1", "DescrMetadata": "alphabet=1"},
        "expected an alphabet of at least 2, got",
    ),
]


@pytest.mark.parametrize(("value", "line"), PAYLOADS)
def test_a_damaged_payload_is_one_line(tmp_path, value, line):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"Header": "NNW-PLD-V2.0", **value}))
    with pytest.raises(FrameworkError, match=line):
        files.read_payload(PayloadFile(path))


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_a_damaged_count_is_one_line(tmp_path, value):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"Header": "NNW-CER-V2.0", "CountErrorData": value}))
    with pytest.raises(FrameworkError, match="expected CountErrorData to be a whole number of at"):
        files.read_count(CountErrorFile(path))


def npz(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in members.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"inputs": np.zeros((2, 2))}, "expected arrays inputs and labels, got no labels; save"),
        ({"inputs": np.array([{}]), "labels": np.zeros(1)}, "Python objects, which are never read"),
        (
            {"inputs": np.zeros(1), "labels": np.zeros(1), "about": np.array("{}")},
            "expected names and facts in about, got others",
        ),
        (
            {
                "inputs": np.zeros(1), "labels": np.zeros(1),
                "about": np.array('{"names": ["x"], "facts": {}, "scale": {"factor": 1}}'),
            },
            "expected a scale in about, got another",
        ),
    ],
)  # fmt: skip
def test_a_damaged_data_set_is_one_line(tmp_path, members, line):
    with pytest.raises(DatasetError, match=line):
        files.read_samples(npz(tmp_path / "d.npz", **members))


def test_what_is_given_is_of_the_type_of_the_port(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"m")
    place = tmp_path / "place"
    for kind, name in ((PayloadFile, "m.onnx"), (ParametersFile, "none.onnx")):
        with pytest.raises(FrameworkError, match=f"{name}: expected a file with {kind.header()}"):
            files.given(kind, tmp_path / name, place)
    value = files.described(InferenceFile, "i", "no base 64!")
    (tmp_path / "i.json").write_text(json.dumps(value))
    with pytest.raises(
        FrameworkError, match="i.json: expected InferenceData in base64, got another"
    ):
        files.given(InferenceFile, tmp_path / "i.json", place)
    with pytest.raises(
        FrameworkError, match="expected the header NNW-DST-V2.0, got 'NNW-INF-V2.0'"
    ):
        files.given(DatasetFile, tmp_path / "i.json", place)


def test_a_folder_is_new_or_empty(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(
        FrameworkError, match="expected a new or empty folder, got one with x; choose"
    ):
        files.make_folder(tmp_path)
    with pytest.raises(FrameworkError, match="expected a folder that can be written, got: "):
        files.make_folder(tmp_path / "x" / "y")
    with pytest.raises(FrameworkError, match="expected a place where a file can be written, got: "):
        files.write(tmp_path / "none" / "f", b"")
