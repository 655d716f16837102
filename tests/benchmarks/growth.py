"""How cost grows with the number of trials, of payload bits and of weights: a figure.

    python tests/benchmarks/growth.py OUT.svg [--trials N] [--bits N] [--weights N]

Seconds of the processor, printed and drawn on logarithmic axes; the number behind a name is the
slope over the upper half of its points, 1 where cost grows as the number does. The mark lies in the
one matrix of a generated network: 1 M weights for the payload's bits, 64 bits for the weights. Each
N is the largest of its kind, of which there are sizes up to 100,000, 4096 and 100,000,000; those
take half an hour.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bench_planning
import numpy as np
import onnx
from onnx import helper, numpy_helper
from ratios import busy

import nnw_onnx as nnw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("uchida", "block-spread", "st-dm", "lsb")
TRIALS, BITS, WEIGHTS = "trials", "bits of the payload", "weights of the carrier"
SIZES = {
    TRIALS: (100, 1000, 10_000, 100_000),
    BITS: (16, 64, 256, 1024, 4096),
    WEIGHTS: (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000),
}
QUICK = {TRIALS: 10_000, BITS: 1024, WEIGHTS: 1_000_000}
"""The largest where nothing else is asked for."""
_COLOURS = ("#1f5fa8", "#c2571a", "#2b7d4f", "#7a4a9c")
_STYLES = {"inject": "-", "decode": "--", "planning": "-", "resuming": "--"}

Point = tuple[str, str, int, float]
"""What is counted, the name of a line, how many there are, and seconds."""


def points(most: dict[str, int]) -> Iterator[Point]:
    """Every point of the figure, the smallest sizes first."""
    sizes = {what: [n for n in several if n <= most[what]] for what, several in SIZES.items()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for count in (100, *sizes[TRIALS]):  # the first finds nothing loaded and does not count
            yield from _trials(count, folder / f"run-{count}")
        wide = network(1_000_000, folder, rows=8192)  # uchida takes no more bits than rows
        for method in METHODS:
            for bits in sizes[BITS]:
                yield from _marked(BITS, bits, wide, method, bits)
        for count in sizes[WEIGHTS]:
            path = network(count, folder)
            for method in METHODS:
                yield from _marked(WEIGHTS, count, path, method, 64)


def _trials(count: int, folder: Path) -> Iterator[Point]:
    if folder.exists():
        folder = folder.with_name(f"{folder.name}-again")
    found, planning, _, resuming, _ = bench_planning.costs(count, folder)
    yield TRIALS, "planning", found, planning
    yield TRIALS, "resuming", found, resuming


def _marked(what: str, count: int, path: Path, method: str, bits: int) -> Iterator[Point]:
    payload = nnw.Payload.from_bits(np.arange(bits) % 2)
    made: list[nnw.Injection] = []
    try:
        putting = _least(lambda: made.append(nnw.inject(path, payload, method=method, seed=1)))
    except nnw.NnwError:
        return  # so many bits do not fit into so many weights
    marked = path.with_name("marked.onnx")
    made[0].network.save(marked)
    yield what, f"{method}, inject", count, putting
    yield what, f"{method}, decode", count, _least(lambda: nnw.decode(marked, made[0].key))


def _least(call: Callable[[], object]) -> float:
    """The least seconds of three calls, of which a long one is made once."""
    first = busy(call)
    return first if first > 2 else min(first, busy(call), busy(call))


def network(weights: int, folder: Path, rows: int = 0) -> Path:
    """One matrix of about so many normal weights, as a file with external data."""
    rows = rows or int(np.sqrt(weights))
    rng = np.random.Generator(np.random.PCG64(1))
    matrix = numpy_helper.from_array(rng.standard_normal((rows, weights // rows), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "one matrix",
        [helper.make_tensor_value_info("x", 1, ["n", rows])],
        [helper.make_tensor_value_info("y", 1, ["n", weights // rows])], [matrix],
    )  # fmt: skip
    path = folder / f"matrix-{weights}.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.bin")
    return path


def slope(line: Sequence[tuple[int, float]]) -> float | None:
    """Of the logarithms over the upper half of the points; None of a single one."""
    upper = sorted(line)[len(line) // 2 - (len(line) < 4) :]
    if len({count for count, _ in upper}) < 2:
        return None
    return float(np.polyfit(*np.log(np.array(upper).T), 1)[0])


def drawn(found: Sequence[Point], path: Path) -> None:
    """Three panels as SVG; the same points give the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "growth", "font.size": 8, "axes.titlesize": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
    for axis, what in zip(axes, SIZES, strict=True):
        _panel(axis, what, [point for point in found if point[0] == what])
    axes[0].set_ylabel("seconds of the processor")
    figure.suptitle("How cost grows; behind a name, the slope over the upper half", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(axis: Axes, what: str, found: Sequence[Point]) -> None:
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for _, name, count, seconds in found:
        lines[name].append((count, seconds))
    colours: dict[str, str] = {}
    for name, line in lines.items():
        kind = name.rpartition(" ")[2]
        colour = colours.setdefault(name.partition(",")[0], _COLOURS[len(colours) % len(_COLOURS)])
        rise = slope(line)
        label = name if rise is None else f"{name}: {rise:.2f}"
        axis.plot(
            *zip(*sorted(line), strict=True), _STYLES[kind], color=colour, marker="o",
            markersize=3, linewidth=1.2, label=label,
        )  # fmt: skip
    axis.set_xscale("log", base=2 if what == BITS else 10)
    axis.set(yscale="log", xlabel=what)
    axis.minorticks_off()
    axis.grid(color="#dddddd", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=6.5, frameon=False, loc="upper left", ncols=1 if len(lines) < 3 else 2)


def main() -> None:
    """Print every point and write the figure."""
    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("out", type=Path, metavar="OUT.svg")
    for what, most in QUICK.items():
        option = f"--{what.partition(' ')[0]}"
        parser.add_argument(option, type=int, default=most, dest=what, help=f"most {what}")
    given = vars(parser.parse_args())
    os.environ["NNW_CACHE"] = "off"
    found: dict[tuple[str, str, int], float] = {}
    most = {what: given[what] for what in SIZES}
    for what, name, count, seconds in points(most):
        found[what, name, count] = seconds
        print(f"{what:22} {name:22} {count:>11,} {seconds:9.4f} s", flush=True)
    drawn([(*key, seconds) for key, seconds in found.items()], given["out"])


if __name__ == "__main__":
    main()
