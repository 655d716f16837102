"""Fuzzing of what people send each other: run folders, work folders, trigger folders."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nnw_onnx as nnw
from nnw_onnx.graph import open_network
from nnw_onnx.kit.images import read_images
from nnw_onnx.reports.view.finding import find
from nnw_onnx.reports.view.gallery import drawn
from nnw_onnx.runs.store import Store, work_folder

from ..measures.made import invented  # noqa: TID252 - shared by two rooms' tests
from .mutants import answered, mutated_bytes, other_kind, rounds
from .run_folders import draw_report, mutated, write_run

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


def counted(outcomes: Counter[bool], *, refused: bool = True) -> None:
    """Some mutants are as good as the original, and some are not."""
    assert outcomes[True]
    assert outcomes[False] or not refused


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small run folder, which each mutant starts from."""
    write_run(tmp_path / "run", *invented(2, 2, 1, 1, 20).parts)
    return tmp_path / "run"


def test_records(run: Path, tmp_path: Path) -> None:
    """Values, names and lengths that no run writes."""
    outcomes: Counter[bool] = Counter()
    for rng in rounds(12, seed=1):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        shutil.copytree(run, tmp_path / "m")
        path = tmp_path / "m" / str(rng.choice(sorted(p.name for p in run.glob("*.json*"))))
        lines = path.read_text().splitlines()
        for _ in range(rng.integers(1, 3)):
            at = rng.integers(len(lines))
            lines[at] = json.dumps(mutated(json.loads(lines[at]), rng))
        path.write_text("\n".join(lines) + "\n")
        outcomes[answered(lambda: draw_report(tmp_path / "m"))] += 1
    counted(outcomes)


def test_files_of_a_run(run: Path, tmp_path: Path) -> None:
    """Bytes, and links, pipes and folders where files are expected."""
    outcomes: Counter[bool] = Counter()
    for rng in rounds(16, seed=2):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        shutil.copytree(run, tmp_path / "m")
        path = tmp_path / "m" / str(rng.choice(sorted(p.name for p in run.iterdir())))
        if path.is_dir() or rng.random() < 0.4:
            other_kind(path, rng)
        else:
            path.write_bytes(mutated_bytes(path.read_bytes(), rng))

        def resumed() -> None:
            with Store(tmp_path / "m").locked():
                Store(tmp_path / "m").drop_torn_lines()
            nnw.report(tmp_path / "m")

        outcomes[answered(resumed)] += 1
    counted(outcomes)


def test_records_on_the_page_of_many_runs(run: Path) -> None:
    """A run is shown or listed with its reason, in one line, and stops no other."""
    whole = {path: path.read_text() for path in run.glob("*.json*")}
    outcomes: Counter[bool] = Counter()
    for rng in rounds(12, seed=5):
        path = list(whole)[rng.integers(len(whole))]
        lines = whole[path].splitlines()
        at = rng.integers(len(lines))
        lines[at] = json.dumps(mutated(json.loads(lines[at]), rng))
        path.write_text("\n".join(lines) + "\n")
        (place,) = find(run)
        entry = drawn(place).entry
        path.write_text(whole[path])
        reason = str(entry.get("reason", "as it was"))
        assert reason.isprintable()
        assert not reason.startswith("expected records that fit one another"), reason
        outcomes["reason" not in entry] += 1
    counted(outcomes)


def test_networks_of_a_run(tmp_path: Path) -> None:
    """The weights that an injection replaced, as the run folder keeps them."""
    original, store = open_network(MODEL), Store(tmp_path / "run")
    store.create()
    made = original.with_weights({"conv1.weight": original.weights["conv1.weight"] * 2})
    store.save_network("x", made, original)
    path = store.folder / "networks" / "x.npz"
    whole, outcomes = path.read_bytes(), Counter[bool]()
    for rng in rounds(150, seed=3):
        path.write_bytes(mutated_bytes(whole, rng))
        outcomes[answered(lambda: store.load_network("x", original))] += 1
    counted(outcomes)


def test_states_of_a_work_folder(tmp_path: Path) -> None:
    """The note, the key and the state that a training has kept."""
    claim = nnw.inject(MODEL, nnw.Payload.from_text("own"), seed=1).claim
    rng = np.random.Generator(np.random.PCG64(0))
    state = {"w": rng.normal(size=(8, 8)), "step": np.array(3), "of": np.ones(4, bool)}
    outcomes: Counter[bool] = Counter()

    def resumed(folder: Path) -> None:
        with work_folder(folder, "task") as opened:
            nnw.load_key(opened / "key.npz")
            Store(opened).checkpoint("one", 1 << 20).load()

    for rng in rounds(60, seed=4):
        folder = tmp_path / "w"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "task.txt").write_text("task\n0123")
        nnw.save_key(claim, folder / "key.npz")
        Store(folder).checkpoint("one").save(state)
        files = [folder / "task.txt", folder / "key.npz", folder / "checkpoints" / "one.npz"]
        path = files[rng.integers(3)]
        if rng.random() < 0.3:
            other_kind(path, rng)
        else:
            path.write_bytes(mutated_bytes(path.read_bytes(), rng))
        outcomes[answered(lambda folder=folder: resumed(folder))] += 1
    counted(outcomes)


def picture(rng: np.random.Generator, form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)).save(stream, form)
    return stream.getvalue()


def images(folder: Path, kind: str, rng: np.random.Generator) -> Path:
    """A few small images in a folder, a tar or a zip."""
    forms = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
    files = {f"{i}.{form.lower()}": picture(rng, form) for i, form in enumerate(forms)}
    path = folder / {"folder": "images", "tar": "i.tar", "gzip": "i.tar.gz", "zip": "i.zip"}[kind]
    if kind == "folder":
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if kind == "gzip" else "w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "gzip", "zip"])
def test_images_of_triggers(tmp_path: Path, kind: str) -> None:
    """Images of one's own to make triggers of, as somebody else has sent them."""
    outcomes: Counter[bool] = Counter()
    for rng in rounds(40, seed=5):
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        (tmp_path / "t").mkdir()
        path = images(tmp_path / "t", kind, rng)
        target = sorted(path.iterdir())[rng.integers(5)] if kind == "folder" else path
        if rng.random() < 0.2:
            other_kind(target, rng)
        else:
            target.write_bytes(mutated_bytes(target.read_bytes(), rng))
        outcomes[answered(lambda path=path: read_images(path, (8, 8)))] += 1
    counted(outcomes)
