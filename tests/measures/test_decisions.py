"""What Detectors can say: from the null, or calibrated on networks without the watermark."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from nnw_onnx.measures.decisions import Judge, control_of, judge_of
from nnw_onnx.measures.results import Detectability
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.run import Test as Heard
from nnw_onnx.records import ControlRecord

from .made import (
    make_injection,
    make_null,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)


def run_of(*trials, technology=None, networks=1, settings=(), **plan):
    marks = [make_injection(n, d) for n in range(networks) for d in range(2)]
    technologies = [technology or make_technology()]
    made = make_plan(networks, technologies=technologies, settings=settings, **plan)
    return Run(made, tuple(marks), trials)


def judged(symbols, chance):
    mark = make_injection()
    run = run_of(make_trial(0, mark, make_verdict(mark, 0, symbols, chance)))
    return judge_of(run, run.plan.technologies[0])


def test_ten_triggers_of_chance_a_tenth_can_be_detected():
    what = judged(10, 0.1).what
    assert what.ever
    assert what.log10_least == pytest.approx(-10)
    assert what.null == "Bin(10, 0.1)"


def test_sixteen_bits_never_reach_one_in_a_million():
    what = judged(16, 0.5).what
    assert not what.ever
    assert what.log10_least == pytest.approx(-16 * math.log10(2))
    assert "can never say Yes at 1e-06" in what.reason


@pytest.mark.parametrize(("symbols", "attained"), [(32, 1.2e-7), (64, 9.4e-7)])
def test_the_attained_size_is_printed(symbols, attained):
    assert judged(symbols, 0.5).what.attained == pytest.approx(attained, rel=0.05)


def test_a_statistic_without_bound_can_always_be_detected():
    mark = make_injection()
    null = make_null().model_copy(update={"name": "N(0, 1)", "log10_least": None, "symbols": None})
    run = run_of(make_trial(0, mark, make_verdict(mark, null=null)))
    what = judge_of(run, run.plan.technologies[0]).what
    assert (what.ever, what.log10_least, what.attained) == (True, None, None)


def test_a_missing_carrier_is_a_no_and_tells_nothing_of_the_null():
    mark = make_injection()
    gone = make_verdict(mark, status="not-applicable", null=make_null(1, 0.99), detected=False)
    run = run_of(make_trial(0, mark, gone))
    judge = judge_of(run, run.plan.technologies[0])
    (test,) = run.own_tests(0, (None, None))
    assert (judge.found(test), judge.log10_p(test)) == (False, 0.0)
    assert (judge.what.null, judge.what.ever, judge.what.log10_least) == ("", True, None)


def calibrated_run(statistics, own, level=1e-6):
    """Networks without the watermark have these statistics, the one with it has `own`."""
    marks = [make_injection(0, d) for d in range(2)]
    bare = {"log10_p": None, "detected": None, "null": None, "reads": False}
    plain = [
        make_trial(0, None, make_verdict(marks[k % 2], statistic=s, **bare), repetition=k)
        for k, s in enumerate(statistics)
    ]
    trial = make_trial(0, marks[0], make_verdict(marks[0], statistic=own, **bare))
    return run_of(*plain, trial, false_positive_rate=level)


def test_without_a_null_a_statistic_is_compared_with_negatives():
    run = calibrated_run([1.0, 2.0, 3.0, 4.0], 3.0, level=0.5)
    judge = judge_of(run, run.plan.technologies[0])
    (test,) = run.own_tests(0, (None, None))
    assert 10 ** judge.log10_p(test) == pytest.approx((1 + 2) / (1 + 4))
    assert judge.found(test) is False
    assert judge.what.negatives == 4


def test_the_smallest_calibrated_p_value_is_told_and_is_the_level():
    run = calibrated_run([1.0, 2.0, 3.0, 4.0], 9.0)
    judge = judge_of(run, run.plan.technologies[0])
    (test,) = run.own_tests(0, (None, None))
    assert judge.what.level == pytest.approx(1 / 5)
    assert judge.what.log10_least == pytest.approx(math.log10(1 / 5))
    assert "1/5 is the smallest p-value there can be" in judge.what.reason
    assert judge.found(test) is True
    assert judge.calibrated


def test_without_negatives_nothing_can_be_found():
    run = calibrated_run([], 9.0)
    judge = judge_of(run, run.plan.technologies[0])
    (test,) = run.own_tests(0, (None, None))
    assert not judge.what.ever
    assert judge.found(test) is None


BARE = {"log10_p": None, "detected": None, "null": None, "reads": False}


def lacking_run(own, lacks, **plan):
    """Unmarked networks lack what is asked for, after each Modification and for both keys.

    Args:
        own: statistic of each marked network, None where it lacks it too.
        lacks: number of unmarked networks that do; each is told of twice a place.
    """
    trials = []
    for n in range(len(own)):
        marks = [make_injection(n, d) for d in range(2)]
        for place in ({}, {"setting": 0, "intensity": 0.1}):
            gone = [make_verdict(m, status="not-applicable", reason="no class") for m in marks]
            if n < lacks:
                trials.append(make_trial(n, None, *gone, **place))
            said = make_verdict(marks[0], statistic=own[n], **BARE) if own[n] is not None else None
            trials.append(make_trial(n, marks[0], said or gone[0], **place))
    return run_of(*trials, networks=len(own), settings=[make_setting()], **plan)


def test_a_network_that_cannot_be_asked_is_a_negative_of_0_and_counts_once():
    run = lacking_run([60.0, 1.0, 0.0], lacks=3)
    judge = judge_of(run, run.plan.technologies[0])
    assert (judge.negatives, judge.what.negatives, judge.what.ever) == ((0.0, 0.0, 0.0), 3, True)
    assert judge.what.level == pytest.approx(1 / 4)
    found = {t.trial.network: judge.found(t) for t in run.own_tests(0, (None, None))}
    assert found == {0: True, 1: True, 2: False}
    p_values = [10 ** judge.log10_p(t) for t in run.own_tests(0, (0, 0.1))]
    assert p_values == pytest.approx([1 / 4, 1 / 4, 1.0])
    assert judge.what.reason == (
        "no null is known: compared with 3 results of networks that cannot carry it, of which 3 "
        "lack what is asked for and count as 0, which tells nothing of networks that have it from "
        "somebody else; 1/4 is the smallest p-value there can be"
    )
    assert {judge.found(t) for t in run.foreign_tests(0, (None, None))} == {False}


def test_networks_that_could_be_asked_count_beside_them():
    """Somebody else's class: what is measured there is a negative like any other."""
    run = lacking_run([60.0], lacks=1)
    mark = make_injection()
    other = make_trial(0, None, make_verdict(mark, statistic=70.0, **BARE), setting=1)
    run = Run(run.plan, run.injections, (*run.trials, other))
    judge = judge_of(run, run.plan.technologies[0])
    assert judge.negatives == (0.0, 70.0)
    (test,) = run.own_tests(0, (None, None))
    assert 10 ** judge.log10_p(test) == pytest.approx(2 / 3)
    assert "with 2 results of networks that cannot carry it, of which 1 lack" in judge.what.reason


