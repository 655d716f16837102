"""Mutants of everything else that people send: keys, configurations, runs, data sets, archives."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tarfile
import tempfile
import tomllib
import warnings
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.aif.archives import pack, read_archive
from nnw_onnx.aif.workflows import NIR
from nnw_onnx.kit.images import read_images
from nnw_onnx.reports.view.finding import find
from nnw_onnx.reports.view.gallery import drawn
from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation
from nnw_onnx.runs.gate import read_gate
from nnw_onnx.runs.statements import load_statement
from nnw_onnx.vocabulary import Claim, Dataset, Key, Payload, Spec

from ..measures.made import invented  # noqa: TID252 - shared by two rooms' tests
from .asking import Case
from .mutants import mutated_bytes, other_kind
from .run_folders import TEXTS, mutated, write_run

Rng = np.random.Generator
READ = ("block-spread", "uchida", "fragile")
TOML = (
    "a" + ".a" * 3000 + " = 1\n", "x = " + "[" * 500 + "]" * 500 + "\n", "x = inf\n", "x = nan\n",
    "x = 1" + "0" * 5000 + "\n", "x = 1979-05-27T07:32:00Z\n", 'x = "\\u0000"\n', "[[networks]]\n",
    '"\\u001b[2J" = 1\n', "x = " + "{ a = " * 200 + "1" + " }" * 200 + "\n", "[dataset]\n",
    "\ufeff", "x = '''" + "y" * 100_000 + "'''\n", "[a]\n" * 500, "a.b = 1\na.b = 2\n",
)  # fmt: skip
NPY = (
    b"'descr': '|O'", b"'descr': '<f8'", b"'descr': '<U9'", b"'descr': '>c16'", b"'shape': (-1,)",
    b"'shape': (9999999999,)", b"'shape': (2147483648, 2147483648)", b"'fortran_order': True",
    b"'shape': (1" + b"0" * 40 + b",)", b"'descr': [('a', '<f4')]", b"'shape': [8]",
)  # fmt: skip


@functools.cache
def keys() -> tuple[bytes, ...]:
    """Key files: of marks in weights, and of one with arrays."""
    from .models import DIGITS

    made = [nnw.inject(DIGITS, "" if m == "fragile" else "own", method=m, seed=1).claim
            for m in READ]  # fmt: skip
    triggers = np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2)
    spec, secret = Spec("adi", {"output": 0}), bytes(32)
    key = Key(spec, secret, 4, facts={"classes": 10}, arrays={"triggers": triggers})
    made.append(Claim(key, Payload.from_bits("0110")))
    return tuple(_written(lambda path, claim=claim: nnw.save_key(claim, path)) for claim in made)


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "f")
        return (Path(folder) / "f").read_bytes()


def _one(some: Any, rng: Rng) -> Any:
    return some[rng.integers(len(some))]


def zipped(data: bytes, rng: Rng) -> bytes:
    """A zip archive with a member changed, another name for one, one twice, or one that swells."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = int(rng.integers(len(members)))
    name, content = members[at]
    match rng.integers(6):
        case 0:
            members[at] = name, mutated_bytes(content, rng)
        case 1:
            members[at] = _one(("../x.npy", "/x.npy", "text.npy", *TEXTS), rng) or "x", content
        case 2:
            members.append((name, content[: len(content) // 2]))
        case 3:
            members[at] = name, content + bytes(1 << 24)
        case 4:
            header = _one(NPY, rng)
            key = header.split(b":")[0]
            start = content.find(key)
            end = content.find(b", '", start)
            members[at] = name, content[:start] + header + content[end:]
        case _:
            del members[at]
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for label, inside in members:
            with contextlib.suppress(IndexError, UnicodeError, ValueError):
                archive.writestr(label, inside)
    return made.getvalue()


def key(case: Case, rng: Rng, number: int) -> None:
    """A key is told of, and heard on a network."""
    from .models import DIGITS

    data = _one(keys(), rng)
    path = case.folder / "case" / "k.npz"
    path.write_bytes(zipped(data, rng) if rng.random() < 0.7 else mutated_bytes(data, rng))
    path.chmod(0o600)

    def heard() -> None:
        claim = nnw.load_key(path)
        if claim.key.method.name in READ:
            nnw.verify(DIGITS, claim)

    if number % 10 == 0:
        case.nnw("key", "show", path)
    case.call("hear a key", heard)


@functools.cache
def configurations() -> tuple[str, ...]:
    """Evaluations that come with the package."""
    names = ("digits", "digits-training", "reference", "cifar10")
    return tuple(find_evaluation(name).read_text() for name in names)


def configuration(case: Case, rng: Rng, number: int) -> None:
    """An evaluation, or a gate, with lines, values and bytes changed."""
    text = _one(configurations(), rng)
    lines = text.splitlines(keepends=True)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines)))
        match rng.integers(5):
            case 0:
                lines.insert(at, _one(TOML, rng))
            case 1:
                lines[at] = lines[int(rng.integers(len(lines)))]
            case 2:
                lines[at] = _rewritten(lines[at], rng)
            case 3:
                lines[at:at] = lines[at : at + 3] * int(rng.integers(1, 50))
            case _:
                del lines[at]
    data = "".join(lines).encode(errors="surrogatepass")
    path = case.folder / "case" / "e.toml"
    path.write_bytes(mutated_bytes(data, rng) if rng.random() < 0.3 else data)
    case.call("read an evaluation", lambda: read_evaluation(path))
    case.call("read a gate", lambda: read_gate(path))
    if number % 40 == 0:
        case.nnw("evaluate", path, "--dry-run", "--set", "networks=[]")


