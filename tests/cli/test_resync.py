"""`nnw detect` and `nnw decode` beside the network as it was before the mark."""

from __future__ import annotations

import json

import pytest

from nnw_onnx.cli.main import main


@pytest.fixture(scope="module")
def moved(marked, tmp_path_factory):
    """The watermarked network with its channels in other places."""
    path = tmp_path_factory.mktemp("moved") / "moved.onnx"
    words = ["modify", str(marked[0]), "-o", str(path), "--modification", "permutation"]
    assert main(words) == 0
    return path


def test_a_mark_is_found_beside_the_original_only(nnw, model, marked, moved):
    key = marked[1]
    assert nnw("detect", moved, "--key", key, "--no-run").status == 1
    told = nnw("detect", moved, "--key", key, "--no-run", "--reference", model)
    assert told.status == 0
    assert "re-synchronised with the reference: 112 of 112 channels of 3 hidden axes" in told.out
    assert "without the key, so the p-value needs no correction" in told.out
    assert nnw("decode", moved, "--key", key).out != "mine and mine\n"
    assert nnw("decode", moved, "--key", key, "--reference", model).out == "mine and mine\n"


def test_places_and_how_sure_they_are_go_into_json(nnw, model, marked, moved):
    words = ("--key", marked[1], "--no-run", "--reference", model, "--format", "json")
    (found,) = json.loads(nnw("detect", moved, *words).out)["found"]
    assert (found["layer"], found["way"]) == ("conv3.weight", "name")
    assert found["cosine"] > 0.95
    assert 0.3 < found["margin"] < 1


def test_a_network_of_others_is_told_as_one(nnw, model, other_model, marked):
    told = nnw("detect", other_model, "--key", marked[1], "--no-run", "--reference", model)
    assert told.status == 1
    assert "not re-synchronised: its channels are no more like those of the reference" in told.out


def test_an_original_that_is_none_is_one_line(nnw, marked, moved, tmp_path):
    told = nnw("detect", moved, "--key", marked[1], "--reference", tmp_path / "none.onnx")
    assert told.status == 2
    assert told.err.count("\n") == 1
    assert "none.onnx" in told.err
