"""The answers in words, and the warnings."""

from __future__ import annotations

import pytest

from nnw_onnx.records import CostRecord

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
    low, high = group.stated.limits.low, group.stated.limits.high
    assert found.text == (
        f"block-spread, 64 bits: the watermark costs {100 * group.loss.mean:.2f} points of top-1 "
        f"accuracy (95 % limits over {group.stated_over} {100 * low:.2f} to {100 * high:.2f}): "
        "negligible at the margin of 0.5 points."
    )
    assert found.tone == "good"
    assert found.figure == f"{100 * group.loss.mean:.2f}"


def test_too_few_samples_in_words(reported):
    found = text(reported(make_run(samples=150)), "imperceptibility")
    assert "not shown to be negligible at the margin of 0.5 points" in found.text
    assert "because 150 test samples are too few (at least 598 are needed)" in found.text
    assert found.tone == "neutral"


def test_limits_that_reach_beyond_the_margin_while_the_deciding_ones_do_not(report):
    from nnw_onnx.reports.verdicts import imperceptibility_verdict

    group = report.imperceptibility[0]
    limits = group.stated.limits
    stated = group.stated.model_copy(
        update={
            "limits": limits.model_copy(update={"low": -0.001, "high": 0.0052}),
            "limits_90": limits.model_copy(update={"low": -0.0008, "high": 0.0048}),
        }
    )
    found = imperceptibility_verdict(group.model_copy(update={"stated": stated})).text
    assert "-0.10 to 0.52): negligible at the margin of 0.5 points, as the" in found
    assert found.endswith(", as the 90 % limits, which decide, are -0.08 to 0.48.")


def test_a_gain_in_words(report):
    from nnw_onnx.reports.verdicts import imperceptibility_verdict

    group = report.imperceptibility[0]
    stated = group.stated.model_copy(
        update={
            "loss": -0.001,
            "limits": group.stated.limits.model_copy(update={"low": -0.003, "high": 0.001}),
        }
    )
    found = imperceptibility_verdict(group.model_copy(update={"stated": stated})).text
    assert "the watermark gains 0.10 points of top-1 accuracy" in found
    assert "-0.10 to 0.30)" in found


def test_robustness_in_words(report):
    found = text(report, "robustness").text
    assert found.startswith(
        "block-spread, 64 bits: the Payload is read without error from all 6 unmodified"
    )
    assert "In the standard's range it survives 6 of 8 tested settings" in found
    assert "L1 pruning 99.99 % (carrier layer: top-1 accuracy 5" in found
    assert "where the networks themselves are no longer usable" in found
    assert "Beyond the range it is lost at Gaussian noise 1 (all layers:" in found
    assert found.endswith("There was no false alarm in 30 tests of unwatermarked networks.")
    assert text(report, "robustness").figure == "6 of 8"


def test_what_is_lost_from_an_intensity_on(reported):
    grid = {("l1-pruning", "carrier"): (50.0, 90.0, 99.0, 99.9)}
    found = text(reported(make_run(grid=grid, troubles=False)), "robustness", group=1).text
    assert "In the standard's range it survives 2 of 4 tested settings" in found
    assert "lost at L1 pruning 99 % and beyond (carrier layer: top-1 accuracy 56." in found
    assert "% there), where the network itself is no longer usable." in found


def test_what_survives_everything_in_words(reported):
    run = make_run(grid={("gaussian-noise", "all"): (0.1, 0.2)}, troubles=False)
    found = text(reported(run), "robustness")
    assert (
        "It survives every tested Modification in the standard's range (2 settings): at least "
        "95 % of the watermarks are detected after each." in found.text
    )
    assert found.tone == "good"


def test_lost_while_usable_is_a_caution(reported):
    run = make_run(troubles=False)
    better = [
        t.model_copy(update={"quality": {"top1_accuracy": 0.96}}) if t.modification else t
        for t in run.trials
    ]
    found = text(reported(changed(run, trials=tuple(better))), "robustness")
    assert "where the network is still usable" in found.text
    assert found.tone == "caution"


def test_cost_in_words(report):
    found = text(report, "cost").text
    injection = next(o for o in report.cost[0].operations if o.operation == "injection")
    seconds, memory = injection.seconds.mean, injection.peak_bytes.mean
    assert f"injecting takes {1000 * seconds:.1f} ms and {memory / 1e6:.2f} MB, detecting" in found
    ratio = next(o for o in report.cost[0].operations if o.operation == "inference").ratio
    assert (
        f"Inference takes {ratio.mean:.2f} times as long as without the watermark (95 % limits "
        f"{ratio.limits.low:.2f} to {ratio.limits.high:.2f})." in found
    )


def test_no_verdict_certifies(report):
    said = " ".join(v.text for v in report.verdicts) + report.standard
    for word in ("certified", "compliant", "passed", "failed"):
        assert word not in said
    assert report.standard.startswith("Implements the procedures of NNW-NNT V1.1")
    assert "no certification" in report.standard


def test_warnings_of_the_synthetic_run(report):
    assert codes(report) == ["not-done", "ties", "outside-standard-range", "dataset-size"]
    failed, _, outside, size = report.warnings
    assert failed.text == "Trials that were not done: 1 of 159."
    assert failed.details == (
        "1 × failed: the runtime was stopped after 600 s; raise session.timeout",
    )
    assert outside.details == ("Gaussian noise 1 (all layers)",)
    # 2,000 samples of 8 x 8 for 5,000 Weights.
    assert size.details[0] == "cnn-0.onnx: 0.4 samples, 25.6 scalars for each of 5,000 Weights"


def test_few_networks(reported):
    found = reported(make_run(networks=1, payloads=1, troubles=False))
    assert "few-networks" in codes(found)
    notice = next(w for w in found.warnings if w.code == "few-networks")
    assert "M = 1 networks and D = 1 Payloads" in notice.text
    assert found.imperceptibility[0].over_networks.status == "not-measured"
    assert "(95 % limits over test samples" in text(found, "imperceptibility").text
    assert "(for this one network)" in text(found, "imperceptibility").text


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
    assert "There was 1 false alarm in 30 tests" in text(found, "robustness").text


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
    assert by_code["incomplete"].details == (
        "uchida, 64 bits, Quantizing 2 bits (all layers): 1 watermarked, 0 unwatermarked",
    )
    texts = [w.text for w in found.warnings if w.code == "not-done"]
    assert "Cost measurements that were not done: 1 of 1." in texts
    assert "the Computational Cost was not measured" in text(found, "cost").text
