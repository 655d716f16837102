"""`nnw aif`: run, describe, pack."""

from __future__ import annotations

import json

import pytest

from nnw_onnx.aif.descriptors import PLACEHOLDER


def test_describe_lists_all_and_writes_one(nnw):
    listed = nnw("aif", "describe")
    assert listed.status == 0
    assert listed.out.splitlines()[0] == "NNW-NTI  No Training Imperceptibility"
    assert "ONX-XCC  Computational Cost" in listed.out.splitlines()
    for name in ("NNW-NIR", "nir", "NNW-NIR-V2.0"):
        made = json.loads(nnw("aif", "describe", name).out)
        assert made["Header"] == "NNW-NIR-V2.0"
        assert made["Identifier"]["ImplementerID"] == PLACEHOLDER
    made = json.loads(nnw("aif", "describe", "CMP", "--form", "v2", "--implementer-id", "9").out)
    assert made["Identifier"]["ImplementerID"] == "9"


def test_an_unknown_name_is_one_line(nnw, tmp_path):
    answer = nnw("aif", "describe", "NNW-NIRR")
    assert (answer.status, answer.out) == (2, "")
    assert "NNW-NIRR: expected one of NNW-CMP, " in answer.err
    assert "did you mean 'NNW-NIR'" in answer.err
    assert nnw("aif", "pack", "x", "-o", tmp_path / "a.tar").status == 2


def test_run_reads_an_archive_and_tells_figures(nnw, tmp_path):
    packed = nnw("aif", "pack", "NIR", "-o", tmp_path / "nir.tar.gz", "--form", "v2")
    assert packed.out == f"{tmp_path / 'nir.tar.gz'}: NNW-NIR, AIW.json, nnw-nir.py\n"
    again = nnw("aif", "pack", "NIR", "-o", tmp_path / "nir.tar.gz")
    assert "expected a new file, got existing" in again.err
    words = ("aif", "run", tmp_path / "nir.tar.gz", "--method", "uchida", "--set", "payloads=1")
    told = nnw(
        *words, "--modification", "quantizing", "--intensity", "2 bits", "-o", tmp_path / "o"
    )
    assert told.status == 0, told.err
    assert told.out.splitlines() == [
        f"{tmp_path / 'o' / 'RetrievedPayload.json'}: RetrievedPayload",
        f"{tmp_path / 'o' / 'CountError.json'}: CountError",
        "4 of 64 symbols are wrong",
    ]
    full = nnw(*words, "-o", tmp_path / "o")
    assert "expected a new or empty folder, got one with" in full.err


@pytest.mark.xdist_group("aif")
def test_costs_are_told_with_their_units(nnw, tmp_path):
    told = nnw("aif", "run", "ONX-XCC", "--method", "uchida", "-o", tmp_path / "cost")
    assert told.status == 0, told.err
    names = ["Injection", "Detection", "Decoding", "Inference"]
    for name, line in zip(names, told.out.splitlines(), strict=True):
        assert line.startswith(f"{tmp_path / 'cost' / name}Cost.json: {name}Cost, ")
        assert line.endswith(" bytes at most")
    figures = json.loads((tmp_path / "cost" / "figures.json").read_text())
    assert [figures[f"{name}Cost"]["operation"] for name in names] == [n.lower() for n in names]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--input", "OriginalPayload"), "--input: expected PORT=FILE, each port once, got 'Orig"),
        (("--input", "A=b", "--input", "A=c"), "--input: expected PORT=FILE, each port once, got"),
        (("--evaluation", "none.toml"), "none.toml"),
        (
            ("--modification", "permutation", "--intensity", "1"),
            "permutation: expected no intensity",
        ),
    ],
)
def test_what_is_wrong_is_one_line(nnw, tmp_path, words, line):
    answer = nnw("aif", "run", "NNW-NIR", "-o", tmp_path / "o", *words)
    assert (answer.status, answer.out) == (2, "")
    assert line in answer.err
    assert answer.err.count("\n") == 1
