"""Key files with arrays: exact round trip, sizes, and distrust of every member."""

from __future__ import annotations

import dataclasses
import json
import stat
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnw_onnx.errors import KeyFileError
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec

TRIGGERS = np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2) - 7.5
KEY = Key(
    method=Spec("adi", {"output": 0}),
    secret=bytes(range(32)),
    size=4,
    facts={"classes": 10},
    commitment="cd" * 32,
    arrays={"triggers": TRIGGERS, "more_of.it-2": np.float32([[np.pi]])},
)
CLAIM = Claim(KEY, Payload.from_bits("0110"))
MEMBER = "array-triggers.npy"


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


def npy(header: str, content: bytes = b"") -> bytes:
    """A .npy member with a header as written."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def f4(shape: str, content: bytes) -> bytes:
    return npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}", content)


def broken(path: Path, name: str, content: bytes | None) -> Path:
    """The file of KEY with one member replaced, or left out."""
    save_key(CLAIM, path)
    members = {**members_of(path), name: content}
    write(path, {n: c for n, c in members.items() if c is not None})
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(KeyFileError, match=words) as caught:
        load_key(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert ";" in message


def same(first: Key, second: Key) -> bool:
    """Whether all of two keys is equal, arrays bit by bit."""
    arrays = [
        {n: (a.dtype.newbyteorder("="), a.shape, a.astype(a.dtype.newbyteorder("=")).tobytes())
         for n, a in k.arrays.items()}
        for k in (first, second)
    ]  # fmt: skip
    return first == second and arrays[0] == arrays[1]


def test_round_trip_is_exact(path):
    save_key(CLAIM, path)
    assert load_key(path).payload == CLAIM.payload
    found = load_key(path).key
    assert same(found, KEY)
    assert found.arrays["triggers"].dtype == np.float32
    assert not found.arrays["triggers"].flags.writeable
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@settings(max_examples=30, deadline=None)
@given(
    arrays=st.dictionaries(
        st.from_regex("[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True),
        hnp.arrays(
            st.sampled_from(["?", "i1", "u1", ">i2", "<u4", "i8", "f2", "f4", ">f8"]).map(np.dtype),
            hnp.array_shapes(min_dims=0, max_dims=8, max_side=3),
        ),
        min_size=1,
        max_size=4,
    ),
    order=st.sampled_from("CF"),
)
def test_round_trip_of_any_arrays(arrays, order):
    key = dataclasses.replace(
        KEY, arrays={n: np.asarray(a, order=order) for n, a in arrays.items()}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.npz"
        save_key(key, path)
        assert same(load_key(path).key, key)


def test_numpy_opens_it_without_pickle(path):
    save_key(CLAIM, path)
    with np.load(path, allow_pickle=False) as archive:
        assert np.array_equal(archive["array-triggers"], TRIGGERS)


def test_the_largest_arrays_fit_and_more_is_refused(path):
    whole = np.zeros((64 << 20) // 4, np.float32)
    save_key(dataclasses.replace(KEY, arrays={"triggers": whole}), path)
    assert load_key(path).key.arrays["triggers"].nbytes == 64 << 20
    more = {"triggers": whole, "b": np.zeros(1, np.float32)}
    with pytest.raises(KeyFileError, match="at most 64 arrays of 64 MiB in all, got 2 of 64.0 MiB"):
        save_key(dataclasses.replace(KEY, arrays=more), path)
    many = {f"a{i}": np.zeros(1, np.float32) for i in range(65)}
    with pytest.raises(KeyFileError, match="arrays: expected at most 64 items"):
        save_key(dataclasses.replace(KEY, arrays=many), path)


@pytest.mark.parametrize(
    "arrays",
    [
        {".hidden": TRIGGERS},
        {"": TRIGGERS},
        {"a" * 65: TRIGGERS},
        {"a/b": TRIGGERS},
        {"a": TRIGGERS.astype(np.complex64)},
        {"a": np.array([None], object)},
        {"a": np.zeros((1,) * 9, np.float32)},
        {"a": np.zeros((3, 0), np.float32)},
    ],
    ids=["dot", "empty", "long", "slash", "complex", "object", "axes", "nothing"],
)
def test_arrays_that_cannot_be_kept_are_refused_before_writing(path, arrays):
    with pytest.raises(KeyFileError, match=r"expected arrays .*; change the method|arrays\.0: "):
        save_key(dataclasses.replace(KEY, arrays=arrays), path)
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        f4("(12,)", bytes(47)),
        f4("(12,)", bytes(49)),
        f4("(12,)", bytes(48)).replace(b"NUMPY\x01", b"NUMPY\x02"),
        f4("(1, 1, 1, 1, 1, 1, 1, 1, 12)", bytes(48)),
        f4("(0, 3)", b""),
        f4("(999999999, 999999999, 999999999, 999999999)", bytes(48)),
        f4("(-1, 12)", bytes(48)),
        f4("(12.0,)", bytes(48)),
        f4("(__import__('os'),)", bytes(48)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N."),
        npy("{'descr': '<c8', 'fortran_order': False, 'shape': (6,), }", bytes(48)),
        npy("{'descr': '<b4', 'fortran_order': False, 'shape': (12,), }", bytes(48)),
        npy("{'descr': '>f4', 'fortran_order': False, 'shape': (12,), }", bytes(48)),
        npy("{'descr': '<f4', 'fortran_order': True, 'shape': (12,), }", bytes(48)),
    ],
)
def test_members_of_another_form_are_told(path, content):
    words = f"expected member {MEMBER} to be a whole array of numbers of at most 8 axes, got"
    refused(broken(path, MEMBER, content), words)


def test_missing_and_foreign_arrays_are_told(path):
    words = r"expected the arrays that its text names \(more_of.it-2, triggers\), got array-more_of"
    refused(broken(path, MEMBER, None), words)
    refused(broken(path, "array-x.npy", f4("(1,)", bytes(4))), words)
    plain = dataclasses.replace(KEY, arrays={})
    save_key(plain, path)
    write(path, {**members_of(path), MEMBER: f4("(1,)", bytes(4))})
    refused(path, r"its text names \(none\), got array-triggers.npy; restore it from a copy")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_arrays_that_occur_twice_or_too_often_are_told(path):
    save_key(CLAIM, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, f4("(1,)", bytes(4)))
    refused(path, "expected the members text.npy, secret.npy and maybe payload.npy, got array-more")
    save_key(CLAIM, path)
    many = {f"array-{'a' * (i + 1)}.npy": f4("(1,)", bytes(4)) for i in range(65)}
    write(path, {**members_of(path), **many})
    refused(path, "expected the members text.npy")


def test_a_bomb_is_refused_before_it_is_inflated(path):
    save_key(CLAIM, path)
    bomb = {**members_of(path), MEMBER: bytes(300_000_000)}
    write(path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    refused(path, "expected a small uncompressed member")


def test_sizes_that_lie_are_refused_before_anything_is_read(path):
    """Two entries of the directory say that each member has 60 MiB."""
    save_key(CLAIM, path)
    whole = bytearray(path.read_bytes())
    start = 0
    while (start := whole.find(b"PK\x01\x02", start)) >= 0:
        if b"array-" in whole[start + 46 : start + 52]:
            whole[start + 24 : start + 28] = (60 << 20).to_bytes(4, "little")
        start += 4
    path.write_bytes(bytes(whole))
    refused(path, "expected members of at most 80 MiB in all, got more; give a key file")


@pytest.mark.parametrize(
    "value",
    ["triggers", ["a/b"], ["a", "a"], [3], ["a" * 65], [f"a{i}" for i in range(65)]],
)
def test_wrong_names_in_the_text_are_told(path, value):
    save_key(CLAIM, path)
    members = members_of(path)
    with np.load(path) as archive:
        text = json.loads(archive["text"].tobytes())
    written = json.dumps({**text, "arrays": value}).encode()
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(written)},), }}"
    write(path, {**members, "text.npy": npy(header, written)})
    refused(path, "arrays|expected every array once, got one twice")


def test_random_damage_never_escapes_the_error(tmp_path, rng):
    """Bytes replaced, cut out or put in: the same key, another valid one, or one clear error."""
    path = tmp_path / "key.npz"
    save_key(CLAIM, path)
    whole, refusals = path.read_bytes(), []
    for _ in range(500):
        start = int(rng.integers(len(whole)))
        cut, put = (int(n) for n in rng.integers(0, 4, 2))
        path.write_bytes(whole[:start] + rng.bytes(put) + whole[start + cut :])
        try:
            load_key(path)
        except KeyFileError as error:
            refusals.append(str(error))
    assert len(refusals) > 250
    assert not any("\n" in message for message in refusals)
