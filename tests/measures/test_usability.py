"""Usable, unusable, undecided: from the unwatermarked networks, once for all technologies."""

from __future__ import annotations

import pytest

from nnw_onnx.measures import usability
from nnw_onnx.measures.run import Run
from nnw_onnx.records import PluginRecord, StepRecord

from .made import (
    ACCURACY,
    RECALL,
    answers,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)

N = 2000


def level_of(*trials, networks=1, plan=None):
    """The one level of a setting; networks were right everywhere before it."""
    plan = plan or make_plan(networks, settings=[make_setting(intensities=(0.1,))])
    before = [make_trial(n, right=answers(N)) for n in range(networks)]
    run = Run(plan, (), (*before, *trials))
    return usability.settings(run)[0].levels[0]


def after(network=0, wrong=0, first=0, **fields):
    return make_trial(network, right=answers(N, wrong, first), setting=0, intensity=0.1, **fields)


@pytest.mark.parametrize(
    ("wrong", "said"), [(0, "usable"), (60, "usable"), (100, "undecided"), (160, "unusable")]
)
def test_the_limits_of_the_loss_decide(wrong, said):
    level = level_of(after(wrong=wrong))
    assert level.usability == said
    assert level.counts == (said == "usable")
    assert level.loss.value == pytest.approx(wrong / N)
    assert (level.reason is None) == (said == "usable")


def test_networks_that_differ_leave_it_undecided():
    level = level_of(after(0, 10), after(1, 150), networks=2)
    assert level.loss.value == pytest.approx(0.04)
    assert level.usability == "undecided"


@pytest.mark.parametrize("quality", [0.97, 0.5])
def test_a_loss_without_limits_decides_nothing(quality):
    level = level_of(make_trial(0, setting=0, intensity=0.1, quality={ACCURACY.name: quality}))
    assert (level.usability, level.loss.limits, level.counts) == ("undecided", None, False)
    assert "there is one network" in level.reason


def test_a_setting_that_does_not_apply_to_these_networks_is_no_undecided_one():
    refused = make_trial(
        0, setting=0, intensity=0.1, status="not-applicable", reason="nothing to fold"
    )
    level = level_of(refused)
    assert (level.usability, level.counts) == ("n/a", False)
    assert "nothing to fold" in level.reason


def test_only_the_standards_modifications_have_its_range():
    made = [
        make_setting(0, number=1, family="standard"),
        make_setting(1, "scaling", family="preserving"),
        make_setting(2, number=1, family="standard", copies=2),
        make_setting(3, "float16", intensities=(), family="deployment"),
    ]
    far = make_trial(0, setting=0, intensity=0.2, outside_standard_range=True)
    found = usability.settings(Run(make_plan(settings=made), (), (far,)))
    assert [[level.standard for level in s.levels] for s in found] == [
        ["inside", "outside"], [None, None], [None, None], [None]
    ]  # fmt: skip


def test_all_forms_of_a_setting_are_averaged_for_all_technologies():
    marks = [make_injection(technology=t) for t in range(2)]
    trials = [
        after(0, wrong, technology=t).model_copy(update={"verdicts": (make_verdict(marks[t]),)})
        for t, wrong in ((0, 0), (1, 200))
    ]
    assert level_of(*trials).loss.value == pytest.approx(0.05)


def guarded(wrong_recall, wrong=20):
    plan = make_plan(
        settings=[make_setting(intensities=(0.1,))],
        measures=(ACCURACY, RECALL),
        guard=RECALL.name,
    )
    before = make_trial(0, right=answers(N))
    trials = [before, after(wrong=wrong)]
    recalls = (0.9, 0.9 - wrong_recall)
    trials = [
        t.model_copy(update={"quality": t.quality | {RECALL.name: r}})
        for t, r in zip(trials, recalls, strict=True)
    ]
    run = Run(plan, (), tuple(trials))
    return usability.settings(run)[0].levels[0]


def test_a_collapsed_network_is_not_usable_whatever_its_accuracy():
    assert guarded(0.05).usability == "usable"
    collapsed = guarded(0.5)
    assert collapsed.usability == "unusable"
    assert "macro recall" in collapsed.reason
    assert collapsed.guard_loss.value == pytest.approx(0.5)


