"""Key files: exact round trip, privacy, and distrust of everything that is read."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx.errors import KeyFileError
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec

SECRET = bytes(range(100, 132))
KEY = Key(
    method=Spec("block-spread", {"margin": 2.5, "budget": 0.1}),
    secret=SECRET,
    size=4,
    code=Spec("repetition", {"times": 2}),
    carries=2,
    layers=("conv.weight", "tête"),
    shapes=((16, 8, 3, 3), (10, 64)),
    facts={"deep": {"a": [1, None, True, "x"]}},
    commitment="ab" * 32,
    notes=("carrier conv.weight: the largest",),
)
CLAIM = Claim(KEY, Payload.from_bits("0110"), "recipient")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "key.npz"


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> None:
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path.chmod(0o600)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def broken(path: Path, **replaced: bytes | None) -> Path:
    """The file of CLAIM with some members replaced, or left out."""
    save_key(CLAIM, path)
    members = members_of(path)
    members.update({f"{name}.npy": content for name, content in replaced.items() if content})
    for name, content in replaced.items():
        if content is None:
            del members[f"{name}.npy"]
    write(path, members)
    return path


def with_text(path: Path, **changes) -> Path:
    save_key(CLAIM, path)
    text = json.loads(np.load(path)["text"].tobytes())
    text.update(changes)
    text = {name: value for name, value in text.items() if value is not ...}
    return broken(path, text=npy(np.frombuffer(json.dumps(text).encode(), np.uint8)))


def refused(path: Path, words: str) -> None:
    with pytest.raises(KeyFileError, match=words) as caught:
        load_key(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert ";" in message


def test_round_trip_is_exact(path):
    save_key(CLAIM, path)
    assert load_key(path) == CLAIM
    assert load_key(str(path)) == CLAIM


def test_the_payload_can_be_left_out(path):
    save_key(CLAIM, path, keep_payload=False)
    assert load_key(path) == dataclasses.replace(CLAIM, payload=None)
    assert "payload.npy" not in members_of(path)


def test_a_key_alone_is_a_claim_of_nothing(path):
    save_key(KEY, path)
    assert load_key(path) == Claim(KEY)


@settings(max_examples=25, deadline=None)
@given(
    secret=st.binary(min_size=32, max_size=32),
    layers=st.lists(
        st.tuples(st.text(max_size=30), st.lists(st.integers(0, 2**31), max_size=5).map(tuple)),
        max_size=4,
    ),
    alphabet=st.sampled_from([2, 3, 256, 257, 70_000]),
    size=st.integers(0, 50),
    options=st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False, allow_infinity=False)),
    of=st.sampled_from(["owner", "recipient", "wrong"]),
    data=st.data(),
)
def test_round_trip_of_any_claim(secret, layers, alphabet, size, options, of, data):
    symbols = data.draw(
        st.lists(st.integers(0, alphabet - 1), min_size=size, max_size=size).map(tuple)
    )
    key = Key(
        method=Spec("x", options),
        secret=secret,
        size=size,
        layers=tuple(name for name, _ in layers),
        shapes=tuple(shape for _, shape in layers),
    )
    claim = Claim(key, Payload(symbols, alphabet), of)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.npz"
        try:
            save_key(claim, path)
        except KeyFileError:
            # lone surrogates are no text; hypothesis knows them
            texts = [*key.layers, *options]
            assert any("\ud800" <= c <= "\udfff" for name in texts for c in name)
            return
        assert load_key(path) == claim


def test_the_same_key_is_the_same_file(path, tmp_path):
    save_key(CLAIM, path)
    save_key(CLAIM, tmp_path / "again.npz")
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_numpy_opens_it_without_pickle(path):
    save_key(CLAIM, path)
    with np.load(path, allow_pickle=False) as archive:
        assert archive["secret"].tobytes() == SECRET
        assert archive["payload"].tolist() == [0, 1, 1, 0]


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")
def test_only_the_owner_can_read_it_from_the_first_moment(path, monkeypatch):
    modes = []
    real = os.fdopen

    def watched(handle, *arguments):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, *arguments)

    monkeypatch.setattr(os, "fdopen", watched)
    previous = os.umask(0)
    try:
        save_key(CLAIM, path)
    finally:
        os.umask(previous)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    save_key(CLAIM, path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    other = Claim(dataclasses.replace(KEY, secret=bytes(32)))
    with pytest.raises(KeyFileError, match="got: No space left on device; choose another path"):
        save_key(other, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(KeyFileError, match="expected a path where a key can be written, got: No"):
        save_key(CLAIM, tmp_path / "absent" / "key.npz")


def test_options_that_json_cannot_hold_are_refused_before_writing(path):
    for value in (object(), float("nan")):
        words = r"expected options and facts of JSON values, got: .*; change"
        with pytest.raises(KeyFileError, match=words):
            save_key(dataclasses.replace(KEY, facts={"a": value}), path)
        with pytest.raises(KeyFileError, match=words):
            save_key(dataclasses.replace(KEY, method=Spec("x", {"a": value})), path)
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")
def test_a_key_that_others_can_read_gives_a_warning(path):
    save_key(CLAIM, path)
    path.chmod(0o644)
    with pytest.warns(UserWarning, match="expected a key that only its owner can read, got mode 6"):
        assert load_key(path) == CLAIM


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")
def test_a_file_that_is_no_key_gets_no_advice_on_its_mode(path):
    path.write_bytes(b"text")
    path.chmod(0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(path, "expected a whole .npz key file, got a file that is not one or is cut off")


def test_an_absent_file_is_told(path):
    refused(path, "expected a key file, got: No such file or directory; give the file")


def test_a_folder_is_told(tmp_path):
    refused(tmp_path, "expected a key file, got: a folder or device")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are of POSIX systems")
def test_a_pipe_does_not_hang(path):
    os.mkfifo(path)
    refused(path, "expected a key file, got: a folder or device")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04.", b"text" * 99])
def test_files_that_are_no_archive_are_told(path, content):
    path.write_bytes(content)
    path.chmod(0o600)
    refused(path, "expected a whole .npz key file, got a file that is not one or is cut off")


def test_truncations_are_told(path):
    save_key(CLAIM, path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(path, "got a file that is not one or is cut off; restore it")


def test_a_pickled_member_is_never_loaded(path):
    hostile = npy(np.array([print], dtype=object))
    for member in ("text", "secret", "payload"):
        refused(
            broken(path, **{member: hostile}),
            rf"expected member {member}.npy to be a whole .* uint8 array, got another; .*never loa",
        )


@pytest.mark.parametrize(
    "content",
    [
        npy(np.zeros(32, np.int64)),
        npy(np.zeros((4, 8), np.uint8)),
        npy(np.zeros(32, np.uint8))[:-1],
        npy(np.zeros(32, np.uint8)) + b"x",
        npy(np.zeros(32, np.uint8)).replace(b"(32,)", b"(99,)"),
        b"secret",
    ],
    ids=["dtype", "shape", "short", "long", "lying header", "no npy"],
)
def test_members_of_another_form_are_told(path, content):
    refused(broken(path, secret=content), "expected member secret.npy to be a whole one-dim")


def test_a_secret_of_another_length_is_told(path):
    content = npy(np.zeros(31, np.uint8))
    refused(broken(path, secret=content), "expected a secret of 32 bytes, got 31; restore it")


def test_missing_and_foreign_members_are_told(path):
    refused(broken(path, secret=None), "expected the members text.npy, .* got payload.npy, text")
    refused(broken(path, other=npy(np.zeros(1))), "got other.npy, payload.npy, secret.npy, text")
    np.savez(path, weights=np.zeros(3))
    path.chmod(0o600)
    refused(path, "got weights.npy; give a key file of nnw-onnx")
    write(path, {})
    refused(path, "got none; give a key file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_occur_twice_are_told(path):
    save_key(CLAIM, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("secret.npy", npy(np.zeros(32, np.uint8)))
    refused(path, "got payload.npy, secret.npy, secret.npy, text.npy")


def test_a_bomb_is_refused_before_it_is_inflated(path):
    save_key(CLAIM, path)
    bomb = {**members_of(path), "text.npy": bytes(200_000_000)}
    write(path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    refused(path, "expected a small uncompressed member .*, compressed or encrypted; give a key")


def test_a_large_member_or_file_is_refused(path):
    save_key(CLAIM, path)
    write(path, {**members_of(path), "secret.npy": bytes(2000)})
    refused(path, "expected a small uncompressed member secret.npy, got 2000 bytes")
    path.write_bytes(bytes((80 << 20) + 1))
    refused(path, "expected a key file, got: more than 80 MiB")


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"{", b"NaN", b'{"a": 1, "a": 2}', b"[" * 100_000, b"1" * 5000],
    ids=["no text", "no JSON", "NaN", "twice", "deep", "long number"],
)
def test_text_that_is_no_json_is_told(path, text):
    content = npy(np.frombuffer(text, np.uint8))
    refused(broken(path, text=content), "expected JSON in member text.npy, got something else")


def test_another_format_or_version_is_told(path):
    refused(with_text(path, format="safetensors"), "expected format 'nnw-onnx key', got another")
    content = npy(np.frombuffer(b"[1, 2]", np.uint8))
    refused(broken(path, text=content), "expected format 'nnw-onnx key', got another")
    for version in (4, 0, True, "1"):
        refused(
            with_text(path, version=version),
            f"expected version 1, 2 or 3 of the key file, got {version}; use the nnw-onnx that",
        )
    refused(with_text(path, version=...), "expected version 1, 2 or 3 of the key file, got None")


def test_missing_and_unknown_fields_are_told(path):
    refused(with_text(path, method=...), "method: Field required; got .*; restore")
    refused(with_text(path, extra=1), "extra: Extra inputs are not permitted; got 1; restore")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("method", 3, "method: expected an object; got 3"),
        ("method", {"name": "", "options": {}}, "method.name: String should have at least 1 char"),
        ("layers", "conv", "layers: expected a valid array; got 'conv'"),
        ("layers", [1, 2], "layers.0: expected a text; got 1"),
        ("layers", ["\ud800", "b"], "text: Invalid JSON: unexpected end of hex escape"),
        ("layers", ["one"], "expected a shape for each layer, got 2 for 1"),
        ("shapes", [[1.5], [2]], "shapes.0.0: expected a whole number"),
        ("shapes", [[-1], [2]], "shapes.0.0: expected a number greater than or equal to 0; got -1"),
        ("shapes", [[True], [2]], "shapes.0.0: expected a whole number; got True"),
        ("size", -1, "size: expected a number greater than or equal to 0; got -1"),
        ("size", 10**12, "size: expected a number less than"),
        ("size", 5, "expected a payload of 5 symbols, got 4"),
        ("alphabet", 1, "alphabet: expected a number greater than or equal to 2; got 1"),
        ("facts", [], r"facts: expected an object; got \[\]"),
        ("commitment", "XYZ", "commitment: String should match pattern"),
        ("notes", [None], "notes.0: expected a text; got None"),
        ("code", "repetition", "code: expected an object; got 'repetition'"),
    ],
)
def test_each_wrong_field_is_told(path, field, value, words):
    refused(with_text(path, **{field: value}), words)


def test_symbols_beyond_the_alphabet_are_told(path):
    content = npy(np.array([0, 1, 2, 0], np.uint8))
    refused(broken(path, payload=content), "expected symbols from 0 to 1, got another")


def test_flipped_bits_never_escape_the_error(tmp_path):
    """A bit of every second byte flipped: the same key, another valid key, or one clear error."""
    path = tmp_path / "key.npz"
    save_key(CLAIM, path)
    whole = path.read_bytes()
    refusals = []
    for position in range(0, len(whole), 2):
        changed = whole[position] ^ (1 << position // 2 % 8)
        path.write_bytes(whole[:position] + bytes([changed]) + whole[position + 1 :])
        try:
            load_key(path)
        except KeyFileError as error:
            refusals.append(str(error))
    assert len(refusals) > len(whole) / 4
    assert not any("\n" in message for message in refusals)


def test_nothing_secret_is_shown_or_logged(path, caplog):
    caplog.set_level(logging.DEBUG)
    save_key(CLAIM, path)
    shown = repr(load_key(path)) + caplog.text
    assert repr(SECRET) not in shown
    assert SECRET.hex() not in shown
    assert "(0, 1, 1, 0)" not in shown
    with pytest.raises(KeyFileError) as caught:
        load_key(broken(path, secret=npy(np.frombuffer(SECRET[1:], np.uint8))))
    assert SECRET[1:9].hex() not in str(caught.value)


def test_a_name_of_several_lines_is_told_in_one(path):
    refused(broken(path, **{"a\nb": npy(np.zeros(1))}), r"got a\\nb.npy, payload")
