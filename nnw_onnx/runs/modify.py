"""Modify one network by a stack of steps."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit import carriers, knowing
from nnw_onnx.math import blocks
from nnw_onnx.runs import guard
from nnw_onnx.runs.bench import RunBench
from nnw_onnx.runs.suspect import running, wrapped
from nnw_onnx.vocabulary import (
    Around,
    Array,
    Claim,
    Json,
    Layer,
    Modification,
    Modified,
    Network,
    Samples,
    Step,
    Values,
    Weights,
)

ALL, CARRIER = "@all", "@carrier"
NO_CARRIER = "the watermark lies in no layer of its own, so none can be aimed at"
COMPARED = 32
"""Samples on which answers are compared."""


@dataclass(frozen=True)
class Stacked:
    """A network after a stack of Modifications.

    Attributes:
        network: the modified network.
        around: what stands before it, the newest first.
        marks: watermarks put on top, to be read now.
        facts: what the Modifications say of themselves; in a stack under "NAME: FACT".
        samples_of: data set that the network answers now, where that is not the task's.
        layers: for each step, the layers that it was aimed at.
        change: RMS change of the layers aimed at (else of all kernels) / their pooled population
            standard deviation (>= 0); None where the architecture is another.
        difference: of steps that promise to preserve answers, the largest change of an answer over
            the largest answer; None without such a step.
        checkpoints: names of the checkpoints that its trainings have used.
    """

    network: OnnxNetwork
    around: tuple[Around, ...] = ()
    marks: tuple[Claim, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    samples_of: Literal["transfer"] | None = None
    layers: tuple[tuple[str, ...], ...] = ()
    change: float | None = None
    difference: float | None = None
    checkpoints: tuple[str, ...] = ()


BenchFor: TypeAlias = Callable[[int, OnnxNetwork, tuple[str, ...]], RunBench]
"""Index of a step, the network as it then is, the layers aimed at -> its bench."""

Differ: TypeAlias = Callable[[Stacked, Stacked], float]
"""A network before and after: the largest change of an answer over the largest answer."""


def modify(
    network: OnnxNetwork,
    steps: Sequence[Step],
    bench_for: BenchFor,
    rng_for: Callable[[int], np.random.Generator],
    differ: Differ | None = None,
    carrier: Sequence[str] = (),
) -> Stacked:
    """The network after all steps, one after the other.

    Args:
        network: it is not changed; copies of other recipients are on the bench.
        steps: Modifications with the layers that they are aimed at.
        bench_for: the bench of a step.
        rng_for: the generator of a step by its index.
        differ: compares answers where a step promises to preserve them; see `differ_on`. None
            where there are no samples: then the promise stays one.
        carrier: names of the carrier layers, for "@carrier".

    Raises:
        CarrierNotFoundError: a step aims at the carrier, and there is none, or it is not in the
            network any more.
        ConfigurationError: layers that do not exist, or given to a Modification that does not aim.
        PluginError: a Modification breaks its contract or its promise.
        TrainingError, InjectionError, ...: what a Modification says.
    """
    now = Stacked(network)
    for index, step in enumerate(steps):
        modification = plugins.create(Modification, step.modification)
        layers = _aimed_at(modification, now.network, step, carrier)
        bench = bench_for(index, now.network, layers)
        answer = _answer(modification, now.network, bench, rng_for(index))
        facts = _facts(modification, answer, several=len(steps) > 1)
        now = _promised(modification, now, _after(now, answer, facts, layers, bench), differ)
    return replace(now, change=_change(network, now))


def _aimed_at(
    modification: Modification, network: Network, step: Step, carrier: Sequence[str] = ()
) -> tuple[str, ...]:
    """The layers that a step is aimed at, in the network as it is when it begins.

    Raises:
        ConfigurationError: layers given to a Modification that does not aim, or that do not exist.
        CarrierNotFoundError: see `modify`.
    """
    if modification.aims:
        return select_layers(network, step.layers or (ALL,), carrier)
    if step.layers:
        raise ConfigurationError(
            f"{modification.name}: expected no layers, because it does not change single layers, "
            f"got {', '.join(step.layers)}; leave them out"
        )
    return ()


def select_layers(
    network: Network, patterns: Sequence[str], carrier: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of the layers aimed at, in the order of computation.

    Args:
        network: the network as it is now.
        patterns: "@all" (see `Layer.in_all`), "@carrier", "@largest" and "@last" (see
            `kit.knowing.guessed`), names, or names with wildcards; what is a name exactly is that
            layer and no pattern.
        carrier: names of the carrier layers.

    Raises:
        ConfigurationError: a pattern that nothing matches, or a layer that takes no new weights.
        CarrierNotFoundError: "@carrier", and there is none here.
        NotApplicableError: "@largest" or "@last", and no kernel can be a carrier.
    """
    names = [layer.name for layer in network.layers if layer.replaceable]
    wanted: set[str] = set()
    for pattern in patterns:
        wanted |= _matches(network, names, pattern, carrier)
    return tuple(name for name in names if name in wanted)


