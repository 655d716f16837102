"""Kernels in blocks: the same on any number of threads, and the same as on a whole array."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

from nnw_onnx.math import kernels, noise, pruning, quantizing, selection
from nnw_onnx.math.moments import mean_and_deviation
from nnw_onnx.math.threads import THREAD_VARIABLES, threads

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
KERNELS = {
    "l1": lambda w, rng: pruning.smallest(w, w.size // 3),
    "random": lambda w, rng: pruning.drawn(w, w.size // 3, rng),
    "noise": lambda w, rng: noise.add_gaussian(w, 0.1, rng),
    "4 bits": lambda w, rng: quantizing.min_max(w, 4),
    "int8": lambda w, rng: quantizing.fake_quantize(w, 8, axis=0),
    "clip": lambda w, rng: kernels.clipped(w, -0.5, 0.5),
}


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture
def small(monkeypatch):
    """Stretches and blocks so small that small arrays have several."""
    monkeypatch.setattr(kernels, "STRETCH", 64)
    monkeypatch.setattr(kernels, "BLOCK", 16)
    monkeypatch.setattr(selection, "_SAMPLE", 32)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_threads_do_not_matter(small, monkeypatch, name, dtype):
    weights = generator().standard_normal((31, 57)).astype(dtype)
    found = []
    monkeypatch.setattr("nnw_onnx.math.threads._cores", lambda: 8)
    for variable in THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for count in ("1", "2", "7"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        assert threads() == int(count)
        found.append(KERNELS[name](weights, generator()))
    assert {made.tobytes() for made in found} == {found[0].tobytes()}
    assert found[0].dtype == weights.dtype
    assert found[0].shape == weights.shape


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_how_weights_lie_does_not_matter(small, name, dtype):
    weights = generator().standard_normal((12, 10, 8)).astype(dtype)
    scattered = np.zeros((12, 20, 8), dtype)[:, ::2]
    scattered[:] = weights
    found = KERNELS[name](scattered, generator())
    assert found.tobytes() == KERNELS[name](weights, generator()).tobytes()
    turned = KERNELS[name](np.asfortranarray(weights), generator())
    assert np.ascontiguousarray(turned).tobytes() == found.tobytes()
    assert scattered[0, 0, 0] == weights[0, 0, 0]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (1,), (2, 1)])
def test_empty_and_tiny_arrays(name, shape):
    weights = np.ones(shape, np.float32)
    found = KERNELS[name](weights, generator())
    assert found.shape == shape
    assert found is not weights


def test_the_arguments_stay(small):
    weights = generator().standard_normal(300).astype(np.float32)
    before = weights.copy()
    for kernel in KERNELS.values():
        assert not np.shares_memory(kernel(weights, generator()), weights)
        np.testing.assert_array_equal(weights, before)


def test_threads_are_those_that_the_environment_leaves(monkeypatch):
    monkeypatch.setattr("nnw_onnx.math.threads._cores", lambda: 16)
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert threads() == 16
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert threads() == 4
    monkeypatch.setenv("MKL_NUM_THREADS", "0")
    assert threads() == 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("removed", [0, 1, 5, 400, 999, 1999, 2000])
def test_pruning_in_blocks_is_pruning_by_sorting(small, dtype, removed):
    """Few different values, so that ties cross stretches."""
    for values in (generator().standard_normal(2000), generator().integers(-9, 9, 2000)):
        weights = values.astype(dtype)
        order = np.argsort(np.abs(weights.astype(np.float64)), kind="stable")
        expected = weights.copy()
        expected[order[:removed]] = 0
        assert pruning.smallest(weights, removed).tobytes() == expected.tobytes()


@pytest.mark.parametrize("deviations", [0, 1, 5])
def test_the_kth_is_that_of_sorting_whatever_the_sample_says(monkeypatch, deviations):
    monkeypatch.setattr(selection, "_SAMPLE", 16)
    monkeypatch.setattr(selection, "_DEVIATIONS", deviations)
    rng = generator()
    for _ in range(150):
        values = rng.integers(-9, 10, rng.integers(65, 400)).astype(np.float32)
        rank = int(rng.integers(values.size))
        found = selection.kth_magnitude(values, rank)
        sizes = sorted(np.abs(values).tolist())
        assert found.value == sizes[rank]
        assert found.below == sum(size < sizes[rank] for size in sizes)
        assert found.equal == sizes.count(sizes[rank])


@pytest.mark.parametrize("rank", [0, 100, 1500, 1899])
def test_numbers_that_are_none_are_the_largest(small, rank):
    weights = generator().standard_normal(2000).astype(np.float32)
    weights[::20] = np.nan
    weights[1] = np.inf
    finite = np.sort(np.abs(weights[~np.isnan(weights)]))
    assert selection.kth_magnitude(weights, rank).value == finite[rank]
    assert np.isnan(selection.kth_magnitude(weights, 1990).value)


@pytest.mark.parametrize("count", [0, 1, 7, 40, 60, 100])
def test_the_largest_are_the_first_of_a_stable_sort(count):
    values = generator().integers(-3, 4, (6, 10)).astype(np.float64)
    expected = np.argsort(-values, axis=None, kind="stable")[:count]
    assert selection.largest(values, count).tolist() == expected.tolist()


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_numpy(small, offset):
    values = generator().standard_normal(1000) + offset
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-12)
    assert deviation == pytest.approx(values.std(), rel=1e-9)
    assert mean_and_deviation(values[:0]) == (0.0, 0.0)


def test_an_index_of_random_pruning_is_drawn_alike_in_all_stretches(small):
    zeros = np.zeros(150)
    rng = generator()
    for _ in range(2000):
        zeros += pruning.drawn(np.ones(150, np.float32), 45, rng) == 0
    assert zeros.sum() == 2000 * 45
    assert stats.chisquare(zeros).pvalue > 1e-4


def test_pairs_are_removed_as_often_as_of_one_draw(small):
    """Without replacement: two weights fall together with probability k (k - 1) / n (n - 1)."""
    rng, trials, size, removed = generator(), 4000, 80, 8
    together = sum(
        bool((pruning.drawn(np.ones(size, np.float32), removed, rng)[[3, 70]] == 0).all())
        for _ in range(trials)
    )
    expected = removed * (removed - 1) / (size * (size - 1))
    assert stats.binomtest(together, trials, expected).pvalue > 1e-4


def test_shares_of_more_weights_than_numpy_can_divide():
    sizes = [3_000_000_000, 1_000_000_000, 5]
    found = pruning.shares(sizes, 400_000_000, generator())
    assert sum(found) == 400_000_000
    assert found[0] == pytest.approx(3e8, abs=6 * np.sqrt(3e8 * 0.9 * 0.25))
    assert pruning.shares([], 0, generator()) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_stretch_of_noise_is_normal_and_by_itself(dtype):
    count = 2 * kernels.STRETCH + 1001
    weights = np.tile(np.array([-1, 1], dtype), count)[:count]
    found = noise.add_gaussian(weights, 1e-1, generator())
    z = (found.astype(np.float64) - weights) / 0.1
    parts = [z[stretch] for stretch in kernels.stretches(count)]
    for part in parts:
        assert stats.kstest(part, "norm").pvalue > 1e-4
        assert abs(part.mean()) * np.sqrt(part.size) < 4
        assert abs(part.var() - 1) * np.sqrt(part.size / 2) < 4
        assert abs(np.mean(part**4) - 3) * np.sqrt(part.size / 96) < 4
    assert abs(np.corrcoef(parts[0], parts[1])[0, 1]) * np.sqrt(kernels.STRETCH) < 4
    half = kernels.BLOCK // 2  # the two of a pair lie half a block apart
    lagged = [np.corrcoef(np.abs(z[:-lag]), np.abs(z[lag:]))[0, 1] for lag in (1, half)]
    assert max(map(abs, lagged)) * np.sqrt(count) < 4


def test_noise_reaches_the_tails():
    """As many beyond 4 and 5 as there should be; the largest is that of so many numbers."""
    stream = kernels.streams(generator())(slice(0, 1))
    room = np.empty((3, kernels.BLOCK // 2), np.float32)
    blocks = (6 << 20) // kernels.BLOCK
    z = np.concatenate(
        [noise.normal(stream, kernels.BLOCK, np.float32, room).copy() for _ in range(blocks)]
    )
    for bound in (3, 4, 4.7):
        expected = z.size * 2 * stats.norm.sf(bound)
        assert stats.poisson.cdf(np.sum(np.abs(z) > bound), expected) > 1e-4
        assert stats.poisson.sf(np.sum(np.abs(z) > bound) - 1, expected) > 1e-4
    assert 4.7 < np.abs(z).max() < 6.77


def test_noise_follows_from_its_generator_and_layers_differ():
    weights = generator().standard_normal(500).astype(np.float32)
    rng = generator(1)
    first, second = (noise.add_gaussian(weights, 0.1, rng) for _ in range(2))
    assert not np.any(first == second)
    assert np.array_equal(first, noise.add_gaussian(weights, 0.1, generator(1)))


def test_noise_on_64_bits_leaves_no_bit_as_it_was():
    """Noise of 24 digits would leave the lowest bits of the weights, and what is hidden there."""
    weights = np.ones(4000)
    found = noise.add_gaussian(weights + 1e-9 * generator().standard_normal(4000), 1e6, generator())
    low = found.view(np.uint64) & np.uint64(0xFF)
    assert len(np.unique(low)) == 256


def test_noise_too_large_for_the_type_is_infinite_without_a_warning():
    weights = np.array([60000.0, -60000.0] * 50, np.float16)
    assert np.isinf(noise.add_gaussian(weights, 10, generator())).any()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bits", [1, 4, 9])
def test_quantizing_in_blocks_is_the_formula_rounded_once(small, dtype, bits):
    weights = generator().standard_normal((9, 40)).astype(dtype)
    exact = weights.astype(np.float64)
    step = (exact.max() - exact.min()) / (2**bits - 1)
    expected = np.rint((exact - exact.min()) / step) * step + exact.min()
    assert quantizing.min_max(weights, bits).tobytes() == expected.astype(dtype).tobytes()


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("symmetric", [True, False])
def test_fake_quantizing_in_blocks_is_that_of_each_row(small, axis, symmetric):
    """Rows shorter and longer than a block."""
    for shape in ((4, 5, 3), (3, 7, 29)):
        weights = generator().standard_normal(shape)
        found = quantizing.fake_quantize(weights, 5, symmetric=symmetric, axis=axis)
        if axis is None:
            expected = quantizing.fake_quantize(weights.reshape(-1), 5, symmetric=symmetric)
            assert np.array_equal(found.reshape(-1), expected)
            continue
        for i in range(shape[axis]):
            row = np.take(weights, i, axis)
            expected = quantizing.fake_quantize(row, 5, symmetric=symmetric)
            assert np.array_equal(np.take(found, i, axis), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_clipping_is_exact_clipping_rounded(small, dtype):
    weights = generator().standard_normal(500).astype(dtype)
    exact = np.clip(weights.astype(np.float64), -0.3, 1 / 3)
    assert kernels.clipped(weights, -0.3, 1 / 3).tobytes() == exact.astype(dtype).tobytes()
