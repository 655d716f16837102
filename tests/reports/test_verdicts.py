"""The answers in words, and the warnings."""

from __future__ import annotations

import pytest

from nnw_onnx.records import CostRecord
from nnw_onnx.reports.cost_verdict import cost_verdict
from nnw_onnx.reports.verdicts import imperceptibility_verdict

from .synthetic import Run, decoding, make_run


def text(report, aspect, group=0):
    return next(v for v in report.verdicts if v.aspect == aspect and v.group == group)


def codes(report):
    return [w.code for w in report.warnings]


def changed(run: Run, **fields) -> Run:
    parts = {
        "plan": run.plan,
        "injections": run.injections,
        "trials": run.trials,
        "costs": run.costs,
        "environment": run.environment,
    }
    return Run(**(parts | fields))


def test_imperceptibility_in_words(report):
    found = text(report, "imperceptibility")
    group = report.imperceptibility[0]
    assert group.verdict == "negligible"
    low, high = -group.stated.limits.high, -group.stated.limits.low
    assert found.text == (
        "block-spread, 64 bits: the watermark changes top-1 accuracy by "
        f"{-100 * group.loss.mean:+.2f} points (95 % limits over {group.stated_over} "
        f"{100 * low:+.2f} to {100 * high:+.2f}): negligible at the margin of 0.5 points for other "
        "networks and for other test samples, each on its own."
    )
    assert found.tone == "good"
    assert found.figure == f"{-100 * group.loss.mean:+.2f}"


def test_too_few_samples_in_words(reported):
    found = text(reported(make_run(samples=150)), "imperceptibility")
    assert "not shown to be negligible at the margin of 0.5 points" in found.text
    assert "because 150 test samples are too few (at least 598 are needed)" in found.text
    assert found.tone == "neutral"


def stated(report, loss, limits, limits_90):
    """The verdict on a loss with other limits."""
    group = report.imperceptibility[0]
    interval = group.stated.limits
    test = group.stated.model_copy(
        update={
            "loss": loss,
            "limits": interval.model_copy(update=dict(zip(("low", "high"), limits, strict=True))),
            "limits_90": interval.model_copy(
                update=dict(zip(("low", "high"), limits_90, strict=True))
            ),
        }
    )
    changed = group.model_copy(update={"stated": test})
    return imperceptibility_verdict(changed, report.completeness).text


def test_limits_that_reach_beyond_the_margin_while_the_deciding_ones_do_not(report):
    found = stated(report, 0.002, (-0.001, 0.0052), (-0.0008, 0.0048))
    assert "by -0.20 points" in found
    assert "-0.52 to +0.10): negligible at the margin of 0.5 points" in found
    assert found.endswith(", as the 90 % limits, which decide, are -0.48 to +0.08.")


def test_a_gain_in_words(report):
    # A loss of -0.06 points, limits beyond the margin on the side of a gain.
    found = stated(report, -0.0006, (-0.0087, 0.0075), (-0.0046, 0.0034))
    assert "the watermark changes top-1 accuracy by +0.06 points" in found
    assert "-0.75 to +0.87)" in found
    assert found.endswith(", as the 90 % limits, which decide, are -0.34 to +0.46.")
    low_only = stated(report, -0.002, (-0.0055, 0.0015), (-0.0048, 0.0008))
    assert low_only.endswith(", as the 90 % limits, which decide, are -0.08 to +0.48.")


def test_rounding_is_no_gain(report):
    found = stated(report, -3e-17, (-0.003, 0.003), (-0.002, 0.002))
    assert "changes top-1 accuracy by 0.00 points (95 %" in found
    assert "gain" not in found