def weight_layers(network: Network) -> list[Layer]:
    """The Weights in the sense of the standard's Modifications, which "all" aims at."""
    return [layer for layer in network.layers if layer.in_all]


def differ_on(samples: Samples, settings: SessionSettings, batch_size: int) -> Differ:
    """Compares answers to the first samples of a data set, which are not fitted yet."""

    def differ(before: Stacked, after: Stacked) -> float:
        old = _answers(before, samples, settings, batch_size)
        new = _answers(after, samples, settings, batch_size)
        return difference(list(old.values()), list(new.values()))

    return differ


def difference(old: Sequence[Array], new: Sequence[Array]) -> float:
    """Largest change of an answer over the largest answer; infinite where they cannot compare."""
    shapes = [a.shape for a in old] == [b.shape for b in new]
    if not shapes or not all(np.isfinite(a).all() for a in (*old, *new)):
        return math.inf
    largest = max((float(np.abs(_f64(a)).max(initial=0)) for a in old), default=0.0)
    changes = (np.abs(_f64(a) - _f64(b)).max(initial=0) for a, b in zip(old, new, strict=True))
    change = max(map(float, changes), default=0.0)
    return change / largest if largest else (math.inf if change else 0.0)


def relative_change(old: Weights, new: Weights) -> float:
    """RMS change over the layers / their pooled population standard deviation (both >= 0)."""
    energy, spread = 0.0, 0.0
    for name in old:
        before, after = np.atleast_1d(old[name]), np.atleast_1d(new[name])
        for part in blocks.rows(before):
            energy += float(np.sum((_f64(after[part]) - _f64(before[part])) ** 2))
        spread += blocks.variance(before) * before.size
    return math.sqrt(energy / spread) if spread else 0.0


def change_of(before: Network, after: Network, layers: Sequence[str] = ()) -> float | None:
    """Relative change of layers, or of all kernels where there are none; None if they differ."""
    names = layers or [layer.name for layer in before.layers if layer.role == "kernel"]
    old, new = ({layer.name: layer.shape for layer in x.layers} for x in (before, after))
    if any(new.get(name) != old[name] for name in names):
        return None
    return relative_change(Chosen(before.weights, names), Chosen(after.weights, names))


