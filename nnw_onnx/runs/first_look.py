"""Before anything is measured: the quality of every network on some samples, and its doubts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit.meters import in_words
from nnw_onnx.runs import calls
from nnw_onnx.runs.prepare import Prepared
from nnw_onnx.runs.preview import Preview, Suggestion, preview
from nnw_onnx.runs.work import Work
from nnw_onnx.vocabulary import Engine, Json, Measure, Outcome, Task

Tell = Callable[[str], None]
_log = logging.getLogger(__name__)

FAR_BELOW = 2.0
"""Losses that a network can have and be usable, of which so many are far below."""
STANDARD_ERRORS = 4.0
"""The shortfall must also be this many standard errors: one false stop in 30,000 looks."""


def look(prepared: Prepared, tell: Tell, engine: Engine | None = None) -> None:
    """Say the base quality of every network, and warn of what looks wrong.

    Args:
        prepared: the evaluation.
        tell: is told what a person should know, one line each.
        engine: looks at the networks; None for that of the evaluation.

    Raises:
        ConfigurationError: a network is far below the quality that its card or the configuration
            states, its answers are not what the task is about, or no network runs at all.
    """
    engine = engine or plugins.create(Engine, prepared.evaluation.engine.spec)
    outcomes = list(_looked(prepared, engine))
    if all(outcome.error is not None for outcome in outcomes):
        raise ConfigurationError(
            *(_lost(prepared, i, outcomes[i].error) for i in range(len(outcomes)))
        )
    faults = []
    for index, outcome in enumerate(outcomes):
        if outcome.value is None:
            tell(_lost(prepared, index, outcome.error))
        else:
            faults += _told(prepared, index, outcome.value, tell)
    if faults:
        raise ConfigurationError(*faults)


def _looked(prepared: Prepared, engine: Engine) -> Iterator[Outcome[Preview]]:
    evaluation = prepared.evaluation
    return engine.map(
        Work(partial(preview, count=evaluation.preview.samples), prepared.context),
        range(len(prepared.networks)),
        timeout=evaluation.session.timeout,
        memory_limit=evaluation.session.memory_limit,
    )


def _lost(prepared: Prepared, index: int, error: str | None) -> str:
    name = prepared.plan.networks[index].name
    return f"{name}: expected answers to some samples, got none: {error}"


def _told(prepared: Prepared, index: int, found: Preview, tell: Tell) -> list[str]:
    """Everything that is said of one network; the lines that stop the run are returned."""
    name = prepared.plan.networks[index].name
    headline = calls.measured(plugins.create(Task, prepared.context.task))[0]
    stated = _stated(prepared, index, headline)
    value = in_words(found.quality.values[headline.name], headline)
    of = f"{found.samples:,} of {prepared.plan.dataset.entries:,} samples"
    beside = f"; {stated.source} states {in_words(stated.value, headline)}" if stated else ""
    _log.info("%s: %s %s on %s%s", name, headline.name, value, of, beside)
    for warning in filter(None, (found.at_chance, *found.notices)):
        tell(f"{name}: {warning}")
    if found.suggestion:
        tell(f"{name}: {suggested(found.suggestion, headline)}")
    if found.fault:
        return [f"{name}: {found.fault}"]
    if stated and is_far_below(found, headline, stated.value):
        return [
            f"{name}: expected {headline.name} near {in_words(stated.value, headline)}, as "
            f"{stated.source} states, got {value} on {of}; check the preprocessing, or set "
            "preview.expected, or preview.samples = 0 to measure it as it is"
        ]
    return []


def suggested(found: Suggestion, headline: Measure) -> str:
    """Which preprocessing would be better, by how much, and what to write for it."""
    table = ", ".join(f"{key} = {_toml(value)}" for key, value in found.table.items())
    return (
        f"{headline.name} is {in_words(found.configured, headline)} as configured and "
        f"{in_words(found.better, headline)} with {found.name} ({found.samples} samples, "
        f"p = {found.p_value:.1g} after {found.tried} others were tried); try "
        f"preprocessing = {{ {table} }}"
    )


def _toml(value: Json) -> str:
    """A value as TOML has it, which for numbers, texts and lists of them is as JSON has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def is_far_below(found: Preview, headline: Measure, stated: float) -> bool:
    """Whether a quality falls short of the stated one by more than samples and doubts explain.

    By twice the loss with which a network is still usable, and by four standard errors of the mean
    of the scores, where there are scores.

    Args:
        found: the look.
        headline: the measure.
        stated: value that it should have.
    """
    short = headline.loss(stated, found.quality.values[headline.name])
    return short > max(FAR_BELOW * headline.usable_loss, STANDARD_ERRORS * _error(found))


def _error(found: Preview) -> float:
    scores = found.quality.scores
    if scores is None or found.quality.weights is not None or len(scores) < 2:
        return 0.0
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores)))


@dataclass(frozen=True)
class _Stated:
    """A quality that somebody states, and who."""

    value: float
    source: str


def _stated(prepared: Prepared, index: int, headline: Measure) -> _Stated | None:
    expected = prepared.evaluation.preview.expected
    if expected is not None:
        return _Stated(expected, "the configuration")
    found = _on_card(prepared.networks[index], headline)
    return None if found is None else _Stated(found, "its card")


def _on_card(network: OnnxNetwork, headline: Measure) -> float | None:
    """The headline that the file's own metadata state, as a number that it can have."""
    card: Mapping[str, str] = network.card
    keys = (headline.name, "accuracy") if headline.name == "top-1 accuracy" else (headline.name,)
    text = next((card[key] for key in keys if key in card), "")
    try:
        value = float(text)
    except ValueError:
        return None
    low, high = headline.low, headline.high
    possible = (
        math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    )
    return value if possible else None
