"""A page's blocks carried out in order, as somebody would who reads it from top to bottom."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from nnw_onnx.runs.evaluation import evaluation_from

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = 200
EXIT_STATUS = re.compile(r"# exit status (\d+)$")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _loaded_blocks() -> ModuleType:
    """`blocks.py` beside this file, which `.ci/run` starts as a script."""
    spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / "tests/readme/blocks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BLOCKS = _loaded_blocks()


def write_photos(folder: Path) -> None:
    """Handwritten digits as test/<class>/<image>, from 0 to 255."""
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if i == PHOTOS:
            return
        path = folder / "test" / str(label) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).save(path)


def furnish(folder: Path) -> None:
    """Put there what every page supposes: two networks, photos, `nnw` and `dask`."""
    for name, source in (("model", "cnn-0"), ("other", "cnn-1")):
        data = (ROOT / f"models/digits/{source}.onnx").read_bytes()
        (folder / f"{name}.onnx").write_bytes(data)
    write_photos(folder / "photos")
    (folder / "bin").mkdir()
    for name, module in (("nnw", "nnw_onnx"), ("dask", "dask")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', "utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)


def environment(folder: Path) -> dict[str, str]:
    """An environment in which `nnw` is this source tree."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    source = f"{ROOT}{os.pathsep}{ROOT / 'adapters'}"
    # Of the backends of Keras, torch is there wherever the tests run.
    return {"KERAS_BACKEND": "torch", **os.environ, "PATH": path, "PYTHONPATH": source}


def similar(shown: str, printed: str) -> bool:
    """Whether a line is as shown: numbers may differ, "..." stands for anything."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.|\d[\d.]*(?:e-?\d+)?", shown)]
    return re.fullmatch(".*?".join(parts), printed) is not None


def _done(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def carry_out(text: str, folder: Path, after: Callable[[str], None] = lambda command: None) -> int:
    """Run a page's commands and programs in order and hold what it shows against what they print.

    A block with a title is a file, and is written. Blocks under "Start" are those of `.ci/run`.

    Args:
        text: the page.
        folder: where, furnished.
        after: called after each command with it.

    Returns:
        How many commands and programs ran.
    """
    ran = 0
    for block in BLOCKS.blocks(text):
        if block.heading == "Start":
            continue
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            done = _done([sys.executable, "-c", block.text], folder)
            assert done.returncode == 0, done.stderr
            ran += 1
        elif block.language == "console":
            printed = ""
            for command in block.commands:
                printed += _command(command, folder)
                after(command)
                ran += 1
            for line in block.output:
                assert any(similar(line, got) for got in printed.splitlines()), (line, printed)
    return ran


def _command(command: str, folder: Path) -> str:
    status = EXIT_STATUS.search(command)
    done = _done(["bash", "-c", command], folder)
    wanted = int(status.group(1)) if status else 0
    assert done.returncode == wanted, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def read_tables(text: str) -> int:
    """Give what a page shows of a configuration to the reader of configurations.

    Returns:
        How many tables it took.
    """
    shown = [
        tomllib.loads(b.text) for b in BLOCKS.blocks(text) if b.language == "toml" and not b.file
    ]
    for tables in shown:
        _read(tables)
    return len(shown)


def _read(tables: dict[str, Any]) -> None:
    if "networks" in tables:  # networks that are marked already; their files are not here
        assert {"file", "marked", "key"} <= set(tables["networks"][0])
        return
    if "project" in tables:  # a part of somebody's pyproject.toml
        return
    given = {
        "networks": ["nnw:digits/cnn-0.onnx"],
        "dataset": {"name": "digits"},
        "methods": [{"name": "uchida"}],
        "payload_sizes": [64],
    }
    evaluation_from({**given, **tables}, "x", ROOT)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(page: Path, made: tuple[str, ...] = ()) -> None:
    """Every link leads to a file of the repository and a heading in it.

    Args:
        page: the page.
        made: folders whose pages are there only when the site is built, which looks at them itself.
    """
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if link.startswith(("https://", *made)):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.is_file() or (not anchor and target.is_dir()), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"
