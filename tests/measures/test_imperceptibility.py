"""Imperceptibility, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.arrays import statistics
from nnw_onnx.measures.imperceptibility import imperceptibility
from nnw_onnx.measures.limits import NotMeasured

from .made import generator, injection, make_plan, packed, trial


def answered(network, payload, right, **measures):
    return trial(
        network,
        payload,
        intensity=None,
        quality=float(np.mean(right)),
        correct=packed(right),
    ).model_copy(update={"quality": {"top1": float(np.mean(right)), **measures}})


def evaluate(before, after, networks, payloads, samples, **fields):
    """`before[m]` and `after[m][d]` are the right answers."""
    plan = make_plan(networks, payloads, dataset={"entries": samples, "shape": [1]})
    injections = [
        injection(m, d, change=0.01 * (m + 1)) for m in range(networks) for d in range(payloads)
    ]
    trials = [answered(m, None, before[m]) for m in range(networks)]
    trials += [answered(m, d, after[m][d]) for m in range(networks) for d in range(payloads)]
    return imperceptibility(plan, injections, trials)[0]


def flipped(right, lost, gained):
    out = np.array(right)
    out[np.flatnonzero(right)[:lost]] = False
    out[np.flatnonzero(~np.asarray(right))[:gained]] = True
    return out


def test_worked_example_of_one_pair():
    right = np.arange(10_000) < 9000
    found = evaluate([right], [[flipped(right, 55, 35)]], 1, 1, 10_000)
    answers = found.pairs[0].answers
    # statistics.md section 7.
    assert (answers.samples, answers.lost, answers.gained) == (10_000, 55, 35)
    assert answers.mcnemar_p == pytest.approx(0.0446, abs=1e-4)
    test = answers.equivalence
    assert test.loss == pytest.approx(0.002)
    assert (test.limits.low, test.limits.high) == pytest.approx((0.00014, 0.00386), abs=1e-5)
    assert test.p_value == pytest.approx(7.8e-4, rel=0.01)
    assert test.equivalent
    assert found.pairs[0].loss == pytest.approx(0.002)
    # One network: only the samples can be the units, and they say the same as the pair.
    assert isinstance(found.over_networks, NotMeasured)
    assert found.over_samples.limits.high == pytest.approx(test.limits.high)
    assert found.verdict == "negligible"
    assert found.stated_over == "test samples"


def test_networks_are_the_units_of_the_mean():
    right = np.arange(10_000) < 9000
    after = [[flipped(right, lost, 0) for lost in row] for row in ([10, 20], [30, 50], [0, 10])]
    found = evaluate([right] * 3, after, 3, 2, 10_000)
    means = [15e-4, 40e-4, 5e-4]
    assert found.loss.mean == pytest.approx(np.mean(means))
    assert found.loss.individual == pytest.approx(means)
    expected = statistics.mean_limits(means)
    assert (found.over_networks.limits.low, found.over_networks.limits.high) == pytest.approx(
        expected
    )
    # 90 %: 20e-4 +- 2.92 * 18.03e-4 / sqrt(3) reaches beyond 50e-4.
    assert found.over_networks.limits_90.high == pytest.approx(
        20e-4 + 2.919986 * math.sqrt(np.var(means, ddof=1) / 3), rel=1e-5
    )
    assert not found.over_networks.equivalent
    assert found.over_samples.equivalent
    assert found.verdict == "inconclusive"
    assert found.stated_over == "networks"
    assert found.carrier_change.mean == pytest.approx(0.02)
    assert found.measures[0].change.mean == pytest.approx(-20e-4)
    assert (found.networks, found.watermarked) == (3, 6)


def test_the_units_of_samples_average_over_pairs():
    rng = generator(3)
    before = [rng.random(800) < 0.9 for _ in range(2)]
    after = [[flipped(b, int(k), 1) for k in (3, 6)] for b in before]
    found = evaluate(before, after, 2, 2, 800)
    x = np.mean([before[m].astype(float) - after[m][d] for m in range(2) for d in range(2)], axis=0)
    test = found.over_samples
    assert test.loss == pytest.approx(x.mean())
    assert (test.limits.low, test.limits.high) == pytest.approx(statistics.sample_limits(x))
    # So few changes have skewed limits, wider than the normal ones.
    half = 1.959964 * x.std() / math.sqrt(800)
    assert test.limits.high > x.mean() + half


def test_unchanged_answers_of_few_samples_show_nothing():
    right = np.ones(360, bool)
    found = evaluate([right, right], [[right], [right]], 2, 1, 360)
    assert found.loss.mean == 0.0
    assert found.over_networks.equivalent
    assert not found.over_samples.equivalent
    # An event of the margin's probability is seen in none of 360 samples so often.
    assert found.over_samples.p_value == pytest.approx(0.995**360)
    assert found.verdict == "inconclusive"
    assert found.samples_needed == 598
    # The wider of the two is what may be said.
    assert found.stated_over == "test samples"
    # Tango's limit of no change at all: z^2 / (n + z^2).
    assert found.stated.limits.high == pytest.approx(1.959964**2 / (360 + 1.959964**2), rel=1e-6)


def test_a_loss_above_the_margin_is_noticeable():
    right = np.arange(10_000) < 9000
    after = [[flipped(right, 300, 0)], [flipped(right, 302, 0)], [flipped(right, 301, 0)]]
    found = evaluate([right] * 3, after, 3, 1, 10_000)
    assert found.verdict == "noticeable"


def test_every_measure_is_reported():
    plan = make_plan(2, 1)
    trials = []
    for m, (before, after) in enumerate([(0.8, 0.7), (0.6, 0.4)]):
        for payload, recall in ((None, before), (0, after)):
            quality = {"top1": 0.9, "macro_recall": recall}
            trials.append(trial(m, payload, intensity=None).model_copy(update={"quality": quality}))
    found = imperceptibility(plan, [injection(0, 0), injection(1, 0)], trials)[0]
    recall = next(x for x in found.measures if x.name == "macro_recall")
    assert recall.unwatermarked.mean == pytest.approx(0.7)
    assert recall.watermarked.mean == pytest.approx(0.55)
    assert recall.change.mean == pytest.approx(-0.15)
    assert recall.change.individual == pytest.approx((-0.1, -0.2))


@pytest.mark.parametrize("correct", [None, "not base64!", packed([True] * 3)])
def test_answers_that_are_missing_or_broken(correct):
    plan = make_plan(1, 1)
    trials = [trial(0, p, intensity=None, correct=correct) for p in (None, 0)]
    found = imperceptibility(plan, [injection(0, 0)], trials)[0]
    expected = NotMeasured(reason="the answers to the single samples were not kept")
    assert found.pairs[0].answers == expected
    assert found.over_samples == expected
    assert found.verdict == "not-measured"
    assert found.loss.mean == 0.0


def test_what_was_not_done_is_told():
    plan = make_plan(2, 1)
    failed = injection(0, 0, status="failed", reason="too small", change=None, layers=())
    lost = trial(1, 0, intensity=None, status="failed", reason="timeout", quality=0.0)
    lost = lost.model_copy(update={"quality": {}, "headline": None})
    found = imperceptibility(
        plan, [failed, injection(1, 0)], [trial(1, None, intensity=None), lost]
    )[0]
    assert found.loss == NotMeasured(reason="no pair of networks was measured")
    assert found.verdict == "not-measured"
    assert [(f.count, f.reason) for f in found.failures] == [(1, "timeout"), (1, "too small")]
    assert found.carrier_change.mean == pytest.approx(0.01)
