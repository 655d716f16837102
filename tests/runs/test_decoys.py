"""An answer is about the weights that inference uses: a decoy neither shows nor hides a mark."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import open_network
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.testing import ArrayBench

from . import decoys

PAYLOAD = nnw.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """The claim, the unmarked carrier, the marked one, and the marked network's file."""
    folder = tmp_path_factory.mktemp("decoys")
    clean = decoys.kernels()["L"]
    given = nnw.inject(decoys.plain(folder / "clean.onnx", clean), PAYLOAD, layer="L", seed=1)
    given.network.save(folder / "marked.onnx")
    return given.claim, clean, np.array(given.network.weights["L"]), folder / "marked.onnx"


def answers(path):
    x = np.random.Generator(np.random.PCG64(3)).standard_normal((4, 3, 10, 10), np.float32)
    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


@pytest.mark.parametrize("kind", decoys.KINDS)
def test_a_clean_decoy_does_not_hide_the_mark(marked, tmp_path, kind):
    claim, clean, values, original = marked
    path = decoys.KINDS[kind](tmp_path / "thief.onnx", values, clean)
    np.testing.assert_allclose(answers(path), answers(original), rtol=1e-4, atol=1e-5)
    found = nnw.detect(path, claim)
    assert found
    assert found.log10_p < -8
    (place,) = found.found
    assert np.array_equal(open_network(path).weights[place.layer], values)
    assert nnw.decode(path, claim).payload == PAYLOAD
    assert nnw.decode(path, claim).found[0].layer == place.layer


@pytest.mark.parametrize("kind", decoys.KINDS)
def test_a_marked_decoy_shows_nothing(marked, tmp_path, kind):
    claim, clean, values, _ = marked
    path = decoys.KINDS[kind](tmp_path / "clean.onnx", clean, values)
    np.testing.assert_allclose(answers(path), answers(decoys.plain(tmp_path / "p.onnx", clean)),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    found = nnw.detect(path, claim, run=True)
    assert not found
    assert not any(place.use == "answers depend" for place in found.found)


def test_weights_are_those_that_arrive(marked, tmp_path):
    claim, clean, values, original = marked
    path = decoys.one_minus(tmp_path / "odd.onnx", values, clean)
    np.testing.assert_allclose(answers(path), answers(original), rtol=1e-3, atol=1e-5)
    assert nnw.detect(path, claim, run=True)
    assert not nnw.detect(decoys.one_minus(tmp_path / "no.onnx", clean, values), claim)


def test_what_running_shows_is_told(marked, tmp_path):
    claim, clean, values, original = marked
    (plain,) = nnw.detect(original, claim).found
    assert (plain.layer, plain.way, plain.use, plain.candidates) == ("L", "name", "live", 1)
    (tried,) = nnw.detect(original, claim, run=True).found
    assert tried.use == "answers depend"
    assert "they move by up to" in tried.note
    path = decoys.never_taken(tmp_path / "never.onnx", clean, values)
    assert nnw.detect(path, claim)  # nothing in the graph shows it
    verdict = nnw.verify(path, claim, run=True)
    assert verdict.status == "not-applicable"
    assert verdict.reason.startswith("carrier: expected weights that answers depend on, got L")
    assert "some by" in verdict.reason
    assert verdict.detection.p_value == 1


def test_given_inputs_are_what_it_is_run_on(marked, tmp_path):
    """A branch for large inputs: drawn ones do not take it, those of its own kind do."""
    claim, clean, values, _ = marked
    path = decoys.never_taken(tmp_path / "seldom.onnx", clean, values)
    large = {"x": np.full((1, 3, 10, 10), 1e32, np.float32)}
    assert not nnw.detect(path, claim, run=True)
    np.savez(tmp_path / "x.npz", **large)
    for inputs in (large, tmp_path / "x.npz"):
        found = nnw.detect(path, claim, inputs=inputs)
        assert found
        assert found.found[0].use == "answers depend"


def test_a_network_that_cannot_be_tried_is_told_so(marked, tmp_path, monkeypatch):
    from nnw_onnx.runs import dependence

    claim, _, _, original = marked
    monkeypatch.setattr(dependence, "_LARGEST", 100)
    found = nnw.detect(original, claim, run=True)
    assert found
    assert found.found[0].use == "live"
    assert found.found[0].note == (
        "it was not tried whether answers depend on it: it has more than 0 MiB of weights"
    )


def test_a_dead_layer_is_never_chosen(marked, tmp_path):
    """It is the largest by far, and a change of it costs no quality at all."""
    rng = np.random.Generator(np.random.PCG64(5))
    large = (0.1 * rng.standard_normal((64, 8, 5, 5))).astype(np.float32)
    middle = [*decoys.carrier_nodes("h", "L", "c"), *decoys.carrier_nodes("h", "big", "unused")]
    path = decoys.write(tmp_path / "m.onnx", middle, {"L": marked[1], "big": large})
    assert nnw.inject(path, PAYLOAD).key.layers == ("L",)
    assert nnw.inject(path, PAYLOAD, method="uchida").key.layers == ("L",)
    with pytest.raises(nnw.NnwError, match="layer 'big': expected weights that can carry a water"):
        nnw.inject(path, PAYLOAD, layer="big")


def test_a_layer_may_be_named_and_a_dead_one_is_none(marked, tmp_path):
    claim, clean, values, _ = marked
    path = decoys.dead_conv(tmp_path / "m.onnx", values, clean)
    found = nnw.detect(path, claim, layer="used")
    assert found
    assert found.found[0].way == "asked"
    assert not nnw.detect(path, claim, layer="L")
    assert (
        "of which no output of the network is made" in nnw.detect(path, claim, layer="L").notes[0]
    )
    with pytest.raises(CarrierNotFoundError, match="expected L \\(32x8x3x3\\), got layer head"):
        nnw.decode(path, claim, layer="head")
    with pytest.raises(nnw.NnwError, match=r"layer: .* got 'use' \(did you mean 'used'\?\)"):
        nnw.decode(path, claim, layer="use")


def test_a_decoy_that_is_not_finite_does_not_hide_it(marked, tmp_path):
    claim, clean, values, _ = marked
    path = decoys.weights_chosen(tmp_path / "m.onnx", values, np.full_like(clean, np.nan))
    assert nnw.detect(path, claim)


def test_methods_with_one_carrier_see_no_dead_layer(marked, tmp_path):
    """Also where their Decoder is called without a search."""
    claim, clean, values, _ = marked
    network = open_network(decoys.dead_conv(tmp_path / "m.onnx", clean, values))
    with pytest.raises(CarrierNotFoundError, match="got one that no output depends on"):
        BlockSpread().decode(network, claim.key)
    key = dataclasses.replace(claim.key, layers=("used",))
    assert len(BlockSpread().decode(network, key).payload) == 40
    assert ArrayBench().layers == ()
