"""Coverage of every limit that a report can print, by simulation with known truth.

Run: python tests/benchmarks/coverage_of_limits.py [runs of each line, 2000]

The numbers go through the same functions as those of a report. Where a report prints no limits
nothing can be wrong: coverage is the share of runs in which no limit that was printed excludes the
truth, and beside it stands the share of runs in which there were limits. Seeds are fixed. The exit
status is 1 where a limit with a stated confidence covers too little: less than 93 % of 95 %, less
than 88 % of 90 %, in settings for which it is stated.
"""

from __future__ import annotations

import itertools
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.measures import limits
from nnw_onnx.measures.limits import Nested
from nnw_onnx.measures.results import Value
from nnw_onnx.measures.scores import Answers, Book, Pair, quality_loss
from nnw_onnx.records import MeasureRecord, TrialRecord

Rng = np.random.Generator
Numbers = NDArray[np.float64]
Draw = Callable[[Rng], tuple[Value, float]]
"""One evaluation: what the report says, and the truth."""

SAMPLES = 1000
ACCURACY = MeasureRecord(name="accuracy", unit="%", negligible=0.005, usable_loss=0.05)
LEAST = {0.95: 0.93, 0.90: 0.88}


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        limits: which ones.
        setting: what is simulated.
        nominal: stated confidence; None where the report states none.
        draw: one evaluation.
        assumed: whether it is a setting for which the confidence is stated.
    """

    limits: str
    setting: str
    nominal: float | None
    draw: Draw
    assumed: bool = True


@dataclass(frozen=True)
class Covered:
    """What a case came to; shares of 1."""

    case: Case
    coverage: float
    printed: float
    negligible: float
    runs: int

    @property
    def enough(self) -> bool:
        """Whether it covers what is stated, up to three standard errors of the simulation."""
        if self.case.nominal is None or not self.case.assumed:
            return True
        least = LEAST[self.case.nominal]
        return self.coverage >= least - 3 * math.sqrt(least * (1 - least) / self.runs)


def covered(case: Case, runs: int) -> Covered:
    """Simulate a case; the same number of runs gives the same numbers."""
    seed = zlib.crc32(f"{case.limits} {case.setting}".encode())
    rng = np.random.Generator(np.random.PCG64(seed))
    hits = printed = negligible = 0
    for _ in range(runs):
        value, truth = case.draw(rng)
        bounds = value.limits
        printed += bounds is not None
        hits += bounds is None or bounds[0] <= truth <= bounds[1]
        if bounds is not None:
            negligible += max(-bounds[0], bounds[1]) < ACCURACY.negligible
    return Covered(case, hits / runs, printed / runs, negligible / runs, runs)


# Rates: watermarks of one network are found or lost together (beta-binomial).


def chances(rng: Rng, networks: int, mean: float, correlation: float) -> Numbers:
    """(networks,) chance of an event on each, with this intraclass correlation."""
    if correlation == 0:
        return np.full(networks, mean)
    odds = (1 - correlation) / correlation
    return rng.beta(mean * odds, (1 - mean) * odds, networks)


def events(networks: int, payloads: int, mean: float, correlation: float) -> Draw:
    """A rate of events: missed detections, false alarms."""

    def draw(rng: Rng) -> tuple[Value, float]:
        chance = chances(rng, networks, mean, correlation)
        happened = rng.random((networks, payloads)) < chance[:, None]
        rows = Nested({n: row.astype(float).tolist() for n, row in enumerate(happened)})
        return limits.rate(rows, "none", events=True), mean

    return draw


def error_rates(networks: int, payloads: int, mean: float, correlation: float) -> Draw:
    """A Symbol Error Rate: shares of 64 Symbols, whose expectation differs between networks."""

    def draw(rng: Rng) -> tuple[Value, float]:
        chance = chances(rng, networks, mean, correlation)
        wrong = rng.binomial(64, chance[:, None], (networks, payloads)) / 64
        rows = Nested({n: row.tolist() for n, row in enumerate(wrong)})
        return limits.rate(rows, "none"), mean

    return draw


# Losses: all networks answer the same samples, which are not equally easily lost.


def changed_answers(networks: int, loss: float, spread: float, easy: float) -> Draw:
    """Accuracy: answers become wrong, and a few right.

    Args:
        networks: M.
        loss: mean, over networks and samples.
        spread: coefficient of variation between networks (gamma).
        easy: share of the samples that changes can happen to.
    """

    def draw(rng: Rng) -> tuple[Value, float]:
        each = loss * (rng.gamma(1 / spread**2, spread**2, networks) if spread else 1.0)
        each = np.broadcast_to(each, networks)
        chance = each[:, None] * (rng.random(SAMPLES) < easy)[None, :] / easy
        number = rng.random((networks, SAMPLES))
        before = rng.random((networks, SAMPLES)) < 0.5
        lost, gained = number < 3 * chance, number < chance
        after = np.where(before, ~lost, gained)
        truth = loss if networks > 1 else float(each[0])
        return loss_of(before.astype(float), after.astype(float), True), truth

    return draw


def changed_scores(networks: int, spread: float, samples: float, rest: float) -> Draw:
    """A mean of continuous scores, such as PSNR: random effects of both kinds and a rest."""

    def draw(rng: Rng) -> tuple[Value, float]:
        shape = (networks, SAMPLES)
        change = 0.01 + rng.normal(0, spread, (networks, 1)) + rng.normal(0, samples, SAMPLES)
        return loss_of(np.ones(shape), 1 - change - rng.normal(0, rest, shape), False), 0.01

    return draw


def few_lose(networks: int, share: float, loss: float) -> Draw:
    """A few networks lose much, the others nothing."""

    def draw(rng: Rng) -> tuple[Value, float]:
        each = loss * (rng.random(networks) < share)
        before = np.ones((networks, SAMPLES))
        return loss_of(before, 1.0 * (rng.random(before.shape) >= each[:, None]), True), (
            share * loss
        )

    return draw


def loss_of(before: Numbers, after: Numbers, right_or_wrong: bool) -> Value:
    """The loss of a report, from scores (M, n)."""
    kept: dict[str, Answers | None] = {}

    def trial(name: str, scores: Numbers) -> TrialRecord:
        kept[name] = Answers(scores, None, right_or_wrong)
        quality = {ACCURACY.name: float(scores.mean())}
        return TrialRecord(identity=name, status="done", network=0, quality=quality)

    pairs = [
        Pair(n, "", trial(f"b{n}", first), trial(f"a{n}", then))
        for n, (first, then) in enumerate(zip(before, after, strict=True))
    ]
    return quality_loss(pairs, ACCURACY, "none", Book(kept))


def values_only(networks: int) -> Draw:
    """A measure that is no mean over samples, such as mIoU: limits over networks alone."""

    def draw(rng: Rng) -> tuple[Value, float]:
        losses = rng.normal(0.01, 0.005, networks)
        return limits.loss(Nested({n: [float(x)] for n, x in enumerate(losses)}), "none"), 0.01

    return draw


# Costs: networks and sessions differ, and a cell scatters.


def times(networks: int, sessions: int, sizes: tuple[float, float, float], heavy: bool) -> Draw:
    """Costs with standard deviations between networks, between sessions and of the rest."""

    def draw(rng: Rng) -> tuple[Value, float]:
        shape = (networks, sessions)
        total = rng.normal(0, sizes[0], (networks, 1)) + rng.normal(0, sizes[1], sessions)
        total = total + rng.normal(0, sizes[2], shape)
        values = np.exp(total) if heavy else 100 + total
        truth = math.exp(sum(s**2 for s in sizes) / 2) if heavy else 100.0
        found = {
            s: Nested({n: [float(values[n, s])] * 5 for n in range(networks)})
            for s in range(sessions)
        }
        return limits.cost(found, "none"), truth

    return draw


def cases() -> Iterator[Case]:
    """Every line of the table."""
    yield from _rates()
    yield from _losses()
    yield from _costs()


def _rates() -> Iterator[Case]:
    shares = (0.02, 0.1, 0.3, 0.5)
    for m, d, icc, p in itertools.product((3, 5, 10, 20), (1, 5, 10), (0.0, 0.2, 0.5, 0.9), shares):
        if d == 1 and icc:
            continue
        setting = f"M {m:2d}, D {d:2d}, ICC {icc}, p {p}"
        yield Case("rate of events", setting, 0.95, events(m, d, p, icc))
    for m, icc, p in itertools.product((3, 10, 20), (0.1, 0.5), (0.02, 0.1, 0.3)):
        setting = f"M {m:2d}, D  5, ICC {icc}, SER {p}"
        yield Case("Symbol Error Rate", setting, 0.95, error_rates(m, 5, p, icc))


def _losses() -> Iterator[Case]:
    for m, (loss, spread) in itertools.product(
        (1, 2, 3, 6, 12), ((0.0, 0.0), (0.01, 0.0), (0.01, 0.3), (0.05, 0.3))
    ):
        setting = f"M {m:2d}, loss {loss}, spread {spread}"
        yield Case("loss, accuracy", setting, 0.90, changed_answers(m, loss, spread, 0.3))
    for m, effects in itertools.product(
        (2, 3, 6, 12), ((0.0, 0.3, 0.3), (0.02, 0.3, 0.3), (0.02, 0.05, 0.3))
    ):
        setting = f"M {m:2d}, sd of networks, samples, rest {effects}"
        yield Case("loss, scores", setting, 0.90, changed_scores(m, *effects))
    for m in (2, 3, 6, 12):
        yield Case("loss, networks alone", f"M {m:2d}, normal", 0.90, values_only(m))
    for m, spread in itertools.product((2, 3, 6, 12), (0.5, 1.0)):
        setting = f"M {m:2d}, loss 0.05, spread {spread}, uneven"
        draw = changed_answers(m, 0.05, spread, 0.3)
        yield Case("loss, accuracy", setting, 0.90, draw, assumed=False)
    for m in (2, 3, 6, 12, 20):
        setting = f"M {m:2d}, one network in ten loses 5.5 points"
        yield Case("loss, accuracy", setting, 0.90, few_lose(m, 0.1, 0.055), assumed=False)


def _costs() -> Iterator[Case]:
    spreads = ((0.3, 0.1, 0.1), (0.1, 0.3, 0.1), (0.1, 0.1, 0.3), (1.0, 0.1, 0.1), (0.0, 0.0, 0.0))
    for m, s, sizes, heavy in itertools.product((3, 5, 10), (1, 2, 3), spreads, (False, True)):
        kind = "log-normal" if heavy else "normal"
        setting = f"M {m:2d}, sessions {s}, {kind}, sd of networks, sessions, rest {sizes}"
        yield Case("cost", setting, None, times(m, s, sizes, heavy))


def main() -> int:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    low = 0
    print("limits | setting | stated | coverage % | with limits % | called negligible %")
    for case in cases():
        found = covered(case, runs)
        low += not found.enough
        stated = "none" if case.nominal is None else f"{case.nominal:.0%}"
        stated += "" if case.assumed else ", not here"
        numbers = f"{100 * found.coverage:.1f} | {100 * found.printed:.0f}"
        negligible = f" | {100 * found.negligible:.0f}" if case.limits.startswith("loss") else ""
        mark = "" if found.enough else "  TOO LOW"
        print(
            f"{case.limits} | {case.setting} | {stated} | {numbers}{negligible}{mark}", flush=True
        )
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
