"""nnw.trace and nnw.compare: the functions behind the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.cli.main import main

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies for two recipients, with the owner's key beside them."""
    made = tmp_path_factory.mktemp("copies")
    names = made / "names.txt"
    names.write_text("Alice\nBob\n")
    words = ["recipients", "inject", str(MODEL), "--recipients", str(names)]
    assert main([*words, "--key", str(made / "owner.npz"), "-o", str(made / "out")]) == 0
    return made


def test_a_copy_tells_whose_it_is(folder: Path) -> None:
    claim, listed = nnw.load_key(folder / "owner.npz"), folder / "out" / "recipients.json"
    bobs = next((folder / "out").glob("*bob.onnx"))
    found = nnw.trace(bobs, claim, listed, original=MODEL)
    assert found
    assert [(one.name, one.accused) for one in found.recipients] == [
        ("Bob", True),
        ("Alice", False),
    ]
    assert not nnw.trace(MODEL, claim.key, listed)


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(nnw.NnwError, match="expected"):
        nnw.compare(tmp_path)
    with pytest.raises(nnw.NnwError, match="expected different run folders, got none"):
        nnw.compare()
