"""Block spread spectrum against the reference table, closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from nnw_onnx.kit import spreading
from nnw_onnx.math import noise, pruning, quantizing

SIZE, T = 256 * 2304, 256


@pytest.fixture(params=["scattered", "runs"])
def kind(request, monkeypatch):
    """Small layers are drawn as they are, and as larger ones."""
    if request.param == "runs":
        monkeypatch.setattr(spreading.weighed, "MOST", 30)
        monkeypatch.setattr(spreading.weighed, "_STEP", 64)
        monkeypatch.setattr(spreading, "_STEP", 100)
    spreading.blocks.cache_clear()
    yield {"scattered": spreading.Scattered, "runs": spreading.Runs}[request.param]
    spreading.blocks.cache_clear()


def chips(blocks, size) -> np.ndarray:
    """The chip (T, size) of each weight for each Symbol, 0 where it is not its own."""
    return np.array([blocks.statistics(row) for row in np.eye(size)]).T


@pytest.mark.parametrize(
    ("size", "symbols", "length"),
    [(1003, 10, None), (200, 1, None), (64, 64, None), (500, 7, 20), (50, 24, None), (77, 5, 1)],
)
def test_each_symbol_owns_as_many_weights_and_none_with_another(kind, size, symbols, length):
    blocks = spreading.blocks(bytes(32), "x", size, symbols, length)
    assert isinstance(blocks, kind)
    found = chips(blocks, size)
    assert blocks.length == (length or size // symbols)
    assert found.shape == (symbols, size)
    assert set(np.unique(found)) <= {-1.0, 0.0, 1.0}
    assert np.array_equal(np.abs(found).sum(axis=1), np.full(symbols, blocks.length))
    assert np.abs(found).sum(axis=0).max() == 1


def test_statistics_and_shifts_against_loops(rng, kind):
    blocks, flat = spreading.blocks(bytes(32), "x", 60, 4), rng.standard_normal(60)
    found = chips(blocks, 60)
    sums = [sum(c * w for c, w in zip(row, flat, strict=True)) for row in found]
    np.testing.assert_allclose(blocks.statistics(flat), sums, rtol=1e-12, atol=1e-12)
    shifts = np.array([0.5, 0.0, -1.0, 2.0])
    moved = blocks.shifted(flat, shifts)
    np.testing.assert_allclose(moved, flat + shifts @ found, rtol=1e-12, atol=1e-12)
    assert np.array_equal(moved[found[1] != 0], flat[found[1] != 0])
    assert moved.dtype == np.float64


def test_deviation_is_that_of_random_keys(rng, kind):
    flat = rng.standard_normal(200) + 1.5
    sums = [
        spreading.blocks(i.to_bytes(32, "little"), "x", 200, 4).statistics(flat)
        for i in range(2000)
    ]
    blocks = spreading.blocks(bytes(32), "x", 200, 4)
    assert blocks.deviation(flat) == pytest.approx(np.std(sums), rel=0.04)


def test_who_owns_a_weight_and_its_chip_are_uniform_over_keys(kind):
    """Each of 40 weights is each Symbol's with either chip; chips are independent."""
    found = np.array(
        [
            chips(spreading.blocks(i.to_bytes(32, "little"), "x", 40, 5), 40)
            for i in range(1500)
        ]
    )  # fmt: skip
    counts = np.concatenate([(found == 1).sum(axis=0), (found == -1).sum(axis=0)])
    assert stats.chisquare(counts, axis=0).pvalue.min() > 1e-4 / 40
    signs = found.sum(axis=1)
    together = np.corrcoef(signs, rowvar=False)[np.triu_indices(40, 1)]
    assert np.abs(together).max() < 5 / math.sqrt(1500)


def test_many_symbols_have_wider_cells(monkeypatch):
    monkeypatch.setattr(spreading.weighed, "MOST", 100)
    spreading.blocks.cache_clear()
    blocks = spreading.blocks(bytes(32), "x", 70_000, 35_000)
    owners = blocks.cells.reshape(2, 35_000) >> 1
    assert blocks.cells.dtype == np.uint32
    assert np.array_equal(np.sort(owners, axis=1), np.tile(np.arange(35_000), (2, 1)))
    assert spreading.blocks(bytes(32), "x", 70_000, 30_000).cells.dtype == np.uint16
    spreading.blocks.cache_clear()


# oracles.json static_ss.table: (gamma / sigma, modification) -> mean and sd of the BER of 8 seeds
TABLE = {
    (0.02, "clean"): (0.1763, 0.0291),
    (0.02, "noise_1"): (0.2515, 0.0422),
    (0.05, "noise_1"): (0.0493, 0.0156),
    (0.05, "l1prune_0.99"): (0.23, 0.0396),
    (0.05, "quant_2"): (0.0288, 0.0129),
    (0.1, "noise_2"): (0.0132, 0.0075),
    (0.1, "l1prune_0.99"): (0.0806, 0.0207),
    (0.2, "l1prune_0.99"): (0.0049, 0.005),
}
SEEDS = 4


