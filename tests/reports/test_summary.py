"""Every number of a report, recomputed from the records in the plainest way."""

from __future__ import annotations

import base64
import math
import random

import numpy as np
import pytest
import scipy.stats

from nnw_onnx.measures.limits import Estimate
from nnw_onnx.reports.summary import digest, parameters_of

from .synthetic import FPR, GRID, make_run


def records_at(run, group, modification, aim, intensity):
    """(watermarked trials, unwatermarked trials) of one cell."""
    own = {i.identity: i for i in run.injections if i.group == group}

    def here(t):
        if modification is None:
            return t.modification is None
        return (
            t.modification is not None
            and t.modification.name == modification
            and t.aim == aim
            and t.modification.options["intensity"] == intensity
        )

    cell = [t for t in run.trials if here(t)]
    marked = [t for t in cell if t.injection in own]
    plain = [
        t for t in cell if t.injection is None and any(d.injection in own for d in t.decodings)
    ]
    return marked, plain, own


def cells(report):
    for group in report.robustness:
        yield group.group, None, None, group.unmodified
        for sweep in group.sweeps:
            for point in sweep.points:
                yield group.group, sweep.modification, sweep.aim, point


def brute_force(run, group, modification, aim, intensity):
    marked, plain, own = records_at(run, group, modification, aim, intensity)
    answered = [d for t in marked for d in t.decodings]
    tested = [d for d in answered if d.status == "done"]
    # A Detector whose carrier is gone answers No.
    fn = sum(1 for d in answered if not d.detected)
    fp = controls = 0
    for m in range(len(run.plan.networks)):
        keys = [d for t in plain if t.network == m for d in t.decodings if d.injection in own]
        if keys:
            best = min(d.p_value for d in keys)
            fp += 1 - (1 - best) ** len(keys) <= FPR
            controls += 1
    ser_w = [d.errors / d.symbols for d in tested]
    ser_u = [d.errors / d.symbols for t in plain for d in t.decodings if d.injection in own]
    return {
        "fp": fp,
        "fn": fn,
        "marked": len(answered),
        "controls": controls,
        "ser_w": sum(ser_w) / len(ser_w),
        "ser_u": sum(ser_u) / len(ser_u),
    }


@pytest.mark.parametrize("options", [{}, {"payloads": 3, "networks": 2, "repetitions": 2}])
def test_every_count_and_rate(options, reported):
    run = make_run(**{"troubles": not options, **options})
    report = reported(run)
    payloads = run.plan.payloads
    seen = 0
    for group, modification, aim, point in cells(report):
        if run.plan.repetitions > 1 and modification is not None:
            continue
        seen += 1
        expected = brute_force(run, group, modification, aim, point.intensity)
        networks = expected["marked"] + expected["controls"]
        assert point.false_alarms == expected["fp"]
        assert point.missed_detections == expected["fn"]
        assert point.fp_ratio.value == pytest.approx(expected["fp"] / networks)
        assert point.fn_ratio.value == pytest.approx(expected["fn"] / networks)
        assert point.p_fa.value == pytest.approx(expected["fp"] / expected["controls"])
        assert point.p_md.value == pytest.approx(expected["fn"] / expected["marked"])
        exact = scipy.stats.binomtest(expected["fn"], expected["marked"]).proportion_ci()
        assert (point.p_md.limits.low, point.p_md.limits.high) == pytest.approx(
            (exact.low, exact.high), abs=1e-9
        )
        assert point.ser_watermarked.mean == pytest.approx(expected["ser_w"])
        assert point.ser_unwatermarked.mean == pytest.approx(expected["ser_u"])
        assert point.ser_all.value == pytest.approx(
            (payloads * expected["ser_w"] + expected["ser_u"]) / (payloads + 1)
        )
    assert seen >= 2


