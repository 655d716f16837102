"""Start-up time of `nnw --help` and `nnw decode` as multiples of `python -c pass`.

Run: python tests/benchmarks/bench_startup.py [rounds]

The three commands take turns, so a busy moment hits all alike; the ratio is the median over the
rounds of the ratio within a round.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NNW = [sys.executable, "-m", "nnw_onnx"]


def wall(command: list[str]) -> float:
    """Seconds of one run of a command."""
    start = time.perf_counter()
    subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main(rounds: int) -> None:
    """Print a line for each command."""
    with tempfile.TemporaryDirectory() as folder:
        marked, key = Path(folder, "marked.onnx"), Path(folder, "key.npz")
        model = ROOT / "models/digits/cnn-0.onnx"
        written = ["-o", str(marked), "--key-out", str(key), "--seed", "1"]
        wall([*NNW, "inject", str(model), *written])
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "nnw --help": [*NNW, "--help"],
            "nnw decode": [*NNW, "decode", str(marked), "--key", str(key)],
        }
        for command in commands.values():
            wall(command)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(wall(command))
    base = times["python -c pass"]
    for name, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, base, strict=True))
        print(f"{name:15} {statistics.median(values) * 1000:7.0f} ms {ratio:6.1f} x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
