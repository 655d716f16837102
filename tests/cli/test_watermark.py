"""inject, decode, detect, modify and layers on a real network."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import nnw_onnx
from nnw_onnx.errors import ModelFileError
from nnw_onnx.vocabulary.evidence import power

Nnw = Callable[..., Any]
Marked = tuple[Path, Path]
TEXT = "mine and mine"


def test_layers_are_listed(nnw: Nnw, model: Path) -> None:
    answer = nnw("layers", model)
    assert answer.status == 0
    assert answer.err == "nnw: all reaches 99.5% of 23,946 float weights; left: bias 122\n"
    lines = answer.out.splitlines()
    assert lines[0].split()[:5] == ["layer", "operator", "role", "shape", "weights"]
    network = nnw_onnx.open(model)
    assert [line.split()[0] for line in lines[1:]] == [layer.name for layer in network.layers]


def test_layers_as_json(nnw: Nnw, model: Path) -> None:
    described = json.loads(nnw("layers", model, "--format", "json").out)
    kernels = [layer for layer in described["layers"] if layer["role"] == "kernel"]
    assert described["weights"] == sum(math.prod(layer["shape"]) for layer in kernels)
    assert described["parameters"] == sum(layer["weights"] for layer in described["layers"])
    assert described["inputs"][0]["shape"][1:] == [1, 8, 8]
    assert len(described["sha256"]) == 64
    assert described["no_weights_reason"] is None


def test_what_was_injected_is_decoded(nnw: Nnw, marked: Marked) -> None:
    answer = nnw("decode", marked[0], "--key", marked[1], "--format", "json")
    assert (answer.status, answer.err) == (0, "")
    decoded = json.loads(answer.out)
    size = 8 * len(TEXT)
    assert decoded["payload"]["text"] == TEXT
    assert bytes.fromhex(decoded["payload"]["hex"]).decode() == TEXT
    assert decoded["symbols"] == len(decoded["payload"]["bits"]) == len(decoded["confidence"])
    assert (decoded["symbol_error_rate"], decoded["matching_symbols"]) == (0.0, size)
    assert decoded["p_value"] == pytest.approx(0.5**size, rel=1e-12)
    assert min(decoded["confidence"]) > 1


def test_decoding_is_told_in_words(nnw: Nnw, marked: Marked, tmp_path: Path) -> None:
    """The payload alone on stdout, what it is worth on stderr."""
    answer = nnw("decode", marked[0], "--key", marked[1])
    assert answer == (
        0,
        f"{TEXT}\n",
        "nnw: read from conv3.weight\nnnw: all 104 symbols are those of the key file\n",
    )
    assert nnw("decode", marked[0], "--key", marked[1], "-q") == (0, f"{TEXT}\n", "")
    bare = tmp_path / "bare.npz"
    nnw_onnx.save_key(nnw_onnx.load_key(marked[1]), bare, keep_payload=False)
    told = nnw("decode", marked[0], "--key", bare).err
    assert "the key file tells no payload, so nothing shows whether these 104 symbols were" in told


def test_a_high_error_is_explained(nnw: Nnw, model: Path, marked: Marked, tmp_path: Path) -> None:
    unmarked = nnw("decode", model, "--key", marked[1])
    assert unmarked.status == 1
    assert "differ from those of the key file, about as chance makes them (50%): what was" in (
        unmarked.err
    )
    damaged = tmp_path / "damaged.onnx"
    words = ("--modification", "gaussian-noise", "--intensity", "1", "--seed", "3")
    assert nnw("modify", marked[0], "-o", damaged, *words).status == 0
    assert nnw("detect", damaged, "--key", marked[1]).status == 0
    told = nnw("decode", damaged, "--key", marked[1]).err
    assert "of 104 symbols (" in told
    assert "chance makes 50%: the watermark is there, and damaged" in told
    network, key = nnw_onnx.open(marked[0]), nnw_onnx.load_key(marked[1]).key
    inverted = tmp_path / "inverted.onnx"
    network.with_weights({name: -network.weights[name] for name in key.layers}).save(inverted)
    told = nnw("decode", inverted, "--key", marked[1]).err
    assert "almost every one of them inverted: the sign of the carrier's weights was" in told


def test_decoding_another_network_tells_the_errors(nnw: Nnw, model: Path, marked: Marked) -> None:
    answer = nnw("decode", model, "--key", marked[1], "--format", "json")
    decoded = json.loads(answer.out)
    size, matching = decoded["symbols"], decoded["matching_symbols"]
    assert answer.status == 1  # no better than chance
    assert decoded["symbol_error_rate"] == pytest.approx(1 - matching / size)
    assert decoded["p_value"] == pytest.approx(stats.binom.sf(matching - 1, size, 0.5), rel=1e-9)


def test_a_key_without_payload_decodes_without_error_rate(
    nnw: Nnw, marked: Marked, tmp_path: Path
) -> None:
    key = tmp_path / "key.npz"
    nnw_onnx.save_key(nnw_onnx.load_key(marked[1]), key, keep_payload=False)
    decoded = json.loads(nnw("decode", marked[0], "--key", key, "--format", "json").out)
    assert decoded["payload"]["text"] == TEXT
    assert decoded["symbol_error_rate"] is decoded["p_value"] is None
    refused = nnw("detect", marked[0], "--key", key)
    assert refused.status == 2
    assert "expected one with the key or beside it, got none" in refused.err


def test_a_code_is_told_apart_from_the_symbols(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "o.onnx", tmp_path / "k.npz"
    code = ("--code", "repetition", "--code-option", "times=3", "--payload", "ab")
    answer = nnw("inject", model, "-o", out, "--key-out", key, *code, "--format", "json")
    told = json.loads(answer.out)
    assert (told["code"], told["symbols"]) == ("repetition(times=3)", 48)
    assert told["payload"]["text"] == "ab"
    decoded = json.loads(nnw("decode", out, "--key", key, "--format", "json").out)
    assert decoded["payload"]["text"] == "ab"
    assert (decoded["symbols"], decoded["bits"], decoded["bit_errors"]) == (48, 16, 0)
    assert decoded["values"] == [int(b) for b in decoded["payload"]["bits"] * 3]
    assert nnw("decode", out, "--key", key, "--format", "text").out == "ab\n"
    assert nnw("detect", out, "--key", key).out.startswith("yes: 48 of 48 symbols match")
    lost = nnw("inject", model, "-o", out, "--key-out", key, "--code-option", "times=3", "--force")
    assert (lost.status, "expected one beside its options" in lost.err) == (2, True)


def test_a_payload_that_the_code_cannot_restore_is_shown_as_it_was_read(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    # Three bytes of eight may be wrong: 3 of a million random words are near a word of the code.
    out, key = tmp_path / "o.onnx", tmp_path / "k.npz"
    words = ("--method", "uchida", "--code", "reed-solomon", "--code-option", "parity=6")
    assert nnw("inject", model, "-o", out, "--key-out", key, *words, "--payload", "ab").status == 0
    answer = nnw("decode", other_model, "--key", key, "--format", "text")
    assert answer.status == 1
    assert "warning: expected a word of the code, got none: these are the symbols" in answer.err
    decoded = json.loads(nnw("decode", other_model, "--key", key, "--format", "json").out)
    assert (decoded["payload"], decoded["bit_errors"]) == (None, decoded["bits"])
    assert len(decoded["values"]) == decoded["symbols"] == 64


def test_methods_that_carry_nothing_are_detected_only(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    for method, words in (
        ("presence", "the watermark in conv3.weight, weights changed by"),
        ("nct", "a fingerprint of conv1.weight, conv2.weight, conv3.weight, head.weight, nothing"),
    ):
        out, key = tmp_path / f"{method}.onnx", tmp_path / f"{method}.npz"
        told = nnw("inject", model, "-o", out, "--key-out", key, "--method", method)
        assert (told.status, words in told.out) == (0, True)
        assert nnw("detect", out, "--key", key).status == 0
        assert nnw("detect", other_model, "--key", key).status == 1
        decoded = nnw("decode", out, "--key", key)
        assert (decoded.status, "use 'nnw detect'" in decoded.err) == (2, True)
        refused = nnw(
            "inject", model, "-o", tmp_path / "x.onnx", "--key-out", tmp_path / "x.npz",
            "--method", method, "--payload", "mine",
        )  # fmt: skip
        assert (refused.status, "expected no payload and no code" in refused.err) == (2, True)


def test_integrity_tells_the_places(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    out, key, bad = tmp_path / "o.onnx", tmp_path / "k.npz", tmp_path / "bad.onnx"
    assert nnw("inject", model, "-o", out, "--key-out", key, "--method", "fragile").status == 0
    tamper = ("--modification", "gaussian-noise", "--intensity", "0.2", "--layer", "conv2.weight")
    assert nnw("modify", out, "-o", bad, *tamper).status == 0
    answer, whole = nnw("detect", bad, "--key", key), nnw("detect", out, "--key", key)
    first = "yes, but the network is not what it was: 20 of 24 blocks are whole\n"
    assert (answer.status, answer.out.startswith(first)) == (0, True)
    assert "the exit status of 'nnw integrity verify'" in answer.err
    assert "changed: conv2.weight" in answer.out
    assert answer.out.count("blocks are whole") == 1
    told = json.loads(nnw("detect", bad, "--key", key, "--format", "json").out)
    assert {p["layer"] for p in told["places"]} >= {"conv2.weight", "conv3.weight"}
    assert (told["detected"], told["whole"]) == (True, False)
    assert (whole.status, whole.err) == (0, "")
    assert whole.out.startswith("yes: 24 of 24 blocks are whole\n")
    assert "not what it was" not in whole.out
    assert json.loads(nnw("detect", out, "--key", key, "--format", "json").out)["whole"] is True
    gone = nnw("modify", out, "-o", bad, "--modification", "float16", "--force")
    lost = nnw("detect", bad, "--key", key)
    assert (gone.status, lost.status) == (0, 1)
    assert lost.out.startswith("no: 0 of 24 blocks are whole\n")
    assert "or every block was changed" in lost.out


def test_copies_are_averaged(nnw: Nnw, model: Path, other_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    words = ("--modification", "averaging", "--copy", other_model)
    answer = nnw("modify", model, "-o", out, *words)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"{out}: averaging, weights changed by ")
    own = nnw("modify", model, "-o", other_model, *words, "--force")
    assert (own.status, "expected a file of its own" in own.err) == (2, True)


def test_detection_answers_yes_and_no(nnw: Nnw, model: Path, marked: Marked) -> None:
    yes, no = nnw("detect", marked[0], "--key", marked[1]), nnw("detect", model, "--key", marked[1])
    assert yes == (
        0,
        "yes: 104 of 104 symbols match the payload\n"
        "a network made without this key matches as well with probability 4.9e-32; yes means 1e-06 "
        "or less\n"
        "yes takes 77 of 104 symbols: chance makes so many with probability 4.9e-07\n"
        "read from layer conv3.weight; answers depend on it (they move by up to 1.5 of their "
        "size)\n",
        "",
    )
    assert no.status == 1
    assert no.out.startswith("no: ")
    strict = ("--false-positive-rate", "1e-40", "--format", "json")
    found = nnw("detect", marked[0], "--key", marked[1], *strict)
    assert found.status == 1
    assert json.loads(found.out)["detected"] is False
    assert json.loads(found.out)["whole"] is None


def test_an_inverted_watermark_is_told(nnw: Nnw, marked: Marked, tmp_path: Path) -> None:
    network, key = nnw_onnx.open(marked[0]), nnw_onnx.load_key(marked[1]).key
    inverted = tmp_path / "inverted.onnx"
    network.with_weights({name: -network.weights[name] for name in key.layers}).save(inverted)
    answer = nnw("detect", inverted, "--key", marked[1])
    assert answer.status == 1
    assert "almost every symbol is inverted" in answer.out


@pytest.mark.parametrize("rate", ["0", "1", "-1", "nan"])
def test_a_false_positive_rate_is_a_probability(nnw: Nnw, marked: Marked, rate: str) -> None:
    answer = nnw("detect", marked[0], "--key", marked[1], "--false-positive-rate", rate)
    assert answer.status == 2
    assert answer.err.startswith(
        "nnw: error: --false-positive-rate: expected a number between 0 and 1, got "
    )


@pytest.mark.parametrize(
    ("log10_p", "words"), [(0.0, "1"), (math.log10(0.25), "0.25"), (-1000.5, "3.2e-1001")]
)
def test_probabilities_in_words(log10_p: float, words: str) -> None:
    assert power(log10_p) == words


def injected_change(nnw: Nnw, model: Path, folder: Path, option: str) -> float:
    words = ("-o", folder / "w.onnx", "--key-out", folder / "w.npz", "--payload-hex", "c0ffee")
    more = ("--method", "uchida", "--option", option, "--format", "json")
    return float(json.loads(nnw("inject", model, *words, *more).out)["change"])


def test_injection_tells_where_and_keeps_the_key_secret(
    nnw: Nnw, model: Path, tmp_path: Path
) -> None:
    out, key = tmp_path / "out.onnx", tmp_path / "key.npz"
    given = ("--method", "uchida", "--option", "margin=3", "--payload-hex", "c0ffee")
    answer = nnw("inject", model, "-o", out, "--key-out", key, *given, "--format", "json")
    assert answer.status == 0
    told = json.loads(answer.out)
    assert (told["method"], told["symbols"]) == ("uchida", 24)
    assert told["payload"]["hex"] == "c0ffee"
    assert told["change"] > injected_change(nnw, model, tmp_path, "margin=1")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert answer.err.startswith("nnw: ")
    assert told["layers"][0] in answer.err


def test_injection_repeats_only_with_a_seed(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    def injected(name: str, *seed: str) -> bytes:
        out = tmp_path / f"{name}.onnx"
        assert nnw("inject", model, "-o", out, "--key-out", f"{out}.npz", *seed).status == 0
        return out.read_bytes()

    assert injected("a", "--seed", "5") == injected("b", "--seed", "5")
    assert injected("c") != injected("d")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--method", "uchda"], "got 'uchda' (did you mean 'uchida'?); see 'nnw list methods'"),
        (["--option", "margn=3"], "got 'margn' (did you mean 'margin'?)"),
        (["--option", "margin=much"], "option margin: "),
        (["--layer", "no such layer"], "no such layer"),
        (["--payload-bits", "1000000"], "1000000"),
        (["--payload-hex", "xyz"], "payload: expected hexadecimal digits, got 'xyz'; correct it"),
        (["--payload", "a", "--payload-bits", "8"], "got --payload and --payload-bits; keep one"),
    ],
)
def test_a_failed_injection_leaves_nothing(
    nnw: Nnw, model: Path, tmp_path: Path, wrong: list[str], message: str
) -> None:
    out, key = tmp_path / "out.onnx", tmp_path / "key.npz"
    answer = nnw("inject", model, "-o", out, "--key-out", key, *wrong)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_saved_leaves_no_key(
    nnw: Nnw, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnw_onnx.graph import OnnxNetwork

    def refuse(self: OnnxNetwork, path: Path, **how: object) -> None:
        raise ModelFileError("expected space, got none; make some")

    monkeypatch.setattr(OnnxNetwork, "save", refuse)
    answer = nnw("inject", model, "-o", tmp_path / "o.onnx", "--key-out", tmp_path / "k.npz")
    assert answer == (2, "", "nnw: error: expected space, got none; make some\n")
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_overwritten_only_by_force(
    nnw: Nnw, model: Path, tmp_path: Path
) -> None:
    out, key = tmp_path / "out.onnx", tmp_path / "key.npz"
    assert nnw("inject", model, "-o", out, "--key-out", key).status == 0
    out.unlink()
    before = key.read_bytes()
    refused = nnw("inject", model, "-o", out, "--key-out", key)
    assert refused.status == 2
    assert "give another name or --force" in refused.err
    assert key.read_bytes() == before
    assert nnw("inject", model, "-o", out, "--key-out", key, "--force").status == 0
    assert nnw("detect", out, "--key", key).status == 0
    itself = nnw("inject", model, "-o", model, "--key-out", tmp_path / "k.npz", "--force")
    assert itself.status == 2
    assert "expected a file of its own" in itself.err


def test_modifying_is_repeatable_and_tells_the_change(
    nnw: Nnw, marked: Marked, tmp_path: Path
) -> None:
    noise = ("--modification", "gaussian-noise", "--intensity", "0.2", "--format", "json")
    a, b, c = (tmp_path / f"{name}.onnx" for name in "abc")
    told = json.loads(nnw("modify", marked[0], "-o", a, *noise, "--seed", "7").out)
    assert told["change"] == pytest.approx(0.2, rel=0.05)
    assert told["warnings"] == []
    assert nnw("modify", marked[0], "-o", b, *noise, "--seed", "7").status == 0
    assert nnw("modify", marked[0], "-o", c, *noise, "--seed", "8").status == 0
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def test_one_layer_only(nnw: Nnw, marked: Marked, tmp_path: Path) -> None:
    before = nnw_onnx.open(marked[0])
    name = next(x.name for x in before.layers if x.role == "kernel")
    out = tmp_path / "out.onnx"
    words = ("--modification", "l1-pruning", "--intensity", "50", "--layer", name)
    assert nnw("modify", marked[0], "-o", out, *words).status == 0
    after = nnw_onnx.open(out)
    changed = [
        x.name
        for x in before.layers
        if not np.array_equal(before.weights[x.name], after.weights[x.name])
    ]
    assert changed == [name]
    assert np.mean(after.weights[name] == 0) == pytest.approx(0.5, abs=0.01)


def test_outside_the_standard_is_a_warning(nnw: Nnw, marked: Marked, tmp_path: Path) -> None:
    words = ("--modification", "gaussian-noise", "--intensity", "2")
    answer = nnw("modify", marked[0], "-o", tmp_path / "out.onnx", *words)
    assert answer.status == 0
    assert answer.err == (
        "nnw: warning: gaussian-noise: intensity 2 x sigma is outside the standard's range 0.1 to "
        "0.3 x sigma\nnnw: all reaches 99.5% of 23,946 float weights; left: bias 122\n"
    )
    assert answer.out.startswith(
        f"{tmp_path / 'out.onnx'}: gaussian-noise at 2 x sigma on 4 layers"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--modification", "gausian-noise"), "(did you mean 'gaussian-noise'?)"),
        (("--modification", "gaussian-noise", "--layer", "convx"), "convx"),
        (("--modification", "quantizing", "--option", "bits=3"), "'bits'"),
        (("--modification", "averaging"), "averaging: expected no intensity"),
    ],
)
def test_a_failed_modification_leaves_nothing(
    nnw: Nnw, marked: Marked, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    answer = nnw("modify", marked[0], "-o", tmp_path / "out.onnx", "--intensity", "4", *words)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_missing_and_broken_files(nnw: Nnw, tmp_path: Path, marked: Marked) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    broken.chmod(0o600)
    for words in (
        ("layers", tmp_path / "none.onnx"),
        ("layers", broken),
        ("decode", marked[0], "--key", tmp_path / "none.npz"),
        ("decode", marked[0], "--key", broken),
        ("decode", broken, "--key", marked[1]),
    ):
        answer = nnw(*words)
        assert (answer.status, answer.out) == (2, "")
        assert answer.err.startswith("nnw: error: ")
        assert "expected" in answer.err
        assert answer.err.count("\n") == 1
