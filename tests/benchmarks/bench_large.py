"""Networks larger than memory: peak memory, and processor time beside that of copying the file.

Run: python tests/benchmarks/bench_large.py [GIGABYTES [BILLIONS]]

A network of kernels of 100 MB (by default 0.6 GB of them) is written, marked and read back, each in
a process of its own; then a language model of int4 weights (by default 0.1 billion) in the shape
that onnxruntime-genai's model builder writes. Times of the wall are told too, because copying waits
for the disk.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ratios import Ratio, busy, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from graph.large_models import Decoder, language_model, products

WIDTH = 5000
TENSOR = 4 * WIDTH**2
METHODS = ("uchida", "block-spread")
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


def nnw(folder: Path, *words: str) -> tuple[float, float, float]:
    """Seconds of the processor and of the wall, and peak memory in MB, of one command."""
    command = [sys.executable, "-c", _TOLD, *words]
    start, answers = time.perf_counter(), []
    used = busy(
        lambda: answers.append(
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        )
    )
    return used, time.perf_counter() - start, float(answers[0].rsplit("peak", 1)[1])


def copied(folder: Path) -> tuple[float, float]:
    """Seconds of the processor and of the wall of cp, until the disk has the copy."""
    start = time.perf_counter()
    used = busy(
        lambda: subprocess.run(
            "cp m.onnx.data copy && sync copy", shell=True, cwd=folder, check=True
        )
    )
    (folder / "copy").unlink()
    return used, time.perf_counter() - start


def of_kernels(folder: Path, gigabytes: float) -> Iterator[Ratio]:
    """Injection and decoding of a network of large kernels."""
    products(folder / "m.onnx", max(2, round(gigabytes * 1e9 / TENSOR)), WIDTH)
    bound = 1.5 * TENSOR / 1e6 + 300
    for method in METHODS:
        for how in ("", "--sidecar"):
            used, wall = copied(folder)
            words = ["inject", "m.onnx", "-o", "k.onnx", "--key-out", "k.npz", "--method", method]
            injected = nnw(folder, *words, "--force", *([how] if how else []))
            decoded = nnw(folder, "decode", "k.onnx", "--key", "k.npz")
            for what, told in ((f"inject {method} {how}", injected), ("decode", decoded)):
                yield Ratio(f"{what}: peak", told[2], "1.5 x tensor + 300 MB", bound, "MB", 1)
                yield Ratio(f"{what}: processor", told[0], "cp", used)
                yield Ratio(f"{what}: wall", told[1], "cp and sync", wall, "s", 1.2)
            for name in ("k.onnx", "k.onnx.data", "k.npz"):
                (folder / name).unlink()


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


def ratios(gigabytes: float = 0.6, billions: float = 0.1) -> Iterator[Ratio]:
    """Both parts, each in a temporary folder."""
    for part, size in ((of_kernels, gigabytes), (of_words, billions)):
        with tempfile.TemporaryDirectory() as folder:
            yield from part(Path(folder), size)


if __name__ == "__main__":
    show(ratios(*map(float, sys.argv[1:])))