def test_a_carrier_that_a_modification_removed_from_both_tells_nothing():
    """Else any Modification that destroys the carrier would make all p-values smaller."""
    mark, other = make_injection(), make_injection(1)
    gone = {"status": "not-applicable", "reason": "no layer"}
    trials = (
        make_trial(0, None, make_verdict(mark, statistic=3.0, **BARE)),
        make_trial(0, mark, make_verdict(mark, statistic=9.0, **BARE)),
        make_trial(0, None, make_verdict(mark, **gone), setting=0, intensity=0.1),
        make_trial(0, mark, make_verdict(mark, **gone), setting=0, intensity=0.1),
        # another architecture, in which the claim of the first has no layer
        make_trial(1, None, make_verdict(mark, **gone)),
        make_trial(1, other, make_verdict(other, statistic=9.0, **BARE)),
    )
    run = run_of(*trials, networks=2, settings=[make_setting()])
    judge = judge_of(run, run.plan.technologies[0])
    assert judge.negatives == (3.0,)
    assert "count as 0" not in judge.what.reason


def test_where_a_null_is_known_a_network_that_cannot_be_asked_changes_nothing():
    mark = make_injection()
    gone = make_verdict(mark, status="not-applicable", reason="no class")
    run = run_of(make_trial(0, None, gone), make_trial(0, mark, make_verdict(mark)))
    judge = judge_of(run, run.plan.technologies[0])
    assert (judge.calibrated, judge.negatives) == (False, ())


def test_the_rate_of_false_alarms_is_kept_with_networks_that_cannot_be_asked():
    """Of unmarked networks, drawn like the negatives, at most the share p has a p-value of p."""
    rng = np.random.Generator(np.random.PCG64(5))
    n, level, alarms, rounds = 19, 0.1, 0, 3000
    for _ in range(rounds):
        asked = rng.uniform(size=n + 1) < 0.3
        hits = np.where(asked, rng.binomial(20, 0.4, n + 1), 0).astype(float)
        judge = Judge(WHAT, tuple(sorted(hits[:n])))
        verdict = make_verdict(make_injection(), statistic=hits[n], **BARE)
        test = Heard(make_trial(0, None), make_injection(), verdict)
        alarms += asked[n] and judge.log10_p(test) <= math.log10(level) + 1e-9
    assert binomtest(alarms, rounds, level, alternative="greater").pvalue > 1e-3


WHAT = Detectability(ever=True, log10_least=-1.3, level=0.1, null="", negatives=19)


def control(keys=1000, detected=0, below=(100, 10, 1, 0), **fields):
    given = {"log10_least": -3.1, "errors": 32_000, "symbols": 64_000}
    return ControlRecord(technology=0, keys=keys, detected=detected, below=below, **given | fields)


def test_wrong_keys_are_counted_against_what_is_expected():
    run = run_of(
        make_trial(0, None, controls=(control(below=(130, 12, 1, 0)),)),
        make_trial(0, None, controls=(control(),), setting=0),
        settings=[make_setting()],
    )
    found = control_of(run, run.plan.technologies[0])
    first = found.levels[0]
    assert (found.keys, first.count, first.expected) == (2000, 230, 200)
    # The worst of two settings, times two: the same keys meet both.
    assert first.p_value == pytest.approx(2 * binom.sf(129, 1000, 0.1))
    assert (found.detected, found.expected, found.p_value) == (0, 0.002, 1.0)
    assert (found.ser, found.ser_expected) == (0.5, 0.5)


def test_keys_of_one_setting_are_tested_together():
    trials = [
        make_trial(n, None, controls=(control(detected=1, log10_least=-7.0),)) for n in range(2)
    ]
    run = run_of(*trials, networks=2)
    found = control_of(run, run.plan.technologies[0])
    assert found.p_value == pytest.approx(binom.sf(1, 2000, 1e-6))
    assert found.log10_least == -7.0


def test_without_wrong_keys_there_is_no_control():
    run = run_of(make_trial(0))
    assert control_of(run, run.plan.technologies[0]) is None
