"""A look at a network before it is measured: its quality on some samples, and what may be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit import usual
from nnw_onnx.kit.meters import chance_check, classification_fault
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import Drawn, ImageSamples, limited
from nnw_onnx.runs import calls
from nnw_onnx.runs.composed import NOTHING, Chain, asking
from nnw_onnx.runs.context import Context, load_samples, network_of
from nnw_onnx.runs.guard import GuardedSamples
from nnw_onnx.runs.quality import measure, task_for
from nnw_onnx.runs.suspect import Running, wrapped
from nnw_onnx.vocabulary import Ask, Json, Quality, Samples, Task
from nnw_onnx.vocabulary.networks import ON_THE_CPU

SAMPLES = 300
"""Samples that a preview looks at."""

LEVEL = 0.001
"""Probability of suggesting something else where nothing is better."""

_SCREENED = 64
_KEPT = 5
_ALIKE = 0.05


@dataclass(frozen=True)
class Suggestion:
    """A preprocessing with which a network is clearly better.

    Attributes:
        name: in words, such as "mean and std of ImageNet, BGR".
        preprocessing: it.
        configured: headline measure with the configured preprocessing.
        better: headline measure with this one.
        samples: on so many samples, the same ones.
        p_value: of the paired test (sign test, one-sided), times the number of those tried.
        tried: how many other ones were tried.
        alike: names of others that these samples do not show to be worse than it.
    """

    name: str
    preprocessing: Preprocessing
    configured: float
    better: float
    samples: int
    p_value: float
    tried: int
    alike: tuple[str, ...] = ()

    @property
    def table(self) -> Mapping[str, Json]:
        """The keys of the configuration's table `preprocessing` that are not the default."""
        default = Preprocessing()
        given = {f.name: vars(self.preprocessing)[f.name] for f in fields(default)}
        changed = {k: v for k, v in given.items() if v != vars(default)[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}


@dataclass(frozen=True)
class Preview:
    """What some samples show of a network.

    Attributes:
        quality: on these samples.
        samples: how many there were.
        fault: why the answers are no classification, where they should be one; else None.
        at_chance: what to say where the headline is not above chance; else None.
        suggestion: a preprocessing that is clearly better, or None.
        notices: what the data set says of itself.
    """

    quality: Quality
    samples: int
    fault: str | None = None
    at_chance: str | None = None
    suggestion: Suggestion | None = None
    notices: tuple[str, ...] = ()


def preview(context: Context, index: int, count: int = SAMPLES) -> Preview:
    """A look at one network of an evaluation; made to be called in a process of its own.

    Args:
        context: of the evaluation.
        index: of the network.
        count: samples to look at.

    Raises:
        NnwError: the network does not run, or its answers do not fit the task.
    """
    samples, network = load_samples(context.data), network_of(context, index)
    task = task_for(context.task, network, context.after)
    settings, size = context.settings, context.batch_size
    return previewed(network, samples, task, settings, size, count, context.after)


def previewed(
    network: OnnxNetwork,
    samples: Samples,
    task: Task,
    settings: SessionSettings,
    batch_size: int,
    count: int = SAMPLES,
    after: Chain = NOTHING,
) -> Preview:
    """A look at one network; see `preview`.

    Args:
        network: it.
        samples: not fitted.
        task: as the network means it (`quality.task_for`).
        settings: how it is run.
        batch_size: samples a run where the graph leaves it open.
        count: samples to look at.
        after: networks that its answers go through before they are measured.
    """
    run = Running(network, settings, batch_size)
    some = limited(samples, count).fitted(network.inputs)
    ask = asking(run, task, after)
    quality = measure(ask, task, some, batch_size)
    better = suggest_preprocessing(ask, network, samples, task, batch_size, count)
    notices = samples.facts.get("notices", ())
    return Preview(
        quality,
        len(some),
        _fault(ask if after else wrapped(run.reading((task.output,))), task, some),
        chance_check(quality, calls.measured(task)[0]),
        better,
        (*_on_the_cpu(run), *(map(str, notices) if isinstance(notices, Sequence) else ())),
    )


def _on_the_cpu(run: Running) -> list[str]:
    return [f"{name}: {fact}" for name, fact in run.facts.items() if name == ON_THE_CPU]


def suggest_preprocessing(
    ask: Ask,
    network: OnnxNetwork,
    samples: Samples,
    task: Task,
    batch_size: int,
    count: int = SAMPLES,
) -> Suggestion | None:
    """The usual preprocessing with which a network is clearly better than as configured, or None.

    All are tried on few samples, the best of them on `count`. "Clearly" is a paired test by sample,
    corrected for the number tried, and a gain above what the task calls negligible.

    Args:
        ask: runs the network.
        network: the network.
        samples: not fitted; others than images have no usual preprocessing.
        task: as the network means it.
        batch_size: samples a run where the graph leaves it open.
        count: samples to look at.
    """
    whole = samples.given if isinstance(samples, GuardedSamples) else samples
    inputs = network.inputs
    if not isinstance(whole, ImageSamples) or len(whole.shape) != 4 or len(inputs) != 1:
        return None
    few = min(_SCREENED, count)
    white = _white(limited(whole.preprocessed(Preprocessing(scale=1.0)), few))
    ways = usual.others(whole.preprocessing, whole.shape, whole.dtype, inputs[0].shape, white)

    def tried(made: Preprocessing, number: int, *, by_sample: bool = True) -> _Tried | None:
        fed = limited(whole.preprocessed(made), number)
        return _tried(ask, network, fed, task, batch_size, by_sample=by_sample)

    screened = {n: seen for n, made in ways.items() if (seen := tried(made, few, by_sample=False))}
    top = sorted(screened, key=lambda n: screened[n])[-1:]
    wanted = dict.fromkeys((*_best(screened)[:_KEPT], *top))
    finals = {n: seen for n in wanted if (seen := tried(ways[n], count))}
    now = tried(whole.preprocessing, count)
    return None if now is None or not finals else _suggestion(task, ways, finals, now)


def _white(samples: Samples) -> float | None:
    """The largest value in some samples; None where that is no white."""
    batch = samples.read(np.arange(len(samples)))
    peak = max(float(values.max(initial=0.0)) for values in batch.feeds.values())
    return peak if 0 < peak < np.inf else None


def _suggestion(
    task: Task, ways: Mapping[str, Preprocessing], finals: Mapping[str, _Tried], now: _Tried
) -> Suggestion | None:
    """The commonest of the best, where it is clearly better than what is configured."""
    name, *alike = _best(finals)
    best, headline = finals[name], calls.measured(task)[0]
    p_value = min(1.0, len(ways) * sign_test(now.scores, best.scores))
    if p_value > LEVEL or headline.loss(best.value, now.value) <= headline.negligible:
        return None
    counts = len(now.scores), p_value, len(ways)
    return Suggestion(name, ways[name], now.value, best.value, *counts, tuple(alike))


@dataclass(frozen=True, order=True)
class _Tried:
    """What one preprocessing gives: `mean` of its `scores`, where larger is better."""

    mean: float
    value: float = field(compare=False)
    scores: NDArray[np.float64] = field(compare=False)

    def may_equal(self, better: _Tried) -> bool:
        """Whether the samples, which must be several, do not show that the other is better."""
        return len(self.scores) > 1 and sign_test(self.scores, better.scores) > _ALIKE


def _best(tried: Mapping[str, _Tried]) -> list[str]:
    """Those that are not clearly worse than the best, in the given order."""
    top = max(tried.values(), default=None)
    return [n for n, t in tried.items() if t is top or (top and t.may_equal(top))]


def _tried(
    ask: Ask,
    network: OnnxNetwork,
    samples: Samples,
    task: Task,
    batch_size: int,
    *,
    by_sample: bool,
) -> _Tried | None:
    """None where the network does not take such inputs."""
    headline = calls.measured(task)[0]
    try:
        fed = samples.fitted(network.inputs)
        quality = measure(ask, task, fed, batch_size)
        scores = quality.scores
        if scores is None and not by_sample:
            scores = np.array([quality.values[headline.name]])
        if scores is None:  # a headline that is no mean: each sample is measured by itself
            every = [measure(ask, task, Drawn(fed, np.array([i])), 1) for i in range(len(fed))]
            scores = np.array([one.values[headline.name] for one in every])
    except (ConfigurationError, InferenceError):
        return None
    if quality.weights is not None:
        scores = scores / np.where(quality.weights == 0, 1, quality.weights)
    upwards = scores if headline.better == "higher" else -scores
    return _Tried(float(upwards.mean()), quality.values[headline.name], upwards)


def sign_test(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """P-value of "after is better" for scores (n,) of the same samples, one-sided and exact.

    Samples without a difference do not count. For scores of 0 and 1 it is McNemar's exact test.
    """
    from scipy.stats import binom

    wins, losses = int((after > before).sum()), int((after < before).sum())
    return float(binom.sf(wins - 1, wins + losses, 0.5))


def _fault(ask: Ask, task: Task, samples: Samples) -> str | None:
    """Why the answers are no classification, where classes are what the task is about."""
    classes = samples.facts.get("classes")
    batch = samples.read(np.arange(min(_SCREENED, len(samples))))
    if task.minimised() != "cross-entropy" or not isinstance(classes, Sequence):
        return None
    if not isinstance(batch.targets, np.ndarray) or batch.targets.ndim != 1:
        return None
    told = ask(batch.feeds)
    part = samples.facts.get("part") is True
    return classification_fault(list(told.values())[task.output], len(classes), part=part)
