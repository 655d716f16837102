"""The strength of each method at which all of them cost the same quality.

Methods are compared at equal loss of quality; what strength that takes is found on networks that
are not part of the comparison, because a strength fitted to the compared ones favours whoever
overfits most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import calls
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.composed import asking
from nnw_onnx.runs.context import Context, network_of, samples_for
from nnw_onnx.runs.inject import inject
from nnw_onnx.runs.injections import payload_of
from nnw_onnx.runs.prepare import Prepared
from nnw_onnx.runs.quality import adds_classes, measure, task_for
from nnw_onnx.runs.seeds import identity, secret
from nnw_onnx.runs.suspect import Running
from nnw_onnx.runs.work import Work
from nnw_onnx.vocabulary import Engine, Measure, Method, Spec, Task, Technology

Tell = Callable[[str], None]
Item = TypeVar("Item")
Reached = Literal["reached", "below", "above", "not put in", "no strength", "training"]

_DOWN, _UP = 16.0, 64.0
"""How far from the default a strength is looked for, as factors."""
_STEPS = 7
"""Halvings of the logarithm of that range: the strength is known to 5 %."""


@dataclass(frozen=True)
class Tuned:
    """What was found for one technology.

    Attributes:
        technology: with the strength that was found.
        option: the option that was tuned; None where the method has none.
        value: its value, the largest found whose mean loss is at most the one that was asked for.
        loss: mean loss of quality over networks and payloads, in the measure's own numbers; None
            where nothing was measured.
        error: standard error of that over networks; None for a single one.
        outcome: "reached"; "below": the largest strength of the range costs less than was asked
            for; "above": the smallest costs more; "not put in" at any strength; "no strength" to
            tune; put in by "training".
    """

    technology: Technology
    option: str | None
    value: float | None
    loss: float | None
    error: float | None
    outcome: Reached


def tune(prepared: Prepared, loss: float, tell: Tell = lambda words: None) -> tuple[Tuned, ...]:
    """Strength of every technology of an evaluation without training, at one loss of quality.

    Args:
        prepared: its networks are those that are tuned on, with its D Payloads each.
        loss: mean loss of the headline quality measure, in its own numbers (> 0).
        tell: is told each strength that was tried, in one line.

    Raises:
        ConfigurationError: a loss that is not positive.
        RunError: a network cannot be run or injected for another reason than the strength.
    """
    if not loss > 0:
        raise ConfigurationError(
            f"loss: expected a positive loss of quality, got {loss:g}; take for example 0.005"
        )
    searches = [_search(technology, loss) for technology in prepared.context.technologies]
    with plugins.create(Engine, prepared.evaluation.engine.spec).kept() as engine:
        base = _mapped(prepared, engine, _unmarked, range(len(prepared.networks)))
        return _answered(prepared, engine, searches, base, tell)


def strength_of(method: Spec) -> tuple[str, float] | None:
    """Option that tunes a method and its value now; None where its card names none."""
    made = plugins.create(Method, method)
    option = None if made.card is None else made.card.strength
    if option is None:
        return None
    value = made.spec().options.get(option)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(
            f"{method.name}: expected a number as option {option!r}, got {value!r}; give one"
        )
    return option, float(value)


@dataclass(frozen=True)
class _Try:
    """One network marked at one strength."""

    technology: Technology
    network: int
    payload: int


@dataclass(frozen=True)
class _Asked:
    """A technology at one value of the option that tunes it."""

    technology: Technology
    option: str
    value: float

    def used(self) -> Technology:
        """The technology with that value."""
        method = self.technology.method
        options = {**method.options, self.option: self.value}
        return replace(self.technology, method=Spec(method.name, options))


_Search = Generator[_Asked, list[float], Tuned]
"""Asks for strengths, is sent the loss of each network under each, returns what it found."""


def _answered(
    prepared: Prepared,
    engine: Engine,
    searches: Sequence[_Search],
    base: Sequence[float],
    tell: Tell,
) -> tuple[Tuned, ...]:
    """What the searches find; they go on together, so that no worker waits for one of them."""
    found: dict[int, Tuned] = {}
    answers: dict[int, list[float] | None] = dict.fromkeys(range(len(searches)))
    while answers:
        asked: dict[int, _Asked] = {}
        for index, losses in answers.items():
            search = searches[index]
            try:
                asked[index] = next(search) if losses is None else search.send(losses)
            except StopIteration as end:
                found[index] = end.value
        used = [strength.used() for strength in asked.values()]
        answers = dict(zip(asked, _losses(prepared, engine, used, base), strict=True))
        for index, strength in asked.items():
            tell(_told(strength, answers[index] or []))
    return tuple(found[index] for index in range(len(searches)))


def _told(asked: _Asked, losses: Sequence[float]) -> str:
    name = f"{asked.technology.method.name}, {asked.technology.size} bits"
    return f"{name}: {asked.option} {asked.value:.4g} costs {np.mean(losses):.4g}"


def _losses(
    prepared: Prepared, engine: Engine, technologies: Sequence[Technology], base: Sequence[float]
) -> list[list[float]]:
    """Mean loss of each network under each technology; infinite where it cannot be put in."""
    headline = _headline_measure(prepared.context)
    payloads = prepared.evaluation.payloads
    tries = [
        _Try(used, network, payload)
        for used in technologies
        for network in range(len(base))
        for payload in range(payloads)
    ]
    marked = _mapped(prepared, engine, _marked, tries)
    lost = [headline.loss(base[t.network], now) for t, now in zip(tries, marked, strict=True)]
    means = np.reshape(lost, (len(technologies), len(base), payloads)).mean(axis=2)
    return [[float(value) for value in row] for row in means]


def _search(technology: Technology, loss: float) -> _Search:
    found = strength_of(technology.method)
    if technology.recipe is not None or found is None:
        why: Reached = "training" if technology.recipe is not None else "no strength"
        return Tuned(technology, None, None, None, None, why)
    option, default = found
    at = partial(_Asked, technology, option)
    low, high = default / _DOWN, default * _UP
    best = yield at(low)
    while not np.isfinite(best).all() and low < default:
        # Weaker than its bounds, or than what can be read back.
        low = min(2 * low, default)
        best = yield at(low)
    if not np.isfinite(best).all():
        return Tuned(technology, option, None, None, None, "not put in")
    if np.mean(best) > loss:
        return _result(technology, option, low, best, "above")
    largest = yield at(high)
    if np.mean(largest) <= loss:
        return _result(technology, option, high, largest, "below")
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        now = yield at(middle)
        if np.mean(now) <= loss:
            low, best = middle, now
        else:
            high = middle
    return _result(technology, option, low, best, "reached")


def _result(
    technology: Technology, option: str, value: float, losses: Sequence[float], outcome: Reached
) -> Tuned:
    rounded = float(f"{value:.4g}")
    many = len(losses) > 1
    error = float(np.std(losses, ddof=1) / math.sqrt(len(losses))) if many else None
    used = _Asked(technology, option, rounded).used()
    return Tuned(used, option, rounded, float(np.mean(losses)), error, outcome)


def _mapped(
    prepared: Prepared,
    engine: Engine,
    function: Callable[[Context, Item], float],
    items: Sequence[Item],
) -> list[float]:
    session, found = prepared.evaluation.session, []
    outcomes = engine.map(
        Work(function, prepared.context),
        items,
        timeout=session.timeout,
        memory_limit=session.memory_limit,
    )
    for outcome in outcomes:
        if outcome.value is None:
            raise RunError(
                f"tuning: expected a quality, got none: {outcome.error}; mend that first"
            )
        found.append(outcome.value)
    return found


def _unmarked(context: Context, index: int) -> float:
    network = network_of(context, index)
    return _headline(context, network, network)


def _marked(context: Context, tried: _Try) -> float:
    """Headline quality with the watermark; worse than any where the strength cannot be put in."""
    network, technology = network_of(context, tried.network), tried.technology
    draw = identity(
        purpose="tuning",
        network=context.sha256[tried.network],
        method=technology.method.name,
        size=technology.size,
        payload=tried.payload,
    )
    place = Place(
        draw, f"{technology.method.name}", draw, technology, technology.layers, original=network
    )
    bench = RunBench(context, network, place)
    payload = payload_of(context.seed, technology.size, tried.payload)
    try:
        made = inject(technology, network, payload, secret(context.seed, tuning=draw), bench)
    except (InjectionError, ConfigurationError):
        return -math.inf if _headline_measure(context).better == "higher" else math.inf
    more = adds_classes([technology.method])
    return _headline(context, made.network, network, more_classes=more)


def _headline(
    context: Context, network: OnnxNetwork, before: OnnxNetwork, *, more_classes: bool = False
) -> float:
    task = task_for(context.task, before, context.after)
    run = Running(network, context.settings, context.batch_size)
    ask = asking(run, task, context.after)
    samples = samples_for(context, network)
    quality = measure(ask, task, samples, context.batch_size, more_classes=more_classes)
    return float(quality.values[calls.measured(task)[0].name])


def _headline_measure(context: Context) -> Measure:
    return calls.measured(plugins.create(Task, context.task))[0]
