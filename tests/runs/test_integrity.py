"""Seals: every flipped bit is seen in its block, a copy never; and seals are not trusted."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.derivation import hkdf
from nnw_onnx.runs import integrity, seals
from nnw_onnx.runs.integrity import Change

from ..graph.reserialising import reserialised, written  # noqa: TID252 - shared by two rooms' tests

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
SECRET = bytes(range(32))
SEAL = nnw.seal(MODEL)
LAYERS = {layer.name: layer for layer in nnw.open(MODEL).layers}


def changed(edit: Any, path: Path) -> Path:
    """The model after an edit of its message."""
    model = onnx.load(MODEL)
    edit(model)
    onnx.save(model, path)
    return path


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def with_root(sealed: seals.Seal, **changes: Any) -> seals.Seal:
    """A seal that somebody has rewritten, with a root that fits."""
    made = sealed.model_copy(update=changes)
    return made.model_copy(update={"root": seals.root_of(made.parts, made.tensors)})


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_seen_in_its_block_and_nowhere_else(data: st.DataObject) -> None:
    network = nnw.open(MODEL)
    file = vars(network)["_file"]
    name = data.draw(st.sampled_from(sorted(LAYERS)))
    start, stop = file.tensors[network.addresses[name]].values
    place, bit = data.draw(st.integers(start, stop - 1)), data.draw(st.integers(0, 7))
    content = bytearray(MODEL.read_bytes())
    content[place] ^= 1 << bit
    path = Path(os.environ["NNW_CACHE"]) / "flipped.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    found = nnw.verify_seal(path, SEAL)
    block = (place - start) // 4 // 1024 * 1024
    size = LAYERS[name].size
    wanted = Change("tensor", name, "changed", "", ((block, min(size, block + 1024)),), size)
    assert found.changes == (wanted,)
    assert not found


def test_copies_and_files_written_anew_are_as_they_were(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(4))
    model = onnx.load(MODEL)
    for number in range(25):
        path = written(reserialised(model, rng), tmp_path / str(number) / "m.onnx", rng)
        found = nnw.verify_seal(path, SEAL)
        assert found
        assert (found.changes, found.root) == ((), SEAL.root)
    assert repr(found) == "<Integrity: as it was, 15 parts of the graph and 8 tensors>"


def test_a_network_in_memory_has_the_seal_of_its_file(tmp_path: Path) -> None:
    modified = nnw.modify(MODEL, "quantizing", 8).network
    modified.save(tmp_path / "m.onnx")
    assert nnw.seal(modified) == nnw.seal(tmp_path / "m.onnx")
    assert nnw.seal(modified).root != SEAL.root


def test_a_tensor_of_another_name_is_told_as_renamed(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        tensor(model, "conv2.weight").name = "other"
        for node in model.graph.node:
            for k, name in enumerate(node.input):
                if name == "conv2.weight":
                    node.input[k] = "other"

    found = nnw.verify_seal(changed(edit, tmp_path / "m.onnx"), SEAL)
    assert found.changes == (
        Change("graph", "node conv2/Conv_output_0", "changed", "Conv"),
        Change("tensor", "other", "renamed", "conv2.weight", weights=4608),
    )
    assert (bool(found), found.renamed) == (False, True)

    def more(model: onnx.ModelProto) -> None:
        edit(model)
        model.graph.node[1].op_type = "Sigmoid"

    assert not nnw.verify_seal(changed(more, tmp_path / "n.onnx"), SEAL).renamed


def test_tensors_that_come_go_and_change_their_storage(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        head = tensor(model, "head.bias")
        model.graph.initializer.remove(head)
        node = onnx.helper.make_node("Constant", [], ["head.bias"], value=head)
        model.graph.node.insert(0, node)
        weight = tensor(model, "conv1.weight")
        half = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(half, "conv1.weight"))
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3), "new"))

    found = nnw.verify_seal(changed(edit, tmp_path / "m.onnx"), SEAL)
    assert found.changes == (
        Change("graph", "node head.bias", "added", "Constant"),
        Change(
            "tensor", "conv1.weight", "changed", "was float32 16x1x3x3, is float16 16x1x3x3",
            weights=144,
        ),
        Change(
            "tensor", "head.bias", "moved",
            "was an initializer, is a Constant, with the same values", weights=10,
        ),
        Change("tensor", "new", "added", weights=3),
    )  # fmt: skip
    lost = nnw.verify_seal(MODEL, nnw.seal(tmp_path / "m.onnx"))
    assert Change("tensor", "new", "missing", weights=3) in lost.changes
    assert Change("graph", "node head.bias", "missing", "Constant") in lost.changes


def test_parts_that_have_moved_are_the_fewest() -> None:
    found = integrity._of_parts(SEAL.parts, nnw.seal(MODEL).parts)
    assert list(found) == []
    parts = list(SEAL.parts)
    moved = [parts[3], *parts[:3], *parts[4:]]
    assert list(integrity._of_parts(parts, moved)) == [
        Change("graph", parts[3].name, "moved", parts[3].operator)
    ]


@given(st.permutations(range(7)))
def test_what_stays_in_order_is_a_longest_increasing_subsequence(order: list[int]) -> None:
    from itertools import combinations

    names = [str(k) for k in range(7)]
    moved = integrity._out_of_order(names, [str(k) for k in order])
    kept = [k for k in order if str(k) not in moved]
    assert kept == sorted(kept)
    longest = max(
        n for n in range(8) for c in combinations(order, n) if list(c) == sorted(c)
    )  # fmt: skip
    assert len(kept) == longest


def test_runs_of_changed_blocks_are_one(tmp_path: Path) -> None:
    network = nnw.open(MODEL)
    values = np.array(network.weights["conv3.weight"])
    flat = values.reshape(-1)
    flat[[0, 1024, 4096, 18431]] += 1
    network.with_weights({"conv3.weight": values}).save(tmp_path / "m.onnx")
    (change,) = nnw.verify_seal(tmp_path / "m.onnx", SEAL).changes
    assert change.blocks == ((0, 2048), (4096, 5120), (17408, 18432))
    wide = nnw.seal(MODEL, block=64)
    (change,) = nnw.verify_seal(tmp_path / "m.onnx", wide).changes
    assert change.blocks == ((0, 64), (1024, 1088), (4096, 4160), (18368, 18432))


def test_a_seal_goes_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.seal.json"
    for sealed in (SEAL, nnw.seal(MODEL, key=SECRET, everything=True, block=64)):
        seals.save_seal(sealed, path)
        assert seals.load_seal(path) == sealed
        path.unlink()
        sealed.save(path)
        assert nnw.verify_seal(MODEL, path, key=SECRET if sealed.code else None)
    assert SEAL.blocks == 1 + 5 + 18 + 1 + 4


def test_the_code_is_that_of_rfc_2104_over_all_of_it() -> None:
    sealed = nnw.seal(MODEL, key=SECRET)
    told = {k: v for k, v in json.loads(sealed.model_dump_json()).items() if k != "code"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    key = hkdf(SECRET, b"nnw-onnx seal 1", b"code of a seal", 32)
    pads = [bytes(b ^ pad for b in key.ljust(64, b"\0")) for pad in (0x36, 0x5C)]
    inner = hashlib.sha256(pads[0] + text).digest()
    assert sealed.code == hashlib.sha256(pads[1] + inner).hexdigest()
    assert hmac.compare_digest(sealed.code, seals.code_of(sealed, SECRET))


def test_whoever_rewrites_a_seal_needs_the_key(tmp_path: Path) -> None:
    forged = nnw.modify(MODEL, "quantizing", 8).network
    owners = nnw.seal(MODEL, key=SECRET)
    assert nnw.verify_seal(MODEL, owners, key=SECRET)
    rewritten = nnw.seal(forged).model_copy(update={"code": owners.code})
    with pytest.raises(ConfigurationError, match="got one of another key, or one that was changed"):
        nnw.verify_seal(forged, rewritten, key=SECRET)
    with pytest.raises(ConfigurationError, match="got one without a key, which anybody can make"):
        nnw.verify_seal(forged, nnw.seal(forged), key=SECRET)
    with pytest.raises(ConfigurationError, match="expected the key that it was made with, got no"):
        nnw.verify_seal(MODEL, owners)
    with pytest.raises(ConfigurationError, match="got one of another key"):
        nnw.verify_seal(MODEL, owners, key=bytes(32))
    # Every field is bound: those by which nothing is decided too.
    tensors = list(owners.tensors)
    tensors[3] = tensors[3].model_copy(update={"blocks": "0" * len(tensors[3].blocks)})
    for changes in ({"block": 2048}, {"everything": True}, {"tensors": tuple(tensors)}):
        with pytest.raises(ConfigurationError, match="got one of another key"):
            nnw.verify_seal(MODEL, owners.model_copy(update=changes), key=SECRET)
    with pytest.raises(ConfigurationError, match="at least 16 bytes that nobody can guess, got 3"):
        nnw.seal(MODEL, key=b"abc")


def test_keys_of_marks_are_keys_of_seals(tmp_path: Path) -> None:
    made = nnw.inject(MODEL, "mine", seed=1)
    sealed = nnw.seal(made.network, key=made.claim)
    assert sealed == nnw.seal(made.network, key=made.key) == nnw.seal(
        made.network, key=made.key.secret
    )  # fmt: skip
    assert nnw.verify_seal(made.network, sealed, key=made.claim)


def test_a_seal_that_lies_about_blocks_tells_the_whole_tensor(tmp_path: Path) -> None:
    changed_ = nnw.modify(MODEL, "quantizing", 8, layers="head.weight").network
    lie = {t.name: t for t in nnw.seal(changed_).tensors}["head.weight"].blocks
    tensors = tuple(
        t.model_copy(update={"blocks": lie}) if t.name == "head.weight" else t for t in SEAL.tensors
    )
    (change,) = nnw.verify_seal(changed_, SEAL.model_copy(update={"tensors": tensors})).changes
    assert (change.name, change.blocks) == ("head.weight", ((0, 640),))


TEXT = SEAL.model_dump_json()
BAD = {
    "nothing": ("", "no JSON object"),
    "another file": ('PK\3\4"secret":', "(no JSON object)"),
    "a list": ("[]", "no JSON object"),
    "another form": (TEXT.replace("seal 1", "seal 2"), "form: Input should be"),
    "half of it": (TEXT[: len(TEXT) // 2], "Invalid JSON"),
    "one more field": (TEXT.replace('"block":', '"more":1,"block":'), "more: an unknown field"),
    "another root": (TEXT.replace(SEAL.root, "0" * 64), "expected the root of its parts"),
    "a block of nothing": (TEXT.replace('"block":1024', '"block":0'), "block: Input should be gr"),
    "deep brackets": ('{"block":' + "[" * 100_000, "Invalid JSON"),
    "a name twice": (
        with_root(SEAL, tensors=(*SEAL.tensors, SEAL.tensors[0])).model_dump_json(),
        "every name once, got one twice",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_files_that_are_no_seals(what: str, tmp_path: Path) -> None:
    text, said = BAD[what]
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(
        ConfigurationError, match="expected a whole seal, got one that is none"
    ) as e:
        seals.load_seal(path)
    assert said in str(e.value)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 500


def test_files_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="expected a seal, got: a folder or device"):
        seals.load_seal(tmp_path)
    with pytest.raises(ConfigurationError, match="expected a seal, got: No such file"):
        seals.load_seal(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="expected a path where a seal can be written"):
        seals.save_seal(SEAL, tmp_path / "none" / "s.json")
    monkeypatch.setattr(seals, "LARGEST_FILE", 1000)
    with pytest.raises(ConfigurationError, match="expected at most 0 MiB, got 0; give larger"):
        seals.save_seal(SEAL, tmp_path / "s.json")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.json").write_text(TEXT)
    with pytest.raises(ConfigurationError, match="expected a seal, got: more than 1000 bytes"):
        seals.load_seal(tmp_path / "s.json")


@pytest.mark.parametrize("block", [0, 63, 100, 1 << 25])
def test_blocks_of_other_sizes_are_refused(block: int) -> None:
    with pytest.raises(ConfigurationError, match="expected a multiple of 8 from 64 to 16777216"):
        nnw.seal(MODEL, block=block)


def test_what_a_mark_gives_back(tmp_path: Path) -> None:
    for method in ("reversible", "recoverable"):
        made = nnw.inject(MODEL, nnw.Payload(), method=method, seed=1)
        marked = tmp_path / "m.onnx"
        made.network.save(marked)
        back = nnw.restore(marked, made.claim)
        back.save(tmp_path / "b.onnx")
        wanted = MODEL if method == "reversible" else marked
        assert (tmp_path / "b.onnx").read_bytes() == wanted.read_bytes()
        assert marked.read_bytes() != MODEL.read_bytes()
    with pytest.raises(ConfigurationError, match="block-spread: expected a method that gives we"):
        nnw.restore(MODEL, nnw.inject(MODEL, "mine", seed=1).key)