def test_robustness_in_words(report):
    found = text(report, "robustness").text
    assert found.startswith(
        "block-spread, 64 bits: the Payload is read without error from all 6 unmodified"
    )
    # Of 8 settings in the range two leave no usable network; at one the carrier is gone once.
    assert (
        "In the standard's range it survives 5 of 6 settings that leave the network usable "
        "(6 of 6 watermarks detected at each). Fewer than 95 % of the watermarks are detected at "
        "Gaussian noise 0.1 (all layers: 4 of 5 detected, no carrier in 1 of them, top-1 accuracy "
        "96.63 %). At 2 more the network is no longer usable; there it is still found at none; "
        "fewer than 95 % of the watermarks are detected at "
        "L1 pruning 99.99 % "
        "(carrier layer: 0 of 6 detected, top-1 accuracy 5" in found
    )
    assert "Quantizing 2 bits (all layers: 1 of 6 detected, top-1 accuracy 5" in found
    assert (
        "Beyond the range the network is no longer usable at 1 setting; there it is still" in found
    )
    assert "1 setting is not fully measured." in found
    assert found.endswith(
        "No false alarm on 3 unwatermarked networks (unmodified and at 9 settings)."
    )
    assert text(report, "robustness").figure == "5 of 6"
    assert text(report, "robustness").tone == "caution"


def test_what_is_lost_from_an_intensity_on(reported):
    grid = {("l1-pruning", "carrier"): (50.0, 90.0, 99.0, 99.9)}
    found = text(reported(make_run(grid=grid, troubles=False)), "robustness", group=1).text
    assert "it survives 2 of 2 settings that leave the network usable" in found
    assert "at L1 pruning 99 % and beyond (carrier layer: 0 of 6 detected there, top-1" in found


def test_what_survives_everything_in_words(reported):
    run = make_run(grid={("gaussian-noise", "all"): (0.1, 0.2)}, troubles=False)
    found = text(reported(run), "robustness")
    assert (
        "it survives 2 of 2 settings that leave the network usable (6 of 6 watermarks detected at "
        "each). No false" in found.text
    )
    assert found.tone == "good"


def test_lost_while_usable_is_a_caution(reported):
    run = make_run(troubles=False)
    better = [
        t.model_copy(update={"quality": {"top1_accuracy": 0.96}}) if t.modification else t
        for t in run.trials
    ]
    found = text(reported(changed(run, trials=tuple(better))), "robustness")
    # Of 8 settings in the range all are usable now; the strongest two of the range are lost.
    assert (
        "it survives 6 of 8 settings that leave the network usable (6 of 6 watermarks detected at "
        "each). Fewer than 95 % of the watermarks are detected at L1 pruning 99.99 %" in found.text
    )
    assert "no longer usable" not in found.text
    assert found.tone == "caution"


def test_cost_in_words(report):
    found = text(report, "cost").text
    injection = next(o for o in report.cost[0].operations if o.operation == "injection")
    seconds, memory = injection.seconds.mean, injection.peak_bytes.mean
    assert f"injecting takes {1000 * seconds:.1f} ms and {memory / 1e6:.2f} MB, detecting" in found
    ratio = next(o for o in report.cost[0].operations if o.operation == "inference").ratio
    assert (
        f"Inference takes {ratio.mean:.2f} times as long as without the watermark (95 % limits "
        f"{ratio.limits.low:.2f} to {ratio.limits.high:.2f}): no difference beyond timing noise."
        in found
    )


@pytest.mark.parametrize(("low", "high", "noise"), [(0.96, 1.04, True), (1.0, 1.06, False)])
def test_an_inference_ratio_beyond_timing_noise(report, low, high, noise):
    group = report.cost[0]
    operations = [
        o.model_copy(
            update={
                "ratio": o.ratio.model_copy(
                    update={"limits": o.ratio.limits.model_copy(update={"low": low, "high": high})}
                )
            }
        )
        if o.operation == "inference"
        else o
        for o in group.operations
    ]
    changed = group.model_copy(update={"operations": tuple(operations)})
    found = cost_verdict(changed, report.completeness).text
    assert f"95 % limits {low:.2f} to {high:.2f})" in found
    assert ("no difference beyond timing noise" in found) is noise


def test_no_verdict_certifies(report):
    said = " ".join(v.text for v in report.verdicts) + report.standard
    for word in ("certified", "compliant", "passed", "failed"):
        assert word not in said
    assert report.standard.startswith("Implements the procedures of NNW-NNT V1.1")
    assert "no certification" in report.standard


