"""Robustness, worked by hand."""

from __future__ import annotations

import json

import pytest

from nnw_onnx.measures.limits import NotMeasured
from nnw_onnx.measures.robustness import detectable, robustness
from nnw_onnx.records import DecodingRecord, PluginSpec
from nnw_onnx.vocabulary import Parameter

from .made import decoded, generator, injection, make_plan, trial


def run(plan, injections, trials, parameters=None):
    return robustness(plan, injections, trials, generator(), parameters)[0]


def point_of(plan, injections, trials):
    return run(plan, injections, trials).sweeps[0].points[0]


def full(networks, payloads, errors_marked, errors_unmarked, **fields):
    """Every network at one Intensity; errors[m][d] with the key of that Payload."""
    injections = [injection(m, d) for m in range(networks) for d in range(payloads)]
    trials = []
    for m in range(networks):
        keys = [decoded(f"i{m}{d}", errors_unmarked[m][d]) for d in range(payloads)]
        trials.append(trial(m, None, keys, **fields))
        trials += [
            trial(m, d, [decoded(f"i{m}{d}", errors_marked[m][d])], **fields)
            for d in range(payloads)
        ]
    return injections, trials


def test_the_normalisations_of_the_standard(shared_data):
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())["oracles"]
    expected = next(e["value"] for e in content if e["id"] == "std.normalisation_example")
    networks, payloads = expected["M"], expected["D"]
    # 100 Symbols: 20 networks with 40 errors together give 0.02; two of them are missed (FN = 2).
    # 28 errors of 100 are still detected (oracle stat.thresholds_bits: 74 matches of 100 at 1e-6).
    marked = [[0] * payloads for _ in range(networks)]
    marked[0][0], marked[1][1] = 20, 20
    unmarked = [[50] * payloads for _ in range(networks)]
    injections = [injection(m, d) for m in range(networks) for d in range(payloads)]
    trials = []
    for m in range(networks):
        keys = [decoded(f"i{m}{d}", unmarked[m][d], 100) for d in range(payloads)]
        if m == 3:
            # The one false alarm: a record that says so through its p-value.
            keys[0] = keys[0].model_copy(update={"log10_p": -9.0, "p_value": 1e-9})
        trials.append(trial(m, None, keys))
        for d in range(payloads):
            found = decoded(f"i{m}{d}", marked[m][d], 100)
            missed = marked[m][d] > 0
            trials.append(trial(m, d, [found.model_copy(update={"detected": not missed})]))
    point = point_of(make_plan(networks, payloads, symbols=100), injections, trials)
    assert (point.false_alarms, point.missed_detections) == (expected["FP"], expected["FN"])
    assert point.fp_ratio.value == pytest.approx(expected["fp_ratio"], abs=1e-12)
    assert point.fn_ratio.value == pytest.approx(expected["fn_ratio"], abs=1e-12)
    assert point.p_fa.value == pytest.approx(expected["p_fa"], abs=1e-12)
    assert point.p_md.value == pytest.approx(expected["p_md"], abs=1e-12)
    # statistics.md section 9: limits of 1/5 and 2/20.
    limits = point.p_fa.limits, point.p_md.limits
    assert [(x.low, x.high) for x in limits] == [
        pytest.approx((0.005, 0.716), abs=1e-3),
        pytest.approx((0.012, 0.317), abs=1e-3),
    ]
    assert point.ser_watermarked.mean == pytest.approx(0.02, abs=1e-12)
    assert point.ser_unwatermarked.mean == pytest.approx(0.5, abs=1e-12)
    assert point.ser_all.value == pytest.approx(expected["ser_all"], abs=1e-12)
    assert point.survived is False


def test_false_alarm_needs_the_corrected_level():
    # 51 matches of 64 have p = 9.40e-7 (oracle stat.pvalues): a Yes for one key, no longer for two.
    one = full(1, 1, [[0]], [[13]])
    assert point_of(make_plan(1, 1), *one).false_alarms == 1
    two = full(1, 2, [[0, 0]], [[13, 32]])
    assert point_of(make_plan(1, 2), *two).false_alarms == 0
    stronger = full(1, 2, [[0, 0]], [[32, 12]])
    assert point_of(make_plan(1, 2), *stronger).false_alarms == 1


def test_a_missed_detection_is_one_key_uncorrected():
    point = point_of(make_plan(1, 2), *full(1, 2, [[13, 14]], [[32, 32]]))
    assert point.missed_detections == 1
    assert point.fn_ratio.value == pytest.approx(1 / 3)
    assert point.p_md.value == pytest.approx(1 / 2)


