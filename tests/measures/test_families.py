"""Robustness by family: the least that is found, and who was attacked adaptively."""

from __future__ import annotations

import random

import pytest

from nnw_onnx.measures import families, matrix, robustness, usability
from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.run import Run
from nnw_onnx.records import AligningRecord, PluginRecord, StepRecord
from nnw_onnx.reports.build import build_report

from .made import (
    Made,
    answers,
    invented,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)

LOST = 32
"""Of 64 Symbols, wrong: never found."""


def made_run(settings, wrong, lost=None, again=None, networks=6, **fields) -> Made:
    """A run of one technology.

    Args:
        settings: its settings.
        wrong: (setting, Intensity) -> Symbols wrong in each network, by network.
        lost: (setting, Intensity) -> answers that it costs every network; none by default.
        again: likewise as `wrong`, once networks are put back in order.
        networks: M.
        fields: of the plan.
    """
    plan = make_plan(networks, 1, [make_technology()], settings, **fields)
    marks = [make_injection(n) for n in range(networks)]
    trials = []
    tried = [(s.index, x) for s in settings for x in s.intensities or (None,)]
    for place in [(None, None), *tried]:
        more = {} if place[0] is None else {"setting": place[0], "intensity": place[1]}
        if more and again is not None:
            more["aligning"] = AligningRecord(recovered=True)
        damage = 0 if place[0] is None or lost is None else lost(*place)
        right = answers(2000, 20 + damage)
        for mark in marks:
            n = mark.network
            bad = 0 if place[0] is None else wrong(*place)[n]
            told = ()
            if again is not None and place[0] is not None:
                told = (make_verdict(mark, again(*place)[n]),)
            more |= {"right": right}
            trials.append(make_trial(n, None, make_verdict(mark, 32), **more))
            trials.append(make_trial(n, mark, make_verdict(mark, bad), resynchronised=told, **more))
    return Made(plan, tuple(marks), tuple(trials))


def rows_of(made: Made):
    run = Run(made.plan, made.injections, made.trials)
    (technology,) = made.plan.technologies
    judge = judge_of(run, technology)
    return [
        (
            setting,
            [
                robustness.point(
                    run, technology, judge, robustness.Where(setting.index, k, level.intensity)
                )
                for k, level in enumerate(setting.levels)
            ],
        )
        for setting in usability.settings(run)
    ]


def some(count):
    """So many of six networks lose the mark."""
    return [LOST if n < count else 0 for n in range(6)]


def setting(index, name, family="standard", intensities=(0.1, 0.2), **fields):
    return make_setting(index, name, intensities, family=family, **fields)


def test_the_robustness_is_the_least_share_found_in_a_usable_setting():
    settings = [setting(0, "a"), setting(1, "b")]
    wrong = {(0, 0.1): some(0), (0, 0.2): some(2), (1, 0.1): some(5), (1, 0.2): some(6)}
    # What ruins the network defeats nobody.
    rows = rows_of(made_run(settings, lambda *p: wrong[p], lambda *p: 400 * (p == (1, 0.2))))
    found = families.weakest(rows)
    assert (found.setting, found.level, found.found) == (1, 0, pytest.approx(1 / 6))
    assert families.weakest(rows[:1]).found == pytest.approx(4 / 6)
    assert families.weakest([]) is None


def test_of_equal_shares_the_least_evidence_is_the_strongest():
    settings = [setting(0, "a", intensities=(0.1,)), setting(1, "b", intensities=(0.1, 0.2))]
    wrong = {(0, 0.1): [3] * 6, (1, 0.1): [7] * 6, (1, 0.2): [5] * 6}
    rows = rows_of(made_run(settings, lambda *p: wrong[p]))
    found = families.weakest(rows)
    assert (found.setting, found.level, found.found) == (1, 0, 1.0)


def test_families_add_up_to_the_whole_where_nothing_is_named_twice():
    for seed in range(3):
        made = invented(5, 13, networks=6, payloads=2, seed=seed, attacked=False)
        report = build_report(*made.parts)
        for technology in report.technologies:
            parts = [f.plain for f in technology.families]
            assert [f.family for f in technology.families] == list(matrix.FAMILIES)
            for field in ("usable", "survived", "lost", "undecided", "without_result"):
                whole = getattr(technology.tally, field)
                assert sum(getattr(p.tally, field) for p in parts) == whole
            least = [p.weakest.found for p in parts if p.weakest]
            whole = technology.whole.weakest
            assert (None if whole is None else whole.found) == min(least, default=None)


