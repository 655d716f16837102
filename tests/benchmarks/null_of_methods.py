"""How often wrong keys are a Yes: every method that reads weights, on weights of many kinds.

    python tests/benchmarks/null_of_methods.py [--keys N] [METHOD ...]

For each method and kind of weights N wrong keys are tried on a network, half of them against one
that carries the mark of another key. For each level it prints how many p-values were at most that,
how many an exact test gives, and the probability of as many or more by chance. Where the null is a
count the exact number is that of the attained size; elsewhere it is the level, which a bound on
the tail stays below.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.errors import InjectionError
from nnw_onnx.kit.evidence import matched, size_of
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import (
    Array,
    Decodes,
    Detection,
    Detects,
    Injects,
    Key,
    Method,
    Payload,
    Spec,
)

LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)
SHAPE = (32, 32, 3, 3)
SIZE = 64
PAYLOAD = Payload.from_bits("110" * 21 + "1")
"""Two thirds ones, as the testbed draws them: a biased payload, fixed before the keys."""
OWNER = hashlib.sha256(b"another owner").digest()


def _pruned(weights: Array) -> Array:
    return np.where(np.abs(weights) < np.quantile(np.abs(weights), 0.95), 0, weights)


def _two_bits(weights: Array) -> Array:
    low, step = weights.min(), np.ptp(weights) / 3
    return low + np.rint((weights - low) / step) * step


KINDS: dict[str, Callable[[Array], Array]] = {
    "as trained": lambda w: w,
    "95 % pruned": _pruned,
    "2 bits": _two_bits,
    "all equal": lambda w: np.full_like(w, 0.25),
    "float16": lambda w: w.astype(np.float16),
    "all zero": np.zeros_like,
}


def trained_like() -> Array:
    """Filters that share a strong component and a mean of half a standard deviation."""
    rng = np.random.Generator(np.random.PCG64(11))
    shared = rng.standard_normal((1, *SHAPE[1:]))
    values = 0.05 * (rng.standard_normal(SHAPE) + 3 * shared + 1.5)
    return values.astype(np.float32)


@dataclass(frozen=True)
class Cell:
    """One method on one kind of weights, with or without the mark of another key."""

    spec: Spec
    kind: str
    marked: bool
    keys: int
    first: int


@dataclass(frozen=True)
class Counted:
    """What a cell gave: p-values at most each level, and the exact chance of one."""

    cell: Cell
    hits: tuple[int, ...]
    chances: tuple[float, ...]


def examine(cell: Cell) -> Counted:
    """Try the wrong keys of a cell."""
    method = plugins.create(Method, cell.spec)
    start = ArrayNetwork.of({"conv": trained_like()})
    payload = PAYLOAD if method.alphabet else Payload((), 2)
    own = method.make_key(start, len(payload), OWNER, ArrayBench())
    network = start
    if cell.marked and isinstance(method, Injects):
        network = method.inject(start, payload, own, ArrayBench())
    changed = KINDS[cell.kind](np.asarray(network.weights["conv"]))
    suspect = ArrayNetwork.of({"conv": changed})
    hits = [0] * len(LEVELS)
    found: Detection | None = None
    for index in range(cell.first, cell.first + cell.keys):
        secret = hashlib.sha256(f"wrong key {index}".encode()).digest()
        found = evidence(method, suspect, dataclasses.replace(own, secret=secret), payload)
        log10_p = found.log10_p
        if log10_p is None:
            return Counted(cell, (), ())
        for place, level in enumerate(LEVELS):
            hits[place] += 10.0**log10_p <= level
    chances = tuple(_chance(found, level) for level in LEVELS) if found is not None else ()
    return Counted(cell, tuple(hits), chances)


def evidence(method: Method, suspect: ArrayNetwork, key: Key, payload: Payload) -> Detection:
    """What the Detector says, or the exact test of the Symbols that match."""
    if isinstance(method, Detects):
        return method.detect(suspect, payload, key)
    assert isinstance(method, Decodes)
    return matched(method.decode(suspect, key).payload, payload)


def _chance(found: Detection, level: float) -> float:
    size = size_of(found.null, level)
    return level if size is None else size.attained


def methods(asked: Iterable[str]) -> Iterator[Spec | str]:
    """Methods whose wrong keys follow from a secret alone; of the others why they are left out."""
    for name in asked or plugins.names("methods"):
        plugin = plugins.load(Method, name)
        if plugin.access != "weights" or plugin.kind != "watermark":
            yield f"{name}: sees {plugin.access}, a {plugin.kind}; its null is that of its own test"
            continue
        method = plugins.create(Method, Spec(name))
        start = ArrayNetwork.of({"conv": trained_like()})
        size = SIZE if method.alphabet else 0
        try:
            key = method.make_key(start, size, OWNER, ArrayBench())
        except InjectionError as error:
            yield f"{name}: cannot be made here: {error}"
            continue
        if key.arrays:
            yield f"{name}: its key holds what was taken from the network, not a secret alone"
            continue
        yield Spec(name)


def main() -> int:
    """Print a line for each method and kind of weights; 1 where a rate is too high."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--keys", type=int, default=10_000, help="for each kind, with and without")
    options = parser.parse_args()
    cells: list[Cell] = []
    for found in methods(options.methods):
        if isinstance(found, str):
            print(found)
            continue
        first = 0
        for kind in KINDS:
            for marked in (False, True):
                cells.append(Cell(found, kind, marked, options.keys, first))
                first += options.keys
    print(f"{len(cells)} cells of {options.keys} wrong keys; counts at p <= {LEVELS}")
    worst, failed = 1.0, 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for counted in pool.map(examine, cells):
            cell = counted.cell
            name = f"{cell.spec.name:18} {cell.kind:12} {'marked' if cell.marked else 'unmarked':9}"
            if not counted.hits:
                print(f"{name} no exact null")
                continue
            expected = [cell.keys * chance for chance in counted.chances]
            tails = [
                float(stats.binom.sf(hit - 1, cell.keys, chance))
                for hit, chance in zip(counted.hits, counted.chances, strict=True)
            ]
            worst = min(worst, *tails)
            failed += min(tails) < 1e-6
            told = "  ".join(
                f"{hit}/{want:.4g}" for hit, want in zip(counted.hits, expected, strict=True)
            )
            print(f"{name} {told}   smallest chance {min(tails):.2g}", flush=True)
    print(f"smallest chance of all {len(cells)} cells: {worst:.2g}; too high: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
