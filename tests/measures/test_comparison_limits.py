"""The order of technologies at other limits of usability, and equal Symbol Error Rates."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from nnw_onnx.math.clusters import excess_p
from nnw_onnx.measures import comparison
from nnw_onnx.measures.attacks import Attacked, Met
from nnw_onnx.measures.comparison import Asked, compare
from nnw_onnx.measures.comparison_symbols import symbol_pairs
from nnw_onnx.measures.limits import Nested
from nnw_onnx.measures.results import Level, Value
from nnw_onnx.measures.run import Run
from nnw_onnx.measures.usability import counts_at

from .made import ACCURACY, make_technology
from .side_by_side import make_run, rng

LOST = 32
"""Symbols of 64 wrong: nothing is left."""


def compared(*runs, **asked):
    return compare([(f"run-{i}", run) for i, run in enumerate(runs)], Asked(**asked), rng())


def only(found):
    (group,) = found.groups
    return group


def all_lost(t, n, d, x):
    return LOST


def places(group):
    return [[p.place for p in one.places] for one in group.limits]


def success(group):
    return [[p.success for p in one.places] for one in group.limits]


def test_places_are_repeated_at_two_and_ten_points():
    """Attacks take 7 points from the first technology, and 3 points from the second."""
    group = only(compared(make_run(all_lost, lost=lambda t, n: (70, 30)[t])))
    assert [one.usable_loss for one in group.limits] == pytest.approx([0.02, 0.05, 0.10])
    assert success(group) == [[0, 0], [0, 1], [1, 1]]
    assert places(group) == [[1, 1], [1, 2], [1, 1]]
    assert [one.intensities for one in group.limits] == [1, 1, 1]


def test_success_at_every_limit_is_that_of_the_records():
    draw = rng(3)
    networks, levels = 7, (0.1, 0.2)
    three = [make_technology(i, name) for i, name in enumerate("abc")]
    gone = {
        (t, n, d, x): bool(draw.random() < 0.6)
        for t in range(3)
        for n in range(networks)
        for d in range(2)
        for x in levels
    }
    # Never 20, 50 or 100 answers, where rounding decides.
    cost = {(t, n): 10 * int(draw.integers(0, 13)) + 5 for t in range(3) for n in range(networks)}
    run = make_run(
        lambda *place: LOST * gone[place],
        networks,
        technologies=three,
        intensities=levels,
        lost=lambda t, n: cost[t, n],
    )
    for one in only(compared(run)).limits:
        allowed = 1000 * one.usable_loss
        by_hand = [
            fmean(
                gone[t, n, d, x] and cost[t, n] < allowed
                for n in range(networks)
                for d in range(2)
                for x in levels
            )
            for t in range(3)
        ]
        assert [p.success for p in one.places] == pytest.approx(by_hand)
        assert [p.place for p in one.places] == [1 + sum(b < a for b in by_hand) for a in by_hand]


def test_the_limit_of_the_plan_gives_the_scores_of_the_plan():
    run = make_run(lambda t, n, d, x: LOST * (t == n % 2), lost=lambda t, n: 10 * n)
    group = only(compared(run))
    scores = {s.contestant: s.score.value for s in group.standings}
    assert [p.success for p in group.limits[1].places] == pytest.approx([scores[0], scores[1]])
    assert group.limits[1].intensities == sum(a.counts for a in group.attacks) / 2


def test_judged_again_at_the_limit_of_the_plan_nothing_changes():
    run = make_run(all_lost, lost=lambda t, n: 10 * n, intensities=(0.1, 0.2), damage=30)
    common = comparison.aligned([("run", run)])
    members = list(comparison._entries(common, Asked(), []))
    found = comparison.attacked(common, members)
    again = found.at_limit(common, members, run.headline.usable_loss)
    assert (again.counting, again.met) == (found.counting, found.met)


def test_settings_are_judged_again_too():
    """The unwatermarked networks lose 7 points: usable where 10 are allowed."""
    group = only(compared(make_run(all_lost, damage=70)))
    assert group.standings == ()
    assert [one.intensities for one in group.limits] == [0, 0, 1]
    assert success(group) == [[], [], [1, 1]]


def test_a_setting_has_to_be_usable_in_every_run():
    one = [make_technology(0, "a")]
    first = make_run(all_lost, technologies=one)
    other = make_run(all_lost, technologies=one, damage=70)
    group = only(compared(first, other))
    assert [limit.intensities for limit in group.limits] == [0, 0, 1]


def test_measures_in_other_units_have_the_same_ratios():
    measure = ACCURACY.model_copy(update={"unit": "dB", "usable_loss": 1.0})
    group = only(compared(make_run(all_lost, measures=(measure,))))
    assert [one.usable_loss for one in group.limits] == pytest.approx([0.4, 1.0, 2.0])


def test_other_limits_are_no_claims(monkeypatch):
    run = make_run(lambda t, n, d, x: LOST * t, lost=lambda t, n: 30)
    found = compared(run)
    monkeypatch.setattr(comparison, "limited_places", lambda *given: ())
    without = compared(run)
    (group,) = without.groups
    again = group.model_copy(update={"limits": only(found).limits})
    assert found.claims == 1
    assert without.model_copy(update={"groups": (again,)}) == found


TOO_MUCH = "the unwatermarked networks lose too much top-1 accuracy"


@pytest.mark.parametrize(
    ("usability", "reason", "limit", "counts"),
    [
        ("unusable", TOO_MUCH, 0.1, True),
        ("unusable", TOO_MUCH, 0.07, False),
        ("unusable", "the unwatermarked networks lose too much macro recall", 0.1, False),
        ("unusable", "the unwatermarked networks are no better than guessing", 0.1, False),
        ("n/a", TOO_MUCH, 0.1, False),
        ("elsewhere", "quality was measured on another data set", 0.001, True),
    ],
)
def test_only_what_the_loss_decided_is_decided_again(usability, reason, limit, counts):
    """The limits of the loss are 6 and 8 points; a veto stands at 10 points too."""
    loss = Value(value=0.07, low=0.06, high=0.08)
    level = Level(
        intensity=1.0,
        outside=False,
        usability=usability,
        loss=loss,
        quality=Value(value=0.9),
        reason=reason,
    )
    assert counts_at(level, ACCURACY, limit) is counts


def test_what_is_usable_may_be_too_much_at_a_stricter_limit():
    level = Level(
        intensity=1.0,
        outside=False,
        usability="usable",
        loss=Value(value=0.02, low=0.01, high=0.03),
        quality=Value(value=0.9),
    )
    assert [counts_at(level, ACCURACY, x) for x in (0.02, 0.03, 0.1)] == [False, True, True]


def symbols(errors, networks=12, **given):
    return only(compared(make_run(errors, networks, **given))).symbols


def test_equal_symbol_error_rates():
    """One of 64 Symbols in every other network, in turn: 1.6 points more or less."""
    (pair,) = symbols(lambda t, n, d, x: (n + t) % 2)
    assert pair.equality == "equivalent"
    assert pair.difference.value == 0
    assert pair.difference.confidence == pytest.approx(0.9)
    assert max(map(abs, pair.difference.limits)) < 0.02


def test_unequal_symbol_error_rates():
    """Two of 64 Symbols more, or one: 2.3 points on the mean."""
    (pair,) = symbols(lambda t, n, d, x: t * (1 + n % 2))
    assert pair.difference.value == pytest.approx(-1.5 / 64)
    assert pair.equality == "not shown"


def test_networks_that_are_all_alike_show_nothing():
    (pair,) = symbols(lambda t, n, d, x: 0)
    assert pair.equality == "not shown"
    assert "all of them alike" in pair.difference.reason


def test_the_level_is_divided_by_all_pairs_of_all_groups():
    many = [make_technology(i, f"m{i}", 64 if i < 3 else 128) for i in range(5)]
    many.append(make_technology(5, "presence", 0))
    found = compared(make_run(lambda t, n, d, x: (n + t) % 2, 12, technologies=many))
    pairs = [pair for group in found.groups for pair in group.symbols]
    assert [(p.first, p.second) for p in pairs] == [(0, 1), (0, 2), (1, 2), (3, 4)]
    known = {p.difference.confidence for p in pairs if p.difference.limits}
    assert list(known) == pytest.approx([1 - 0.1 / 4])


def test_technologies_without_symbols_have_no_symbol_error_rate():
    two = [make_technology(i, f"m{i}", 0) for i in range(2)]
    assert symbols(lambda t, n, d, x: n % 2, technologies=two) == ()


def test_symbols_that_were_not_read_everywhere_are_not_compared():
    run = make_run(lambda t, n, d, x: (n + t) % 2, 12)
    trials = tuple(
        t.model_copy(
            update={
                "verdicts": tuple(
                    v.model_copy(update={"symbols": None, "errors": None}) for v in t.verdicts
                )
            }
        )
        if t.setting == 0 and t.network == 3
        else t
        for t in run.trials
    )
    (pair,) = only(compared(Run(run.plan, run.injections, trials))).symbols
    assert pair.equality == "not measured"
    assert "not read in all settings that count" in pair.difference.reason


def drawn(mean, draw, entries, networks=12):
    """Whether two technologies are said to be equivalent, with a difference of so much."""
    rates = draw.normal([0.2 + mean, 0.2], 0.007, (networks, 2))
    none = Nested({})
    met = {
        (k, 0, 0): Met(
            (),
            none,
            none,
            Nested({n: [float(rates[n, k])] for n in range(networks)}),
            Value.missing("not asked for"),
        )
        for k in range(2)
    }
    (pair,) = symbol_pairs(entries, Attacked(networks, 2, met, {0: [0]}, ()), 1, draw)
    return pair.equality == "equivalent"


@pytest.mark.parametrize("mean", [0.02, -0.02])
def test_a_difference_of_the_margin_is_seldom_said_to_be_none(mean):
    draw, times = rng(5), 200
    common = comparison.aligned([("run", make_run(all_lost))])
    entries = list(comparison._entries(common, Asked(), []))
    wrong = sum(drawn(mean, draw, entries) for _ in range(times))
    assert excess_p(wrong, times, 0.05) > 1e-3
    assert np.mean([drawn(0.0, draw, entries) for _ in range(20)]) > 0.9
