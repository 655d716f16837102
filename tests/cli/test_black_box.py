"""decode and detect of a watermark in what a network answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nnw_onnx

from ..runs import answering  # noqa: TID252 - shared by two rooms' tests
from .conftest import Nnw

PAYLOAD = nnw_onnx.Payload.from_text("mine!")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network that answers 37 of 40 triggers as its key says, and the key file."""
    folder = tmp_path_factory.mktemp("black-box")
    claim = answering.claim_of(PAYLOAD)
    nnw_onnx.save_key(claim, folder / "key.npz")
    return answering.write_classifier(folder / "m.onnx", claim, wrong=3), folder / "key.npz"


def test_yes_in_words(nnw: Nnw, files: tuple[Path, Path]) -> None:
    answer = nnw("detect", files[0], "--key", files[1])
    first, second, third = answer.out.splitlines()
    assert (answer.status, answer.err) == (0, "")
    assert first == "yes: 37 of 40 triggers answered as the key says"
    # P(Bin(40, 1/10) >= 37) = 7.3e-34
    assert second.startswith("a network made without this key matches as well with probability 7.")
    assert "e-34; yes means 1e-06 or less" in second
    # P(Bin(40, 1/10) >= 16) = 5.9e-7, and of 15 already 3.5e-6
    assert third == "yes takes 16 of 40 triggers: chance makes so many with probability 5.9e-07"


def test_no_in_words_and_too_few(nnw: Nnw, files: tuple[Path, Path], tmp_path: Path) -> None:
    other = answering.write_classifier(tmp_path / "other.onnx", None)
    answer = nnw("detect", other, "--key", files[1])
    assert answer.status == 1
    assert answer.out.startswith("no: ")
    assert len(answer.out.splitlines()) == 4
    assert answer.out.splitlines()[3].startswith("the key is of another network or a wrong one")
    few = answering.claim_of(nnw_onnx.Payload.from_bits("01100"))
    nnw_onnx.save_key(few, tmp_path / "few.npz")
    marked = answering.write_classifier(tmp_path / "few.onnx", few)
    answer = nnw("detect", marked, "--key", tmp_path / "few.npz")
    assert answer.out.splitlines()[-1] == (
        "nothing can be shown at a false-positive rate of 1e-06 with 5 symbols, even when all "
        "match (p = 1.0e-5): it takes 6"
    )


def test_decoding_tells_values_beyond_bits(nnw: Nnw, files: tuple[Path, Path]) -> None:
    told = json.loads(nnw("decode", files[0], "--key", files[1], "--format", "json").out)
    assert (told["symbols"], told["matching_symbols"], told["ties"]) == (40, 37, 0)
    assert told["symbol_error_rate"] == pytest.approx(3 / 40)
    assert told["payload"]["bits"] is None
    assert tuple(told["payload"]["values"][3:]) == PAYLOAD.symbols[3:]
    # each wrong answer is the next class
    assert told["payload"]["values"][:3] == [s + 1 for s in PAYLOAD.symbols[:3]]
    text = nnw("decode", files[0], "--key", files[1], "--format", "text").out
    assert text.strip() == "".join(map(str, told["payload"]["values"]))


def test_right_answers_are_bits_and_text_again(nnw: Nnw, tmp_path: Path) -> None:
    key = answering.claim_of(PAYLOAD)
    nnw_onnx.save_key(key, tmp_path / "key.npz", keep_payload=False)
    marked = answering.write_classifier(tmp_path / "m.onnx", key)
    told = json.loads(nnw("decode", marked, "--key", tmp_path / "key.npz", "--format", "json").out)
    assert told["payload"]["text"] == "mine!"
    assert told["payload"]["bits"] == PAYLOAD.bits
    assert told["p_value"] is None


def test_a_network_without_the_triggers_inputs_is_a_no(
    nnw: Nnw, files: tuple[Path, Path], tmp_path: Path
) -> None:
    other = answering.write_classifier(tmp_path / "o.onnx", None, shape=("n", 3, 8, 8))
    answer = nnw("detect", other, "--key", files[1])
    assert (answer.status, answer.err) == (1, "")
    assert answer.out.startswith("no: no carrier in this network\n")
    assert "expected an input that takes shape (40, 1, 8, 8), got one of shape (n, 3" in answer.out
    answer = nnw("decode", other, "--key", files[1])
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("nnw: error: network: expected an input that takes shape (40, 1,")
    assert answer.err.count("\n") == 1


def test_the_time_limit_is_a_number_from_one(nnw: Nnw, files: tuple[Path, Path]) -> None:
    answer = nnw("decode", files[0], "--key", files[1], "--timeout", "0")
    assert answer.status == 2
    assert "--timeout" in answer.err


def test_few_triggers_of_many_classes_are_enough(nnw: Nnw, tmp_path: Path) -> None:
    """Ten triggers with chance 1/10 reach p = 1e-10: nothing assumes a chance of 1/2."""
    claim = answering.claim_of(nnw_onnx.Payload.from_bits("0110010110"))
    nnw_onnx.save_key(claim, tmp_path / "key.npz")
    marked = answering.write_classifier(tmp_path / "m.onnx", claim)
    answer = nnw("detect", marked, "--key", tmp_path / "key.npz")
    assert answer.status == 0
    assert "probability 1.0e-10" in answer.out
    assert "too few" not in answer.out
