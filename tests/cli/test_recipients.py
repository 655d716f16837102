"""recipients inject and recipients trace as a person uses them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx as nnw_package

Nnw = Callable[..., Any]


@pytest.fixture
def handed_out(nnw: Nnw, model: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Copies for three recipients: the names, the key, the folder."""
    names, key, folder = tmp_path / "names.txt", tmp_path / "owner.npz", tmp_path / "copies"
    names.write_text("Alice Inc.\nBob\nCarol\n")
    answer = nnw("recipients", "inject", model, "--recipients", names, "--key", key, "-o", folder)
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == (
        f"{folder}: 3 copies of cnn-0.onnx, each with 256 bits of its own in conv3.weight"
    )
    assert lines[3].startswith("commitment to publish with a date before they go out: ")
    # 256 / (z(1e-6 / 3) + z(0.9))^2 = 256 / (4.97 + 1.28)^2 = 6.5
    assert lines[4].startswith("each of up to 6 who average their copies is accused with probabi")
    assert "0002-bob.onnx" in answer.err
    return names, key, folder


def test_the_leaker_is_told(nnw: Nnw, handed_out: tuple[Path, Path, Path], model: Path) -> None:
    _, key, folder = handed_out
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    words = ("--key", key, "--recipients", folder / "recipients.json")
    answer = nnw("recipients", "trace", folder / "0002-bob.onnx", *words)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    # sqrt(256) bits that are read equally surely
    assert re.match(r"accused: Bob, score 1[56]\.\d\d, which any innocent reaches with", lines[0])
    assert lines[1].startswith("the highest score of the others is ")
    assert "256 of 256 bits were read from conv3.weight" in lines
    assert lines[-1] == "that any innocent of all 3 is accused has at most probability 1e-06"

    innocent = nnw("recipients", "trace", model, *words)
    assert innocent.status == 1
    assert innocent.out.startswith("nobody is accused: the best score ")


