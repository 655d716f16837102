"""Visibility: a detector that sees what there is, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.math.clusters import excess_p
from nnw_onnx.math.visibility import FEATURES, features, two_samples
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.visibility import Look, detector, visibility
from nnw_onnx.records import TraceRecord
from nnw_onnx.runs import traces
from nnw_onnx.runs.traces import MOST_LAYERS, traces_of, twin_traces
from nnw_onnx.testing.array_network import ArrayNetwork

from .made import make_injection, make_plan, make_technology, make_twin


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def layers(draw, mark, networks=12, payloads=3):
    """Looks at layers of random weights, and at the same with something added."""
    for n in range(networks):
        weights = draw.normal(0, draw.uniform(0.5, 2), (32, 50))
        yield Look(n, "conv", False, tuple(features(weights)))
        for _ in range(payloads):
            added = mark * weights.std() * draw.choice([-1, 1], (1, 50))
            yield Look(n, "conv", True, tuple(features(weights + added)))


def numbers(draw, networks, payloads, shared, shift=0.0, count=26):
    """Looks whose numbers hang together within a network; a mark moves the first of them."""
    for n in range(networks):
        base = draw.normal(0, 1, count)
        for k in range(payloads + 1):
            x = np.sqrt(shared) * base + np.sqrt(1 - shared) * draw.normal(0, 1, count)
            x[0] += shift * (k > 0)
            yield Look(n, "conv", k > 0, tuple(x))


def test_a_mark_in_the_filter_mean_is_seen():
    """Half a standard deviation on each filter mean: the means are three times as wide."""
    found, p_value = detector(list(layers(rng(1), 0.5)), "")
    assert found.value > 0.99
    assert p_value == 1 / 1000
    assert found.networks == 12


@pytest.mark.parametrize(("networks", "payloads", "shared"), [(8, 2, 0.0), (6, 3, 0.95)])
def test_where_there_is_nothing_it_is_seen_as_often_as_the_level_says(networks, payloads, shared):
    seen, draws = 0, 60
    for seed in range(draws):
        _, p_value = detector(list(numbers(rng(seed), networks, payloads, shared)), "")
        seen += p_value <= 0.05
    assert excess_p(seen, draws, 0.05) > 1e-3


def test_what_there_is_is_seen():
    seen = [detector(list(numbers(rng(s), 12, 3, 0.9, 1.0)), "")[1] <= 0.05 for s in range(10)]
    assert sum(seen) >= 7


def test_a_mark_that_changes_nothing_is_as_good_as_guessing():
    looks = [Look(n, "conv", k > 0, (float(n), 1.0)) for n in range(8) for k in range(3)]
    found, p_value = detector(looks, "")
    assert found.value == 0.5
    assert p_value == 1
    assert found.limits is None


def test_the_same_looks_give_the_same_answer():
    looks = list(numbers(rng(1), 6, 2, 0.5))
    assert detector(looks, "") == detector(looks, "")


def test_few_networks_train_no_detector():
    found, p_value = detector(list(layers(rng(1), 0.5, networks=5)), "")
    assert found.value is p_value is None
    assert found.reason == "fewer than 6 networks: a detector cannot be trained on others"
    assert detector([], "no layer")[0].reason == "no layer"


def trace(layer="conv1", statistic=0.2, before=0.0, after=1.0, **fields):
    n = len(FEATURES)
    return TraceRecord(
        layer=layer,
        statistic=statistic,
        means_statistic=0.5,
        variance_ratio=1.1,
        before=(before,) * n,
        after=(after,) * n,
        **fields,
    )


def run_of(injections, networks, technology=None):
    plan = make_plan(networks, 2, [technology or make_technology()])
    return Run(plan, tuple(injections), ())


def test_statistics_are_means_over_networks():
    """Network 0 has 0.1 and 0.3, network 1 twice 0.4: the mean of 0.2 and 0.4."""
    shares = {(0, 0): 0.1, (0, 1): 0.3, (1, 0): 0.4, (1, 1): 0.4}
    marks = [make_injection(n, d, traces=(trace(statistic=s),)) for (n, d), s in shares.items()]
    found = visibility(run_of(marks, 2), make_technology())
    assert found.weights.value == pytest.approx(0.3)
    assert found.filter_means.value == 0.5
    assert found.variance_ratio.value == pytest.approx(1.1)
    assert (found.verdict, found.layers, found.reference) == ("not measured", 1, "original")


def test_without_a_carrier_nothing_is_measured():
    found = visibility(run_of([make_injection()], 1), make_technology())
    assert found.verdict == "not measured"
    assert (
        found.weights.reason
        == found.auc.reason
        == ("no layer of its own carries it, or it was injected by an older version")
    )


def marked_networks(draw, networks, after):
    for n in range(networks):
        for d in range(2):
            yield make_injection(n, d, traces=(trace(after=after + draw.normal(0, 0.1)),))


def test_a_mark_by_training_is_told_from_the_twin():
    """All trained layers differ from the original, and the twin's as much: nothing is seen."""
    technology = make_technology(training={"epochs": 1})
    draw = rng(3)
    marks = list(marked_networks(draw, 8, after=1.0))
    twins = [
        make_twin(n, traces=(trace(after=1.0 + draw.normal(0, 0.1)), trace("other")))
        for n in range(8)
    ]
    found = visibility(run_of([*marks, *twins], 8, technology), technology)
    assert found.reference == "twin"
    assert found.verdict == "not seen"
    alone = visibility(run_of(marks, 8, technology), technology)
    assert alone.auc.reason == (
        "the twin, which is the same training without a watermark, has no such layer"
    )
    static = visibility(run_of(marks, 8), make_technology())
    assert static.verdict == "seen"


def test_of_large_layers_some_filters_are_looked_at(monkeypatch):
    weights = rng(1).normal(0, 1, (9, 10)).astype(np.float32)
    before = ArrayNetwork.of({"l": weights})
    after = before.with_weights({"l": weights + np.arange(9, dtype=np.float32)[:, None]})
    monkeypatch.setattr(traces, "MOST_WEIGHTS", 30)
    (found,) = traces_of(before, after, ["l"])
    whole = two_samples(weights[::3], after.weights["l"][::3]).statistic
    assert found.statistic == pytest.approx(whole, abs=1e-6)


def test_traces_are_of_carriers_that_are_there_before_and_after():
    weights = {f"l{i}": rng(i).normal(0, 1, (4, 6)).astype(np.float32) for i in range(12)}
    before = ArrayNetwork.of(weights)
    after = before.with_weights({"l0": weights["l0"] + 1})
    (only,) = traces_of(before, after, ["l0", "gone"])
    assert only.layer == "l0"
    assert only.statistic > 0.5
    assert only.variance_ratio == pytest.approx(1, abs=1e-5)
    assert len(only.before) == len(only.after) == len(FEATURES)
    assert len(traces_of(before, before, list(weights))) == MOST_LAYERS
    assert all(t.statistic == 0 for t in twin_traces(before, before))
