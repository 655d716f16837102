"""`nnw integrity`: seal, verify and restore, answers and exit statuses."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nnw_onnx
from nnw_onnx.runs.seals import load_seal

Nnw = Callable[..., Any]


def test_a_network_is_sealed_and_verified(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    seal, bad = tmp_path / "m.seal.json", tmp_path / "bad.onnx"
    made = nnw("integrity", "seal", model, "-o", seal)
    root = load_seal(seal).root
    assert made == (
        0,
        f"{seal}: 15 parts of the graph and 8 tensors in 29 blocks; sign this file, or publish the "
        f"root\nroot: {root}\n",
        "",
    )
    assert nnw("integrity", "verify", model, seal) == (
        0, "yes: as it was when it was sealed, 15 parts of the graph and 8 tensors in 29 blocks\n",
        "",
    )  # fmt: skip
    tamper = ("--modification", "quantizing", "--intensity", "8", "--layer", "head.weight", "-q")
    assert nnw("modify", model, "-o", bad, *tamper).status == 0
    assert nnw("integrity", "verify", bad, seal) == (
        1,
        "no: not as it was when it was sealed: 1 of 8 tensors, 0 of 15 parts of the graph\n"
        "tensor head.weight: changed in blocks with 640 of 640 weights, [0:640]\n",
        "",
    )
    told = json.loads(nnw("integrity", "verify", bad, seal, "--format", "json").out)
    assert told["whole"] is False
    assert told["changes"][0] == {
        "what": "tensor", "name": "head.weight", "how": "changed", "note": "",
        "blocks": [[0, 640]], "weights": 640,
    }  # fmt: skip
    assert (told["sealed"], told["root"] == root) == (root, False)


def test_a_seal_with_a_key(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    seal, plain, seed = (tmp_path / name for name in ("k.json", "p.json", "master.seed"))
    assert nnw("key", "seed", seed).status == 0
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    made = nnw("integrity", "seal", model, "-o", seal, "--key", seed, "--format", "json")
    assert json.loads(made.out)["keyed"] is True
    assert nnw("integrity", "verify", model, seal, "--key", seed).status == 0
    without = nnw("integrity", "verify", model, seal)
    assert without.status == 2
    assert without.err.startswith("nnw: error: seal: expected the key that it was made with")
    assert nnw("integrity", "seal", model, "-o", plain).status == 0
    downgraded = nnw("integrity", "verify", model, plain, "--key", seed)
    assert (downgraded.status, "which anybody can make" in downgraded.err) == (2, True)
    out, key = tmp_path / "o.onnx", tmp_path / "k.npz"
    words = ("--payload", "mine", "-q")
    assert nnw("inject", model, "-o", out, "--key-out", key, *words).status == 0
    own = tmp_path / "own.json"
    assert nnw("integrity", "seal", out, "-o", own, "--key", key).status == 0
    assert nnw("integrity", "verify", out, own, "--key", key).status == 0
    assert nnw("integrity", "verify", model, own, "--key", key).status == 1
    assert nnw("integrity", "verify", out, own, "--key", seed).status == 2


def test_many_changes_are_shortened(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    seal = tmp_path / "m.json"
    assert nnw("integrity", "seal", model, "-o", seal, "--block", "64").status == 0
    values = nnw_onnx.open(model).weights["conv3.weight"].copy()
    values.reshape(-1)[::200] += 1
    nnw_onnx.open(model).with_weights({"conv3.weight": values}).save(tmp_path / "o.onnx")
    told = nnw("integrity", "verify", tmp_path / "o.onnx", seal)
    assert told.out.splitlines()[1].startswith(
        "tensor conv3.weight: changed in blocks with 5952 of 18432 weights, [0:64, 192:256, "
        "384:448, 576:640 and "
    )
    assert nnw("integrity", "verify", other_model, seal).status == 1


def test_nothing_is_overwritten_and_errors_are_lines(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    seal = tmp_path / "m.json"
    seal.write_text("mine")
    refused = nnw("integrity", "seal", model, "-o", seal)
    assert (refused.status, "expected a new file" in refused.err) == (2, True)
    assert nnw("integrity", "seal", model, "-o", model, "--force").status == 2
    assert seal.read_text() == "mine"
    for words in (
        ("integrity", "verify", model, seal),
        ("integrity", "verify", seal, seal),
        ("integrity", "verify", model, tmp_path / "none"),
        ("integrity", "seal", model, "-o", tmp_path / "s.json", "--key", tmp_path / "none"),
        ("integrity", "seal", model, "-o", tmp_path / "s.json", "--key", seal),
        ("integrity", "seal", model, "-o", tmp_path / "s.json", "--block", "7"),
    ):
        answer = nnw(*words)
        assert (answer.status, answer.out) == (2, "")
        assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "s.json").exists()
    assert nnw("integrity", "seal", model, "-o", seal, "--force").status == 0


def test_a_mark_that_heals_and_one_that_comes_out(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    marked, hurt, back = (tmp_path / f"{name}.onnx" for name in ("marked", "hurt", "back"))
    key = tmp_path / "k.npz"
    put = ("inject", model, "-o", marked, "--key-out", key, "--force", "-q", "--method")
    assert nnw(*put, "recoverable").status == 0
    tamper = ("--modification", "quantizing", "--intensity", "4", "--layer", "conv1.weight", "-q")
    assert nnw("modify", marked, "-o", hurt, *tamper).status == 0
    found = nnw("detect", hurt, "--key", key)
    first = "yes, but the network is not what it was: 24 of 25 blocks are whole\n"
    assert found.out.startswith(first)
    assert "\nchanged: conv1.weight\nconv1.weight [0:144]: " in found.out
    answer = nnw("integrity", "restore", hurt, "--key", key, "-o", back)
    assert answer.out == (
        f"{back}: the network as it was with the mark in it; 1 layers given back\nconv1.weight\n"
    )
    assert back.read_bytes() == marked.read_bytes()
    assert nnw(*put, "reversible").status == 0
    told = nnw(
        "integrity", "restore", marked, "--key", key, "-o", back, "--force", "--format", "json"
    )
    assert json.loads(told.out) == {
        "out": str(back), "gives_back": "as it was before the mark",
        "layers": ["conv2.weight", "conv3.weight"],
    }  # fmt: skip
    assert back.read_bytes() == model.read_bytes()
    tamper = ("--modification", "quantizing", "--intensity", "4", "--layer", "conv2.weight", "-q")
    assert nnw("modify", marked, "-o", hurt, *tamper, "--force").status == 0
    lost = nnw("integrity", "restore", hurt, "--key", key, "-o", tmp_path / "x.onnx")
    assert (lost.status, (tmp_path / "x.onnx").exists()) == (2, False)
    assert lost.err == (
        "nnw: error: reversible: expected blocks that nobody has changed, got changed ones in "
        "conv2.weight; restore the network from a copy\n"
    )


def test_a_network_is_stated_and_held_against_its_statement(
    nnw: Nnw, marked: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    out, (network, key) = tmp_path / "s.json", marked
    made = nnw("integrity", "statement", network, "--key", key, "-o", out)
    root = json.loads(out.read_text())["predicate"]["seal"]["root"]
    assert made == (
        0, f"{out}: 1 file, with the commitment of the mark; sign this file\nroot: {root}\n", "",
    )  # fmt: skip
    assert nnw("integrity", "verify-statement", network, out, "--key", key) == (
        0, "yes: as it was stated, in 1 file\n", "",
    )  # fmt: skip
    other = nnw("integrity", "verify-statement", model, out, "--format", "json")
    assert other.status == 1
    assert json.loads(other.out)["holds"] is False
    told = nnw("integrity", "verify-statement", model, out)
    assert told.out.startswith("no: not as it was stated\ncnn-0.onnx: expected a stated file, got")
    assert nnw("integrity", "statement", network, "-o", out).status == 2
    again = nnw("integrity", "statement", network, "-o", out, "--force", "--format", "json")
    assert again.out == out.read_text()
    assert "commitment" not in again.out
