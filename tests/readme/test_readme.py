"""The README tells the truth: its commands run, in order, and print what it shows."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import nnw_onnx
from nnw_onnx.runs import presets
from nnw_onnx.runs.evaluation import evaluation_from

pytestmark = pytest.mark.xdist_group("one session of the README")

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = 200
EXIT_STATUS = re.compile(r"# exit status (\d+)$")
LINK = re.compile(r"\]\(([^)]+)\)")


def _loaded_blocks() -> ModuleType:
    """`blocks.py` beside this file, which `.ci/run` starts as a script."""
    spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / "tests/readme/blocks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = _loaded_blocks().blocks(TEXT)


def write_photos(folder: Path) -> None:
    """Handwritten digits as test/<class>/<image>, from 0 to 255."""
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if i == PHOTOS:
            return
        path = folder / "test" / str(label) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README supposes is there: two networks and photos."""
    made = tmp_path_factory.mktemp("readme")
    for name, source in (("model", "cnn-0"), ("other", "cnn-1")):
        data = (ROOT / f"models/digits/{source}.onnx").read_bytes()
        (made / f"{name}.onnx").write_bytes(data)
    write_photos(made / "photos")
    script = made / "bin" / "nnw"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nnw_onnx "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return made


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """An environment in which `nnw` is this source tree."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    source = f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"
    # Of the backends of Keras, torch is there wherever the tests run.
    return {"KERAS_BACKEND": "torch", **os.environ, "PATH": path, "PYTHONPATH": source}


def shrink(evaluation: Path) -> None:
    """Change a new evaluation as its first line says one may, so that it takes seconds."""
    text = evaluation.read_text(encoding="utf-8")
    for given, less in (("payloads = 5", "payloads = 1"), ("cells = 2 ", "cells = 0 ")):
        assert given in text
        text = text.replace(given, less)
    evaluation.write_text(f"{text}\n[control]\nwrong_keys = 20\n", encoding="utf-8")


def similar(shown: str, printed: str) -> bool:
    """Whether a line is as shown: numbers may differ, "..." stands for anything."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.|\d[\d.]*(?:e-?\d+)?", shown)]
    return re.fullmatch(".*?".join(parts), printed) is not None


def test_lines_are_compared() -> None:
    assert similar("yes: 80 of 80 ... 8.3e-25 (a", "yes: 79 of 80 symbols: 1.1e-24 (a")
    assert not similar("yes: 80 of 80", "no: 41 of 80")


def test_the_start_is_two_commands() -> None:
    commands = [c for b in BLOCKS if b.heading == "Start" for c in b.commands]
    assert len(commands) == 2
    assert commands[0] == "pip install . && nnw evaluate"
    assert "pytest" in commands[1]


def test_every_command_runs_and_prints_what_is_shown(
    folder: Path, environment: dict[str, str]
) -> None:
    """One test, because each command needs what the ones before it wrote."""
    ran = 0
    for block in BLOCKS:
        if block.heading == "Start":
            continue
        printed = ""
        commands = block.commands if block.language == "console" else []
        for command in commands:
            status = EXIT_STATUS.search(command)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            wanted = int(status.group(1)) if status else 0
            assert done.returncode == wanted, f"{command}: {done.stderr}"
            printed += done.stdout + done.stderr
            ran += 1
            if command.startswith("nnw new-evaluation"):
                shrink(folder / "mine.toml")
        if block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            ran += 1
        for line in block.output if block.language == "console" else []:
            assert any(similar(line, got) for got in printed.splitlines()), (line, printed)
    assert ran >= 10


def test_every_table_of_an_evaluation_is_one() -> None:
    """What the page shows of a configuration is taken by the reader of configurations."""
    shown = [tomllib.loads(b.text) for b in BLOCKS if b.language == "toml"]
    assert any("modifications" in tables for tables in shown)
    for tables in shown:
        if "networks" in tables:  # networks that are marked already; their files are not here
            assert {"file", "marked", "key"} <= set(tables["networks"][0])
            continue
        given = {
            "networks": ["nnw:digits/cnn-0.onnx"],
            "dataset": {"name": "digits"},
            "methods": [{"name": "uchida"}],
            "payload_sizes": [64],
        }
        evaluation_from({**given, **tables}, "x", ROOT)


def test_every_preset_is_told() -> None:
    told = TEXT.partition("| preset |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`([a-z0-9-]+)`", told)) == sorted(presets.shipped())


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    for link in LINK.findall(TEXT):
        file, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        assert not file or (ROOT / file).is_file(), link
        assert file or anchor in anchors, link


@pytest.mark.parametrize(
    ("method", "axis", "survives"),
    [
        ("uchida", 0, False),
        ("uchida", 1, False),
        ("block-spread", 0, False),
        ("block-spread", 1, False),
    ],
)
def test_the_limitation_about_permutations_is_true(method: str, axis: int, survives: bool) -> None:
    marked = nnw_onnx.inject(
        ROOT / "models/digits/cnn-0.onnx",
        nnw_onnx.Payload.from_text("mine"),
        method=method,
        seed=1,
    )
    name = marked.key.layers[0]
    weights = marked.network.weights[name]
    order = np.roll(np.arange(weights.shape[axis]), 1)
    permuted = marked.network.with_weights({name: weights.take(order, axis=axis)})
    assert nnw_onnx.detect(marked.network, marked.claim).detected
    assert bool(nnw_onnx.detect(permuted, marked.claim)) is survives
