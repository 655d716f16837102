"""Statements: every file by its digest, what the network is, and what signers make of it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.statements import LARGEST_FILE, PAYLOAD_TYPE, load_statement

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """A network whose weights lie in two files beside it."""
    model = onnx.load(MODEL)
    (tmp_path / "weights").mkdir()
    for number, tensor in enumerate(model.graph.initializer):
        place = tmp_path / "weights" / f"{'ab'[number % 2]}.bin"
        offset = place.stat().st_size if place.exists() else 0
        with place.open("ab") as file:
            file.write(tensor.raw_data)
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = {"location": f"weights/{place.name}", "offset": offset, "length": length}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_of_a_network_is_a_subject(spread: Path) -> None:
    stated = nnw.state(spread)
    files = [spread, spread.parent / "weights/a.bin", spread.parent / "weights/b.bin"]
    assert [(s.name, s.digest.sha256) for s in stated.subject] == [
        (path.relative_to(spread.parent).as_posix(), sha256(path)) for path in files
    ]
    # However its files are written, it is the same network.
    assert stated.predicate.seal.root == nnw.seal(MODEL).root
    assert nnw.verify_statement(spread, stated)


def test_a_byte_of_external_data_is_noticed(spread: Path) -> None:
    stated = nnw.state(spread)
    weights = spread.parent / "weights" / "b.bin"
    data = bytearray(weights.read_bytes())
    data[7] ^= 1
    weights.write_bytes(data)
    found = nnw.verify_statement(spread, stated)
    assert not found
    assert [reason.partition(":")[0] for reason in found.reasons] == [
        "weights/b.bin", "weights/b.bin", "seal",
    ]  # fmt: skip
    assert found.reasons[0] == (
        f"weights/b.bin: expected a stated file, got one that is not (SHA-256 {sha256(weights)})"
    )


def test_another_way_of_writing_is_another_file_and_the_same_network(spread: Path) -> None:
    found = nnw.verify_statement(MODEL, nnw.state(spread))
    assert not any(reason.startswith("seal") for reason in found.reasons)
    assert len(found.reasons) == 4


def test_a_file_may_have_another_name(tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "renamed.onnx")
    assert nnw.verify_statement(tmp_path / "renamed.onnx", nnw.state(MODEL))


def test_the_commitment_of_a_mark(tmp_path: Path) -> None:
    marked = nnw.inject(MODEL, "mine", seed=1)
    marked.network.save(tmp_path / "marked.onnx")
    stated = nnw.state(tmp_path / "marked.onnx", key=marked.claim)
    assert stated.predicate.commitment == marked.key.commitment
    assert marked.key.secret.hex() not in stated.to_json()
    assert nnw.verify_statement(tmp_path / "marked.onnx", stated, key=marked.key)
    other = nnw.inject(MODEL, "mine", seed=2).claim
    wrong = nnw.verify_statement(tmp_path / "marked.onnx", stated, key=other)
    assert wrong.reasons == ("commitment: expected that of the key, got another one",)
    bare = nnw.verify_statement(MODEL, nnw.state(MODEL), key=other)
    assert bare.reasons == ("commitment: expected that of the key, got none",)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        nnw.state(MODEL).save(tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.json", "b.json"))
    assert first == second
    assert first == nnw.state(MODEL).to_json().encode()
    assert load_statement(tmp_path / "a.json") == (nnw.state(MODEL), False)


def test_it_is_a_statement_of_in_toto(tmp_path: Path) -> None:
    told = json.loads(nnw.state(MODEL).to_json())
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert sorted(told) == ["_type", "predicate", "predicateType", "subject"]
    theirs = pytest.importorskip(
        "in_toto_attestation.v1", reason="in-toto-attestation is not installed"
    )
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement as statements

    made = json_format.Parse(json.dumps(told), statements.spb.Statement())
    statements.Statement.copy_from_pb(made).validate()
    assert theirs


def test_an_envelope_is_opened_and_its_signature_is_not_believed(tmp_path: Path) -> None:
    payload = base64.b64encode(nnw.state(MODEL).to_json().encode()).decode()
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": payload, "signatures": [{"sig": "AA=="}]}
    (tmp_path / "e.json").write_text(json.dumps(envelope))
    found = nnw.verify_statement(MODEL, tmp_path / "e.json")
    assert (bool(found), found.enveloped) == (True, True)
    (tmp_path / "e.json").write_text(json.dumps({**envelope, "payload": "no base64!"}))
    with pytest.raises(ConfigurationError, match="expected a statement of a network, got one that"):
        nnw.verify_statement(MODEL, tmp_path / "e.json")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_a_signing_tool_takes_it(tmp_path: Path) -> None:
    nnw.state(MODEL).save(tmp_path / "s.json")

    def keygen(*words: str, content: bytes | None = None) -> int:
        command = ["ssh-keygen", *words]
        done = subprocess.run(
            command, cwd=tmp_path, input=content, capture_output=True, check=False
        )
        return done.returncode

    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", "id") == 0
    assert keygen("-Y", "sign", "-q", "-n", "file", "-f", "id", "s.json") == 0
    public = (tmp_path / "id.pub").read_text().split()
    (tmp_path / "allowed").write_text(f"owner {public[0]} {public[1]}\n")
    check = ["-Y", "verify", "-f", "allowed", "-I", "owner", "-n", "file", "-s", "s.json.sig"]
    content = (tmp_path / "s.json").read_bytes()
    assert keygen(*check, content=content) == 0
    assert keygen(*check, content=content.replace(b"nnw-onnx", b"nnw-0nnx")) != 0


def test_what_others_add_is_left_alone(tmp_path: Path) -> None:
    told = json.loads(nnw.state(MODEL).to_json())
    told["subject"][0]["digest"]["sha512"] = "ab" * 64
    told["subject"][0]["annotations"] = {"by": "another"}
    (tmp_path / "s.json").write_text(json.dumps(told))
    assert nnw.verify_statement(MODEL, tmp_path / "s.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "_type"),
        ({"predicateType": "https://slsa.dev/provenance/v1"}, "predicateType"),
        ({"subject": []}, "subject"),
        ({"subject": [{"name": "m", "digest": {"sha1": "00"}}]}, r"subject\.0\.digest\.sha256"),
        ({"predicate": {}}, r"predicate\.tool"),
    ],
)
def test_what_is_no_statement_is_one_line(tmp_path: Path, change: object, message: str) -> None:
    told = json.loads(nnw.state(MODEL).to_json()) | change
    (tmp_path / "s.json").write_text(json.dumps(told))
    with pytest.raises(ConfigurationError, match=rf"got one that is none \({message}: ") as caught:
        load_statement(tmp_path / "s.json")
    assert "\n" not in str(caught.value)


def test_hostile_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("[" * 100_000)
    (tmp_path / "none").write_text("\x1b[31m")
    (tmp_path / "large").write_bytes(b" " * (LARGEST_FILE + 1))
    for name, message in (
        ("deep", "expected a statement of a network"),
        ("none", "expected a statement of a network"),
        ("large", "expected a statement, got: more than 16 MiB"),
        ("absent", "expected a statement, got: No such file"),
        (".", "expected a statement, got: a folder or device"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            load_statement(tmp_path / name)
        assert "\x1b" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_only_networks_in_files_are_stated(tmp_path: Path) -> None:
    changed = nnw.modify(MODEL, "gaussian-noise", 0.1).network
    with pytest.raises(ConfigurationError, match="got one whose weights were changed since; save"):
        nnw.state(changed)
    with pytest.raises(ConfigurationError, match="got one in memory; save it and open it"):
        nnw.state(MODEL.read_bytes())
    with pytest.raises(ConfigurationError, match="expected a path where a statement can be wr"):
        nnw.state(MODEL).save(tmp_path / "no" / "folder.json")
