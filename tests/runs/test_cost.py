"""Which costs are measured, and when."""

from __future__ import annotations

import pytest

from nnw_onnx.runs.cost import plan_costs
from nnw_onnx.runs.tables import CostTable

from .test_trial import run_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("cost"), methods=[{"name": "block-spread"}])


def test_a_session_comes_whole_after_the_one_before(run):
    tasks = plan_costs(run.prepared.context, run.injected, CostTable(sessions=3))
    operations = ["injection", "detection", "decoding", "inference"]
    assert [(t.session, t.operation) for t in tasks] == [
        (session, operation) for session in range(3) for operation in operations
    ]
    assert len({t.identity for t in tasks}) == len(tasks)


def test_another_session_leaves_those_before_it_as_they_are(run):
    one = plan_costs(run.prepared.context, run.injected, CostTable(sessions=1))
    two = plan_costs(run.prepared.context, run.injected, CostTable(sessions=2))
    assert [t.identity for t in two[: len(one)]] == [t.identity for t in one]
