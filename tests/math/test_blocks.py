"""Sums over arrays in blocks: those of numpy, and nothing of all of a large one in float64."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from nnw_onnx.math import blocks, projection


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 64)
    monkeypatch.setattr(blocks, "_STEP", 40)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1000,), (17, 20), (7, 5, 3, 3), (2, 300), ()])
def test_blocks_come_to_what_numpy_says(rng, shape: tuple[int, ...], turned: bool) -> None:
    values = rng.standard_normal(shape[::-1]).T if turned else rng.standard_normal(shape)
    values = np.asarray(values, np.float32)
    exact = values.astype(np.float64)
    assert blocks.extremes(values) == (exact.min(), exact.max())
    assert blocks.variance(values) == pytest.approx(exact.var(), rel=1e-12)
    assert blocks.mean_square(values) == pytest.approx(np.mean(exact**2), rel=1e-12)
    assert blocks.finite(values)
    assert sum(block.size for block in blocks.converted(values)) == values.size


@pytest.mark.usefixtures("small_blocks")
def test_what_is_not_finite_is_told(rng) -> None:
    values = rng.standard_normal((20, 20))
    values[19, 3] = np.nan
    assert not blocks.finite(values)
    assert np.isnan(blocks.extremes(values)).all()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("order", ["C", "F"])
def test_projections_in_blocks_are_those_of_all_at_once(rng, order: str) -> None:
    weights = np.array(rng.standard_normal((30, 20)), np.float32, order=order)
    signs = rng.choice([-1, 1], 30).astype(np.int8)
    mean = signs @ weights.astype(np.float64) / 30
    np.testing.assert_allclose(projection.signed_mean(weights, signs), mean, rtol=1e-12)
    vector = rng.standard_normal(20)
    moved = projection.moved(weights, vector, signs)
    assert moved.dtype == np.float32
    assert moved.flags.f_contiguous == weights.flags.f_contiguous
    wanted = weights + projection.to_filters(vector, (30, 20), signs)
    np.testing.assert_array_equal(moved, wanted.astype(np.float32))


def test_large_arrays_take_no_more_than_a_few_blocks() -> None:
    values = np.ones((4096, 2048), np.float32)
    values[0, 0] = 2
    tracemalloc.start()
    blocks.variance(values), blocks.extremes(values), blocks.finite(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes
