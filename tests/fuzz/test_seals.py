"""Fuzzing of seals: whoever can change a network may write what is beside it, too.

Every mutant is refused in one line, or the network is not whole by it, unless it says the same as
the owner's seal. Time and memory are bounded whatever the file holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import NnwError
from nnw_onnx.runs.seals import LARGEST_FILE, load_seal

from .mutants import SLOWEST, answered, mutated_bytes, other_kind, rounds
from .run_folders import mutated

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
NETWORK = nnw.open(MODEL)
KEYS = (None, bytes(32))
SEALS = {key: nnw.seal(NETWORK, key=key) for key in KEYS}


def whole_by(path: Path, key: bytes | None) -> bool:
    """The verdict of a file, which is none but for one that says what the owner's seal says."""
    found = nnw.verify_seal(NETWORK, load_seal(path), key=key)
    assert not found or load_seal(path) == SEALS[key]
    return bool(found)


@pytest.mark.parametrize("key", KEYS, ids=["open", "keyed"])
def test_mutated_values(key: bytes | None, tmp_path: Path) -> None:
    outcomes: Counter[bool] = Counter()
    for rng in rounds(150, seed=31):
        path = tmp_path / "s.json"
        told = json.loads(SEALS[key].model_dump_json())
        for _ in range(rng.integers(1, 3)):
            told = mutated(told, rng)
        path.write_text(json.dumps(told))
        outcomes[answered(partial(whole_by, path, key))] += 1
    assert outcomes[False] > 50


@pytest.mark.parametrize("key", KEYS, ids=["open", "keyed"])
def test_mutated_bytes(key: bytes | None, tmp_path: Path) -> None:
    text = SEALS[key].model_dump_json(indent=1).encode()
    outcomes: Counter[bool] = Counter()
    for rng in rounds(150, seed=32):
        path = tmp_path / "s.json"
        path.unlink(missing_ok=True)
        path.write_bytes(mutated_bytes(text, rng))
        outcomes[answered(partial(whole_by, path, key))] += 1
    assert outcomes[False] > 50


def test_what_is_no_file(tmp_path: Path) -> None:
    for rng in rounds(12, seed=33):
        folder = tmp_path / str(rng.integers(1 << 60))
        folder.mkdir()
        path = folder / "s.json"
        path.write_text("{}")
        other_kind(path, rng)
        assert not answered(partial(load_seal, path))


HASHES = ["sha256", "root", "code"]


@pytest.mark.parametrize("field", [*HASHES, "blocks", "dtype", "shape", "place", "name"])
def test_every_field_counts(field: str, tmp_path: Path) -> None:
    """One place of one field is another one: of an open seal its root tells, or what fits it."""
    for key in KEYS:
        told = json.loads(SEALS[key].model_dump_json())
        piece = told["tensors"][3] if field not in ("root", "code") else told
        if piece[field] is None:  # an open seal has no code
            continue
        match field:
            case "shape":
                piece[field] = [*piece[field][::-1], 1]
            case "dtype" | "place" | "name":
                piece[field] += "x"
            case _:
                piece[field] = ("1" if piece[field][0] == "0" else "0") + piece[field][1:]
        path = tmp_path / "s.json"
        path.write_text(json.dumps(told))
        with pytest.raises(NnwError, match="expected"):
            whole_by(path, key)


def heavy() -> dict[str, bytes]:
    """Files that would take many times their size in memory, or hours."""
    sealed = SEALS[None]
    head = json.dumps({"form": sealed.form, "block": 1024, "everything": False, "root": "0" * 64})
    parts = head.encode()[:-1] + b',"tensors":[],"parts":['
    million = 1_000_000
    text = sealed.model_dump_json().encode()
    return {
        "empty objects": parts + b",".join([b"{}"] * (20 * million)) + b"]}",
        "objects at the limit": parts + b",".join([b"{}"] * (2 * million)) + b"]}",
        "unknown fields": b"{" + b",".join(b'"k%d":0' % k for k in range(4 * million)) + b"}",
        "a field again and again": parts + b"]" + b',"block":0' * (4 * million) + b"}",
        "many mistakes in a piece": parts + b'{"a":[' + b"1," * (4 * million) + b"1]}]}",
        "a shape": text.replace(b'"shape":[', b'"shape":[' + b"1," * (4 * million), 1),
        "a negative shape": text.replace(b'"shape":[', b'"shape":[' + b"-1," * (4 * million), 1),
        "digits": b'{"block":' + b"9" * (LARGEST_FILE - 20) + b"}",
        "hash": text.replace(b'"blocks":"', b'"blocks":"' + b"a" * (1 << 25) + b"z", 1),
        "brackets": b"[" * (1 << 22),
        "quotes": b'"' * LARGEST_FILE,
        "braces": b'{"parts":' * (1 << 20),
        "not a number": text.replace(b'"block":1024', b'"block":NaN'),
        "infinity": text.replace(b'"block":1024', b'"block":1e999'),
        "a float": text.replace(b'"block":1024', b'"block":1024.0'),
        "a truth": text.replace(b'"block":1024', b'"block":true'),
        "other letters": text.replace(b"conv1", b"c\xff\xfe1"),
        "half a letter": text.replace(b"conv1", b"\\ud800"),
        "a name twice": text.replace(b"conv1.weight", b"conv2.weight"),
        "a field twice": text[:-1] + b',"block":1024}',
        "a known field elsewhere": text[:-1] + b',"shape":[]}',
        "too large": b" " * (LARGEST_FILE + 1),
    }


_ASK = """
import resource, sys, time
import nnw_onnx as nnw
from nnw_onnx.runs.seals import load_seal
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
nnw.seal(sys.argv[1])
soft = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (soft + (1 << 30), soft + (1 << 30)))
for path in sys.argv[2:]:
    begin = time.process_time()
    try:
        load_seal(path)
        said = "read"
    except nnw.NnwError as error:
        said = str(error)
    print(f"{time.process_time() - begin:.2f} {ascii(said)}", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_files_that_cost_more_than_they_are(tmp_path: Path) -> None:
    """All of them in one process, which may take a gibibyte more than it has."""
    paths = []
    for number, (name, content) in enumerate(heavy().items()):
        paths.append((name, tmp_path / f"{number}.json"))
        paths[-1][1].write_bytes(content)
    words = [sys.executable, "-c", _ASK, str(MODEL), *(str(path) for _, path in paths)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    for _, path in paths:
        path.unlink()
    lines = told.stdout.splitlines()
    assert (told.returncode, len(lines)) == (0, len(paths)), (told.stderr[-500:], lines)
    for (name, _), line in zip(paths, lines, strict=True):
        seconds, said = line.split(" ", 1)
        assert float(seconds) < SLOWEST, name
        assert "expected a " in said, (name, said)
        assert "\\n" not in said, name
        assert len(said) < 500, name
