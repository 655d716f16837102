"""Processor time of `nnw decode` and `nnw detect` over that of `python -c "import onnxruntime"`.

Run: python tests/benchmarks/bench_startup.py [rounds]

The commands take turns, and the least of the rounds counts. Bytecode is kept between them, as it is
where a package is installed. `detect` alone runs the network to see whether its answers depend on
the mark, and methods that read answers run it always: nothing is asked of these.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ratios import Ratio, busy, show

import nnw_onnx

ROOT = Path(__file__).resolve().parents[2]
NNW = [sys.executable, "-m", "nnw_onnx"]
RUNTIME = [sys.executable, "-c", "import onnxruntime"]
WEIGHTS = ("uchida", "block-spread", "emmark", "lsb")
ASKED = 2.0


def ratios(rounds: int = 7) -> Iterator[Ratio]:
    """Each command over the import of the runtime."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode")),
        }
        commands = dict(_commands(Path(folder)))
        runtime, *times = least([RUNTIME, *(c for c, _ in commands.values())], rounds, environment)
        for (what, (_, asked)), ours in zip(commands.items(), times, strict=True):
            yield Ratio(what, ours, "import onnxruntime", runtime, asked=asked)


def least(commands: list[list[str]], rounds: int, environment: Mapping[str, str]) -> list[float]:
    """Seconds of the processor of each command, the least of so many rounds after a first one."""
    times = [
        [busy(partial(_finished, command, environment)) for command in commands]
        for _ in range(rounds + 1)
    ]
    return [min(each) for each in zip(*times[1:], strict=True)]


def _commands(folder: Path) -> Iterator[tuple[str, tuple[list[str], float | None]]]:
    yield "nnw --help", ([*NNW, "--help"], None)
    for method in WEIGHTS:
        files = _marked(folder, method)
        yield f"nnw decode, {method}", ([*NNW, "decode", *files], ASKED)
        yield f"nnw detect --no-run, {method}", ([*NNW, "detect", *files, "--no-run"], ASKED)
    files = _marked(folder, WEIGHTS[0])
    yield f"nnw detect, {WEIGHTS[0]}", ([*NNW, "detect", *files], None)
    yield "nnw detect, read from answers", ([*NNW, "detect", *_answering(folder)], None)


def _marked(folder: Path, method: str) -> list[str]:
    model, key = folder / f"{method}.onnx", folder / f"{method}.npz"
    if not key.exists():
        payload = nnw_onnx.Payload.from_text("mine, 2026")
        made = nnw_onnx.inject(ROOT / "models/digits/cnn-0.onnx", payload, method=method, seed=1)
        made.network.save(model)
        nnw_onnx.save_key(made.claim, key)
    return [str(model), "--key", str(key)]


def _answering(folder: Path) -> list[str]:
    """A network that answers triggers as its key says."""
    path = ROOT / "tests/runs/answering.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    answering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answering)
    claim = answering.claim_of(nnw_onnx.Payload.from_text("mine!"))
    nnw_onnx.save_key(claim, folder / "answers.npz")
    answering.write_classifier(folder / "answers.onnx", claim, wrong=3)
    return [str(folder / "answers.onnx"), "--key", str(folder / "answers.npz")]


def _finished(command: list[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)


if __name__ == "__main__":
    show(ratios(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
