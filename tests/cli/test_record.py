"""`nnw inject --record` and `nnw verify-commitment --recorded`."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnw_onnx

from .conftest import Nnw


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ((), set()),
        (("--record",), {"commitment", "method", "version"}),
        (("--record-payload",), {"commitment", "method", "version", "payload"}),
    ],
)
def test_only_what_is_asked_for_is_recorded(
    nnw: Nnw, model: Path, tmp_path: Path, options: tuple[str, ...], kept: set[str]
) -> None:
    out, key = tmp_path / "m.onnx", tmp_path / "key.npz"
    words = ("inject", model, "-o", out, "--key-out", key, "--payload", "mine and mine")
    assert nnw(*words, "--seed", "1", *options).status == 0
    card = nnw_onnx.open(out).card
    assert {k.partition(".")[2] for k in card if k.startswith("nnw_onnx.")} == kept
    assert (b"mine and mine" in out.read_bytes()) == ("payload" in kept)
    assert nnw("layers", out).out == nnw("layers", model).out
    assert nnw("detect", out, "--key", key).status == 0
    answer = nnw("verify-commitment", key, model, "--recorded", out)
    if kept:
        assert (answer.status, answer.out.partition(":")[0]) == (0, "yes")
        assert "anybody can write it there, so compare it with the one that was" in answer.err
    else:
        assert answer.status == 2
        assert "expected nnw_onnx.commitment in the metadata of 'm.onnx', got none" in answer.err


def test_a_recorded_and_a_published_hash_are_one_too_many(
    nnw: Nnw, model: Path, marked: tuple[Path, Path]
) -> None:
    words = ("verify-commitment", marked[1], model, "--recorded", marked[0])
    answer = nnw(*words, "--commitment", "0" * 64)
    assert answer.status == 2
    assert "expected a published or a recorded one, got both; leave one out" in answer.err