def test_failed_and_not_applicable_are_counted_apart():
    injections, trials = full(2, 2, [[0, 0], [0, 0]], [[32, 32], [32, 32]])
    trials[1] = trials[1].model_copy(
        update={
            "status": "failed",
            "reason": "hung",
            "quality": {},
            "headline": None,
            "decodings": (),
        }
    )
    gone = DecodingRecord(injection="i01", status="not-applicable", reason="gone", symbols=64)
    trials[2] = trials[2].model_copy(update={"decodings": (gone,)})
    del trials[5]
    point = point_of(make_plan(2, 2), injections, trials)
    marked = point.watermarked
    assert (marked.expected, marked.done, marked.failed) == (4, 1, 1)
    assert (marked.not_applicable, marked.absent, marked.skipped) == (1, 1, 0)
    # The Detector that has nothing to look at answers No: a missed detection.
    assert point.fn_ratio.n == 2 + 2
    assert (point.missed_detections, point.p_md.n) == (1, 2)
    assert point.ser_watermarked.n == 1
    assert {(f.status, f.reason) for f in point.failures} == {
        ("failed", "hung"),
        ("not-applicable", "gone"),
    }
    by_payload = {r.payload_index: r for r in point.networks if r.network == 0}
    assert by_payload[1].status == "not-applicable"
    assert by_payload[1].symbol_error_rate is None
    assert by_payload[1].detected is False
    assert by_payload[1].carrier_exists is False
    assert by_payload[0].detected is None


def test_nothing_decoded_is_not_measured():
    injections, trials = full(1, 1, [[0]], [[32]])
    trials[1] = trials[1].model_copy(update={"decodings": ()})
    point = point_of(make_plan(1, 1), injections, trials)
    reason = NotMeasured(reason="no watermarked network could be tested")
    assert point.ser_watermarked == reason
    assert point.ser_all == reason
    assert point.p_md == reason
    assert point.fn_ratio == reason
    assert point.survived is None
    assert point.p_fa.value == 0.0


def test_quality_loss_is_against_the_same_network_unmodified():
    plan = make_plan(2, 1)
    injections, trials = full(2, 1, [[0], [0]], [[32], [32]])
    quality = {
        (0, None): (0.97, 0.95),
        (0, 0): (0.96, 0.90),
        (1, None): (0.93, 0.92),
        (1, 0): (0.92, 0.88),
    }
    trials = [
        t.model_copy(
            update={"quality": {"top1": quality[t.network, 0 if t.injection else None][1]}}
        )
        for t in trials
    ]
    trials += [
        trial(m, payload, intensity=None, quality=before)
        for (m, payload), (before, _) in quality.items()
    ]
    group = run(plan, injections, trials)
    point = group.sweeps[0].points[0]
    assert point.quality_watermarked.mean == pytest.approx(0.89)
    assert point.quality_unwatermarked.mean == pytest.approx(0.935)
    assert point.quality_loss.mean == pytest.approx((0.06 + 0.04) / 2)
    assert point.usable is True
    assert group.unmodified.quality_loss.mean == 0.0


@pytest.mark.parametrize(("after", "usable"), [(0.86, True), (0.84, False)])
def test_usable_up_to_five_points(after, usable):
    injections, trials = full(1, 1, [[0]], [[32]], quality=after)
    trials += [trial(0, p, intensity=None, quality=0.9) for p in (None, 0)]
    assert point_of(make_plan(1, 1), injections, trials).usable is usable


def test_usability_is_unknown_without_a_baseline():
    assert point_of(make_plan(1, 1), *full(1, 1, [[0]], [[32]])).usable is None


def test_carriers_that_differ_make_one_unwatermarked_network():
    # Aimed at the carrier, the unwatermarked network is modified once for each carrier.
    plan = make_plan(1, 2)
    injections = [injection(0, 0, layers=("a",)), injection(0, 1, layers=("b",))]
    aimed = {"aim": "carrier"}
    trials = [
        trial(0, None, [decoded("i00", 30)], layers=("a",), quality=0.8, **aimed),
        trial(0, None, [decoded("i01", 34)], layers=("b",), quality=0.6, **aimed),
        trial(0, 0, [decoded("i00", 0)], layers=("a",), **aimed),
        trial(0, 1, [decoded("i01", 0)], layers=("b",), **aimed),
    ]
    point = point_of(plan, injections, trials)
    assert point.unwatermarked.done == 1
    assert point.unwatermarked.absent == 0
    assert point.p_fa.n == 1
    assert point.fn_ratio.n == 3
    assert point.networks[0].keys == 2
    assert point.ser_unwatermarked.mean == pytest.approx((30 / 64 + 34 / 64) / 2)
    assert point.quality_unwatermarked.mean == pytest.approx(0.7)


def test_a_failed_control_aimed_at_another_carrier_is_not_ours():
    plan = make_plan(1, 1)
    injections = [injection(0, 0, layers=("a",))]
    failed = {"status": "failed", "reason": "hung", "aim": "carrier"}
    trials = [
        trial(0, 0, [decoded("i00", 0)], layers=("a",), aim="carrier"),
        trial(0, None, (), layers=("b",), **failed),
    ]
    assert point_of(plan, injections, trials).unwatermarked.failed == 0
    trials[1] = trial(0, None, (), layers=("a",), **failed)
    assert point_of(plan, injections, trials).unwatermarked.failed == 1


