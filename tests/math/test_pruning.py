"""Pruning against brute force, the law of one global draw, and PyTorch where it is present."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnw_onnx.math import pruning


def brute_force(weights, removed):
    """The definition of standard.md, section 10, item 11, in pure Python."""
    flat = [float(v) for v in weights.reshape(-1)]
    order = sorted(range(len(flat)), key=lambda i: (abs(flat[i]), i))
    for i in order[:removed]:
        flat[i] = 0.0
    return np.array(flat).reshape(weights.shape)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.data())
def test_smallest_is_its_definition_with_ties_by_lowest_index(values, data):
    weights = np.array(values, dtype=data.draw(st.sampled_from(["f2", "f4", "f8"])))
    removed = data.draw(st.integers(0, weights.size))
    found = pruning.smallest(weights, removed)
    assert found.dtype == weights.dtype
    assert np.array_equal(found, brute_force(weights, removed))


def test_smallest_of_bfloat16(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weights = rng.standard_normal((8, 9)).astype(ml_dtypes.bfloat16)
    found = pruning.smallest(weights, 30)
    assert found.dtype == weights.dtype
    assert np.array_equal(found.astype(np.float64), brute_force(weights, 30))


@pytest.mark.parametrize("percent", [1, 37.5, 50, 90, 99.99, 100])
def test_smallest_is_l1_unstructured_of_pytorch(rng, percent):
    torch = pytest.importorskip("torch")
    prune = pytest.importorskip("torch.nn.utils.prune")
    weights = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    module = torch.nn.Conv2d(8, 16, 3)
    module.weight.data = torch.from_numpy(weights.copy())
    prune.l1_unstructured(module, "weight", amount=percent / 100)
    found = pruning.smallest(weights, pruning.count(percent, weights.size))
    assert np.array_equal(found, module.weight.detach().numpy())


@pytest.mark.parametrize(
    ("percent", "n", "expected"),
    [(50, 5, 2), (50, 7, 4), (99.99, 589_824, 589_765), (0, 9, 0), (100, 9, 9), (1, 49, 0)],
)
def test_count_rounds_half_to_even(percent, n, expected):
    assert pruning.count(percent, n) == expected


def test_drawn_removes_exactly_so_many(rng):
    weights = np.ones((10, 30), np.float32)
    found = pruning.drawn(weights, 77, rng)
    assert np.count_nonzero(found == 0) == 77
    assert found.dtype == weights.dtype
    assert weights.all()


def test_drawn_is_uniform_over_positions(rng):
    weights = np.ones(20)
    zeros = sum((pruning.drawn(weights, 5, rng) == 0).astype(int) for _ in range(4000))
    assert stats.chisquare(zeros).pvalue > 1e-4


def test_shares_follow_one_global_draw(rng):
    """The number of removed weights in each layer, against choosing from all weights at once."""
    sizes, removed, trials = [3, 5, 2], 4, 6000
    owner = np.repeat(range(3), sizes)
    ours = Counter(tuple(pruning.shares(sizes, removed, rng)) for _ in range(trials))
    drawn = Counter(
        tuple(np.bincount(rng.permutation(owner)[:removed], minlength=3).tolist())
        for _ in range(trials)
    )
    cells = sorted(set(ours) | set(drawn))
    table = np.array([[ours[c] for c in cells], [drawn[c] for c in cells]])
    assert stats.chi2_contingency(table[:, table.sum(axis=0) >= 20]).pvalue > 1e-4


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.data())
def test_shares_add_up_and_fit(sizes, data):
    removed = data.draw(st.integers(0, sum(sizes)))
    rng = np.random.Generator(np.random.PCG64(1))
    found = pruning.shares(sizes, removed, rng)
    assert sum(found) == removed
    assert all(0 <= here <= size for here, size in zip(found, sizes, strict=True))
