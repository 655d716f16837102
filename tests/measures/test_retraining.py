"""Modifications that train: void overwritings, carriers that are gone, transfers, facts."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from nnw_onnx.measures.limits import NotMeasured
from nnw_onnx.measures.retraining import facts
from nnw_onnx.measures.robustness import robustness
from nnw_onnx.records import DecodingRecord, NewMark

from .made import decoded, generator, injection, make_plan, trial


def point_of(plan, injections, trials):
    return robustness(plan, injections, trials, generator())[0].sweeps[0].points[0]


def gone(identity):
    return DecodingRecord(
        injection=identity, status="not-applicable", reason="no such layer", symbols=64
    )


def overwritten(*marks, errors=0):
    """One network with two Payloads; `marks` are the (errors, symbols) of both in turn."""
    injections = [injection(0, d) for d in range(2)]
    trials = [trial(0, None, [decoded(f"i0{d}", 32) for d in range(2)])]
    for d, new in enumerate(marks):
        records = tuple(NewMark(errors=e, symbols=n) for e, n in new)
        trials.append(trial(0, d, [decoded(f"i0{d}", errors)], new_marks=records))
    return make_plan(1, 2), injections, trials


def test_new_marks_are_averaged_network_by_network():
    injections = [injection(m, 0) for m in range(2)]
    first = (NewMark(errors=0, symbols=64), NewMark(errors=16, symbols=64))
    second = (NewMark(errors=32, symbols=32),)
    trials = [
        trial(0, 0, [decoded("i00", 0)], new_marks=first),
        trial(1, 0, [decoded("i10", 0)], new_marks=second),
        # Those of an unwatermarked network are not counted.
        trial(0, None, [decoded("i00", 32)], new_marks=second),
    ]
    point = point_of(make_plan(2, 1), injections, trials)
    assert point.ser_new_marks.individual == (0.125, 1.0)
    assert point.ser_new_marks.mean == pytest.approx(0.5625)
    assert point.ser_last_new_mark.individual == (0.25, 1.0)


def test_new_marks_that_later_ones_overwrote_were_in():
    point = point_of(*overwritten([(40, 64), (0, 64)], [(40, 64), (0, 64)]))
    assert point.ser_new_marks.mean == pytest.approx(40 / 128)
    assert point.ser_last_new_mark.mean == 0
    assert point.void is None


def test_an_overwriting_that_is_not_in_is_none():
    point = point_of(*overwritten([(4, 64)], [(4, 64)]))
    assert point.survived is None
    assert point.void == NotMeasured(
        reason="the overwriting is void: the last of its new watermarks is not in (its Symbol "
        "Error Rate is 0.0625, the most that counts is 0.05)"
    )
    assert point.complete
    assert point.p_md.value == 0.0
    lost = point_of(*overwritten([(4, 64)], [(4, 64)], errors=32))
    assert (lost.survived, lost.p_md.value) == (None, 1.0)


@pytest.mark.parametrize(("errors", "void"), [(5, False), (6, True)])
def test_the_threshold_of_a_new_mark(errors, void):
    point = point_of(*overwritten([(errors, 100)], [(errors, 100)]))
    assert (point.void is not None) is void
    assert point.survived is (None if void else True)


def test_without_new_marks():
    point = point_of(*overwritten([], []))
    assert point.ser_new_marks == NotMeasured(reason="no further watermark was put in")
    assert point.void is None
    assert point.survived is True


def test_a_student_has_no_carrier():
    injections = [injection(m, d) for m in range(2) for d in range(2)]
    trials = []
    for m in range(2):
        trials.append(trial(m, None, [gone(f"i{m}{d}") for d in range(2)]))
        trials += [trial(m, d, [gone(f"i{m}{d}")]) for d in range(2)]
    point = point_of(make_plan(2, 2), injections, trials)
    # Four watermarks are missed, two unwatermarked networks are rightly answered No.
    assert (point.missed_detections, point.false_alarms) == (4, 0)
    assert (point.fn_ratio.value, point.fn_ratio.n) == (pytest.approx(4 / 6), 6)
    exact = binomtest(4, 4).proportion_ci()
    assert point.p_md.value == 1.0
    assert point.p_md.limits.low == pytest.approx(exact.low)
    assert (point.p_fa.events, point.p_fa.n) == (0, 2)
    assert point.survived is False
    assert point.complete
    assert (point.watermarked.not_applicable, point.watermarked.done) == (4, 0)
    assert (point.unwatermarked.not_applicable, point.unwatermarked.answered) == (2, 2)
    reason = "the carrier does not exist in any of the networks: no such layer"
    assert point.ser_watermarked == point.ser_unwatermarked == NotMeasured(reason=reason)
    assert point.ser_all == NotMeasured(reason=reason)


def test_carriers_that_are_gone_leave_the_symbol_error_rate_alone():
    injections = [injection(0, d) for d in range(2)]
    trials = [
        trial(0, None, [decoded("i00", 32), gone("i01")]),
        trial(0, 0, [decoded("i00", 16)]),
        trial(0, 1, [gone("i01")]),
    ]
    point = point_of(make_plan(1, 2), injections, trials)
    assert (point.ser_watermarked.mean, point.ser_watermarked.n) == (0.25, 1)
    assert point.ser_unwatermarked.mean == 0.5
    assert point.ser_all.value == pytest.approx((2 * 0.25 + 0.5) / 3)
    assert (point.watermarked.done, point.watermarked.not_applicable) == (1, 1)
    assert point.unwatermarked.done == 1
    assert point.p_md.n == 2


def test_a_key_without_carrier_is_a_test_of_the_correction():
    # 51 matches of 64 have p = 9.40e-7: a Yes for one key, none for two of which one is gone.
    injections = [injection(0, d) for d in range(2)]
    trials = [trial(0, None, [decoded("i00", 13), gone("i01")])]
    assert point_of(make_plan(1, 2), injections, trials).false_alarms == 0
    alone = [trial(0, None, [decoded("i00", 13)])]
    assert point_of(make_plan(1, 1), injections[:1], alone).false_alarms == 1


def test_a_failed_trial_is_still_left_out():
    plan, injections, trials = overwritten([], [])
    failed = {"status": "failed", "reason": "hung", "decodings": (), "quality": {}}
    trials[2] = trials[2].model_copy(update={**failed, "headline": None})
    point = point_of(plan, injections, trials)
    assert (point.p_md.n, point.missed_detections, point.survived) == (1, 0, None)
    skipped = trials[2].model_copy(update={"status": "not-applicable"})
    counts = point_of(plan, injections, [*trials[:2], skipped]).watermarked
    assert (counts.skipped, counts.not_applicable) == (1, 0)


def test_quality_on_another_data_set_is_no_loss():
    plan, injections, trials = overwritten([], [])
    trials = [t.model_copy(update={"quality_of": "cifar100"}) for t in trials]
    trials += [trial(0, p, intensity=None, quality=0.95) for p in (None, 0, 1)]
    point = point_of(plan, injections, trials)
    assert point.quality_of == "cifar100"
    assert point.quality_watermarked.mean == pytest.approx(0.9)
    assert point.quality_loss == NotMeasured(
        reason="the quality was measured on cifar100, not on the data set of the evaluation"
    )
    assert point.usable is None
    assert [r.loss for r in point.networks] == [None, None, None]
    assert point.survived is True


def test_facts_are_means_over_networks_and_words_that_agree():
    trials = [
        trial(0, 0, facts={"epochs": 1.0, "schedule": "linear", "device": "cpu", "mixed": 1.0}),
        trial(0, 1, facts={"epochs": 3.0, "schedule": "linear", "device": "gpu", "mixed": "a"}),
        trial(1, 0, facts={"epochs": 4.0, "schedule": "linear", "last loss": 0.5}),
        trial(1, 1, status="failed", facts={"epochs": 99.0}),
    ]
    assert facts(trials) == {
        "epochs": 3.0,
        "schedule": "linear",
        "device": "differs from network to network",
        "mixed": "differs from network to network",
        "last loss": 0.5,
    }
    assert facts([]) == {}


def test_facts_are_those_of_the_watermarked_networks():
    plan, injections, trials = overwritten([], [])
    trials = [
        t.model_copy(update={"facts": {"epochs": 2.0 if t.injection else 8.0}}) for t in trials
    ]
    assert point_of(plan, injections, trials).facts == {"epochs": 2.0}
    assert point_of(plan, injections, trials[:1]).facts == {"epochs": 8.0}


def test_an_overwriting_concerns_the_technology_whose_method_it_uses():
    plan = make_plan(1, 1)
    group = plan.groups[0]
    plan = plan.model_copy(update={"groups": (group, group.model_copy(update={"index": 1}))})
    injections = [injection(0, 0), injection(0, 1).model_copy(update={"group": 1})]
    failed = {"status": "failed", "reason": "hung", "group": 1}
    trials = [
        trial(0, 0, [decoded("i00", 0)], group=0),
        trial(0, 1, [decoded("i01", 0)], group=1),
        trial(0, None, [decoded("i00", 32)], group=0),
        trial(0, None, **failed),
    ]
    found = robustness(plan, injections, trials, generator())
    counts = [g.sweeps[0].points[0].unwatermarked for g in found]
    assert [(c.done, c.failed) for c in counts] == [(1, 0), (0, 1)]