def test_networks_are_the_units_with_repetitions():
    # Network 0 misses its mark in one of two repetitions, network 1 raises an alarm in one.
    injections, trials = full(2, 1, [[0], [0]], [[32], [32]], repetition=0)
    more = full(2, 1, [[32], [0]], [[32], [0]], repetition=1)[1]
    point = point_of(make_plan(2, 1, repetitions=2), injections, trials + more)
    assert point.watermarked.expected == point.watermarked.done == 4
    assert (point.missed_detections, point.p_md.n) == (1, 2)
    assert (point.false_alarms, point.p_fa.n) == (1, 2)
    assert point.fn_ratio.n == 4
    # Their own means: 0.25 and 0.
    assert point.ser_watermarked.n == 2
    assert point.ser_watermarked.individual == (0.25, 0.0)
    assert point.ser_watermarked.mean == pytest.approx(0.125)


def test_what_is_not_fully_measured_does_not_count_as_survived():
    injections, trials = full(2, 2, [[0, 0], [0, 0]], [[32, 32], [32, 32]])
    plan = make_plan(2, 2)
    assert point_of(plan, injections, trials).survived is True
    assert point_of(plan, injections, trials).complete
    part = point_of(plan, injections, trials[:-1])
    assert (part.survived, part.complete) == (None, False)
    # A missed mark of four is too many already, whatever the absent one would have given.
    trials[1] = trial(0, 0, [decoded("i00", 32)])
    assert point_of(plan, injections, trials[:-1]).survived is False


def test_limits_of_a_share_end_at_one():
    injections, trials = full(2, 1, [[0], [0]], [[32], [32]])
    trials += [trial(m, 0, intensity=None, quality=0.9, correct="AA==") for m in range(2)]
    trials[1] = trials[1].model_copy(update={"quality": {"top1": 0.2}})
    limits = point_of(make_plan(2, 1), injections, trials).quality_watermarked.limits
    # 0.55 +- 12.7 x 0.35 without the bounds.
    assert (limits.low, limits.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("stronger", "order", "survives", "lost"),
    [("up", [1.0, 2.0, 4.0], 1.0, 2.0), ("down", [4.0, 2.0, 1.0], None, 4.0)],
)
def test_sweeps_go_from_weak_to_strong(stronger, order, survives, lost):
    errors = {1.0: 0, 2.0: 30, 4.0: 32}
    injections, trials = [], []
    for intensity in (4.0, 1.0, 2.0):
        injections, more = full(1, 1, [[errors[intensity]]], [[32]], intensity=intensity)
        trials += more
    parameter = Parameter("S", "strength", "ratio", 0.1, 2.0, stronger=stronger)
    sweep = run(make_plan(1, 1), injections, trials, {"noise": parameter}).sweeps[0]
    assert [p.intensity for p in sweep.points] == order
    assert (sweep.survives_to, sweep.lost_at) == (survives, lost)
    assert (sweep.parameter.low, sweep.parameter.high) == (0.1, 2.0)


def test_single_layers_have_their_own_range():
    parameter = Parameter("P", "share", "%", 1, 90, high_single_layer=99.99)
    injections, trials = full(1, 1, [[0]], [[32]], aim="carrier", layers=("conv",))
    sweep = run(make_plan(1, 1), injections, trials, {"noise": parameter}).sweeps[0]
    assert sweep.single_layer
    assert sweep.parameter.high == 99.99
    injections, trials = full(1, 1, [[0]], [[32]])
    sweep = run(make_plan(1, 1), injections, trials, {"noise": parameter}).sweeps[0]
    assert sweep.parameter.high == 90


def test_options_make_another_sweep():
    injections, trials = full(1, 1, [[0]], [[32]])
    other = PluginSpec(name="noise", options={"intensity": 0.1, "scope": "global"})
    trials += [
        t.model_copy(update={"identity": t.identity + "g", "modification": other}) for t in trials
    ]
    sweeps = run(make_plan(1, 1), injections, trials).sweeps
    assert [s.options for s in sweeps] == [{}, {"scope": "global"}]
    assert [s.parameter for s in sweeps] == [None, None]


def test_all_three_error_rates_agree_for_two_networks():
    marked, unmarked = [[0, 8], [16, 0]], [[32, 30], [34, 28]]
    point = point_of(make_plan(2, 2), *full(2, 2, marked, unmarked))
    watermarked, unwatermarked = 24 / 64 / 4, 124 / 64 / 4
    assert point.ser_watermarked.mean == pytest.approx(watermarked)
    assert point.ser_unwatermarked.mean == pytest.approx(unwatermarked)
    assert point.ser_all.value == pytest.approx((2 * watermarked + unwatermarked) / 3)


@pytest.mark.parametrize(
    ("symbols", "possible"), [(16, False), (19, False), (20, True), (64, True)]
)
def test_detectable_payloads(symbols, possible):
    # oracle stat.thresholds_bits: 20 bits are the fewest that reach 1e-6.
    assert detectable(symbols, 1e-6) is possible