def test_a_network_no_better_than_guessing_is_not_usable():
    plan = make_plan(
        settings=[make_setting(intensities=(0.1,))],
        measures=(ACCURACY.model_copy(update={"usable_loss": 1.0}),),
    )
    level = level_of(after(wrong=N - N // 10), plan=plan)
    assert level.usability == "unusable"
    assert "no better than guessing" in level.reason


def test_another_data_set_has_no_loss_and_counts_as_usable():
    level = level_of(after(wrong=400, quality_of="letters"))
    assert (level.usability, level.quality_of, level.counts) == ("elsewhere", "letters", True)
    assert level.loss.value is None
    assert level.quality.value == pytest.approx(0.8)


def test_nothing_measured_is_undecided_and_says_why():
    failed = make_trial(0, setting=0, intensity=0.1, status="failed", reason="out of memory")
    for trials in ((), (failed,)):
        level = level_of(*trials)
        assert level.usability == "undecided"
        assert "no unwatermarked network could be tested" in level.reason
    assert "out of memory" in level.reason


def test_intensities_run_from_weak_to_strong():
    rising = make_setting(intensities=(0.5, 0.1))
    falling = make_setting(intensities=(2.0, 8.0), stronger="down")
    assert usability.intensities(rising) == [0.1, 0.5]
    assert usability.intensities(falling) == [8.0, 2.0]
    assert usability.intensities(make_setting(intensities=())) == [None]


def test_codes_name_a_setting_in_every_figure():
    two = make_setting(0, number=1, family="standard").steps
    settings = [
        make_setting(0, number=0, family="standard"),
        make_setting(1, number=1, family="standard"),
        make_setting(2, number=1, family="standard"),
        make_setting(3, family="deployment"),
        make_setting(4, family="preserving"),
        make_setting(5, family="adaptive"),
        make_setting(6, family="removal"),
        make_setting(7, steps=(*two, StepRecord(modification=two[0].modification))),
        make_setting(8, family="deployment"),
    ]
    found = usability.settings(Run(make_plan(settings=settings), (), ()))
    assert [s.code for s in found] == ["0", "1a", "1b", "D1", "F1", "A1", "R1", "S1", "D2"]
    assert found[7].family == "removal"


def test_base_quality_has_range_and_chance():
    run = Run(make_plan(2), (), tuple(make_trial(n, right=answers(N, 20 * n)) for n in range(2)))
    (base,) = usability.base_quality(run)
    assert (base.lowest, base.highest, base.chance) == (0.99, 1.0, 0.1)
    assert base.quality.value == pytest.approx(0.995)


CARRIER = make_setting(intensities=(0.1,), aim="carrier")


def carriers_of(losses, setting=CARRIER, networks=6):
    """The level of a setting at which the carrier of each technology costs so many answers."""
    plan = make_plan(
        networks, 1, [make_technology(t, f"m{t}") for t in range(len(losses))], settings=[setting]
    )
    marks = [make_injection(n, 0, t) for t in range(len(losses)) for n in range(networks)]
    trials = [make_trial(n, right=answers(N)) for n in range(networks)]
    for mark in marks:
        if losses[mark.technology] is None:
            continue
        trials.append(
            make_trial(
                mark.network, None, make_verdict(mark, 32), setting=0, intensity=0.1,
                right=answers(N, losses[mark.technology] + mark.network),
                identity=f"t-{mark.identity}",
            )
        )  # fmt: skip
    return usability.settings(Run(plan, tuple(marks), tuple(trials)))[0].levels[0]


def test_where_carriers_differ_each_technology_has_a_decision_of_its_own():
    """Of one carrier the filter mean costs 8 points, of the other a tenth of one."""
    level = carriers_of([160, 2])
    assert level.usability == "differs"
    assert not level.counts
    assert [level.of(t).usability for t in range(2)] == ["unusable", "usable"]
    assert [level.of(t).loss.value for t in range(2)] == pytest.approx([162.5 / N, 4.5 / N])
    # Together they would count as usable, and ruin the networks of the first.
    assert level.loss.value == pytest.approx(83.5 / N)


@pytest.mark.parametrize(("losses", "said"), [([2, 4], "usable"), ([160, 180], "unusable")])
def test_where_carriers_agree_there_is_one_decision(losses, said):
    level = carriers_of(losses)
    assert (level.usability, level.counts) == (said, said == "usable")
    assert [level.of(t).usability for t in range(2)] == [said] * 2


def test_a_technology_that_no_network_heard_decides_nothing():
    level = carriers_of([2, None])
    assert level.usability == "usable"
    assert level.of(1).usability == "undecided"


def test_where_all_layers_are_aimed_at_there_is_one_decision_from_all_networks():
    level = carriers_of([160, 2], make_setting(intensities=(0.1,)))
    assert (level.usability, level.own) == ("usable", ())
    assert level.of(0) is level


def test_a_modification_by_the_method_itself_is_one_for_each_technology():
    step = StepRecord(modification=PluginRecord(name="overwriting"), depends_on_method=True)
    level = carriers_of([160, 2], make_setting(intensities=(0.1,), steps=(step,)))
    assert [level.of(t).usability for t in range(2)] == ["unusable", "usable"]


@pytest.mark.parametrize(
    ("families", "adaptive", "said"),
    [
        (("preserving",), (), "preserving"),
        (("preserving", "preserving"), (), "preserving"),
        (("standard", "standard"), (), "removal"),
        (("deployment", "removal"), (), "removal"),
        (("deployment", "removal"), (0,), "adaptive"),
        (("deployment",), (0,), "deployment"),
    ],
)
def test_a_stack_is_in_the_family_of_its_steps_or_in_that_of_who_names_it(families, adaptive, said):
    steps = tuple(StepRecord(modification=PluginRecord(name="x"), family=f) for f in families)
    plan = make_plan(settings=[make_setting(steps=steps, intensities=(), adaptive=adaptive)])
    assert usability.settings(Run(plan, (), ()))[0].family == said
