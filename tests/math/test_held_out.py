"""A detector that never judges what it was trained on: references of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from nnw_onnx.math.held_out import areas, balanced, held_out


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def test_scores_are_those_of_a_ridge_regression_on_the_other_networks():
    draw = rng(1)
    x, groups = draw.normal(2, 3, (24, 5)), np.repeat(np.arange(6), 4)
    marked = draw.random(24) < 0.6
    labels = balanced(marked[None, :])[0]
    scores = held_out(x, groups) @ labels
    for network in range(6):
        own = groups == network
        scaler = StandardScaler().fit(x[~own])
        model = Ridge(alpha=0.1 * 20).fit(scaler.transform(x[~own]), labels[~own])
        expected = scaler.transform(x[own]) @ model.coef_
        assert scores[own] == pytest.approx(expected)


def test_own_labels_are_not_used():
    matrix = held_out(rng(2).normal(0, 1, (12, 3)), np.repeat([0, 1, 2], 4))
    for k in range(3):
        block = matrix[4 * k : 4 * k + 4, 4 * k : 4 * k + 4]
        assert not block.any()


def test_what_never_varies_tells_nothing():
    x = rng(3).normal(0, 1, (12, 3))
    wider = np.column_stack([x, np.full(12, 1e6), np.zeros(12)])
    groups = np.repeat([0, 1, 2], 4)
    assert held_out(wider, groups) == pytest.approx(held_out(x, groups))


def test_areas_are_those_of_sklearn():
    draw = rng(4)
    scores = draw.integers(0, 6, (5, 30)).astype(float)
    marked = np.array([draw.permutation(30) < 12 for _ in range(5)])
    expected = [roc_auc_score(m, s) for m, s in zip(marked, scores, strict=True)]
    assert areas(scores, marked) == pytest.approx(expected)
    assert areas([[1, 1, 1]], [[True, False, True]]) == 0.5


def test_balanced_labels_weigh_the_same():
    labels = balanced(np.array([[True, True, True, False]]))
    assert labels.tolist() == [[0.25, 0.25, 0.25, -0.75]]