def _rewritten(line: str, rng: Rng) -> str:
    """The value of a line as another one of JSON, which TOML writes much alike."""
    try:
        told = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return line + _one(TOML, rng)
    if not told:
        return line
    name, value = next(iter(told.items()))
    return f"{name} = {json.dumps(mutated([value], rng), default=str)[:5000]}\n"


@functools.cache
def runs() -> dict[str, bytes]:
    """The files of a small run."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder) / "run", *invented(2, 2, 1, 1, 20).parts)
        files = sorted(p for p in (Path(folder) / "run").iterdir() if p.is_file())
        return {p.name: p.read_bytes() for p in files}


def run_folder(case: Case, rng: Rng, number: int) -> None:
    """A run is shown on a page of many, its clauses asked, or reported again."""
    folder = case.folder / "case" / "run"
    for name in ("keys", "networks"):
        (folder / name).mkdir(parents=True)
    for name, data in runs().items():
        (folder / name).write_bytes(data)
    path = folder / _one(list(runs()), rng)
    case.free = (folder,) if number % 25 == 0 else ()
    kind = rng.random()
    if kind < 0.15:
        other_kind(path, rng)
    elif kind < 0.35:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        lines = path.read_text().splitlines()
        at = int(rng.integers(len(lines)))
        lines[at] = json.dumps(mutated(json.loads(lines[at]), rng))
        path.write_text("\n".join(lines) + "\n")
    case.call("show a run", lambda: [drawn(place).entry for place in find(folder)])
    if number % 10 == 0:
        case.nnw("conform", folder)
    if number % 25 == 0:
        case.call("report a run", lambda: nnw.report(folder))


def _png(rng: Rng, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)).save(stream, form)
    return stream.getvalue()


def _wav(rng: Rng) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(rng.bytes(800))
    return stream.getvalue()


def _npz(rng: Rng) -> bytes:
    stream = io.BytesIO()
    x, y = rng.random((8, 5, 5, 3)).astype(np.float32), np.arange(8) % 4
    np.savez(stream, x_test=x, y_test=y, x_train=x, y_train=y)
    return stream.getvalue()


def dataset(case: Case, rng: Rng, number: int) -> None:
    """A data set with a file changed, of which some samples are read."""
    place, path = case.folder / "case", case.folder / "case" / "d"
    match rng.integers(4):
        case 0:
            spec = Spec("npz", {"path": str(path)})
            data = _npz(rng)
            path.write_bytes(zipped(data, rng) if rng.random() < 0.6 else mutated_bytes(data, rng))
        case 1:
            spec = Spec("csv", {"path": str(place / "d.csv"), "targets": ["y"], "test_every": 2})
            rows = "".join(f"{v:.3f},{k % 3},{v / 2:.3f}\n" for k, v in enumerate(rng.random(9)))
            (place / "d.csv").write_bytes(mutated_bytes(f"a,b,y\n{rows}".encode(), rng))
        case 2:
            spec = Spec("image-folder", {"path": str(path), "only_split": "test"})
            for name in ("a", "b"):
                (path / name).mkdir(parents=True)
                form = str(_one(("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"), rng))
                (path / name / f"0.{form.lower()}").write_bytes(mutated_bytes(_png(rng, form), rng))
        case _:
            spec = Spec("sound-folder", {"path": str(path), "only_split": "test"})
            for name in ("a", "b"):
                (path / name).mkdir(parents=True)
                (path / name / "0.wav").write_bytes(mutated_bytes(_wav(rng), rng))

    def read() -> None:
        samples = plugins.create(Dataset, spec).load("test")
        samples.read(np.arange(min(4, len(samples))))

    case.call(f"read {spec.name}", read)


def _tar(files: dict[str, bytes], rng: Rng) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=str(_one(("w", "w:gz"), rng))) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            kind = rng.random()
            if kind < 0.1:
                entry.type, entry.size = _one((tarfile.SYMTYPE, tarfile.LNKTYPE), rng), 0
                entry.linkname = str(_one(("../outside/w.bin", "/etc/hostname", name), rng))
            elif kind < 0.2:
                entry.type, entry.size = _one((tarfile.FIFOTYPE, tarfile.CHRTYPE), rng), 0
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def archive(case: Case, rng: Rng, number: int) -> None:
    """Images for triggers, and a workflow, in a tar or zip archive."""
    place = case.folder / "case"
    names = [str(_one((f"{k}.png", f"../{k}.png", f"/{k}.png", f"a/../../{k}.png"), rng))
             if rng.random() < 0.3 else f"{k}.png" for k in range(3)]  # fmt: skip
    files = {name: _png(rng) for name in names}
    if rng.random() < 0.5:
        path, data = place / "i.tar.gz", _tar(files, rng)
    else:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as opened:
            for name, content in files.items():
                opened.writestr(name, content)
        path, data = place / "i.zip", zipped(made.getvalue(), rng)
    path.write_bytes(mutated_bytes(data, rng) if rng.random() < 0.3 else data)
    store = place / "a.zip"
    store.write_bytes(zipped(workflow(), rng))
    case.call("read images", lambda: read_images(path, (8, 8)))
    case.call("read a workflow", lambda: read_archive(store))


@functools.cache
def workflow() -> bytes:
    """The archive of a workflow."""
    with tempfile.TemporaryDirectory() as folder:
        pack(NIR, Path(folder) / "a.zip")
        return (Path(folder) / "a.zip").read_bytes()


def text(case: Case, rng: Rng, number: int) -> None:
    """Seals and statements, whose JSON is changed."""
    path = case.folder / "case" / "s.json"
    told = json.loads(stated())
    for _ in range(rng.integers(1, 4)):
        told = mutated(told, rng)
    with contextlib.suppress(ValueError):
        path.write_bytes(json.dumps(told).encode())
    if not path.exists() or rng.random() < 0.3:
        path.write_bytes(mutated_bytes(stated().encode(), rng))
    case.call("read a statement", lambda: load_statement(path))


@functools.cache
def stated() -> str:
    """The statement of a network of the package."""
    from nnw_onnx.runs.statements import state

    from .models import DIGITS

    return state(nnw.open(DIGITS)).model_dump_json()


FILES: dict[str, Callable[[Case, Rng, int], None]] = {
    "key": key,
    "configuration": configuration,
    "run folder": run_folder,
    "data set": dataset,
    "archive": archive,
    "statement": text,
}
