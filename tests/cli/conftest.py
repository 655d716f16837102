"""Run `nnw` in this process, on the digits networks that come with the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nnw_onnx.cli.main import main

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"


class Answer(NamedTuple):
    """What a command returned and wrote."""

    status: int
    out: str
    err: str


Nnw = Callable[..., Answer]


@pytest.fixture
def nnw(capsys: pytest.CaptureFixture[str]) -> Nnw:
    """A function that runs one command line, given as words."""

    def run(*words: str | Path) -> Answer:
        status = main([str(word) for word in words])
        return Answer(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def model() -> Path:
    """An unwatermarked network."""
    return MODELS / "cnn-0.onnx"


@pytest.fixture(scope="session")
def other_model() -> Path:
    """Another unwatermarked network for the same task."""
    return MODELS / "cnn-1.onnx"


@pytest.fixture(scope="session")
def marked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A watermarked network that carries "mine and mine", and its key file."""
    folder = tmp_path_factory.mktemp("marked")
    out, key = folder / "marked.onnx", folder / "key.npz"
    words = ["inject", str(model), "-o", str(out), "--key-out", str(key), "--seed", "1"]
    assert main([*words, "--payload", "mine and mine"]) == 0
    return out, key
