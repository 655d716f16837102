"""Robustness by hand: counts, both normalisations, Symbol Error Rates, and what is no verdict."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.robustness import NOT_IN, Where, point
from nnw_onnx.measures.run import Run
from nnw_onnx.records import BlocksRecord, NewMark, PlaceRecord, VerdictRecord

from .made import (
    answers,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_twin,
    make_verdict,
)

AT = {"setting": 0, "intensity": 0.1}


def marks_of(networks=1, payloads=2, **fields):
    return [make_injection(n, d, **fields) for n in range(networks) for d in range(payloads)]


def point_of(marks, trials, networks=1, payloads=2, technology=None, setting=None, **plan):
    """The point of the one technology in the one setting."""
    record = technology or make_technology()
    settings = [setting or make_setting(intensities=(0.1,))]
    made = make_plan(networks, payloads, [record], settings, **plan)
    run = Run(made, tuple(marks), tuple(trials))
    return point(run, record, judge_of(run, record), Where(0, 0, 0.1))


def told(marks, errors, **fields):
    """A trial for each watermark with so many errors."""
    return [
        make_trial(m.network, m, make_verdict(m, e), **AT | fields)
        for m, e in zip(marks, errors, strict=True)
    ]


def plain(network, marks, errors, **fields):
    """The unwatermarked network with the claims of its watermarks."""
    own = [m for m in marks if m.network == network]
    verdicts = [make_verdict(m, e) for m, e in zip(own, errors, strict=True)]
    return make_trial(network, None, *verdicts, **AT | fields)


def test_the_example_of_the_reference():
    # M = 5, D = 4, FP = 1, FN = 2: 0.04 and 0.08 by the standard, 1/5 and 2/20 as rates.
    marks = marks_of(5, 4)
    trials = told(marks, [30, 30] + [0] * 18)
    trials += [plain(n, marks, [0 if n == 4 else 32] * 4) for n in range(5)]
    found = point_of(marks, trials, 5, 4)
    assert (found.found, found.tested, found.expected) == (18, 20, 20)
    assert (found.fp_ratio.events, found.fp_ratio.value) == (1, 0.04)
    assert (found.fn_ratio.events, found.fn_ratio.value) == (2, 0.08)
    assert found.false_alarm_rate.value == 0.2
    assert found.missed_rate.value == pytest.approx(0.1)
    assert found.alarms == (4,)
    assert found.fp_ratio.of == 25


def test_the_symbol_error_rate_is_given_three_ways():
    marks = marks_of(1, 4)
    trials = [*told(marks, [0, 0, 0, 5]), plain(0, marks, [32] * 4)]
    found = point_of(marks, trials, 1, 4)
    assert found.ser.value == pytest.approx(5 / 256)
    assert found.ser_unwatermarked.value == 0.5
    assert found.ser_all.value == pytest.approx((4 * 5 / 256 + 0.5) / 5)


def test_one_level_holds_for_false_alarms_and_missed_detections():
    # One key of four says Yes at the level itself: a quarter of a false alarm, no correction.
    marks = marks_of(1, 4)
    found = point_of(marks, [*told(marks, [0] * 4), plain(0, marks, [0, 32, 32, 32])], 1, 4)
    assert found.false_alarm_rate.value == 0.25
    assert found.fp_ratio.events == 0.25
    assert found.alarms == (0,)


def test_repetitions_are_averaged_and_not_any_of_them():
    marks = marks_of(1, 2)
    trials = told(marks, [0, 0], repetition=0) + told(marks, [32, 0], repetition=1)
    found = point_of(marks, trials, repetitions=2)
    assert found.missed_rate.value == 0.25
    assert found.fn_ratio.events == 0.5
    assert (found.found, found.tested, found.expected) == (3, 4, 4)


@pytest.mark.parametrize(
    ("errors", "tested", "status"),
    [
        ([0] * 20, 20, "survives"),
        ([32] + [0] * 19, 20, "survives"),
        ([32, 32] + [0] * 18, 20, "lost"),
        ([0] * 19, 19, "survives"),
        ([0] * 18, 18, "undecided"),
        ([32] * 2 + [0] * 17, 19, "lost"),
    ],
)
def test_untested_networks_decide_only_where_they_could_tip_it(errors, tested, status):
    marks = marks_of(10, 2)
    found = point_of(marks, told(marks[:tested], errors), 10)
    assert found.status == status
    assert (found.reason is not None) == (status == "undecided")


def test_a_missing_carrier_is_a_missed_detection_and_has_no_symbols():
    marks = marks_of()
    gone = [
        make_trial(0, m, make_verdict(m, status="not-applicable", reason="no conv1"), **AT)
        for m in marks
    ]
    found = point_of(marks, gone)
    assert (found.status, found.gone, found.missed_rate.value) == ("lost", 2, 1.0)
    assert found.ser.value is None
    assert found.ser.reason == "the carrier does not exist in any of the networks: no conv1"


def test_a_payload_too_short_for_a_yes_is_undetectable_and_not_lost():
    marks = marks_of()
    trials = [make_trial(0, m, make_verdict(m, 0, 16), **AT) for m in marks]
    found = point_of(marks, trials)
    assert found.status == "undetectable"
    assert found.ser.value == 0


@pytest.mark.parametrize(
    ("status", "word"), [("failed", "failed"), ("skipped", "n/a"), ("not-applicable", "n/a")]
)
def test_what_was_not_done_says_so(status, word):
    marks = marks_of()
    trials = [make_trial(0, m, status=status, reason="because", **AT) for m in marks]
    found = point_of(marks, trials)
    assert (found.status, found.reason, found.tested) == (word, "because", 0)
    assert found.failures[0].count == 2


def test_without_a_record_it_was_not_run_and_after_a_failed_injection_it_failed():
    assert point_of(marks_of(), []).status == "not run"
    broken = marks_of(status="failed", reason="no layer is large enough")
    found = point_of(broken, [])
    assert (found.status, found.reason) == ("failed", "no layer is large enough")


def test_a_workflow_that_was_not_asked_for_is_not_applicable():
    found = point_of(marks_of(), [], workflows=("NNW-NTI",))
    assert found.status == "n/a"
    assert "NNW-NIR" in found.reason


def test_an_overwriting_whose_last_mark_is_not_in_is_void():
    marks = marks_of()
    new = (NewMark(symbols=64, errors=0), NewMark(symbols=64, errors=20))
    found = point_of(marks, told(marks, [0, 0], new_marks=new))
    assert found.status == "void"
    assert found.ser_last_new_mark.value == pytest.approx(20 / 64)
    assert found.ser_new_marks.value == pytest.approx(10 / 64)
    assert "31%" in found.reason


def test_an_overwriting_whose_earlier_marks_were_overwritten_counts():
    marks = marks_of()
    new = (NewMark(symbols=64, errors=30), NewMark(symbols=64, errors=1))
    assert point_of(marks, told(marks, [0, 0], new_marks=new)).status == "survives"


@pytest.mark.parametrize(("errors", "status"), [([30, 30], "void"), ([0, 30], "lost")])
def test_a_mark_that_was_never_in_is_not_lost_by_a_modification(errors, status):
    """A training can end without its mark; where one of them is in, misses are counted as ever."""
    marks = marks_of()
    before = told(marks, errors, setting=None, intensity=None)
    found = point_of(marks, [*before, *told(marks, [30, 30])])
    assert found.status == status
    assert (found.found, found.tested) == (0, 2)
    if status == "void":
        assert found.reason == NOT_IN


def test_a_network_made_of_copies_hears_each_claim_once():
    marks = marks_of(1, 3)
    group = marks[:2]
    verdicts = [make_verdict(m, e) for m, e in zip(group, (0, 32), strict=True)]
    trial = make_trial(0, marks[0], *verdicts, copies=(marks[1].identity,), **AT)
    setting = make_setting(intensities=(0.1,), copies=2)
    found = point_of(marks, [trial], 1, 3, setting=setting)
    assert (found.found, found.tested, found.expected) == (1, 2, 2)


def test_a_claim_on_two_equal_networks_of_copies_counts_once():
    marks = marks_of(1, 2)
    said = [make_verdict(m, 0) for m in marks]
    trials = [
        make_trial(0, marks[d], *said, copies=(marks[1 - d].identity,), **AT) for d in range(2)
    ]
    setting = make_setting(intensities=(0.1,), copies=2)
    found = point_of(marks, trials, setting=setting)
    assert (found.found, found.tested, found.expected) == (2, 2, 2)


def test_a_fingerprint_has_other_networks_as_negatives():
    marks = marks_of(2, 1)
    technology = make_technology(method="nct", bits=0, kind="fingerprint")
    said = [make_verdict(m, 0, reads=False) for m in marks]
    trials = [make_trial(m.network, m, said[m.network], **AT) for m in marks]
    trials += [
        make_trial(n, None, make_verdict(marks[1 - n], 32 * n, reads=False), **AT) for n in range(2)
    ]
    found = point_of(marks, trials, 2, 1, technology)
    assert (found.status, found.alarms) == ("survives", (0,))
    assert found.false_alarm_rate.value == 0.5


def test_presence_only_has_evidence_and_no_symbol_error_rate():
    marks = marks_of()
    technology = make_technology(method="presence", bits=0)
    trials = [make_trial(0, m, make_verdict(m, 0, reads=False), **AT) for m in marks]
    found = point_of(marks, trials, technology=technology)
    assert (found.ser.value, found.ser.reason) == (None, "no Symbols are read")
    assert found.log10_p.value == pytest.approx(-19.27, abs=0.01)
    assert found.status == "survives"


def test_errors_before_and_after_a_code_are_both_told():
    marks = marks_of()
    said = [make_verdict(m, 8, bits=32, bit_errors=b) for m, b in zip(marks, (0, 32), strict=True)]
    found = point_of(marks, [make_trial(0, m, v, **AT) for m, v in zip(marks, said, strict=True)])
    assert found.ser.value == pytest.approx(8 / 64)
    assert found.bit_errors.value == 0.5
    bare = point_of(marks, told(marks, [0, 0])).bit_errors
    assert (bare.value, bare.reason) == (None, "there is no code between Payload and Symbols")


def places(**statistics):
    return [PlaceRecord(layer=name, start=0, stop=9, statistic=s) for name, s in statistics.items()]


def test_an_integrity_method_names_the_place_of_the_change():
    marks = marks_of()
    technology = make_technology(method="fragile", bits=0, kind="integrity")
    said = [
        make_verdict(marks[0], places=places(conv1=8, conv2=3), reads=False),
        make_verdict(marks[1], places=places(conv1=2, conv2=8), reads=False),
    ]
    trials = [
        make_trial(0, m, v, layers=(("conv2",),), **AT) for m, v in zip(marks, said, strict=True)
    ]
    found = point_of(marks, trials, technology=technology)
    assert {p.layer: p.tests for p in found.places} == {"conv2": 1, "conv1": 1}
    assert (found.status, found.noticed, found.tested) == ("noticed", 2, 2)
    assert found.place_right.value == 0.5


def test_an_integrity_method_that_finds_all_whole_names_nothing():
    marks = marks_of()
    technology = make_technology(method="fragile", bits=0, kind="integrity")
    said = [make_verdict(m, places=places(conv1=8, conv2=8), reads=False) for m in marks]
    trials = [make_trial(0, m, v, **AT) for m, v in zip(marks, said, strict=True)]
    found = point_of(marks, trials, technology=technology)
    assert (found.status, found.noticed) == ("unnoticed", 0)
    assert (found.places, found.place_right.reason) == (
        (),
        "no place was named, or nothing was aimed at",
    )


def test_an_integrity_method_that_says_no_has_noticed():
    marks = marks_of()
    technology = make_technology(method="fragile", bits=0, kind="integrity")
    trials = [make_trial(0, m, make_verdict(m, 60, reads=False), **AT) for m in marks]
    found = point_of(marks, trials, technology=technology)
    assert (found.status, found.found, found.noticed) == ("noticed", 0, 2)


def located(marks, *counts):
    """Where (blocks, changed, named, right) are told of each mark."""
    keys = ("blocks", "changed", "named", "right")
    blocks = [BlocksRecord(**dict(zip(keys, c, strict=True))) for c in counts]
    said = [make_verdict(m, reads=False, blocks=b) for m, b in zip(marks, blocks, strict=True)]
    trials = [make_trial(0, m, v, **AT) for m, v in zip(marks, said, strict=True)]
    technology = make_technology(method="fragile", bits=0, kind="integrity")
    return point_of(marks, trials, technology=technology).localisation


def test_blocks_are_counted_and_shared():
    found = located(marks_of(), (20, 8, 4, 2), (20, 4, 4, 4))
    assert (found.changed_tests, found.detected, found.untouched_tests) == (2, 2, 0)
    assert (found.blocks, found.changed, found.named, found.right) == (40, 12, 8, 6)
    # A mean of two Payloads of one network: (2/8 + 4/4) / 2, and (2/4 + 4/4) / 2.
    assert (found.recall.value, found.precision.value) == (0.625, 0.75)


def test_a_block_named_where_none_was_changed_is_a_false_alarm():
    found = located(marks_of(), (20, 0, 3, 0), (20, 0, 0, 0))
    assert (found.changed_tests, found.untouched_tests, found.alarms) == (0, 2, 1)
    assert (found.recall.value, found.recall.reason) == (None, "no block was changed")
    assert found.precision.value == 0
    overlooked = located(marks_of(), (20, 5, 0, 0), (20, 0, 0, 0))
    assert (overlooked.changed_tests, overlooked.detected, overlooked.alarms) == (1, 0, 0)
    assert overlooked.recall.value == 0
    assert (overlooked.precision.value, overlooked.precision.reason) == (
        None,
        "no block was named",
    )


@pytest.mark.parametrize("counts", [(4, 5, 0, 0), (4, 0, 5, 0), (4, 2, 2, 3), (4, 3, 3, 1)])
def test_records_of_blocks_fit_together(counts):
    with pytest.raises(ValidationError, match="blocks"):
        BlocksRecord(**dict(zip(("blocks", "changed", "named", "right"), counts, strict=True)))


def test_records_of_earlier_versions_tell_of_no_blocks():
    (mark, *_) = marks_of()
    old = make_verdict(mark, reads=False).model_dump(mode="json")
    del old["blocks"]
    assert VerdictRecord.model_validate(old) == make_verdict(mark, reads=False)
    found = point_of(marks_of(), told(marks_of(), [0, 0]))
    assert found.localisation is None


def test_the_effective_number_of_marks_is_printed_with_the_correlation():
    marks = marks_of(4, 2)
    found = point_of(marks, told(marks, [0, 0, 0, 0, 32, 32, 0, 0]), 4)
    assert (found.icc, found.marks) == (1.0, 4.0)
    found = point_of(marks, told(marks, [0] * 8), 4)
    assert (found.icc, found.marks) == (None, None)


def test_the_unwatermarked_line_is_that_of_the_technology():
    marks = [make_injection(0, 0, t) for t in range(2)]
    records = [make_technology(t) for t in range(2)]
    trials = [make_trial(0, None, right=answers(200))]
    for t, wrong in ((0, 10), (1, 100)):
        said = make_verdict(marks[t], 32)
        trials.append(make_trial(0, None, said, right=answers(200, wrong), technology=t, **AT))
    made = make_plan(1, 1, records, [make_setting(intensities=(0.1,))])
    run = Run(made, tuple(marks), tuple(trials))
    losses = [
        point(run, r, judge_of(run, r), Where(0, 0, 0.1)).loss_unwatermarked.value for r in records
    ]
    assert losses == pytest.approx([0.05, 0.5])


def test_what_failed_for_one_technology_is_no_failure_of_another():
    records = [make_technology(t) for t in range(2)]
    marks = [make_injection(0, 0, t) for t in range(2)]
    refused = make_trial(0, None, status="failed", reason="boom", technology=0, **AT)
    run = Run(
        make_plan(1, 1, records, [make_setting(intensities=(0.1,))]), tuple(marks), (refused,)
    )
    counts = [len(point(run, r, judge_of(run, r), Where(0, 0, 0.1)).failures) for r in records]
    assert counts == [1, 0]


def test_the_unwatermarked_line_of_a_training_is_that_of_its_twins():
    technology = make_technology(training={"epochs": 1})
    mark, twin = make_injection(), make_twin()
    trials = [make_trial(0, right=answers(200)), make_trial(0, twin, right=answers(200, 20))]
    trials.append(make_trial(0, None, make_verdict(mark, 32), right=answers(200, 100), **AT))
    trials.append(make_trial(0, twin, right=answers(200, 30), **AT))
    found = point_of([mark, twin], trials, 1, 1, technology)
    assert found.loss_unwatermarked.value == pytest.approx(0.05)
    alone = point_of([mark, twin], trials[:-1], 1, 1, technology)
    assert alone.loss_unwatermarked.value == pytest.approx(0.5)


def test_quality_and_loss_are_paired_with_the_network_before():
    marks = marks_of()
    before = [make_trial(0, m, right=answers(200, 10)) for m in marks]
    trials = [
        make_trial(0, m, make_verdict(m), right=answers(200, 10 + 4 * d), **AT)
        for d, m in enumerate(marks)
    ]
    found = point_of(marks, before + trials)
    assert found.loss.value == pytest.approx(0.01)
    assert found.quality.value == pytest.approx(0.94)


def test_another_data_set_has_no_loss():
    marks = marks_of()
    before = [make_trial(0, m, right=answers(200)) for m in marks]
    trials = told(marks, [0, 0], right=answers(200, 90), quality_of="letters")
    found = point_of(marks, before + trials)
    assert (found.loss.value, found.quality_of) == (None, "letters")
    assert "another data set" in found.loss.reason


def test_facts_are_means_or_words_that_agree():
    marks = marks_of()
    facts = ({"kept": 0.5, "tool": "a"}, {"kept": 0.7, "tool": "b"})
    trials = [
        make_trial(0, m, make_verdict(m), facts=f, **AT) for m, f in zip(marks, facts, strict=True)
    ]
    found = point_of(marks, trials).facts
    assert found["kept"] == pytest.approx(0.6)
    assert found["tool"] == "differs from network to network"