def test_mixed_copies_accuse_several_as_json(
    nnw: Nnw, handed_out: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, key, folder = handed_out
    mixed = tmp_path / "mixed.onnx"
    words = ("--modification", "averaging", "--copy", folder / "0003-carol.onnx")
    assert nnw("modify", folder / "0001-alice-inc.onnx", "-o", mixed, *words).status == 0
    answer = nnw(
        "recipients", "trace", mixed, "--key", key, "--recipients", folder / "recipients.json",
        "--false-accusation-rate", "1e-9", "--format", "json",
    )  # fmt: skip
    told = json.loads(answer.out)
    assert answer.status == 0
    assert sorted(told["accused"]) == ["Alice Inc.", "Carol"]
    assert told["false_accusation_rate"] == 1e-9
    assert [one["accused"] for one in told["recipients"]] == [True, True, False]
    assert told["symbols"] == 256
    # Their codewords differ in about half of the bits, whose mean is no mark.
    assert told["recipients"][0]["score"] == pytest.approx(16 / 2**0.5, rel=0.15)


def test_recipients_are_added_with_the_same_key(
    nnw: Nnw, handed_out: tuple[Path, Path, Path], model: Path
) -> None:
    names, key, folder = handed_out
    names.write_text("Dave\n")
    words = ("recipients", "inject", model, "--recipients", names, "--key", key, "-o", folder)
    before = key.read_bytes()
    answer = nnw(*words)
    assert answer.status == 0
    assert answer.out.splitlines()[0].startswith(f"{folder}: 1 copy of cnn-0.onnx")
    assert "(4 in all)" in answer.out
    assert key.read_bytes() == before
    trace = ("--key", key, "--recipients", folder / "recipients.json")
    assert "accused: Dave" in nnw("recipients", "trace", folder / "0004-dave.onnx", *trace).out
    assert "'Dave' twice" in nnw(*words).err
    refused = nnw(*words, "--bits", "64")
    assert refused.status == 2
    assert "--bits: expected none beside a key that is there, which decides it" in refused.err


def test_a_key_follows_from_a_master_seed_and_a_label(
    nnw: Nnw, model: Path, tmp_path: Path
) -> None:
    names, seed = tmp_path / "names.txt", tmp_path / "seed"
    names.write_text("Alice\n")
    seed.write_text(f"{'5a' * 32}\n")
    seed.chmod(0o600)
    secrets = []
    for folder, label in (("one", "resnet"), ("two", "resnet"), ("three", "other")):
        key = tmp_path / f"{folder}.npz"
        words = ("--recipients", names, "--key", key, "-o", tmp_path / folder, "--bits", "64",
                 "--method", "uchida", "--seed-file", seed, "--label", label)  # fmt: skip
        answer = nnw("recipients", "inject", model, *words)
        assert answer.status == 0, answer.err
        assert answer.out.splitlines()[4].startswith("a single leaker is accused with probabi")
        secrets.append(nnw_package.load_key(key).key.secret)
    assert secrets[0] == secrets[1] != secrets[2]
    assert secrets[0] == nnw_package.secret_of(b"\x5a" * 32, "resnet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--false-accusation-rate", "2"), "--false-accusation-rate: expected a number between"),
        (("--label", "x"), "--seed-file: expected it together with --label, got one of the two"),
        (("--method", "adi"), "method: expected one that reads bits from weights and is put in"),
        (("--bits", "200000"), "block-spread: largest kernel: expected at least 3200000 weights"),
    ],
)
def test_what_cannot_be_given_out_is_refused(
    nnw: Nnw, model: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    names, key = tmp_path / "names.txt", tmp_path / "owner.npz"
    names.write_text("Alice\n")
    start = ("recipients", "inject", model, "--recipients", names, "--key", key)
    answer = nnw(*start, "-o", tmp_path / "copies", *words)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not key.exists()


def test_copies_of_another_key_are_not_joined(
    nnw: Nnw, handed_out: tuple[Path, Path, Path], model: Path, tmp_path: Path
) -> None:
    names, _, folder = handed_out
    key = tmp_path / "another.npz"
    words = ("--recipients", names, "--key", key, "-o", folder)
    answer = nnw("recipients", "inject", model, *words)
    assert answer.status == 2
    assert "--out: expected a folder without copies of another key, got one with rec" in answer.err
    assert not key.exists()


def test_few_bits_for_many_recipients_are_told(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Alice\n")
    words = ("--recipients", names, "--key", tmp_path / "k.npz", "-o", tmp_path / "c")
    answer = nnw("recipients", "inject", model, *words, "--bits", "32")
    # (4.75 + 1.28)^2 = 36.4
    assert answer.out.splitlines()[-1] == (
        "too short: nobody of 1 is accused with probability 0.9 at a false-accusation rate of "
        "1e-06; it takes 37 bits"
    )


def test_a_coalition_is_rehearsed(nnw: Nnw, model: Path) -> None:
    words = ("--colluders", "2", "--count", "5", "--coalitions", "1", "--bits", "64", "--seed", "1")
    answer = nnw("recipients", "rehearse", model, *words)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[0].split()[:3] == ["attack", "colluders", "accused"]
    attacks = ["average", "median", "middle", "minimum", "maximum", "pick", "layers"]
    assert [line.split()[0] for line in lines[1:]] == attacks
    assert lines[1].split()[1:3] == ["2", "100%"]
    assert all("0 of 3" in line for line in lines[1:])
    assert "2 colluders, average: 100% accused" in answer.err
    told = json.loads(nnw("recipients", "rehearse", model, *words, "--format", "json").out)
    assert [one["attack"] for one in told] == attacks
    assert told[0]["share"] == 1
    refused = nnw("recipients", "rehearse", model, "--colluders", "9", "--count", "5")
    assert "colluders: expected 2 to 5 of 5 recipients, got 9" in refused.err


def test_the_original_helps_to_trace(
    nnw: Nnw, handed_out: tuple[Path, Path, Path], model: Path
) -> None:
    _, key, folder = handed_out
    words = ("--key", key, "--recipients", folder / "recipients.json", "--original", model)
    answer = nnw("recipients", "trace", folder / "0001-alice-inc.onnx", *words)
    assert answer.status == 0
    # as read in a copy, every bit is -1 or 1
    assert answer.out.startswith("accused: Alice Inc., score 16.0")


def test_the_group_alone_shows_its_help(nnw: Nnw) -> None:
    answer = nnw("recipients")
    assert (answer.status, answer.err) == (0, "")
    assert "trace" in answer.out
