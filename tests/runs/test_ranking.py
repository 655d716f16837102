"""Ranks among random keys: valid on an unmarked network, and exact where a count is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.ranking import Rank, wrong_claims
from nnw_onnx.runs.seeds import secret
from nnw_onnx.vocabulary import Payload

from .elsewhere import MODELS


def test_a_rank_is_never_zero():
    assert Rank(999, 0).p_value == 0.001
    assert Rank(1, 1).p_value == 1.0


def test_ranks_agree_with_the_exact_p_value():
    """A key that was never put in: its rank estimates the exact tail within its own error."""
    made = nnw.inject(MODELS / "cnn-0.onnx", Payload((0, 1) * 16), method="uchida", seed=5)
    found = nnw.detect(MODELS / "cnn-1.onnx", made.claim, wrong_keys=400)
    error = np.sqrt(found.p_value * (1 - found.p_value) / 400)
    assert found.rank_p == pytest.approx(found.p_value, abs=4 * error + 0.005)
    assert found.notes[-1].startswith("400 random keys tried on this network: ")


def test_ranks_of_many_keys_are_uniform_on_an_unmarked_network():
    network, ranks = nnw.open(MODELS / "cnn-2.onnx"), []
    base = nnw.inject(
        MODELS / "cnn-0.onnx", Payload((0, 1, 1, 0) * 8), method="uchida", seed=1
    ).claim
    for number in range(25):
        key = replace(base.key, secret=secret(number), commitment="", opening="")
        claim = replace(base, key=key)
        ranks.append(nnw.detect(network, claim, wrong_keys=19).rank_p)
    # Larger than uniform by the ties of a count; never smaller.
    assert stats.kstest(ranks, "uniform", alternative="greater").pvalue > 0.001
    assert np.mean(ranks) == pytest.approx(0.55, abs=4 * 0.29 / 5)


def test_a_mark_that_moved_is_ranked_where_it_was_found(tmp_path):
    made = nnw.inject(MODELS / "cnn-0.onnx", "moved", method="uchida", seed=2)
    claim = made.claim
    renamed = replace(claim, key=replace(claim.key, layers=("elsewhere.weight",)))
    found = nnw.detect(made.network, renamed, wrong_keys=49)
    assert found.found[0].layer == claim.key.layers[0]
    assert (bool(found), found.rank_p) == (True, 0.02)


def test_presence_is_ranked_by_its_own_statistic():
    made = nnw.inject(MODELS / "cnn-0.onnx", Payload(), method="presence", seed=3)
    assert nnw.detect(made.network, made.claim, wrong_keys=99).rank_p == 0.01
    assert nnw.detect(MODELS / "cnn-1.onnx", made.claim, wrong_keys=99).rank_p > 0.01


def test_wrong_keys_differ_from_each_other_and_from_the_key():
    claim = nnw.inject(MODELS / "cnn-0.onnx", "mine", seed=4).claim
    wrong = [c.key.secret for c in wrong_claims(claim, 50)]
    assert len({*wrong, claim.key.secret}) == 51
    assert wrong == [c.key.secret for c in wrong_claims(claim, 50)]


def test_too_many_keys_are_refused():
    claim = nnw.inject(MODELS / "cnn-0.onnx", "mine", seed=4).claim
    with pytest.raises(ConfigurationError, match="wrong keys: expected 1 to 1000000, got -1"):
        nnw.detect(MODELS / "cnn-0.onnx", claim, wrong_keys=-1)
