"""Networks larger than memory: peak memory, and processor time beside that of copying the file.

Run: python tests/benchmarks/bench_large.py [GIGABYTES [BILLIONS]]

A network of kernels of 100 MB (by default 0.6 GB of them, and 6 GB with --full of ratios.py) is
written, marked and read back, each in a process of its own; then a language model of int4 weights
(by default 0.1 billion) in the shape that onnxruntime-genai's model builder writes. Times of the
wall are told too, because copying waits for the disk: the least of three rounds, in which copies
and ours take turns. Something is asked of them from 3 GB on; below, most of them is the start.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ratios import Ratio, busy, full, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from graph.large_models import Decoder, language_model, products

WIDTH = 5000
TENSOR = 4 * WIDTH**2
METHODS = ("uchida", "block-spread")
ROUNDS = 3
ASKED_FROM = 3.0
"""Gigabytes."""
Told = tuple[float, float, float]
"""Seconds of the processor and of the wall, and peak memory in MB, of one command."""
_TOLD = """
import json, re, sys
sys.argv[0] = "nnw"
from nnw_onnx.__main__ import run
try:
    run()
except SystemExit as end:
    if end.code:
        raise
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print("peak", int(peak[1]) / 1024)
"""


def nnw(folder: Path, *words: str) -> Told:
    """Run one command."""
    command = [sys.executable, "-c", _TOLD, *words]
    start, answers = time.perf_counter(), []
    used = busy(
        lambda: answers.append(
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        )
    )
    return used, time.perf_counter() - start, float(answers[0].rsplit("peak", 1)[1])


def copied(folder: Path) -> Told:
    """Run cp, until the disk has the copy; of its memory nothing is told."""
    start = time.perf_counter()
    used = busy(
        lambda: subprocess.run(
            "cp m.onnx.data copy && sync copy", shell=True, cwd=folder, check=True
        )
    )
    (folder / "copy").unlink()
    return used, time.perf_counter() - start, 0.0


def marked(folder: Path, method: str, how: str) -> Iterator[tuple[str, Told]]:
    """Inject and decode."""
    words = ["inject", "m.onnx", "-o", "k.onnx", "--key-out", "k.npz", "--method", method]
    name = f"{method} {how}".strip()
    yield f"inject {name}", nnw(folder, *words, *([how] if how else []))
    yield f"decode {name}", nnw(folder, "decode", "k.onnx", "--key", "k.npz")
    for written in ("k.onnx", "k.onnx.data", "k.npz"):
        (folder / written).unlink()


def of_kernels(folder: Path, gigabytes: float) -> Iterator[Ratio]:
    """Injection and decoding of a network of large kernels."""
    products(folder / "m.onnx", max(2, round(gigabytes * 1e9 / TENSOR)), WIDTH)
    told: dict[str, list[Told]] = {}
    for _ in range(ROUNDS):
        for method in METHODS:
            for how in ("", "--sidecar"):
                told.setdefault("cp", []).append(copied(folder))
                for what, found in marked(folder, method, how):
                    told.setdefault(what, []).append(found)
    used, wall, _ = map(min, zip(*told.pop("cp"), strict=True))
    asked = 1.2 if gigabytes >= ASKED_FROM else None
    for what, rounds in told.items():
        processor, seconds, _ = map(min, zip(*rounds, strict=True))
        peak, bound = max(found[2] for found in rounds), 1.5 * TENSOR / 1e6 + 300
        yield Ratio(f"{what}: peak", peak, "1.5 x tensor + 300 MB", bound, "MB", 1)
        yield Ratio(f"{what}: processor", processor, "cp", used)
        yield Ratio(f"{what}: wall", seconds, "cp and sync", wall, "s", asked)


def of_words(folder: Path, billions: float) -> Iterator[Ratio]:
    """Seconds to list, mark and read a language model of int4, over those of importing onnx."""
    of = Decoder(
        layers=max(1, round(billions * 1e9 / 101e6)), hidden=3072, inner=8192, heads=24, groups=8,
        words=4096, context=4096,
    )  # fmt: skip
    language_model(folder / "lm.onnx", of)
    once = busy(lambda: subprocess.run([sys.executable, "-c", "import onnx"], check=True))
    layer = "model.layers.0.attn.k_proj.weight_Q4"
    commands = {
        "layers": ["layers", "lm.onnx", "--format", "json"],
        "inject": ["inject", "lm.onnx", "-o", "l.onnx", "--key-out", "l.npz", "--layer", layer,
                   "--sidecar"],
        "detect": ["detect", "l.onnx", "--key", "l.npz"],
        "decode": ["decode", "l.onnx", "--key", "l.npz"],
    }  # fmt: skip
    for name, words in commands.items():
        used, wall, peak = nnw(folder, *words)
        what = f"int4, {of.weights / 1e9:.2f} billion: {name} ({wall:.0f} s, {peak:.0f} MB)"
        yield Ratio(what, used, "import onnx", once)


def ratios(gigabytes: float | None = None, billions: float = 0.1) -> Iterator[Ratio]:
    """Both parts, each in a temporary folder."""
    gigabytes = gigabytes or (6.0 if full() else 0.6)
    for part, size in ((of_kernels, gigabytes), (of_words, billions)):
        with tempfile.TemporaryDirectory() as folder:
            yield from part(Path(folder), size)


if __name__ == "__main__":
    show(ratios(*map(float, sys.argv[1:])))
