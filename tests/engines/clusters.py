"""A small evaluation, and whether two run folders hold the same."""

from __future__ import annotations

from pathlib import Path

import nnw_onnx as nnw
from nnw_onnx.runs.evaluation import with_engine

TEXT = """
networks = ["{network}"]
payloads = 2
payload_sizes = [32]
[dataset]
name = "npz"
path = "{data}"
[[methods]]
name = "uchida"
[[methods]]
name = "fragile"
[[modifications]]
name = "l1-pruning"
intensities = ["50%", "80%"]
[control]
wrong_keys = 0
[preview]
samples = 0
[cost]
cells = 0
"""
FILES = ("injections.jsonl", "records.jsonl")


def evaluated(path: Path, folder: Path, engine: object) -> Path:
    """The run folder of an evaluation on an engine: its short form, or its table."""
    asked = nnw.read_evaluation(path)
    if isinstance(engine, str):
        asked = with_engine(asked, engine)
    else:
        asked = nnw.read_evaluation(path, settings={f"engine.{k}": v for k, v in engine.items()})
    nnw.evaluate(asked, run_folder=folder, progress=False)
    return folder


def expect_same(run: Path, other: Path) -> None:
    """Records, keys and networks are the same bytes, and nothing else was written."""
    for name in FILES:
        assert (run / name).read_bytes() == (other / name).read_bytes()
    for name in ("keys", "networks"):
        found, wanted = ({p.name: p.read_bytes() for p in (f / name).iterdir()}
                         for f in (run, other))  # fmt: skip
        assert found == wanted
    assert {p.stat().st_mode & 0o777 for p in (run / "keys").iterdir()} == {0o600}
    assert not (run / "checkpoints").exists()
