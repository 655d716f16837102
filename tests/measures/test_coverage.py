"""Limits that are printed cover what they say: some lines of `coverage_of_limits.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

RUNS = 300


def _simulation():
    path = Path(__file__).parents[1] / "benchmarks" / "coverage_of_limits.py"
    spec = importlib.util.spec_from_file_location("coverage_of_limits", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


simulation = _simulation()
CASES = {f"{case.limits} | {case.setting}": case for case in simulation.cases()}
STATED = (
    "rate of events | M  3, D  5, ICC 0.5, p 0.1",
    "rate of events | M  5, D 10, ICC 0.9, p 0.1",
    "rate of events | M 10, D 10, ICC 0.5, p 0.1",
    "rate of events | M 20, D  5, ICC 0.2, p 0.3",
    "rate of events | M 20, D 10, ICC 0.9, p 0.02",
    "Symbol Error Rate | M 20, D  5, ICC 0.5, SER 0.02",
    "Symbol Error Rate | M 10, D  5, ICC 0.1, SER 0.3",
    "loss, accuracy | M  1, loss 0.01, spread 0.0",
    "loss, accuracy | M  3, loss 0.01, spread 0.3",
    "loss, accuracy | M  6, loss 0.05, spread 0.3",
    "loss, scores | M  3, sd of networks, samples, rest (0.02, 0.3, 0.3)",
    "loss, networks alone | M  6, normal",
)


@pytest.mark.parametrize("name", STATED)
def test_stated_limits_cover_the_truth(name):
    case = CASES[name]
    found = simulation.covered(case, RUNS)
    assert case.nominal is not None
    assert case.assumed
    assert found.enough, found.coverage


def test_where_networks_are_few_and_lose_or_keep_there_is_no_limit():
    found = simulation.covered(CASES["rate of events | M  5, D  5, ICC 0.5, p 0.5"], RUNS)
    assert found.printed < 0.2


def test_costs_have_limits_of_two_sessions_only_and_of_no_stated_confidence():
    sizes = "sd of networks, sessions, rest (0.1, 0.3, 0.1)"
    one = CASES[f"cost | M  5, sessions 1, normal, {sizes}"]
    two = CASES[f"cost | M  5, sessions 2, normal, {sizes}"]
    assert simulation.covered(one, RUNS).printed == 0
    found = simulation.covered(two, RUNS)
    assert (two.nominal, found.printed) == (None, 1)
    assert found.coverage > 0.8


def test_the_same_runs_give_the_same_numbers():
    case = CASES[STATED[0]]
    assert simulation.covered(case, 20) == simulation.covered(case, 20)