def test_brute_force_finds_no_weaker_point():
    draw = random.Random(4)
    settings = [setting(i, f"m{i}", intensities=(0.1, 0.2, 0.3)) for i in range(4)]
    table = {(i, x): some(draw.randrange(7)) for i in range(4) for x in (0.1, 0.2, 0.3)}
    ruined = {place: draw.random() < 0.3 for place in table}
    rows = rows_of(made_run(settings, lambda *p: table[p], lambda *p: 400 * ruined[p]))
    by_hand = min(
        sum(not bad for bad in wrong) / 6 for place, wrong in table.items() if not ruined[place]
    )
    assert families.weakest(rows).found == pytest.approx(by_hand)


def test_what_a_method_names_is_adaptive_whatever_else_it_is():
    """A permutation survives nothing, and no count of the standard's can hide it."""
    settings = [
        setting(0, "a", intensities=tuple(0.1 * k for k in range(1, 14))),
        setting(1, "permutation", "preserving", (), adaptive=(0,)),
    ]
    made = made_run(settings, lambda s, x: some(6 * s))
    (technology,) = build_report(*made.parts).technologies
    told = {f.family: (f.plain.tally.survived, f.plain.tally.usable) for f in technology.families}
    assert told == {"standard": (13, 13), "preserving": (0, 1), "adaptive": (0, 1)}
    assert (technology.tally.survived, technology.tally.usable) == (13, 14)
    assert technology.whole.weakest.found == 0
    assert technology.attacked


def test_who_is_not_attacked_adaptively_is_not_ranked():
    plain = made_run([setting(0, "a")], lambda *p: some(0))
    named = made_run([setting(0, "a", adaptive=(0,))], lambda *p: some(0))
    other = made_run([setting(0, "a", adaptive=(1,))], lambda *p: some(0))
    for made, attacked in ((plain, False), (named, True), (other, False)):
        assert build_report(*made.parts).technologies[0].attacked is attacked
    # What failed everywhere was no attack.
    broken = named.but(
        trials=tuple(
            t if t.setting is None else t.model_copy(update={"status": "failed", "verdicts": ()})
            for t in named.trials
        )
    )
    assert not build_report(*broken.parts).technologies[0].attacked


def test_re_synchronised_settings_are_counted_beside():
    settings = [
        setting(0, "a", intensities=(0.1,)),
        setting(1, "permutation", "preserving", (), adaptive=(0,)),
    ]
    made = made_run(settings, lambda s, x: some(6 * s), again=lambda s, x: some(s))
    report = build_report(*made.parts)
    (technology,) = report.technologies
    preserving = next(f for f in technology.families if f.family == "preserving")
    assert (preserving.plain.tally.survived, preserving.plain.weakest.found) == (0, 0)
    again = preserving.resynchronised
    assert (again.tally.survived, again.weakest.found) == (0, pytest.approx(5 / 6))
    assert technology.whole_resynchronised.weakest.found == pytest.approx(5 / 6)
    assert technology.whole_resynchronised.tally.usable == 2
    plain = build_report(*made_run(settings, lambda s, x: some(6 * s)).parts).technologies[0]
    assert plain.whole_resynchronised is None
    assert all(f.resynchronised is None for f in plain.families)


def test_of_a_sweep_over_a_learning_rate_the_strongest_usable_point_is_told():
    """Three rates: one does nothing, one removes half of the marks, one ruins the network."""

    def tuning(index, rate):
        step = StepRecord(
            modification=PluginRecord(name="fine-tuning", options={"learning_rate": rate})
        )
        return make_setting(index, f"rate {rate}", (0.1, 0.5), steps=(step,))

    settings = [
        tuning(0, 0.001),
        tuning(1, 0.01),
        tuning(2, 0.1),
        setting(3, "alone", intensities=()),
    ]
    wrong = {0: some(0), 1: some(3), 2: some(6), 3: some(6)}
    rows = rows_of(made_run(settings, lambda s, x: wrong[s], lambda s, x: 400 * (s == 2)))
    (found,) = families.strongest(rows)
    assert (found.setting, found.found) == (1, 0.5)


def test_an_integrity_method_has_no_least():
    made = made_run([setting(0, "a")], lambda *p: some(6))
    kind = made.plan.technologies[0].model_copy(update={"kind": "integrity"})
    made = made.but(plan=made.plan.model_copy(update={"technologies": (kind,)}))
    (technology,) = build_report(*made.parts).technologies
    assert technology.whole.weakest is None
    assert technology.whole.tally.noticed == 2
