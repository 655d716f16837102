"""What a marked model may say of its mark in its metadata, and what it never says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import nnw_onnx as nnw
from nnw_onnx.graph import Limits

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


def record_of(network: nnw.Network) -> dict[str, str]:
    card = network.card.items()
    return {k.removeprefix("nnw_onnx."): v for k, v in card if k.startswith("nnw_onnx.")}


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    marked = nnw.inject(MODEL, "mine", seed=1)
    assert dict(marked.network.card) == dict(nnw.open(MODEL).card)


def test_a_record_tells_commitment_method_and_version_and_no_secret() -> None:
    marked = nnw.inject(MODEL, "mine, 2026", seed=1, record=True)
    assert record_of(marked.network) == {
        "commitment": marked.key.commitment,
        "method": "block-spread",
        "version": nnw.__version__,
    }
    data = marked.network.to_bytes()
    for secret in (marked.key.secret, marked.key.secret.hex().encode(), b"mine, 2026"):
        assert secret not in data
    assert nnw.verify_commitment(marked.claim, MODEL, recorded=marked.network)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (nnw.Payload.from_text("mine"), "text:mine"),
        (nnw.Payload.from_hex("f0ff"), "hex:f0ff"),
        (nnw.Payload.from_bits("101"), "bits:101"),
    ],
)
def test_the_payload_is_recorded_where_it_is_asked_for(payload: nnw.Payload, told: str) -> None:
    marked = nnw.inject(MODEL, payload, seed=1, record="payload", code="repetition")
    assert record_of(marked.network)["payload"] == told
    assert record_of(marked.network)["code"] == "repetition"


def test_a_record_changes_nothing_but_metadata(tmp_path: Path) -> None:
    plain = nnw.inject(MODEL, "mine", seed=1)
    marked = nnw.inject(MODEL, "mine", seed=1, record=True)
    assert marked.claim == plain.claim
    data = plain.network.to_bytes()
    assert marked.network.to_bytes()[: len(data)] == data
    onnx.checker.check_model(marked.network.to_proto(), full_check=True)
    assert nnw.verify_seal(marked.network, nnw.seal(plain.network))
    assert marked.network.layers == plain.network.layers
    for name in plain.network.weights:
        assert np.array_equal(marked.network.weights[name], plain.network.weights[name])
    marked.network.save(tmp_path / "m.onnx")
    assert nnw.detect(tmp_path / "m.onnx", marked.claim).p_value == (
        nnw.detect(plain.network, plain.claim).p_value
    )


def test_a_second_mark_takes_the_place_of_the_record() -> None:
    first = nnw.inject(MODEL, "mine", seed=1, record="payload", code="repetition")
    second = nnw.inject(first.network.to_proto(), "yours", seed=2, record=True)
    assert record_of(second.network) == {
        "commitment": second.key.commitment,
        "method": "block-spread",
        "version": nnw.__version__,
    }
    assert second.network.card["data"] == "digits"
    onnx.checker.check_model(second.network.to_proto(), full_check=True)
    unrecorded = nnw.inject(first.network, "yours", seed=2)
    assert record_of(unrecorded.network) == record_of(first.network)


def test_a_modification_of_weights_keeps_it() -> None:
    marked = nnw.inject(MODEL, "mine", seed=1, record=True)
    modified = nnw.modify(marked.network, "quantizing", 4).network
    assert record_of(modified) == record_of(marked.network)


def test_a_fingerprint_and_values_outside_have_one_too(tmp_path: Path) -> None:
    onnx.save(
        onnx.load(MODEL), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
        location="m.data",
    )  # fmt: skip
    marked = nnw.inject(tmp_path / "m.onnx", nnw.Payload(), method="nct", seed=1, record="payload")
    marked.network.save(tmp_path / "out.onnx")
    again = nnw.open(tmp_path / "out.onnx")
    assert record_of(again) == {
        "commitment": marked.key.commitment,
        "method": "nct",
        "version": nnw.__version__,
    }
    assert nnw.detect(again, marked.claim)


def test_a_record_of_something_else_binds_nothing() -> None:
    marked = nnw.inject(MODEL, "mine", seed=1, record=True)
    other = nnw.inject(MODEL, "mine", seed=2, record=True)
    assert not nnw.verify_commitment(marked.claim, MODEL, recorded=other.network)
    forged = marked.network.to_proto()
    (entry,) = (x for x in forged.metadata_props if x.key == "nnw_onnx.commitment")
    entry.value = "no\nhash\x1b[2J"
    with pytest.raises(nnw.NnwError, match=r"expected 64 hexadecimal digits, got 'no\\nhash"):
        nnw.verify_commitment(marked.claim, MODEL, recorded=forged)


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(nnw.NnwError) as caught:
        nnw.inject(MODEL, "mine", record="all")
    assert str(caught.value) == "record: expected True, False or \"payload\", got 'all'; correct it"
    marked = nnw.inject(MODEL, "mine", seed=1)
    with pytest.raises(nnw.NnwError) as caught:
        nnw.verify_commitment(marked.claim, MODEL, recorded=MODEL)
    assert str(caught.value) == (
        "record: expected nnw_onnx.commitment in the metadata of 'cnn-0.onnx', got none; inject "
        "with --record, or give the hash with --commitment"
    )
    with pytest.raises(nnw.NnwError, match="expected a published or a recorded one, got both"):
        nnw.verify_commitment(marked.claim, MODEL, published="0" * 64, recorded=MODEL)
    monkeypatch.setattr(Limits, "file_bytes", MODEL.stat().st_size)
    with pytest.raises(nnw.NnwError, match=r"metadata: expected room for \d+ bytes in a file of"):
        nnw.inject(MODEL.read_bytes(), "mine", seed=1, record=True)