def test_repetitions_add_no_networks(reported):
    run = make_run(networks=2, payloads=2, repetitions=3, troubles=False)
    for group, modification, aim, point in cells(reported(run)):
        if modification is None:
            continue
        marked, plain, own = records_at(run, group, modification, aim, point.intensity)
        found = [d for t in marked for d in t.decodings]
        assert point.watermarked.expected == point.watermarked.done == len(found) == 12
        assert point.unwatermarked.expected == point.unwatermarked.done == 6
        missed = {d.injection for d in found if not d.detected}
        assert (point.missed_detections, point.p_md.n) == (len(missed), 4)
        assert point.ser_watermarked.mean == pytest.approx(
            np.mean([d.errors / d.symbols for d in found])
        )
        assert point.ser_watermarked.n == point.ser_unwatermarked.n == 4
        alarms = set()
        for t in plain:
            keys = [d.p_value for d in t.decodings if d.injection in own]
            if 1 - (1 - min(keys)) ** len(keys) <= FPR:
                alarms.add(t.network)
        assert (point.false_alarms, point.p_fa.n) == (len(alarms), 2)


def test_every_quality(run, report):
    before = {(t.network, t.injection): t.quality for t in run.trials if t.modification is None}
    for group, modification, aim, point in cells(report):
        marked, plain, _ = records_at(run, group, modification, aim, point.intensity)
        for trials, found in (
            (marked, point.quality_watermarked),
            (plain, point.quality_unwatermarked),
        ):
            means = network_means(trials, lambda t: t.quality["top1_accuracy"])
            check_mean(found, means, (0.0, 1.0))
        check_mean(
            point.quality_loss,
            network_means(
                marked,
                lambda t: (
                    before[t.network, t.injection]["top1_accuracy"] - t.quality["top1_accuracy"]
                ),
            ),
        )
        assert point.usable == (point.quality_loss.mean <= 0.05)
        if modification is not None:
            check_mean(point.change, network_means(marked, lambda t: t.change), (0.0, np.inf))


def network_means(trials, value):
    done = [t for t in trials if t.status == "done"]
    names = sorted({t.network for t in done})
    return [np.mean([value(t) for t in done if t.network == m]) for m in names]


def check_mean(found, means, bounds=(-np.inf, np.inf)):
    assert isinstance(found, Estimate)
    assert found.mean == pytest.approx(np.mean(means))
    assert found.n == len(means)
    assert found.individual == pytest.approx(means)
    half = scipy.stats.t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / math.sqrt(len(means))
    assert found.limits.low == pytest.approx(max(bounds[0], np.mean(means) - half))
    assert found.limits.high == pytest.approx(min(bounds[1], np.mean(means) + half))


def test_bootstrap_limits_of_the_symbol_error_rate(reported):
    """10,000 resamples drawn one by one with the standard library's generator."""
    dice = random.Random(1)
    run = make_run(networks=5, troubles=False)
    report = reported(run)
    sweep = report.robustness[1].sweeps[0]
    point = sweep.points[-1]
    marked, _, _ = records_at(run, 1, sweep.modification, sweep.aim, point.intensity)
    rates = {}
    for t in marked:
        for d in t.decodings:
            rates.setdefault(t.network, []).append(d.errors / d.symbols)
    networks = sorted(rates)
    means = []
    for _ in range(10_000):
        drawn = []
        for m in dice.choices(networks, k=len(networks)):
            drawn += dice.choices(rates[m], k=len(rates[m]))
        means.append(sum(drawn) / len(drawn))
    low, high = np.percentile(means, [2.5, 97.5])
    assert point.ser_watermarked.limits.low == pytest.approx(low, abs=0.01)
    assert point.ser_watermarked.limits.high == pytest.approx(high, abs=0.01)


