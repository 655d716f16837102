"""Who of K colluders is traced, by attack and code, and how many innocents are accused; a program.

Layers of Gaussian weights (L filters of M weights) carry codewords of m bits by Uchida's least
change, as `nnw_onnx.methods.uchida` puts them in; K copies are mixed weight by weight, and the
scores of `nnw_onnx.math` accuse. Every filter of a layer has the same change, so that a mixture of
weights that takes the same place in all filters is one of the filter means, which is all that is
computed here. 40 layers take about a minute: python tests/benchmarks/bench_collusion.py [LAYERS].
As ratios: the share of three colluders that is missed, over that which Tardos' code misses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from ratios import Ratio, full

from nnw_onnx.math import projection, tardos, tracing

FILTERS, WEIGHTS, MARGIN, BITS = 256, 2304, 2.0, 256
INNOCENTS, RATE = 1000, 1e-6

Floats = NDArray[np.float64]
Mix = Callable[[Floats, np.random.Generator], Floats]


def picked(changes: Floats, rng: np.random.Generator) -> Floats:
    """Each weight of a random copy."""
    places = np.arange(changes.shape[1])
    return changes[rng.integers(len(changes), size=len(places)), places]


ATTACKS: dict[str, Mix] = {
    "average": lambda changes, rng: changes.mean(axis=0),
    "median": lambda changes, rng: np.median(changes, axis=0),
    "middle": lambda changes, rng: (changes.min(axis=0) + changes.max(axis=0)) / 2,
    "pick": picked,
    "minimum": lambda changes, rng: changes.min(axis=0),
    "average + noise": lambda changes, rng: (
        changes.mean(axis=0) + rng.standard_normal(changes.shape[1]) / np.sqrt(FILTERS)
    ),
}


@dataclass(frozen=True)
class Layer:
    """A layer of N(0, 1) weights with its key matrix: mean of its filters (M,), matrix (m, M)."""

    mean: Floats
    matrix: Floats

    @property
    def margin(self) -> float:
        """Least projection of a marked layer."""
        return MARGIN * float(np.sqrt(self.matrix.shape[1] / FILTERS))

    def changes(self, codewords: NDArray[np.uint8]) -> Floats:
        """What each codeword (K, m) changes the filter mean by: (K, M)."""
        before = self.matrix @ self.mean
        wanted = [
            projection.targets(before, 2.0 * word - 1.0, self.margin) - before for word in codewords
        ]
        return np.array([projection.minimum_norm_change(self.matrix, w) for w in wanted])

    def centred(self, change: Floats, word: NDArray[np.uint8]) -> Floats:
        """The same with the unmarked layer at hand, as `runs.recipients.Reference` has it."""
        one, other = self.changes(np.array([word, 1 - word]))
        before, now = self.matrix @ self.mean, self.matrix @ (self.mean + change)
        up, down = before + self.matrix @ one, before + self.matrix @ other
        found = (now - (up + down) / 2) / (np.abs(up - down) / 2)
        return tracing.soft_values((found > 0).astype(np.int64), np.abs(found), 1.0)

    def read(self, change: Floats) -> Floats:
        """Soft values (m,) of the layer with this change, as the tracer of the package sees them.

        The confidence is that of `methods.uchida`: in units of the norm of the filter mean.
        """
        mean = self.mean + change
        found, norm = self.matrix @ mean, float(np.linalg.norm(mean))
        bits = (found > 0).astype(np.int64)
        return tracing.soft_values(bits, np.abs(found) / norm, self.margin / norm)


def drawn(rng: np.random.Generator, bits: int = BITS, weights: int = WEIGHTS) -> Layer:
    """A random layer with a random key."""
    matrix = rng.standard_normal((bits, weights))
    return Layer(rng.standard_normal(weights) / np.sqrt(FILTERS), matrix)


@dataclass(frozen=True)
class Tally:
    """Colluders, and mixtures, of which one or more was accused; innocents accused.

    `tested` counts layers, each with K colluders and `INNOCENTS` innocents.
    """

    caught: float
    any_caught: float
    innocents: int


def fair(
    rng: np.random.Generator, colluders: int, attack: Mix, layers: int, *, original: bool = False
) -> Tally:
    """Fair bits with the soft scores, accused by the bound that holds for every network."""
    hits = []
    for _ in range(layers):
        layer = drawn(rng)
        words = rng.integers(0, 2, (colluders + INNOCENTS, BITS)).astype(np.uint8)
        nobody = rng.integers(0, 2, BITS).astype(np.uint8)
        change = attack(layer.changes(words[:colluders]), rng)
        values = layer.centred(change, nobody) if original else layer.read(change)
        z = tracing.scores(words, values)
        hits.append([tracing.log10_p(one) <= np.log10(RATE) for one in z])
    return tally(np.array(hits), colluders)


def fair_scores(rng: np.random.Generator, colluders: int, attack: Mix, layers: int) -> Floats:
    """The scores of the colluders (layers, K)."""
    found = []
    for _ in range(layers):
        layer = drawn(rng)
        words = rng.integers(0, 2, (colluders, BITS)).astype(np.uint8)
        found.append(tracing.scores(words, layer.read(attack(layer.changes(words), rng))))
    return np.array(found)


def tardos_on_weights(rng: np.random.Generator, colluders: int, attack: Mix, layers: int) -> Tally:
    """Tardos' code in the same weights, with his scores of the bits that are read."""
    hits = []
    for _ in range(layers):
        layer = drawn(rng)
        p = tardos.biases(rng.random(BITS), tardos.cut_off(colluders))
        words = tardos.codewords(rng.random((colluders + INNOCENTS, BITS)), p)
        values = layer.read(attack(layer.changes(words[:colluders]), rng))
        found = tardos.scores(words, (values > 0).astype(np.uint8), p)
        hits.append(found > tardos.threshold(BITS, RATE))
    return tally(np.array(hits), colluders)


