"""What a mark leaves to see in the layers that carry it, measured where it is put in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from nnw_onnx.math.visibility import features, filter_means, two_samples
from nnw_onnx.records import TraceRecord
from nnw_onnx.vocabulary import Array, Network

MOST_LAYERS = 8
"""Carriers that are looked at: the first ones of a method that marks many."""
MOST_WEIGHTS = 1 << 22
"""Of a larger layer every second, third, ... filter is looked at, so that it takes no minutes."""
_DIGITS = 6
"""Significant ones that are kept: the last bits of a spectrum differ from machine to machine."""


def traces_of(before: Network, after: Network, layers: Sequence[str]) -> tuple[TraceRecord, ...]:
    """One trace for each carrier that is there before and after, in the same shape."""
    return tuple(_traces(before, after, layers[:MOST_LAYERS]))


def twin_traces(before: Network, twin: Network) -> tuple[TraceRecord, ...]:
    """Of a twin, which has no carrier: of its largest kernels."""
    kernels = [layer for layer in before.layers if layer.role == "kernel"]
    largest = sorted(kernels, key=lambda layer: -layer.size)[:MOST_LAYERS]
    return traces_of(before, twin, [layer.name for layer in largest])


def _traces(before: Network, after: Network, layers: Sequence[str]) -> Iterator[TraceRecord]:
    for name in layers:
        if name not in before.weights or name not in after.weights:
            continue
        old, new = _some(before.weights[name]), _some(after.weights[name])
        if old.shape == new.shape and _measurable(old) and _measurable(new):
            yield _trace(name, old, new)


def _trace(name: str, old: Array, new: Array) -> TraceRecord:
    weights, means = two_samples(old, new), two_samples(filter_means(old), filter_means(new))
    return TraceRecord(
        layer=name,
        statistic=_rounded(weights.statistic),
        variance_ratio=None if weights.variance_ratio is None else _rounded(weights.variance_ratio),
        means_statistic=_rounded(means.statistic),
        before=tuple(map(_rounded, features(old))),
        after=tuple(map(_rounded, features(new))),
    )


def _some(weights: Array) -> Array:
    step = max(1, math.ceil(weights.size / MOST_WEIGHTS))
    return weights[::step] if weights.ndim else weights


def _measurable(weights: Array) -> bool:
    return weights.size > 1 and bool(np.isfinite(np.asarray(weights, dtype=np.float64)).all())


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
