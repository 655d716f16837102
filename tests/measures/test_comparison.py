"""Comparisons by hand: what counts, what is refused, and what becomes of a claim."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nnw_onnx.errors import RunError
from nnw_onnx.math.clusters import excess_p
from nnw_onnx.measures.attacks import usable
from nnw_onnx.measures.comparison import Asked, compare
from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.exact_level import found_exactly, uniform
from nnw_onnx.measures.run import Run
from nnw_onnx.records import NewMark, StepRecord

from .made import (
    LEVEL,
    make_dataset,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)
from .side_by_side import make_run, right_answers, rng

LOST = 32
"""Symbols of 64 wrong: nothing is left."""


def compared(*runs, **asked):
    named = [(f"run-{i}", run) for i, run in enumerate(runs)]
    return compare(named, Asked(**asked), rng())


def only(comparison):
    (group,) = comparison.groups
    return group


def second_lost(t, n, d, x):
    """The second technology is lost everywhere, the first nowhere."""
    return LOST if t == 1 else 0


def test_what_is_lost_everywhere_loses_the_comparison():
    group = only(compared(make_run(second_lost)))
    (result,) = group.results
    assert result.verdict == "first"
    assert result.difference.value == -1
    # Six networks of one sign: 2^(1-6), the smallest there is.
    assert result.p_value == result.adjusted == 2**-5
    assert [(s.contestant, s.best, s.worst) for s in group.standings] == [(0, 1, 1), (1, 2, 2)]
    assert [s.score.value for s in group.standings] == [0, 1]


def test_five_networks_can_never_claim():
    found = compared(make_run(second_lost, networks=5))
    assert not found.decidable
    assert (found.needed, found.smallest_p) == (6, 2**-4)
    assert only(found).results[0].verdict == "tied"
    assert [(s.best, s.worst) for s in only(found).standings] == [(1, 2), (1, 2)]


def test_networks_are_the_units_and_payloads_their_mean():
    """Payload 0 of the second technology is lost in networks 0 to 2: half of each."""

    def errors(t, n, d, x):
        return LOST if t == 1 and d == 0 and n < 3 else 0

    group = only(compared(make_run(errors)))
    (result,) = group.results
    assert result.difference.individual == (-0.5, -0.5, -0.5, 0, 0, 0)
    assert result.difference.value == -0.25
    assert result.p_value == 2 / 2**3


def test_a_network_that_is_ruined_is_no_success():
    """The attack takes the mark out of all networks, and ruins the first two of them."""
    run = make_run(second_lost, lost=lambda t, n: 60 if n < 2 else 5)
    group = only(compared(run))
    attack = next(a for a in group.attacks if a.contestant == 1)
    assert attack.lost.value == 1
    assert attack.success.value == pytest.approx(4 / 6)
    assert [usable(run, t) for t in run.marked(1, (0, 0.1))][:5] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("cost", "equality", "verdict"),
    [
        (lambda t, n: 0, "equal", "first"),
        (lambda t, n: 20 * t, "unequal", "not comparable"),
        (lambda t, n: 5 * t, "not shown", "not comparable"),
    ],
)
def test_unequal_quality_is_not_compared(cost, equality, verdict):
    """The margin is 0.5 points: 5 of 1,000 answers."""
    group = only(compared(make_run(second_lost, cost=cost)))
    assert group.quality[0].equality == equality
    (result,) = group.results
    assert result.verdict == verdict
    if verdict == "not comparable":
        assert result.p_value == 1
        assert "equal quality" in result.reason or "unequal quality" in result.reason


def test_what_is_not_comparable_stays_in_the_manifest():
    three = [make_technology(i, name) for i, name in enumerate(("a", "b", "c"))]

    def errors(t, n, d, x):
        return LOST if t == 1 else 0

    run = make_run(errors, 8, technologies=three, cost=lambda t, n: 20 * (t == 2))
    found = compared(run)
    assert found.claims == 3
    results = {(r.claim.first, r.claim.second): r for r in only(found).results}
    assert results[0, 1].adjusted == 3 * 2**-7
    assert results[0, 2].verdict == results[1, 2].verdict == "not comparable"


def test_the_manifest_follows_from_the_plan():
    first = compared(make_run(second_lost))
    other = compared(make_run(lambda t, n, d, x: LOST * (1 - t), cost=lambda t, n: 3 * n))
    assert first.manifest_sha256 == other.manifest_sha256
    three = [make_technology(i, name) for i, name in enumerate(("a", "b", "c"))]
    assert compared(make_run(second_lost, technologies=three)).manifest_sha256 != (
        first.manifest_sha256
    )


def test_a_claim_for_each_setting():
    found = compared(make_run(second_lost), rule="settings")
    assert found.claims == 1
    (result,) = only(found).results
    assert result.claim.setting == 0
    assert result.verdict == "first"
    # Without a claim over all settings nobody is put before anybody.
    assert [(s.best, s.worst) for s in only(found).standings] == [(1, 2), (1, 2)]


def test_groups_are_of_equal_information():
    many = [
        make_technology(0, "a", 64),
        make_technology(1, "b", 64),
        make_technology(2, "c", 256),
        make_technology(3, "d", 0),
        make_technology(4, "e", 0),
        make_technology(5, "f", 0, kind="fingerprint"),
        make_technology(6, "g", 0, kind="integrity"),
        make_technology(7, "h", 16),
    ]
    found = compared(make_run(second_lost, technologies=many))
    assert [(g.title, g.contestants) for g in found.groups] == [
        ("64 bits", (0, 1)),
        ("Without Payload", (3, 4)),
    ]
    told = " | ".join(found.left_out)
    assert "g: not comparable, it tells that a network was changed" in told
    assert "h, 16 bits: not comparable, p = 1.5e-05 at best" in told
    assert "c, 256 bits: no other technology has 256 bits" in told
    assert "f: no other technology has no Payload either" in told
    assert [
        g.bits for g in compared(make_run(second_lost, technologies=many), bits=(64,)).groups
    ] == [64]


def test_a_mark_that_was_never_in_is_compared_with_none():
    """It cannot be attacked with success, and takes no setting away from the others."""
    run = make_run(second_lost, technologies=[make_technology(i, n) for i, n in enumerate("abc")])
    marks = {i.identity: i for i in run.injections}
    trials = tuple(
        t.model_copy(update={"verdicts": (make_verdict(marks[t.injection], LOST),)})
        if t.injection and marks[t.injection].technology == 2
        else t
        for t in run.trials
    )
    found = compared(Run(run.plan, run.injections, trials))
    assert [g.contestants for g in found.groups] == [(0, 1)]
    assert only(found).results[0].verdict == "first"
    (told,) = (x for x in found.left_out if x.startswith("c, 64 bits"))
    assert told.startswith("c, 64 bits: not comparable, no mark is found before any Modification")


def test_several_runs_of_the_same_networks():
    """The networks of the second run stand in another order: pairs are those of equal files."""
    one = [make_technology(0, "a")]
    first = make_run(lambda t, n, d, x: LOST if n == 0 else 0, technologies=one)
    turned = make_run(
        lambda t, n, d, x: LOST if n == 5 else 0,
        technologies=one,
        sha=lambda i: f"{5 - i:02d}",
    )
    found = compared(first, turned)
    (result,) = only(found).results
    assert [c.label for c in found.contestants] == ["run-0: a, 64 bits", "run-1: a, 64 bits"]
    assert result.difference.individual == (0,) * 6
    assert found.networks == tuple(f"{i}.onnx" for i in range(6))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"sha": lambda i: f"other-{i}"}, "networks"),
        ({"dataset": make_dataset(entries=100).model_copy(update={"digest": "11"})}, "a data set"),
        ({"false_positive_rate": 1e-3}, "a false-positive rate"),
        ({"networks": 7}, "networks"),
    ],
)
def test_runs_that_mean_something_else_are_refused(change, what):
    with pytest.raises(RunError, match=f"run-1: expected {what} like run-0, got other ones"):
        compared(make_run(second_lost), make_run(second_lost, **change))


def test_settings_that_are_not_in_all_runs_are_left_out():
    noise = make_setting(intensities=(0.1,))
    other = make_setting(intensities=(0.1,), name="l1-pruning")
    found = compared(make_run(second_lost), make_run(second_lost, setting=other))
    assert found.settings == ()
    assert found.left_out[:2] == (
        "gaussian-noise: not comparable, run-1 has no such Modification",
        "l1-pruning: not comparable, run-0 has no such Modification",
    )
    assert {r.verdict for g in found.groups for r in g.results} == {"not comparable"}
    renamed = noise.model_copy(update={"label": "Noise"})
    assert (
        len(compared(make_run(second_lost), make_run(second_lost, setting=renamed)).settings) == 1
    )


def test_intensities_that_are_not_in_all_runs_are_left_out():
    first = make_run(second_lost, intensities=(0.1, 0.2))
    other = make_run(second_lost, intensities=(0.2, 0.3))
    (setting,) = compared(first, other).settings
    assert [level.intensity for level in setting.levels] == [0.2]
    none = compared(first, make_run(second_lost, intensities=(0.5,)))
    assert "gaussian-noise: not comparable, the runs have no Intensity in common" in none.left_out


def test_a_modification_of_another_version_is_another_one():
    step = StepRecord(
        modification=make_setting().steps[0].modification.model_copy(update={"version": "9"})
    )
    other = make_setting(intensities=(0.1,)).model_copy(update={"steps": (step,)})
    assert compared(make_run(second_lost), make_run(second_lost, setting=other)).settings == ()


def test_settings_that_do_not_leave_networks_usable_are_no_part_of_a_score():
    group = only(compared(make_run(second_lost, damage=100)))
    assert group.settings == ()
    assert group.left_out == (
        "gaussian-noise 0.1: unusable, the unwatermarked networks lose too much top-1 accuracy",
    )
    assert group.results[0].reason == "no setting counts for both"
    assert group.standings == ()


def test_a_setting_without_a_result_of_all_counts_for_none():
    run = make_run(second_lost, intensities=(0.1, 0.2))
    trials = tuple(
        t.model_copy(update={"new_marks": (NewMark(symbols=64, errors=30),)})
        if t.intensity == 0.2 and t.injection
        else t
        for t in run.trials
        if not (t.intensity == 0.1 and t.injection == "i-1-5-0")
    )
    group = only(compared(Run(run.plan, run.injections, trials)))
    assert group.settings == (0,)
    assert len(group.left_out) == 1
    assert group.left_out[0].startswith("gaussian-noise 0.2: uchida, 64 bits: void")


def test_equivalence_needs_networks_that_are_not_all_alike():
    alike = compared(make_run(lambda t, n, d, x: 0, networks=12))
    assert only(alike).results[0].verdict == "tied"

    def errors(t, n, d, x):
        return LOST if d == n % 20 and (n + t) % 2 else 0

    close = compared(make_run(errors, networks=12, payloads=20))
    (result,) = only(close).results
    # One of 20 Payloads in every other network, in turn: the difference is 5 points or -5.
    assert set(np.abs(result.difference.individual)) <= {0.05}
    assert result.difference.low > -0.05
    assert result.difference.high < 0.05
    assert result.verdict == "equivalent"


def exact_tests(symbols, count, draw):
    """So many tests of keys that have nothing to do with the network, of one technology."""
    technology = make_technology(0, "a", symbols)
    plan = make_plan(1, 1, [technology], [make_setting(intensities=(0.1,))])
    plan = plan.model_copy(update={"false_positive_rate": 0.05})
    mark = make_injection(symbols=symbols)
    hits = draw.binomial(symbols, 0.5, count)
    trials = [
        make_trial(
            0,
            mark,
            make_verdict(mark, symbols - int(h), symbols, detected=False),
            setting=0,
            intensity=0.1,
            repetition=i,
        )
        for i, h in enumerate(hits)
    ]
    from scipy.stats import binom

    trials = [
        t.model_copy(
            update={
                "verdicts": tuple(
                    v.model_copy(update={"detected": bool(binom.sf(h - 1, symbols, 0.5) <= 0.05)})
                    for v in t.verdicts
                )
            }
        )
        for t, h in zip(trials, hits, strict=True)
    ]
    run = Run(plan, (mark,), tuple(trials))
    return judge_of(run, technology), run.own_tests(0, (0, 0.1))


@pytest.mark.parametrize("symbols", [8, 20, 32])
def test_ties_are_broken_so_that_the_size_is_the_level(symbols):
    """The recorded test is too strict: its size is the tail at a whole number of Symbols."""
    judge, tests = exact_tests(symbols, 4000, rng(symbols))
    recorded = sum(bool(judge.found(t)) for t in tests)
    exact = sum(bool(found_exactly(judge, t)) for t in tests)
    assert exact >= recorded
    assert excess_p(recorded, 4000, judge.what.attained) > 1e-3
    assert judge.what.attained < 0.05
    assert abs(exact / 4000 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000)


def test_what_breaks_ties_is_uniform_and_stays_the_same():
    _, tests = exact_tests(16, 1000, rng(1))
    numbers = [uniform(t) for t in tests]
    assert numbers == [uniform(t) for t in tests]
    assert min(numbers) >= 0
    assert max(numbers) < 1
    assert abs(np.mean(numbers) - 0.5) < 4 / np.sqrt(12 * 1000)


def test_evidence_that_was_corrected_for_a_search_is_decided_as_recorded():
    judge, tests = exact_tests(20, 400, rng(2))
    corrected = [
        t.verdict.model_copy(update={"log10_p": min(0.0, t.verdict.log10_p + 0.3)}) for t in tests
    ]
    for test, verdict in zip(tests, corrected, strict=True):
        changed = type(test)(test.trial, test.injection, verdict)
        assert found_exactly(judge, changed) == judge.found(changed)


def test_technologies_that_are_alike_are_seldom_told_apart():
    """Three technologies, 7 networks, 60 comparisons: families with a claim within 5 %."""
    three = [make_technology(i, name) for i, name in enumerate(("a", "b", "c"))]
    wrong, families = 0, 60
    for seed in range(families):
        draw = rng(seed)
        lost = {place: bool(draw.random() < 0.4) for place in product(range(3), range(7), range(2))}
        run = make_run(lambda t, n, d, x, at=lost: LOST * at[t, n, d], 7, technologies=three)
        results = only(compared(run)).results
        wrong += any(r.verdict in ("first", "second") for r in results)
    assert excess_p(wrong, families, 0.05) > 1e-3


def test_the_same_records_give_the_same_comparison():
    run = make_run(second_lost)
    assert compared(run) == compared(run)
    assert compared(run).false_positive_rate == LEVEL


def test_who_was_not_attacked_adaptively_has_no_place():
    """Claims hold for the settings in common; a place is among those that met who knows them."""
    three = [make_technology(i, name) for i, name in enumerate("abc")]
    setting = make_setting(intensities=(0.1,), adaptive=(0, 2))
    found = compared(
        make_run(lambda t, n, d, x: LOST * (t > 0), 8, technologies=three, setting=setting)
    )
    assert [c.attacked for c in found.contestants] == [True, False, True]
    group = only(found)
    # The second is attacked with more success than the first, and still has no place.
    assert [r.verdict for r in group.results] == ["first", "first", "tied"]
    assert [(s.contestant, s.best, s.worst) for s in group.standings] == [
        (0, 1, 1), (2, 2, 2), (1, None, None),
    ]  # fmt: skip
    assert group.standings[-1].rank.reason == "not attacked adaptively"
    assert [p.place for p in group.limits[1].places] == [1, None, 2]


def test_without_any_adaptive_attack_nobody_has_a_place():
    setting = make_setting(intensities=(0.1,))
    group = only(compared(make_run(second_lost, setting=setting)))
    assert group.results[0].verdict == "first"
    assert [s.best for s in group.standings] == [None, None]
    assert [s.score.value for s in group.standings] == [0, 1]


def test_a_setting_aimed_at_carriers_counts_where_it_leaves_one_of_them_usable():
    """On each carrier it is an attack of its own, and does not succeed where it ruins networks."""
    setting = make_setting(intensities=(0.1,), aim="carrier", adaptive=(0, 1))

    def group(plain, marked=(5, 5)):
        """What carriers cost of answers: the unwatermarked networks, and the watermarked ones."""
        run = make_run(second_lost, setting=setting, lost=lambda t, _: marked[t])
        others = tuple(t for t in run.trials if t.injection is not None or t.setting != 0)
        heard = tuple(
            make_trial(
                mark.network, None, make_verdict(mark, 32), setting=0, intensity=0.1,
                right=right_answers(mark.network, plain[mark.technology]),
                identity=f"plain-{mark.identity}",
            )
            for mark in run.injections
            if mark.payload_index == 0
        )  # fmt: skip
        return only(compared(Run(run.plan, run.injections, (*others, *heard))))

    for plain in ((0, 10), (0, 70)):
        fine = group(plain)
        assert (fine.settings, fine.left_out) == ((0,), ())
        assert [s.score.value for s in fine.standings] == [0, 1]
    assert [s.score.value for s in group((0, 70), marked=(5, 70)).standings] == [0, 0]
    ruined = group((70, 70))
    assert ruined.settings == ()
    assert ruined.left_out[0].startswith("gaussian-noise 0.1: unusable, the unwatermarked networks")
    # Where ten points may be lost it counts again, and only there.
    assert [one.intensities for one in ruined.limits] == [0, 0, 1]
