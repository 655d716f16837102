"""Which weights were read, whether they are used, and what a commitment binds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx.kit import commitments

from ..runs import decoys  # noqa: TID252 - shared by two rooms' tests
from .conftest import Nnw

PAYLOAD = nnw_onnx.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An unmarked network, the marked one, a thief's, one with a marked decoy, and the key."""
    folder = tmp_path_factory.mktemp("carriers")
    clean = decoys.kernels()["L"]
    original = decoys.plain(folder / "original.onnx", clean)
    given = nnw_onnx.inject(original, PAYLOAD, layer="L", seed=1)
    values = np.array(given.network.weights["L"])
    nnw_onnx.save_key(given.claim, folder / "key.npz")
    given.network.save(folder / "marked.onnx")
    return {
        "original": original,
        "marked": folder / "marked.onnx",
        "thief": decoys.dead_conv(folder / "thief.onnx", values, clean),
        "decoy": decoys.never_taken(folder / "decoy.onnx", clean, values),
        "key": folder / "key.npz",
    }


def test_a_yes_names_the_layer_and_whether_answers_depend_on_it(
    nnw: Nnw, files: dict[str, Path]
) -> None:
    answer = nnw("detect", files["marked"], "--key", files["key"])
    assert answer.status == 0
    assert "read from layer L; answers depend on it (they move by up to " in answer.out
    plain = nnw("detect", files["marked"], "--key", files["key"], "--no-run")
    assert "read from layer L; an output is computed with it" in plain.out


def test_a_renamed_layer_is_found_and_told_with_the_answer(
    nnw: Nnw, files: dict[str, Path]
) -> None:
    answer = nnw("detect", files["thief"], "--key", files["key"], "--no-run")
    assert answer.status == 0
    assert "read from layer used" in answer.out
    assert "carrier L (32x8x3x3) was read from used, the only place of its shape" in answer.out
    told = json.loads(
        nnw("detect", files["thief"], "--key", files["key"], "--no-run", "--format", "json").out
    )
    assert told["found"] == [
        {"carrier": "L", "layer": "used", "part": "", "way": "shape", "candidates": 1,
         "use": "live", "note": "", "cosine": None, "margin": None}
    ]  # fmt: skip


def test_a_decoy_is_a_no_with_the_reason(nnw: Nnw, files: dict[str, Path]) -> None:
    answer = nnw("detect", files["decoy"], "--key", files["key"])
    assert answer.status == 1
    assert answer.out.startswith("no: ")
    assert "read from layer L; no answer depends on it" in answer.out


def test_a_layer_may_be_named(nnw: Nnw, files: dict[str, Path]) -> None:
    words = ("--key", files["key"], "--layer")
    answer = nnw("detect", files["thief"], *words, "used", "--no-run")
    assert answer.status == 0
    answer = nnw("detect", files["thief"], *words, "L")
    assert answer.status == 1
    assert "of which no output of the network is made" in answer.out
    answer = nnw("decode", files["thief"], *words, "used")
    assert answer.status == 0
    assert answer.out.startswith("mine!")
    answer = nnw("detect", files["thief"], *words, "usde")
    assert answer.status == 2
    assert "did you mean 'used'?" in answer.err


def test_a_commitment_is_checked(nnw: Nnw, files: dict[str, Path]) -> None:
    answer = nnw("verify-commitment", files["key"], files["original"])
    assert answer.status == 0
    first, second = answer.out.splitlines()
    assert first == "yes: the commitment binds this key, its payload, its carrier and this network"
    published = second.removeprefix("commitment ")
    assert published == nnw_onnx.load_key(files["key"]).key.commitment
    answer = nnw("verify-commitment", files["key"], files["original"], "--commitment", published)
    assert answer.status == 0
    answer = nnw("verify-commitment", files["key"], files["original"], "--commitment", "0" * 64)
    assert answer.status == 1
    assert answer.out.startswith("no: commitment: expected one of what was given, got one of")
    answer = nnw("verify-commitment", files["key"], files["marked"])
    assert answer.status == 1
    answer = nnw("verify-commitment", files["key"], files["original"], "--commitment", "xyz")
    assert answer.status == 2
    assert "expected 64 hexadecimal digits, got 'xyz'" in answer.err


def test_a_commitment_of_an_earlier_version_leaves_its_options_open(
    nnw: Nnw, files: dict[str, Path], tmp_path: Path
) -> None:
    claim, original = nnw_onnx.load_key(files["key"]), nnw_onnx.open(files["original"])
    bound = commitments.carriers_of(claim.key, original)
    first = commitments.commit(claim.key.secret, claim.key.method.name, bound)
    old = dataclasses.replace(claim.key, commitment=first, opening="")
    old = commitments.bound(old, PAYLOAD)
    nnw_onnx.save_key(dataclasses.replace(claim, key=old), tmp_path / "old.npz")
    answer = nnw("verify-commitment", tmp_path / "old.npz", files["original"])
    assert answer.status == 0
    assert answer.out.splitlines()[2] == (
        "options left open: the commitment is of an earlier version and does not bind the options "
        "of the method; ask for the dated key file, or count each choice of them as one more key"
    )


def test_a_payload_that_was_read_from_a_stranger_is_no_claim(
    nnw: Nnw, files: dict[str, Path], tmp_path: Path
) -> None:
    key = nnw_onnx.load_key(files["key"]).key
    read = nnw_onnx.decode(files["original"], key).payload
    nnw_onnx.save_key(nnw_onnx.Claim(key, read), tmp_path / "forged.npz")
    answer = nnw("detect", files["original"], "--key", tmp_path / "forged.npz")
    assert answer.status == 1
    assert "payload: expected one that the commitment of the key binds" in answer.out
    answer = nnw("verify-commitment", tmp_path / "forged.npz", files["original"])
    assert answer.status == 1
