"""What Detectors can say: from the null, or calibrated on networks without the watermark."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binom

from nnw_onnx.measures.decisions import control_of, judge_of
from nnw_onnx.measures.run import Run
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