def tardos_scores(rng: np.random.Generator, colluders: int, bits: int, codes: int) -> Floats:
    """Scores (codes, c) over the threshold of colluders who show the bit of one of them at random.

    The interleaving attack under the marking assumption; no weights are involved.
    """
    found = []
    for _ in range(codes):
        p = tardos.biases(rng.random(bits), tardos.cut_off(colluders))
        words = tardos.codewords(rng.random((colluders, bits)), p)
        shown = words[rng.integers(colluders, size=bits), np.arange(bits)]
        found.append(tardos.scores(words, shown, p) / tardos.threshold(bits, RATE))
    return np.array(found)


def tally(hits: NDArray[np.bool_], colluders: int) -> Tally:
    """What accusations (layers, K + innocents) come to."""
    guilty = hits[:, :colluders]
    return Tally(
        float(guilty.mean()), float(guilty.any(axis=1).mean()), int(hits[:, colluders:].sum())
    )


def ratios(layers: int | None = None) -> Iterator[Ratio]:
    """Three colluders in layers of which some are drawn for each attack."""
    layers = layers or (200 if full() else 20)
    for name in ("average", "pick", "average + noise"):
        ours, theirs = (
            trace(np.random.Generator(np.random.PCG64(7)), 3, ATTACKS[name], layers)
            for trace in (fair, tardos_on_weights)
        )
        what = f"colluders missed of 3: {name}"
        yield Ratio(what, 1 - ours.caught, "Tardos' code", 1 - theirs.caught, "share", asked=1)


def main(layers: int) -> None:
    """Print the table."""
    counts = (2, 3, 5, 8, 12)
    print(f"{BITS} bits, L {FILTERS}, M {WEIGHTS}, margin {MARGIN:g}, {layers} layers a cell, rate")
    print(f"{RATE:g} for each of {INNOCENTS} innocents; caught (at least one), innocents accused")
    codes: dict[str, Callable[[np.random.Generator, int, Mix, int], Tally]] = {
        "fair bits, soft": fair,
        "same, original": partial(fair, original=True),
        "Tardos, his score": tardos_on_weights,
    }
    for code, trace in codes.items():
        for name, attack in ATTACKS.items():
            rng = np.random.Generator(np.random.PCG64(7))
            cells = [trace(rng, k, attack, layers) for k in counts]
            words = [f"{c.caught:.2f} ({c.any_caught:.2f})" for c in cells]
            accused = sum(c.innocents for c in cells)
            print(f"{code:18} {name:16} {'  '.join(words)}  innocents {accused}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