def bit_error_rates() -> dict[tuple[float, str], float]:
    rates: dict[tuple[float, str], list[float]] = {}
    for seed in range(SEEDS):
        rng = np.random.Generator(np.random.PCG64(seed))
        flat = rng.standard_normal(SIZE)
        blocks = spreading.blocks(bytes([seed] * 32), "table", SIZE, T)
        signs = 2.0 * rng.integers(0, 2, T) - 1
        for gamma in (0.02, 0.05, 0.1, 0.2):
            marked = blocks.shifted(flat, gamma * signs)
            changed = {
                "clean": marked,
                "noise_1": noise.add_gaussian(marked, 1.0, rng),
                "noise_2": noise.add_gaussian(marked, 2.0, rng),
                "l1prune_0.9": pruning.smallest(marked, pruning.count(90, SIZE)),
                "l1prune_0.99": pruning.smallest(marked, pruning.count(99, SIZE)),
                "quant_4": quantizing.min_max(marked, 4),
                "quant_2": quantizing.min_max(marked, 2),
            }
            for name, values in changed.items():
                wrong = np.mean((blocks.statistics(values) > 0) != (signs > 0))
                rates.setdefault((gamma, name), []).append(float(wrong))
    return {cell: float(np.mean(values)) for cell, values in rates.items()}


@pytest.fixture(scope="module", params=["scattered", "runs"])
def rates(request) -> dict[tuple[float, str], float]:
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "runs":
            patched.setattr(spreading.weighed, "MOST", SIZE - 1)
        return bit_error_rates()


def allowed(deviation: float) -> float:
    """Both means vary: 4 sd sqrt(1/8 + 1/n) + 0.004, not less than the sampling error of a BER."""
    return 4 * deviation * math.sqrt(1 / 8 + 1 / SEEDS) + 0.004


@pytest.mark.parametrize("cell", TABLE)
def test_table(rates, cell):
    mean, deviation = TABLE[cell]
    assert abs(rates[cell] - mean) <= allowed(deviation)


def test_whole_table(rates, oracles):
    for gamma, row in oracles["static_ss.table"].items():
        for name, value in row.items():
            found = rates[float(gamma), name]
            assert abs(found - value["mean"]) <= allowed(value["sd"]), (gamma, name)


def test_table_follows_the_theory(rates):
    for gamma in (0.02, 0.05, 0.1):
        for name, ratio in (("clean", 0.0), ("noise_1", 1.0), ("noise_2", 2.0)):
            theory = stats.norm.sf(gamma * math.sqrt(2304 / (1 + ratio**2)))
            sampling = math.sqrt(max(theory, 1e-3) / (SEEDS * T))
            assert abs(rates[gamma, name] - theory) <= 4 * sampling, (gamma, name)


def energy(scores, margin) -> float:
    return float(np.sum(np.maximum(margin - np.asarray(scores), 0) ** 2))


@given(
    st.lists(st.floats(-6, 6), min_size=1, max_size=40),
    st.floats(1e-3, 1e4),
)
def test_margin_for_energy_solves_the_equation(scores, wanted):
    found = spreading.margin_for_energy(np.array(scores), wanted)
    assert energy(scores, found) == pytest.approx(wanted, rel=1e-6)
    bracket = (min(scores), max(scores) + math.sqrt(wanted) + 1)
    brute = optimize.brentq(lambda k: energy(scores, k) - wanted, *bracket, xtol=1e-13)
    assert found == pytest.approx(brute, abs=1e-5)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_expected_change_against_integration(margin):
    grid = np.linspace(-12, margin, 200_001)
    density = stats.norm.pdf(grid) * (margin - grid) ** 2
    integral = float(np.sum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0]))
    found = spreading.expected_change(margin, 64, 9216)
    assert found == pytest.approx(math.sqrt(64 / 9216 * integral), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_large_layers_are_read_and_moved_where_they_lie(rng, monkeypatch, dtype):
    monkeypatch.setattr(spreading.weighed, "MOST", 100)
    monkeypatch.setattr(spreading.weighed, "_STEP", 64)
    spreading.blocks.cache_clear()
    blocks, weights = spreading.blocks(bytes(32), "x", 605, 4), rng.standard_normal((55, 11))
    weights, shifts = weights.astype(dtype), np.array([0.5, 0, -0.25, 1])
    usual = weights.reshape(-1) + shifts @ chips(blocks, 605)
    for values in (weights.reshape(-1), weights, np.asfortranarray(weights)):
        moved = blocks.shifted(values, shifts)
        assert moved.dtype == (np.float32 if dtype == np.float32 else np.float64)
        assert moved.flags.f_contiguous == values.flags.f_contiguous
        np.testing.assert_allclose(moved.reshape(-1), usual, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            blocks.statistics(values), chips(blocks, 605) @ weights.reshape(-1).astype(float),
            rtol=1e-9,
        )  # fmt: skip
    spreading.blocks.cache_clear()