def test_warnings_of_the_synthetic_run(report):
    found = ["not-done", "no-carrier", "ties", "outside-standard-range", "dataset-size"]
    assert codes(report) == found
    failed, gone, _, outside, size = report.warnings
    assert failed.text == "Trials that were not done: 1 of 159."
    assert failed.details == (
        "1 × failed: the runtime was stopped after 600 s; raise session.timeout",
    )
    assert gone.details == (
        "block-spread, 64 bits, Gaussian noise 0.1 (all layers): 1 watermarked, 0 unwatermarked: "
        "the carrier layer is not in this network",
    )
    assert outside.details == ("Gaussian noise 1 (all layers)",)
    # 2,000 samples of 8 x 8 for 5,000 Weights.
    assert size.details[0] == "cnn-0.onnx: 0.4 samples, 25.6 scalars for each of 5,000 Weights"


def test_few_networks(reported):
    found = reported(make_run(networks=1, payloads=1, troubles=False, samples=20_000))
    assert "few-networks" in codes(found)
    notice = next(w for w in found.warnings if w.code == "few-networks")
    assert "M = 1 networks and D = 1 Payloads" in notice.text
    assert found.imperceptibility[0].over_networks.status == "not-measured"
    assert "(95 % limits over test samples" in text(found, "imperceptibility").text
    assert "(for this one network, with other test samples)" in text(found, "imperceptibility").text


def test_short_payload(reported):
    found = reported(make_run(sizes=(16, 64)))
    notice = next(w for w in found.warnings if w.code == "payload-too-short")
    assert "that takes 20 bits, all of them right" in notice.text
    assert notice.details == ("block-spread, 16 bits: 16 Symbols",)
    verdict = text(found, "robustness")
    assert "a Detector can never answer Yes" in verdict.text
    assert verdict.figure == "–"


def test_chance_level(run, reported):
    guessing = [
        t.model_copy(update={"quality": {"top1_accuracy": 0.11}})
        if t.injection is None and t.modification is None and t.network == 1
        else t
        for t in run.trials
    ]
    found = reported(changed(run, trials=tuple(guessing)))
    assert codes(found)[0] == "chance-level"
    assert found.warnings[0].details == ("cnn-1.onnx: top-1 accuracy 0.11, guessing reaches 0.1",)


@pytest.mark.parametrize(("right", "warned"), [(0.124, False), (0.119, True)])
def test_chance_level_is_a_test(run, reported, right, warned):
    # 2,000 samples at 1/10: P(X >= 238) = 0.0033, P(X >= 248) = 0.00027 (level 0.001).
    trials = [
        t.model_copy(update={"quality": {"top1_accuracy": right}})
        if t.injection is None and t.modification is None
        else t
        for t in run.trials
    ]
    assert ("chance-level" in codes(reported(changed(run, trials=tuple(trials))))) is warned


def test_round_trip_false_alarm_and_inversion(run, reported):
    trials = list(run.trials)
    position = next(i for i, t in enumerate(trials) if t.injection and not t.modification)
    trial = trials[position]
    broken = decoding(trial.injection, 64, 60)
    trials[position] = trial.model_copy(update={"decodings": (broken,)})
    alarm = next(i for i, t in enumerate(trials) if not t.injection and t.modification)
    keys = trials[alarm].decodings
    trials[alarm] = trials[alarm].model_copy(
        update={"decodings": (decoding(keys[0].injection, 64, 0), *keys[1:])}
    )
    found = reported(changed(run, trials=tuple(trials)))
    assert {"round-trip", "false-alarm", "inverted"} <= set(codes(found))
    by_code = {w.code: w for w in found.warnings}
    # 60 of 6 x 64 Symbols.
    assert by_code["round-trip"].details == ("block-spread, 64 bits: Symbol Error Rate 15.62 %",)
    assert by_code["inverted"].text.startswith("1 watermark came out inverted")
    assert by_code["false-alarm"].details == (
        "block-spread, 64 bits, Gaussian noise 0.1 (all layers): 1 network",
    )
    verdict = text(found, "robustness")
    assert verdict.tone == "bad"
    assert verdict.text.startswith(
        "block-spread, 64 bits: false alarm: a watermark is found in 1 of 3 unwatermarked networks "
        "(at 1 of 10 settings)."
    )
    assert codes(found)[0] == "false-alarm"
    assert "No false alarm" not in verdict.text


