"""What decoding costs: time of each command, and memory of the workers that share the images.

    python tests/benchmarks/bench_data_cache.py FOLDER [WORKERS [COMMANDS]]

FOLDER holds `train/<class>/<image>` and `test/<class>/<image>`, such as CIFAR-10 as JPEG files.
Arrays are kept in a folder of this run alone, so that the first command finds nothing. As ratios:
pictures made here, first and second command over decoding each file with Pillow.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from ratios import Ratio, busy, full

from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.inference import IsolatedPool, unwrap
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import batches
from nnw_onnx.vocabulary import Samples, TensorInfo

_PORT = TensorInfo("image", (None, 3, None, None), "float32")
_held: list[Samples] = []


def used(folder: str) -> tuple[int, float]:
    """Load both splits, and read every sample as a network takes it; their number and seconds."""
    start = time.perf_counter()
    scaled = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for split in ("train", "test"):
        samples = ImageFolder(Path(folder), preprocessing=scaled).load(split)
        fitted = samples.fitted([_PORT])
        assert samples.digest
        assert all(np.isfinite(b.feeds["image"][0, 0, 0, 0]) for b in batches(fitted, 256))
        _held.append(fitted)
    return sum(map(len, _held)), time.perf_counter() - start


def memory(_: int) -> dict[str, int]:
    """Memory of this process in bytes: its own part of what it shares (PSS), and private pages."""
    time.sleep(1)  # so that each worker is asked once
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {name: int(size.split()[0]) << 10 for name, size in (line.split(":") for line in lines)}
    return {"pid": os.getpid(), "pss": found["Pss"], "private": found["Private_Dirty"]}


def _command(folder: str) -> tuple[float, float]:
    """Seconds, and seconds of the processor, of a process that loads and reads everything."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, __file__, "--once", folder], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, spent


def ratios(images: int | None = None) -> Iterator[Ratio]:
    """The first command, which decodes and keeps, and the second, which finds the arrays."""
    images = images or (20_000 if full() else 2000)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        files = _pictures(folder, images)
        os.environ["NNW_CACHE"] = str(Path(place) / "cache")
        decoding = busy(lambda: [np.asarray(Image.open(file).convert("RGB")) for file in files])
        for which in ("first", "second"):
            _, seconds = _command(str(folder))
            what = f"{images:,} pictures, {which} command"
            yield Ratio(what, seconds, "decoding them with Pillow", decoding)


def _pictures(folder: Path, count: int) -> list[Path]:
    """JPEG files of noise: two splits of two classes."""
    rng = np.random.Generator(np.random.PCG64(1))
    found = []
    for k in range(count):
        path = folder / ("train" if k % 4 else "test") / f"class-{k % 2}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)).save(path)
        found.append(path)
    return found


def main() -> None:
    """Print the figures."""
    folder, *rest = sys.argv[1:]
    count, commands = (*map(int, rest), 4, 3)[: len(rest)] + (4, 3)[len(rest) :]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NNW_CACHE"] = cache
        for number in range(1, commands + 1):
            seconds, spent = _command(folder)
            print(f"command {number}: {seconds:.1f} s, of the processor {spent:.1f} s", flush=True)
        with IsolatedPool(count) as pool:
            loaded = [unwrap(o) for o in pool.map(used, [folder] * count)]
            told = {unwrap(o)["pid"]: unwrap(o) for o in pool.map(memory, range(count))}
        each = ", ".join(f"{s:.1f}" for _, s in loaded)
        print(f"{len(told)} workers, {loaded[0][0]} images each: {each} s")
        for key in ("pss", "private"):
            print(f"{key}: {sum(t[key] for t in told.values()) / 2**30:.2f} GiB together")


if __name__ == "__main__":
    if sys.argv[1] == "--once":
        used(sys.argv[2])
    else:
        main()
