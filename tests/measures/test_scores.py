"""Scores of samples, against closed forms and a bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.math.statistics import least_half_width, paired_limits
from nnw_onnx.measures import scores
from nnw_onnx.measures.scores import Book, Pair
from nnw_onnx.records import MeasureRecord, Scores

from .made import ACCURACY, answers, floats, make_trial, packed

PSNR = MeasureRecord(name="PSNR", unit="dB", negligible=0.1, usable_loss=1)
PERPLEXITY = MeasureRecord(name="perplexity", better="lower", negligible=0.1, usable_loss=1)


def pair(before, after, measure=PSNR, network=0, quality=np.mean, weights=None):
    trials = [
        make_trial(
            network,
            identity=f"{network}-{place}",
            setting=place or None,
            quality={measure.name: float(quality(values))},
            scores=floats(values, weights),
        )
        for place, values in enumerate((before, after))
    ]
    return Pair(network, "", *trials)


def test_packed_answers_come_back():
    right = answers(77, 5, 20)
    found = scores.unpacked(packed(right))
    assert found.scores.tolist() == right.tolist()
    assert found.right_or_wrong
    assert found.ratio == pytest.approx(72 / 77)


@pytest.mark.parametrize(
    "broken",
    [
        Scores(form="bits", n=77, data="AA=="),
        Scores(form="bits", n=8, data="no base64!"),
        Scores(form="float32", n=3, data="AAAA"),
        Scores(form="float32", n=1, data="AADAfw=="),
        Scores(form="bits", n=0, data=""),
        None,
    ],
)
def test_broken_scores_are_the_same_as_none(broken):
    assert scores.unpacked(broken) is None


def test_the_error_of_right_and_wrong_answers_is_mcnemars():
    n, b, c = 1000, 55, 35
    before, after = answers(n, c, 0), answers(n, b, c)
    one = Pair(0, "", make_trial(0, right=before), make_trial(0, right=after, setting=0))
    found = scores.sample_error([one], ACCURACY, Book())
    assert found.error == pytest.approx(math.sqrt(b + c - (b - c) ** 2 / n) / n, rel=1e-3)
    assert found.least == least_half_width(n, 0.9)
    assert scores.changed_answers(one, Book()) == (b, c)


def test_one_network_has_limits_that_hold_where_few_answers_changed():
    one = Pair(
        0, "", make_trial(0, right=answers(1000)), make_trial(0, right=answers(1000, 3), setting=0)
    )
    found = scores.quality_loss([one], ACCURACY, "none", Book())
    assert found.limits == pytest.approx(paired_limits(3, 0, 1000, 0.9))
    assert found.method == "samples"


def test_the_error_of_a_ratio_of_sums_is_that_of_a_bootstrap(rng):
    n = 400
    weights = rng.integers(5, 60, n).astype(float)
    before, after = weights * rng.random(n), weights * rng.random(n)
    one = pair(before, after, quality=lambda v: v.sum() / weights.sum(), weights=weights)
    found = scores.sample_error([one], PSNR, Book()).error
    drawn = rng.integers(0, n, (4000, n))
    losses = (before[drawn].sum(1) - after[drawn].sum(1)) / weights[drawn].sum(1)
    assert found == pytest.approx(losses.std(), rel=0.06)


def test_the_error_of_a_monotone_function_is_scaled_by_its_slope(rng):
    n = 2000
    before = rng.normal(2.0, 0.2, n)
    after = before + rng.normal(0.02, 0.1, n)
    one = pair(before, after, PERPLEXITY, quality=lambda v: math.exp(v.mean()))
    found = scores.sample_error([one], PERPLEXITY, Book()).error
    plain = (after - before).std(ddof=1) / math.sqrt(n)
    assert found == pytest.approx(plain * math.exp(2.01), rel=0.02)
    assert scores.lost(one, PERPLEXITY) == pytest.approx(
        math.exp(after.mean()) - math.exp(before.mean())
    )


def test_a_sample_that_all_networks_lose_counts_as_one(rng):
    shared = rng.normal(0, 1, 500)
    alike = [pair(np.zeros(500), shared, network=k) for k in range(4)]
    apart = [pair(np.zeros(500), rng.normal(0, 1, 500), network=k) for k in range(4)]
    found = [scores.sample_error(pairs, PSNR, Book()).error for pairs in (alike, apart)]
    assert found[0] == pytest.approx(2 * found[1], rel=0.1)


def test_without_all_scores_there_is_no_error_over_samples():
    whole = pair(np.ones(4), np.zeros(4))
    bare = Pair(1, "", whole.before, whole.after.model_copy(update={"scores": None}))
    assert scores.sample_error([whole, bare], PSNR, Book()).error is None
    other = pair(np.ones(5), np.zeros(5), network=2)
    assert scores.sample_error([whole, other], PSNR, Book()).error is None


def test_scores_that_all_stayed_the_same_leave_open_what_others_would_do(rng):
    before = rng.random(600)
    same, share = pair(before, before), PSNR.model_copy(update={"low": 0.0, "high": 2.0})
    assert scores.quality_loss([same], PSNR, "", Book()).limits is None
    found = scores.quality_loss([same], share, "", Book())
    half = 2 * least_half_width(600, 0.9)
    assert found.limits == pytest.approx((-half, half))
    other = pair(before, before - 0.01 * rng.random(600))
    assert scores.sample_error([other], share, Book()).least == 0


def test_a_loss_of_a_measure_where_less_is_better_is_positive_where_it_rises():
    assert scores.lost(pair([1.0], [3.0], PERPLEXITY), PERPLEXITY) == 2
    assert scores.lost(pair([3.0], [1.0], PSNR), PSNR) == 2
