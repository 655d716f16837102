"""What an evaluation keeps of claims that were heard on networks put back in order."""

from __future__ import annotations

import pytest

from nnw_onnx.measures.resynchronised import resynchronised, resynchronised_points
from nnw_onnx.measures.run import Run as Measured
from nnw_onnx.measures.usability import settings
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.prepare import prepare

from .test_trial import BASE, Run, run_of

METHODS = [{"name": "block-spread"}, {"name": "uchida"}, {"name": "nct"}]
TABLES = [{"name": "permutation"}, {"name": "gaussian-noise", "intensities": [0.1]}]


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Run:
    return run_of(
        tmp_path_factory.mktemp("asked"), modifications=TABLES, methods=METHODS, resynchronise=True,
        control={"wrong_keys": 80},
    )  # fmt: skip


@pytest.fixture(scope="module")
def permuted(asked):
    unmarked, *marked = asked.records(setting=0)
    return unmarked, marked


def test_marks_are_heard_twice_and_the_second_time_in_order(permuted):
    _, (spread, uchida, _) = permuted
    for record in (spread, uchida):
        (first,), (second,) = record.verdicts, record.resynchronised
        assert first.injection == second.injection == record.injection
        assert first.errors > 2
        assert second.errors == 0
        assert second.log10_p == pytest.approx(-4.81647993)
        (found,) = second.found
        assert (found.way, found.layer) == ("name", "conv3.weight")
        assert found.cosine > 0.95
        told = record.aligning
        assert told.recovered
        assert (told.axes, told.told, told.channels, told.lost, told.missing) == (3, 3, 112, 0, 0)
        assert told.moved > 100


def test_unmarked_networks_are_heard_so_too_and_fingerprints_never(permuted, asked):
    unmarked, marked = permuted
    heard = [v.injection for v in unmarked.verdicts]
    kinds = {i.identity: i.technology for i in asked.injected}
    assert unmarked.aligning.recovered
    assert [v.injection for v in unmarked.resynchronised] == heard
    assert {kinds[injection] for injection in heard} == {0, 1}
    assert (marked[2].resynchronised, marked[2].aligning) == ((), None)


def test_wrong_keys_read_what_they_read_of_the_network_that_nothing_was_done_to(permuted, asked):
    """A permuted network comes back bit by bit, so that every number is that of the original."""
    unmarked, (_, _, fingerprint) = permuted
    original, *_ = asked.records(setting=None)
    assert unmarked.controls_resynchronised == original.controls != unmarked.controls
    assert [(c.technology, c.keys) for c in original.controls] == [(0, 20), (1, 20)]
    assert fingerprint.controls
    assert fingerprint.controls_resynchronised == ()


def test_networks_that_nothing_was_done_to_are_heard_once(asked):
    for record in asked.records(setting=None):
        assert (record.resynchronised, record.aligning) == ((), None)
        assert record.controls_resynchronised == ()


def test_what_cannot_be_put_in_order_is_heard_as_it_is(tmp_path):
    run = run_of(
        tmp_path, methods=METHODS[1:2], resynchronise=True,
        modifications=[{"name": "gaussian-noise", "intensities": [9.0]}],
        control={"wrong_keys": 20},
    )  # fmt: skip
    _, marked = run.records(setting=0)
    assert not marked.aligning.recovered
    assert marked.aligning.reason.startswith("its channels are no more like those of the reference")
    assert marked.resynchronised == marked.verdicts
    assert marked.controls_resynchronised == marked.controls != ()


def test_nothing_is_heard_twice_where_it_is_not_asked_for(tmp_path):
    run = run_of(
        tmp_path, modifications=TABLES[:1], methods=METHODS[:1], control={"wrong_keys": 20}
    )
    for record in run.records(setting=0):
        assert (record.resynchronised, record.aligning) == ((), None)
        assert record.controls_resynchronised == ()


def test_trials_that_are_not_asked_to_are_those_of_before(tmp_path):
    """Their identities know nothing of it; those that are asked to have others."""
    base = {**BASE, "modifications": TABLES}

    def made(**more):
        evaluation = evaluation_from({**base, **more}, "test", tmp_path)
        return prepare(evaluation, tmp_path / "run")

    plain, off, on = made(), made(resynchronise=False), made(resynchronise=True)
    assert plain.planner.common == off.planner.common != on.planner.common
    digests = [x.plan.evaluation_sha256 for x in (plain, off, on)]
    assert digests[0] == digests[1] != digests[2]
    assert [x.plan.resynchronise for x in (plain, on)] == [False, True]


def test_second_verdicts_are_measured_as_first_ones(asked):
    prepared = asked.prepared
    trials = [r for s in (None, 0, 1) for r in asked.records(setting=s)]
    run = Measured(prepared.plan, tuple(asked.injected), tuple(trials))
    points = resynchronised_points(run, settings(run))
    assert {(p.technology, p.setting) for p in points} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    first = points[0]
    assert (first.networks, first.recovered) == (1, 1)
    assert first.point.ser.value == 0
    assert first.point.ser_unwatermarked.value > 0.1
    assert first.moved.value > 0.9
    assert first.cosine.value > 0.95
    assert (first.lost.value, first.undone, first.reasons) == (0, {}, ())
    again = resynchronised(run)
    assert [len(t.verdicts) for t in again.trials] == [len(t.verdicts) for t in run.trials]
    assert resynchronised(Measured(run.plan, run.injections, run.trials[:1])) is None