class Chosen(Mapping[str, Array]):
    """Some of the weights of a network, each read when it is asked for."""

    def __init__(self, weights: Weights, names: Sequence[str]) -> None:
        self._weights, self._names = weights, tuple(names)

    def __getitem__(self, name: str) -> Array:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _matches(
    network: Network, names: Sequence[str], pattern: str, carrier: Sequence[str]
) -> set[str]:
    if pattern == ALL:
        return {layer.name for layer in weight_layers(network)}
    if pattern == CARRIER:
        return _carrier(names, carrier)
    if pattern in knowing.GUESSES:
        return {knowing.guessed(network, pattern)}
    if pattern in names:
        return {pattern}
    if blocked := [layer for layer in network.layers if layer.name == pattern]:
        raise ConfigurationError(
            f"layers: expected a layer that takes new weights, got {pattern!r}, where "
            f"{blocked[0].obstacle}; choose another one"
        )
    # A pattern may name any layer; only "@all" is limited to Weights.
    found = {name for name in names if fnmatch.fnmatchcase(name, pattern)}
    if not found:
        known = [layer.name for layer in weight_layers(network)]
        near = plugins.closest(pattern, known) or plugins.closest(pattern, names)
        raise ConfigurationError(
            f"layers: expected a layer of the network, got {pattern!r}{near}; its weights are in "
            f"{carriers.listed(known) or 'none'}"
        )
    return found


def _carrier(names: Sequence[str], carrier: Sequence[str]) -> set[str]:
    if not carrier:
        raise CarrierNotFoundError(NO_CARRIER)
    lost = [name for name in carrier if name not in names]
    if lost:
        raise CarrierNotFoundError(
            f"layers: expected the carrier {lost[0]!r} in the network as it is now, got none of "
            "that name; aim at layers by a pattern"
        )
    return set(carrier)


def _answer(
    modification: Modification, network: OnnxNetwork, bench: RunBench, rng: np.random.Generator
) -> Modified:
    answer = guard.guarded(modification, "modify", lambda: modification.modify(network, bench, rng))
    checked = guard.checked_modified(modification, answer, network, bench.layers)
    return replace(checked, around=tuple(_guarded(modification, a) for a in checked.around))


def _guarded(modification: Modification, around: Around) -> Around:
    """The wrapper, whose mistakes are the Modification's and not of who asks the network."""
    return lambda feeds, ask: guard.guarded(modification, "transform", lambda: around(feeds, ask))


def _after(
    now: Stacked,
    answer: Modified,
    facts: Mapping[str, Json],
    layers: tuple[str, ...],
    bench: RunBench,
) -> Stacked:
    if not isinstance(answer.network, OnnxNetwork):
        raise TypeError("modify: expected an answer that the guard has seen")
    return Stacked(
        answer.network,
        around=answer.around + now.around,
        marks=now.marks + answer.marks,
        facts={**now.facts, **facts},
        samples_of=answer.samples_of or now.samples_of,
        layers=(*now.layers, layers),
        difference=now.difference,
        checkpoints=now.checkpoints + tuple(bench.checkpoints),
    )


def _facts(modification: Modification, answer: Modified, *, several: bool) -> Mapping[str, Json]:
    if not several:
        return answer.facts
    return {f"{modification.name}: {name}": value for name, value in answer.facts.items()}


def _promised(
    modification: Modification, before: Stacked, after: Stacked, differ: Differ | None
) -> Stacked:
    """The stack with what a step that promises to preserve answers has changed of them."""
    if modification.preserves is None or differ is None:
        return after
    seen = differ(before, after)
    if not seen <= modification.preserves:
        raise guard.fault(
            modification,
            "modify",
            f"answers that change by at most {modification.preserves:g} of the largest, got "
            f"{seen:g}",
        )
    return replace(after, difference=max(seen, after.difference or 0.0))


def _change(before: OnnxNetwork, now: Stacked) -> float | None:
    aimed = all(now.layers)
    names = sorted({name for layers in now.layers for name in layers}) if aimed else []
    known = {layer.name for layer in before.layers}
    return change_of(before, now.network, names if known.issuperset(names) else [])


def _answers(
    stacked: Stacked, samples: Samples, settings: SessionSettings, batch_size: int
) -> Values:
    fitted = samples.fitted(stacked.network.inputs)
    batch = fitted.read(np.arange(min(COMPARED, len(fitted))))
    told = wrapped(running(stacked.network, settings, batch_size), stacked.around)(batch.feeds)
    return {name: values for name, values in told.items() if values.dtype.kind != "O"}


def _f64(array: Array) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)
