"""`nnw key`, secrets from a master seed, wrong keys on purpose, and ranks among random ones."""

from __future__ import annotations

import dataclasses
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx.kit import derivation
from nnw_onnx.runs.seed_files import read_seed
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec

from ..runs import elsewhere  # noqa: TID252 - shared by two rooms' tests

Nnw = Callable[..., Any]
BITS = elsewhere.bits(64)
DIGITS = "".join(map(str, BITS))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    matrix = elsewhere.gaussian(64)
    np.save(folder / "W.npy", matrix.T)
    elsewhere.marked(matrix, BITS).save(folder / "marked.onnx")
    return folder


def test_a_matrix_becomes_a_key(nnw: Nnw, foreign: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.npz"
    words = ("--method", "uchida", "--matrix", foreign / "W.npy", "--payload-bits", DIGITS)
    answer = nnw("key", "import", foreign / "marked.onnx", *words, "-o", key)
    assert answer.status == 0
    assert answer.out == (
        f"{key}: a key of uchida, 64 symbols in conv3.weight, with its payload\n"
        "evidence: Bin(64, 1/2), if the matrix is older than the network\n"
    )
    assert "nnw: matrix of 64 bits, one a column\n" in answer.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    found = nnw("detect", foreign / "marked.onnx", "--key", key, "--wrong-keys", "99")
    assert found.status == 0
    assert found.out.startswith("yes: 64 of 64 symbols match the payload\n")
    assert "99 random keys tried on this network: 0 fit as well, p = 0.01 by rank" in found.out
    assert nnw("decode", foreign / "marked.onnx", "--key", key).status == 0
    again = nnw("key", "import", foreign / "marked.onnx", *words, "-o", key)
    assert again.status == 2
    assert "--out: expected a new file" in again.err


def test_what_a_key_holds_is_shown_without_secrets(nnw: Nnw, foreign: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.npz"
    words = ("--method", "uchida", "--matrix", foreign / "W.npy", "--payload-bits", DIGITS)
    assert nnw("key", "import", foreign / "marked.onnx", *words, "-o", key, "-q").status == 0
    told = json.loads(nnw("key", "show", key, "--format", "json").out)
    assert (told["method"], told["symbols"]) == ("uchida", 64)
    assert told["payload"] == "kept with the key"
    assert told["carriers"] == ["conv3.weight (64x32x3x3)"]
    assert told["arrays"] == ["matrix: float64 64x288"]
    assert told["binds the payload"] == "there is no commitment"
    text = nnw("key", "show", key).out
    assert "facts: made elsewhere = projection matrix" in text
    secret = nnw_onnx.load_key(key).key.secret
    assert secret.hex() not in text
    assert DIGITS not in text


def test_a_key_of_ours_is_shown_too(nnw: Nnw, marked: tuple[Path, Path], tmp_path: Path) -> None:
    told = json.loads(nnw("key", "show", marked[1], "--format", "json").out)
    assert told["binds the payload"] == "yes"
    assert told["commitment"] == nnw_onnx.load_key(marked[1]).key.commitment
    assert told["evidence"] == "that of its method"
    nnw_onnx.save_key(nnw_onnx.load_key(marked[1]), tmp_path / "k.npz", keep_payload=False)
    told = json.loads(nnw("key", "show", tmp_path / "k.npz", "--format", "json").out)
    assert told["binds the payload"] == "cannot be told without it"
    assert nnw("key", "show", tmp_path / "none.npz").status == 2


def test_what_is_not_set_is_told_in_words(nnw: Nnw, marked: tuple[Path, Path]) -> None:
    text = nnw("key", "show", marked[1]).out
    assert "None" not in text
    assert "options: budget = 0.15, margin = not set\n" in text
    assert "code: not set\n" in text
    assert "facts: none\n" in text
    told = json.loads(nnw("key", "show", marked[1], "--format", "json").out)
    assert (told["options"]["margin"], told["code"]) == (None, None)


def test_what_is_not_set_in_a_table_or_a_list_too(nnw: Nnw, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "images": None,
        "form": {"mean": [0.5, None], "scale": None},
        "empty": [],
    }
    key = Key(Spec("adi", options), bytes(32), 0, facts={"made": None})
    nnw_onnx.save_key(Claim(key), tmp_path / "k.npz")
    text = nnw("key", "show", tmp_path / "k.npz").out
    assert "None" not in text
    assert (
        "options: empty = [], form = (mean = (0.5; not set), scale = not set), images = not set\n"
    ) in text
    assert "facts: made = not set\n" in text
    assert "commitment: not set\n" in text


def test_payloads_and_preprocessing_of_an_import(nnw: Nnw, foreign: Path, tmp_path: Path) -> None:
    words = ("key", "import", foreign / "marked.onnx", "-o", tmp_path / "k.npz", "--method")
    both = nnw(
        *words, "uchida", "--matrix", foreign / "W.npy", "--payload-bits", "01", "--payload", "a"
    )
    assert both.status == 2
    assert "expected one of --payload-bits, --payload, --payload-hex; got several" in both.err
    text = nnw(*words, "uchida", "--matrix", foreign / "W.npy", "--payload", "8 bytes.")
    assert text.status == 0
    assert nnw_onnx.load_key(tmp_path / "k.npz").payload == Payload.from_text("8 bytes.")
    wrong = nnw(
        *words, "adi", "--inputs", "x", "--labels", "y", "--preprocessing", "meen=1", "--force"
    )
    assert wrong.status == 2
    assert wrong.err.startswith("nnw: error: --preprocessing: meen: ")


def test_a_key_without_an_exact_null_is_decided_by_rank(nnw: Nnw, tmp_path: Path) -> None:
    """With zeros and ones all shuffles agree: on an unmarked network the rank is 1."""
    matrix = np.random.default_rng(5).integers(0, 2, (64, 288))
    elsewhere.marked(matrix.astype(float), BITS).save(tmp_path / "m.onnx")
    np.save(tmp_path / "W.npy", matrix)
    words = ("--method", "uchida", "--matrix", tmp_path / "W.npy", "--payload-bits", DIGITS)
    made = nnw("key", "import", tmp_path / "m.onnx", *words, "-o", tmp_path / "k.npz")
    assert made.out.splitlines()[1] == (
        "evidence: none is exact for this key made elsewhere: the entries of its matrix are not "
        "symmetric about 0"
    )
    refused = nnw("detect", tmp_path / "m.onnx", "--key", tmp_path / "k.npz")
    assert refused.status == 2
    assert "detection: expected a known null, got 'none is exact for this key" in refused.err
    ranked = ("--wrong-keys", "199", "--format", "json")
    found = nnw("detect", tmp_path / "m.onnx", "--key", tmp_path / "k.npz", *ranked,
                "--false-positive-rate", "0.01")  # fmt: skip
    told = json.loads(found.out)
    assert (found.status, told["rank_p"], told["p_value"]) == (0, 0.005, pytest.approx(0.005))
    short = nnw("detect", tmp_path / "m.onnx", "--key", tmp_path / "k.npz", "--wrong-keys", "199")
    assert short.status == 1
    assert short.out.startswith("no, it cannot be shown: ")
    unmarked = Path(__file__).parents[2] / "models" / "digits" / "cnn-0.onnx"
    none = json.loads(nnw("detect", unmarked, "--key", tmp_path / "k.npz", *ranked).out)
    assert none["rank_p"] > 0.05


def test_secrets_come_from_a_master_seed(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    seed = tmp_path / "master.seed"
    made = nnw("key", "seed", seed)
    assert made.status == 0
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    assert seed.read_text().split()[-1] not in made.out
    assert nnw("key", "seed", seed).status == 2
    keys = []
    for name, label in (("a", "cnn/acme"), ("b", "cnn/acme"), ("c", "cnn/bolt")):
        words = ("-o", tmp_path / f"{name}.onnx", "--key-out", tmp_path / f"{name}.npz")
        answer = nnw(
            "inject", model, *words, "--payload", "mine", "--seed-file", seed, "--label", label
        )
        assert answer.status == 0
        keys.append((tmp_path / f"{name}.npz").read_bytes())
    assert keys[0] == keys[1] != keys[2]
    secret = nnw_onnx.load_key(tmp_path / "a.npz").key.secret
    assert secret == derivation.secret_of(read_seed(seed), "cnn/acme")
    assert nnw_onnx.secret_of(nnw_onnx.read_seed(seed), "cnn/acme") == secret


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ("abcd", ("--label", "x"), "expected one line of at least 32 hexadecimal digits"),
        ("no seed at all", ("--label", "x"), "expected one line of at least 32 hexadecimal"),
        (None, ("--label", "x"), "expected a file with a master seed, got: No such file"),
        ("00" * 32, (), "--seed-file: expected it with --label and without --seed, got one of"),
        ("00" * 32, ("--label", "x", "--seed", "1"), "without --seed, got --seed too"),
        ("00" * 32, ("--label", " "), "label: expected a text that names network and recipient"),
    ],
)
def test_a_seed_that_is_none(
    nnw: Nnw, model: Path, tmp_path: Path, content: str | None, more: tuple[str, ...], message: str
) -> None:
    seed = tmp_path / "master.seed"
    if content is not None:
        seed.write_text(content)
        seed.chmod(0o600)
    words = ("-o", tmp_path / "a.onnx", "--key-out", tmp_path / "a.npz", "--seed-file", seed)
    answer = nnw("inject", model, *words, *more)
    assert answer.status == 2
    assert message in answer.err


def test_a_secret_and_a_seed_are_one_too_many(model: Path) -> None:
    for given in ({"secret": bytes(32), "seed": 1}, {"secret": b"short"}):
        with pytest.raises(nnw_onnx.NnwError, match="secret: expected 32 bytes and no seed beside"):
            nnw_onnx.inject(model, "mine", **given)


def _wrong(claim: Claim) -> dict[str, Claim]:
    """Ten ways in which a key is not that of the network."""
    key = claim.key
    half = Payload(claim.payload.symbols[:52])

    def changed(**fields: Any) -> Claim:
        return dataclasses.replace(claim, key=dataclasses.replace(key, **fields))

    return {
        "another secret": changed(secret=bytes(32)),
        "another method": changed(method=Spec("uchida")),
        "an unknown method": changed(method=Spec("uchidaa")),
        "a method of triggers": changed(method=Spec("adi")),
        "an unknown code": changed(code=Spec("bhc")),
        "another code": changed(code=Spec("repetition", {"times": 3})),
        "another option": changed(method=Spec("block-spread", {"budget": 99})),
        "another payload": dataclasses.replace(claim, payload=Payload((0,) * len(claim.payload))),
        "another size": dataclasses.replace(changed(size=52, carries=52), payload=half),
        "another commitment": changed(commitment="0" * 64),
        "an opening that does not open": changed(opening="0" * 64),
        "another shape": changed(shapes=((5, 5),)),
        "no carrier": changed(layers=(), shapes=()),
        "another alphabet": dataclasses.replace(claim, payload=Payload(claim.payload.symbols, 4)),
    }


@pytest.mark.parametrize(
    ("what", "detect", "decode", "words"),
    [
        ("another secret", 1, 1, "the key is of another network or a wrong one"),
        ("another method", 1, 1, "the key is of another network or a wrong one"),
        ("an unknown method", 2, 2, "got 'uchidaa' (did you mean 'uchida'?)"),
        ("a method of triggers", 2, 2, "key: expected 104 triggers of float32"),
        ("an unknown code", 2, 2, "got 'bhc' (did you mean 'bch'?)"),
        ("another code", 2, 2, "it is of another code or payload; restore it from a copy"),
        ("another option", 2, 2, "option budget: expected a number above 0, at most 1; got 99"),
        ("another payload", 1, 1, "got one of another payload; it is no claim"),
        ("another size", 1, 1, "got one of another payload; it is no claim"),
        ("another commitment", 1, 0, "got one of another payload; it is no claim"),
        ("an opening that does not open", 1, 0, "got one of another payload; it is no claim"),
        ("another shape", 1, 2, "carrier: expected layer conv3.weight (5x5), got"),
        ("no carrier", 2, 2, "key: expected carrier number 1 with its shape, got 0 carriers"),
        ("another alphabet", 2, 2, "payload: expected an alphabet of at most 2, got 4"),
    ],
)
def test_a_wrong_key_is_an_explicit_answer(
    nnw: Nnw,
    marked: tuple[Path, Path],
    tmp_path: Path,
    what: str,
    detect: int,
    decode: int,
    words: str,
) -> None:
    key = tmp_path / "wrong.npz"
    nnw_onnx.save_key(_wrong(nnw_onnx.load_key(marked[1]))[what], key)
    for command, status in (("detect", detect), ("decode", decode)):
        answer = nnw(command, marked[0], "--key", key)
        assert answer.status == status
        assert any(words in line for line in (answer.out + answer.err).splitlines())
        assert "mend or remove the plug-in" not in answer.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"nnw-onnx master seed 1 00",
            "got a master seed; make the key of a label with 'nnw inject",
        ),
        (b"\x93NUMPY\x01\x00", "got a numpy array; make a key of a matrix of others with 'nnw key"),
        (b"\x08\x07\x12", "got a file that is not one or is cut off"),
    ],
)
def test_a_file_of_another_kind_is_named(
    nnw: Nnw, model: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "k.npz").write_bytes(content)
    answer = nnw("detect", model, "--key", tmp_path / "k.npz")
    assert answer.status == 2
    assert f"expected a whole .npz key file, {words}" in answer.err


def test_methods_whose_keys_cannot_be_drawn_have_no_rank(nnw: Nnw, foreign: Path) -> None:
    fed = np.zeros((2, 1, 8, 8), np.float32)
    fed[1] += 1
    claim = nnw_onnx.import_key(
        foreign / "marked.onnx", "adi", inputs=fed, labels=[1, 2], fair=True
    )
    plain = dataclasses.replace(claim.key, facts={"classes": 10})
    with pytest.raises(
        nnw_onnx.NnwError, match="expected a method that reads weights with nothing"
    ):
        nnw_onnx.detect(
            foreign / "marked.onnx", dataclasses.replace(claim, key=plain), wrong_keys=9
        )
    found = nnw_onnx.detect(foreign / "marked.onnx", claim, wrong_keys=9)
    assert found.rank_p is not None