def test_incomplete_run_and_failed_costs(run, reported):
    cost = CostRecord(
        identity="c",
        status="failed",
        reason="out of memory",
        operation="decoding",
        network=0,
        group=0,
        payload_index=0,
    )
    found = reported(changed(run, trials=run.trials[:-1], costs=(cost,)))
    by_code = {w.code: w for w in found.warnings if w.code != "not-done"}
    assert by_code["no-record"].details == (
        "uchida, 64 bits, Quantizing 2 bits (all layers): 1 watermarked, 0 unwatermarked",
    )
    texts = [w.text for w in found.warnings if w.code == "not-done"]
    assert "Cost measurements that were not done: 1 of 1." in texts
    assert "the Computational Cost was not measured" in text(found, "cost").text


MODIFICATIONS = [
    {"name": "gaussian-noise", "intensities": [0.1, 0.3, 1.0], "layers": "all"},
    {"name": "l1-pruning", "intensities": [50.0, 90.0, 99.99], "layers": "carrier"},
    {"name": "quantizing", "intensities": [8.0, 4.0, 2.0], "layers": "all"},
]


def planned(**fields):
    evaluation = {"modifications": MODIFICATIONS, "cost": {"cells": None}}
    return changed(make_run(troubles=False, evaluation=evaluation), **fields)


def test_a_finished_run_is_complete(reported):
    found = reported(planned())
    # 3 networks and 12 watermarked ones at 9 settings and unmodified; 4 costs of each mark.
    assert found.completeness.trials_planned == 15 * 10
    assert found.completeness.unmodified_planned == found.completeness.unmodified_found == 15
    assert (found.completeness.costs_planned, found.completeness.costs_found) == (48, 48)
    assert (found.completeness.trials_missing, found.completeness.costs_missing) == (0, 0)
    assert "incomplete" not in codes(found)
    assert text(found, "robustness", 1).tone == "good"


def test_an_unfinished_run_says_so_first(reported):
    run = planned()
    kept = [
        t for t in run.trials if not t.modification or t.modification.options["intensity"] != 2.0
    ]
    found = reported(changed(run, trials=tuple(kept), costs=run.costs[:5]))
    notice = found.warnings[0]
    assert notice.code == "incomplete"
    assert notice.text == (
        "This run is incomplete: of what its plan asks for there are 8 of 9 settings, 135 of 150 "
        "trials and 5 of 48 cost measurements."
    )
    assert notice.details == ("no record: Quantizing 2 (all layers)",)
    verdict = text(found, "robustness", 1)
    assert verdict.text.startswith(
        "uchida, 64 bits: incomplete: only 8 of 9 settings and 135 of 150 trials have a record. The"
    )
    assert verdict.tone == "neutral"
    assert "incomplete (5 of 48 measurements): injecting takes" in text(found, "cost").text


def test_missing_unmodified_networks_make_imperceptibility_incomplete(reported):
    run = planned()
    gone = next(t for t in run.trials if t.injection and not t.modification)
    found = reported(changed(run, trials=tuple(t for t in run.trials if t is not gone)))
    verdict = text(found, "imperceptibility")
    assert "64 bits: incomplete (14 of 15 unmodified networks were tested): the" in verdict.text
    assert verdict.tone == "neutral"


def test_failed_injections_need_no_trials(reported):
    run = planned()
    lost = run.injections[0]
    injections = (lost.model_copy(update={"status": "failed"}), *run.injections[1:])
    kept = tuple(t for t in run.trials if t.injection != lost.identity)
    costs = tuple(c for c in run.costs if not c.identity.endswith(lost.identity))
    found = reported(changed(run, injections=injections, trials=kept, costs=costs))
    assert (found.completeness.trials_missing, found.completeness.costs_missing) == (0, 0)
