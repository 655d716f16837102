"""Imperceptibility by hand: what may be called negligible, and of whom; twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from nnw_onnx.math.statistics import mcnemar
from nnw_onnx.measures.imperceptibility import imperceptibility
from nnw_onnx.measures.run import Run

from .made import (
    ACCURACY,
    RECALL,
    answers,
    make_injection,
    make_plan,
    make_technology,
    make_trial,
    make_twin,
)

N = 10_000


def found_of(wrong, networks=3, payloads=1, **plan):
    """`wrong` maps (network, payload) to the answers that the watermark spoils."""
    marks = [make_injection(n, d) for n in range(networks) for d in range(payloads)]
    trials = [make_trial(n, right=answers(N)) for n in range(networks)]
    trials += [
        make_trial(m.network, m, right=answers(N, wrong(m.network, m.payload_index))) for m in marks
    ]
    made = make_plan(networks, payloads, **plan)
    return imperceptibility(Run(made, tuple(marks), tuple(trials)), made.technologies[0])


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        (0, "negligible"),
        (10, "negligible"),
        (40, "not shown"),
        (60, "not shown"),
        (90, "noticeable"),
    ],
)
def test_the_limits_decide_at_the_margin(wrong, verdict):
    found = found_of(lambda n, d: wrong + n)
    assert found.verdict == verdict
    assert found.loss.value == pytest.approx((wrong + 1) / N)
    assert (found.before.value, found.reference) == (1.0, "original")


def test_the_limits_are_over_networks_and_samples_at_once():
    found = found_of(lambda n, d: 20 * n)
    # Answers are lost from the first on: none, 20 and 40, all of the same samples.
    lost = np.arange(N) < 20 * np.arange(3)[:, None]
    between = lost.mean(axis=1).var(ddof=1) / 3
    samples = lost.mean(axis=0).var(ddof=1) / N
    rest = lost - lost.mean(axis=1, keepdims=True) - lost.mean(axis=0) + lost.mean()
    variance = between + samples - (rest**2).sum() / (2 * (N - 1)) / (3 * N)
    half = t.ppf(0.95, variance**2 / (between**2 / 2)) * math.sqrt(variance)
    assert found.loss.limits == pytest.approx((0.002 - half, 0.002 + half), rel=1e-3)
    assert (found.loss.method, found.loss.confidence) == ("two-way", 0.9)


@pytest.mark.parametrize(("networks", "scope"), [(5, "the networks tested"), (6, "other networks")])
def test_only_six_networks_speak_for_others(networks, scope):
    assert found_of(lambda n, d: n, networks).scope == scope


def test_networks_that_all_lose_the_same_are_no_evidence_of_equality():
    marks = [make_injection(n, 0) for n in range(4)]
    trials = [make_trial(n, quality={ACCURACY.name: 0.9}) for n in range(4)]
    trials += [make_trial(m.network, m, quality={ACCURACY.name: 0.9}) for m in marks]
    made = make_plan(4, 1)
    found = imperceptibility(Run(made, tuple(marks), tuple(trials)), made.technologies[0])
    assert (found.loss.value, found.loss.limits) == (0, None)
    assert found.verdict == "not shown"


def test_too_few_samples_in_which_nothing_changed_prove_little():
    marks = [make_injection(n, 0) for n in range(3)]
    trials = [make_trial(n, right=answers(200)) for n in range(3)]
    trials += [make_trial(m.network, m, right=answers(200)) for m in marks]
    made = make_plan(3, 1)
    found = imperceptibility(Run(made, tuple(marks), tuple(trials)), made.technologies[0])
    assert found.loss.high == pytest.approx(1 - 0.05 ** (1 / 200))
    assert found.verdict == "not shown"


def test_payloads_of_one_network_are_one_unit():
    found = found_of(lambda n, d: 10 * d, networks=2, payloads=3)
    assert found.loss.individual == pytest.approx((0.001, 0.001))
    assert len(found.pairs) == 6


def test_pairs_have_mcnemars_exact_test():
    pair = found_of(lambda n, d: 12, 1).pairs[0]
    assert (pair.lost, pair.gained) == (12, 0)
    assert pair.mcnemar_p == mcnemar(12, 0)
    assert (pair.before, pair.loss, pair.change) == (1.0, pytest.approx(0.0012), 0.1)


def test_every_measure_has_a_row():
    marks = [make_injection(n, 0) for n in range(2)]
    before = [make_trial(n, quality={ACCURACY.name: 0.9, RECALL.name: 0.8}) for n in range(2)]
    after = [
        make_trial(m.network, m, quality={ACCURACY.name: 0.89, RECALL.name: 0.7 + m.network / 10})
        for m in marks
    ]
    made = make_plan(2, 1, measures=(ACCURACY, RECALL))
    found = imperceptibility(Run(made, tuple(marks), (*before, *after)), made.technologies[0])
    assert [row.measure for row in found.measures] == [ACCURACY.name, RECALL.name]
    assert found.measures[1].loss.value == pytest.approx(0.05)


def trained(twins=(0, 1), twin_status="done", **plan):
    """Training alone loses 100 answers, the watermark 20 more."""
    technology = make_technology(training={"epochs": 2}, imperceptibility="NNW-WTI")
    marks = [make_injection(n, 0) for n in range(2)]
    made = [make_twin(n, status=twin_status, reason="it diverged") for n in twins]
    trials = [make_trial(n, right=answers(N)) for n in range(2)]
    trials += [make_trial(m.network, m, right=answers(N, 120 + m.network)) for m in marks]
    if twin_status == "done":
        trials += [make_trial(t.network, t, right=answers(N, 100)) for t in made]
    plan = make_plan(2, 1, [technology], **plan)
    return imperceptibility(Run(plan, (*marks, *made), tuple(trials)), technology)


def test_what_training_puts_in_is_compared_with_its_twin():
    found = trained()
    assert found.reference == "twin"
    assert found.loss.value == pytest.approx(0.00205)
    assert found.original.loss.value == pytest.approx(0.01205)
    assert found.before.value == pytest.approx(0.99)


def test_only_networks_with_a_twin_are_compared():
    found = trained(twins=(1,))
    assert len(found.pairs) == 1
    assert found.failures[0].reason.endswith("has no record")


@pytest.mark.parametrize(
    ("twins", "status", "why"),
    [((), "done", "has no record"), ((0, 1), "failed", "was not measured: it diverged")],
)
def test_without_a_twin_nothing_is_said(twins, status, why):
    found = trained(twins, status)
    assert (found.verdict, found.loss.value) == ("not measured", None)
    assert found.loss.reason.endswith(why)


def test_a_workflow_that_was_not_asked_for_is_not_measured():
    found = trained(workflows=("NNW-NIR",))
    assert found.verdict == "not measured"
    assert found.loss.reason == "the evaluation leaves out the workflow NNW-WTI"
    assert found.failures == ()
