"""What an evaluation can ever show: counted from its configuration alone."""

from __future__ import annotations

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.evaluation import evaluation_from, find_evaluation, read_evaluation
from nnw_onnx.runs.power import PowerPlan, checked, power_plan


def made(tmp_path, methods, **more):
    data = {
        "networks": ["nnw:digits/cnn-*.onnx"],
        "payloads": 3,
        "payload_sizes": [64, 256],
        "dataset": {"name": "digits"},
        "methods": methods,
        "modifications": [
            {"name": "gaussian-noise", "intensities": [0.1, 0.2]},
            {"name": "bn-folding"},
        ],
        **more,
    }
    return evaluation_from(data, "made", tmp_path)


def test_the_embedded_evaluation_can_claim_nothing():
    plan = power_plan(read_evaluation(find_evaluation("digits")))
    assert (plan.networks, plan.payloads, plan.claims, plan.needed) == (3, 3, 1, 6)
    assert not plan.decidable
    assert (
        "smallest p-value of 3 networks: 0.25; no claim can ever be significant: that takes 6 "
        "networks" in plan.lines()
    )


def test_claims_are_pairs_of_equal_payloads(tmp_path):
    methods = [{"name": n} for n in ("uchida", "block-spread", "levels", "presence", "fragile")]
    evaluation = made(tmp_path, methods)
    plan = power_plan(evaluation, networks=12)
    # Three methods of two sizes; the one without Payload is alone, integrity is none.
    assert plan.groups == {"64 bits": 3, "256 bits": 3}
    assert plan.needed == 8  # 6 x 2^(1-8) = .047
    assert plan.decidable
    each = power_plan(evaluation, "settings", networks=12)
    assert each.groups == {"64 bits": 6, "256 bits": 6}


def test_a_plan_counts_the_claims_that_the_comparison_makes(tmp_path):
    """The manifest of `nnw compare` has as many."""
    from math import comb

    evaluation = made(tmp_path, [{"name": "uchida"}, {"name": "levels"}])
    assert power_plan(evaluation).claims == 2 * comb(2, 2)


def test_too_few_bits_are_said(tmp_path):
    methods = [{"name": "uchida", "payload_sizes": [16]}, {"name": "levels", "payload_sizes": [16]}]
    plan = power_plan(made(tmp_path, methods), networks=12)
    assert not plan.decidable
    assert any(
        line.endswith("p = 1.5e-05 at best, it can never be found at 1e-06; that takes 20 bits")
        for line in plan.lines()
    )


def test_numbers_of_networks_in_words():
    lines = PowerPlan(12, 3, 45, {}).lines()
    assert (
        "smallest p-value of 12 networks: 0.000488; all claims can be significant after Holm"
        in (lines[1])
    )
    assert (
        "  standard deviation between networks of 0.62 margins: 6, or 11 where the true loss is "
        "0.4 margins" in lines
    )
    assert any(line.startswith("fewer than 5 % missed, without a miss, takes 59") for line in lines)


def test_counts_are_checked():
    with pytest.raises(ConfigurationError, match="networks: expected at least 1, got 0"):
        checked("networks", 0)