def test_imperceptibility_pair_by_pair(run, report):
    samples = run.plan.dataset["entries"]
    plain = {t.network: t for t in run.trials if t.modification is None and t.injection is None}
    marked = {t.injection: t for t in run.trials if t.modification is None and t.injection}

    def right(t):
        return np.unpackbits(np.frombuffer(base64.b64decode(t.correct), np.uint8))[:samples] == 1

    for group in report.imperceptibility:
        own = [i for i in run.injections if i.group == group.group]
        assert len(group.pairs) == len(own)
        losses = {}
        for pair in group.pairs:
            identity = f"i-{group.group}-{pair.network}-{pair.payload_index}"
            x, y = right(plain[pair.network]), right(marked[identity])
            lost, gained = int((x & ~y).sum()), int((~x & y).sum())
            assert (pair.answers.lost, pair.answers.gained) == (lost, gained)
            assert pair.loss == pytest.approx(x.mean() - y.mean())
            assert pair.answers.equivalence.loss == pytest.approx(pair.loss)
            expected = scipy.stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
            assert pair.answers.mcnemar_p == pytest.approx(expected)
            losses.setdefault(pair.network, []).append(pair.loss)
        check_mean(group.loss, [np.mean(losses[m]) for m in sorted(losses)])
        for measure in group.measures:
            change = {}
            for i in own:
                difference = (
                    marked[i.identity].quality[measure.name]
                    - plain[i.network].quality[measure.name]
                )
                change.setdefault(i.network, []).append(difference)
            check_mean(measure.change, [np.mean(change[m]) for m in sorted(change)])
        carrier = {}
        for i in own:
            carrier.setdefault(i.network, []).append(i.change)
        means = [np.mean(carrier[m]) for m in sorted(carrier)]
        check_mean(group.carrier_change, means, (0.0, np.inf))


def test_costs(run, report):
    for group in report.cost:
        for cost in group.operations:
            cells_ = [
                c for c in run.costs if c.group == group.group and c.operation == cost.operation
            ]
            times = [c.seconds for c in cells_]
            assert cost.seconds.mean == pytest.approx(np.mean(times))
            expected = scipy.stats.ttest_1samp(times, 0).confidence_interval()
            assert (cost.seconds.limits.low, cost.seconds.limits.high) == pytest.approx(
                (expected.low, expected.high)
            )
            assert cost.seconds.bootstrap.low < cost.seconds.mean < cost.seconds.bootstrap.high
            assert cost.fastest_seconds.value == min(c.minimum for c in cells_)
            assert cost.peak_bytes.mean == pytest.approx(np.mean([c.peak_bytes for c in cells_]))
            if cost.operation == "inference":
                assert cost.ratio.mean == pytest.approx(np.mean([c.ratio for c in cells_]))


def test_the_report_covers_the_grid(report):
    for group in report.robustness:
        found = {
            (s.modification, s.aim): tuple(p.intensity for p in s.points) for s in group.sweeps
        }
        assert found == GRID


def test_the_same_records_give_the_same_report(run, report, reported):
    assert reported(run) == report
    shuffled = list(run.trials)
    random.Random(0).shuffle(shuffled)
    assert digest([*run.injections, *shuffled]) == report.reproducibility.records_sha256
    assert digest(run.trials[:-1]) != digest(run.trials)


def test_a_run_without_anything_is_a_report_too(reported):
    run = make_run()
    empty = type(run)(run.plan, (), (), (), None)
    report = reported(empty)
    assert report.environment is None
    assert report.headline is None
    assert {v.tone for v in report.verdicts} == {"neutral"}
    assert all(g.unmodified is None and g.sweeps == () for g in report.robustness)
    assert all(g.loss.status == "not-measured" for g in report.imperceptibility)
    assert all(o.seconds.status == "not-measured" for g in report.cost for o in g.operations)


def test_parameters_come_from_plugins_where_they_are_installed(run):
    trials = [
        run.trials[-1],
        run.trials[-1].model_copy(
            update={"modification": run.trials[-1].modification.model_copy(update={"name": "gone"})}
        ),
    ]
    assert "gone" not in parameters_of(trials)
