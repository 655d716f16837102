"""Watermarks that training puts in: compared with twins, which count nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.measures.costs import costs_of_groups
from nnw_onnx.measures.imperceptibility import imperceptibility
from nnw_onnx.measures.limits import NotMeasured
from nnw_onnx.measures.robustness import robustness
from nnw_onnx.measures.trainings import trainings_of_groups
from nnw_onnx.records import EpochRecord, Group, InjectionRecord, PluginSpec, TrainingRecord

from .made import decoded, generator, injection, make_plan, packed, trial

RECIPE = {"start": "trained", "epochs": 2.0}
SAMPLES = 10_000


def trained_plan(networks=2, payloads=2, groups=1, recipes=None, **changes):
    recipes = recipes or [RECIPE] * groups
    return make_plan(networks, payloads, dataset={"entries": SAMPLES, "shape": [1]}).model_copy(
        update={
            "groups": tuple(
                Group(
                    index=i,
                    method=PluginSpec(name="m"),
                    payload_size=64,
                    label=f"m{i}",
                    imperceptibility="NNW-WTI",
                    training=recipe,
                )
                for i, recipe in enumerate(recipes)
            ),
            **changes,
        }
    )


def twin(network, group=0, **fields):
    base = {"status": "done", "identity": f"twin{group}{network}"}
    return InjectionRecord(
        network=network, group=group, payload_index=0, twin=True, **(base | fields)
    )


def answered(network, identity, wrong, decodings=()):
    """A trial without Modification; the first `wrong` samples are answered wrongly."""
    right = np.arange(SAMPLES) >= wrong
    record = trial(
        network,
        None,
        decodings,
        intensity=None,
        quality=float(right.mean()),
        correct=packed(right),
        identity=f"t{network}{identity}",
    )
    return record.model_copy(update={"injection": identity})


def records(twins=True):
    """Original 1,000 wrong, twin 1,200, watermarked 1,210 and 1,230."""
    injections = [injection(m, d) for m in range(2) for d in range(2)]
    trials = []
    for m in range(2):
        keys = [decoded(f"i{m}{d}", 32) for d in range(2)]
        trials.append(answered(m, None, 1000, keys))
        if twins:
            injections.append(twin(m))
            trials.append(answered(m, f"twin0{m}", 1200))
        trials += [
            answered(m, f"i{m}{d}", wrong, [decoded(f"i{m}{d}", 0)])
            for d, wrong in enumerate((1210, 1230))
        ]
    return injections, trials


def test_the_reference_is_the_twin_and_the_original_stands_beside_it():
    found = imperceptibility(trained_plan(), *records())[0]
    assert (found.workflow, found.reference, found.twins) == ("NNW-WTI", "twin", 2)
    assert found.loss.mean == pytest.approx((0.001 + 0.003) / 2)
    assert [p.answers.lost for p in found.pairs] == [10, 30, 10, 30]
    assert found.measures[0].unwatermarked.mean == pytest.approx(0.88)
    assert (found.networks, found.watermarked) == (2, 4)
    # Beside the original: 21 and 23 points of a thousand.
    assert found.original.loss.mean == pytest.approx(0.022)
    assert found.original.measures[0].unwatermarked.mean == pytest.approx(0.9)
    assert found.original.watermarked == 4
    assert found.failures == ()


def test_a_static_technology_is_compared_with_the_original():
    plan = make_plan(2, 2, dataset={"entries": SAMPLES, "shape": [1]})
    found = imperceptibility(plan, *records(twins=False))[0]
    assert (found.workflow, found.reference) == ("NNW-NTI", "original")
    assert (found.original, found.twins) == (None, None)
    assert found.loss.mean == pytest.approx(0.022)


def test_twins_are_shared_by_the_same_training_only():
    injections, trials = records()
    for m in range(2):
        injections.append(injection(m, 0).model_copy(update={"group": 1, "identity": f"j{m}"}))
        trials.append(answered(m, f"j{m}", 1300))
    other = {**RECIPE, "epochs": 5.0}
    same = imperceptibility(trained_plan(groups=2), injections, trials)[1]
    assert same.loss.mean == pytest.approx(0.01)
    apart = imperceptibility(trained_plan(recipes=[RECIPE, other]), injections, trials)[1]
    assert apart.loss.reason.endswith("has no record")


def test_a_twin_without_a_record():
    found = imperceptibility(trained_plan(), *records(twins=False))[0]
    reason = "the twin, which is the same training without a watermark, has no record"
    assert found.loss == found.over_samples == NotMeasured(reason=reason)
    assert (found.verdict, found.twins, found.watermarked) == ("not-measured", 0, 0)
    assert [(f.count, f.reason) for f in found.failures] == [(4, reason)]
    assert found.original.loss.mean == pytest.approx(0.022)


def test_a_twin_that_failed():
    injections, trials = records(twins=False)
    injections += [twin(m, status="failed", reason="the loss is no number") for m in range(2)]
    found = imperceptibility(trained_plan(), injections, trials)[0]
    assert found.loss.reason == (
        "the twin, which is the same training without a watermark, was not measured: "
        "the loss is no number"
    )
    assert [(f.count, f.reason) for f in found.failures] == [(2, "the loss is no number")]


def test_a_twin_of_one_network_is_missing():
    injections, trials = records()
    injections = [i for i in injections if i.identity != "twin01"]
    trials = [t for t in trials if t.injection != "twin01"]
    found = imperceptibility(trained_plan(), injections, trials)[0]
    assert (found.networks, found.watermarked, found.twins) == (1, 2, 1)
    assert found.original.watermarked == 4
    assert [f.count for f in found.failures] == [2]


def test_a_workflow_that_was_not_asked_for():
    plan = trained_plan(workflows=("NNW-NTI", "NNW-WIR"))
    reason = NotMeasured(reason="not asked for: the evaluation leaves out the workflow NNW-WTI")
    found = imperceptibility(plan, *records())[0]
    assert found.not_asked == found.loss == found.carrier_change == found.stated == reason
    assert (found.pairs, found.measures, found.original, found.failures) == ((), (), None, ())
    robust = robustness(plan, *records(), generator())[0]
    assert robust.not_asked.reason.endswith("the workflow NNW-NIR")
    assert (robust.unmodified, robust.sweeps) == (None, ())


def test_twins_count_nowhere_else():
    with_twins, without = records(), records(twins=False)
    plan = trained_plan()
    found = robustness(plan, *with_twins, generator())[0]
    assert found == robustness(plan, *without, generator())[0]
    marked = found.unmodified.watermarked
    assert (marked.expected, marked.done, marked.absent) == (4, 4, 0)
    assert found.unmodified.ser_watermarked.n == 4


def training(losses, needed=None, errors=None):
    return TrainingRecord(
        epochs=tuple(
            EpochRecord(
                number=i + 1,
                loss=loss,
                quality=0.5 + 0.1 * i,
                symbol_error_rate=None if errors is None else errors[i],
            )
            for i, loss in enumerate(losses)
        ),
        batches=10 * len(losses),
        epochs_to_inject=needed,
    )


def test_curves_are_means_over_networks():
    injections = [
        injection(0, 0, training=training([4.0, 2.0], 1, [0.5, 0.0])),
        injection(0, 1, training=training([2.0, 1.0], 2, [0.3, 0.2])),
        injection(1, 0, training=training([1.0, 0.5], 2, [0.0, 0.0])),
        injection(1, 1, status="failed", reason="no", change=None, layers=()),
        twin(0, training=training([0.8, 0.4])),
    ]
    found = trainings_of_groups(trained_plan(), injections)[0]
    # Network 0: (4 + 2) / 2 = 3, network 1: 1.
    assert [e.loss for e in found.mean] == pytest.approx([2.0, 1.0])
    assert [e.symbol_error_rate for e in found.mean] == pytest.approx([0.2, 0.05])
    assert [e.networks for e in found.mean] == [2, 2]
    assert [(n.network, n.epochs[0].loss) for n in found.networks] == [(0, 3.0), (1, 1.0)]
    assert [e.loss for e in found.twins] == [0.8, 0.4]
    assert found.twins[0].symbol_error_rate is None
    assert found.mean[0].penalty is None
    assert [(r.network, r.payload_index, r.twin) for r in found.runs] == [
        (0, 0, False),
        (0, 1, False),
        (1, 0, False),
        (0, None, True),
    ]
    assert found.recipe == RECIPE


def test_an_epoch_that_some_trainings_did_not_reach():
    injections = [
        injection(0, 0, training=training([4.0, 2.0])),
        injection(1, 0, training=training([2.0])),
    ]
    mean = trainings_of_groups(trained_plan(), injections)[0].mean
    assert [(e.number, e.networks, e.loss) for e in mean] == [(1, 2, 3.0), (2, 1, 2.0)]


def test_epochs_needed_leave_out_twins_and_those_that_never_came_to_it():
    injections = [
        injection(0, 0, training=training([1.0], 1)),
        injection(0, 1, training=training([1.0, 1.0, 1.0], 3)),
        injection(1, 0, training=training([1.0], None)),
        twin(0, training=training([1.0], None)),
    ]
    found = costs_of_groups(trained_plan(), [], generator(), injections)[0]
    assert (found.epochs.mean, found.epochs.n) == (2.0, 2)
    # t(0.975, 1) = 12.706, s / sqrt(2) = 1; a number of epochs is not negative.
    assert (found.epochs.limits.low, found.epochs.limits.high) == (0.0, pytest.approx(14.706, 1e-4))
    assert (found.epochs_cells, found.never_in, found.trained) == (3, 1, True)
    never = costs_of_groups(trained_plan(), [], generator(), injections[2:])[0]
    assert never.epochs.reason == "the watermark was not in at the end of any training"
    none = costs_of_groups(trained_plan(), [], generator())[0]
    assert none.epochs.reason == "no training was recorded"
    static = costs_of_groups(make_plan(), [], generator())[0]
    assert static.epochs.reason == "not applicable: the method injects without training"
    assert (static.trained, static.epochs_cells) == (False, 0)
