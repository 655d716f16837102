"""Greedy residuals: rows by brute force, the least constant, pooling by torch, the penalty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.methods.greedy_residuals import GreedyResiduals
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Moment, Payload

SECRET = bytes(range(32))
BENCH = ArrayBench()


def asking(*layers):
    """A bench whose owner asks for these carriers."""
    return ArrayBench(layers=layers)


def penalty(method, network, payload, key, weights=None):
    """The penalty of the method at some weights."""
    now = Moment(weights or network.weights, {}, None, np.zeros(0, bool), {}, 0, lambda w: {})
    return method.additions(network, payload, key).penalty(now)


def rows_of(weights, size, columns, block):
    """The pooled rows, number by number."""
    flat = [float(w) for w in weights.reshape(-1)]
    blocks = [sum(flat[n * block : (n + 1) * block]) / block for n in range(size * columns)]
    return [blocks[i * columns : (i + 1) * columns] for i in range(size)]


def residuals_of(weights, size, columns, block):
    """Mean of each row once its floor(columns / 2) smallest numbers are zero."""
    return np.array(
        [
            sum(sorted(row, key=abs)[columns // 2 :]) / columns
            for row in rows_of(weights, size, columns, block)
        ]
    )


def embedded(payload):
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "greedy-residuals/mask", len(payload))
    return np.where(bits, 1.0, -1.0)


# 36,864 weights: 64 rows of 253 blocks of 2; 400 rows of 92 weights
@pytest.mark.parametrize(("size", "columns", "block"), [(64, 253, 2), (400, 92, 1)])
def test_residuals_reach_the_margin_by_the_least_constant(network, size, columns, block):
    method, payload = GreedyResiduals(margin=2.0), Payload.from_bits("0110" * (size // 4))
    key = method.make_key(network, size, SECRET, asking("wide"))
    assert f"{size} rows of {columns} x {block} weights" in key.notes[0]
    before, signs = network.weights["wide"].astype(np.float64), embedded(payload)
    plain = ArrayNetwork.of({"wide": before})
    after = method.inject(plain, payload, key, BENCH).weights["wide"]
    margin = 2.0 * before.std() / math.sqrt(columns * block)
    was, now = (signs * residuals_of(w, size, columns, block) for w in (before, after))
    assert (now >= margin * (1 - 1e-9)).all()
    np.testing.assert_array_equal(now[was >= margin], was[was >= margin])
    change = (after - before).reshape(-1)
    assert not change[size * columns * block :].any()
    for i, row in enumerate(rows_of(before, size, columns, block)):
        part = change[i * columns * block : (i + 1) * columns * block].reshape(columns, block)
        half = sorted(range(columns), key=lambda c: abs(row[c]))[columns // 2 :]
        step = part[half[0], 0] * signs[i]
        np.testing.assert_allclose(part[half], signs[i] * step, atol=1e-12)
        assert np.count_nonzero(part) in (0, len(half) * block)
        if step:
            # a little less is not enough, with the half chosen again
            less = [v + signs[i] * 0.999 * step * (c in half) for c, v in enumerate(row)]
            reached = sum(sorted(less, key=abs)[columns // 2 :]) / columns
            assert signs[i] * reached < margin


def test_pooling_is_that_of_torch_where_blocks_are_whole(network):
    torch = pytest.importorskip("torch")
    values = network.weights["wide"].astype(np.float64)
    flat = torch.from_numpy(values.reshape(1, -1)[:, : 64 * 253 * 2].copy())
    pooled = torch.nn.functional.adaptive_avg_pool1d(flat, 64 * 253).reshape(64, 253)
    smallest = pooled.abs().argsort(dim=1)[:, : 253 // 2]
    expected = pooled.scatter(1, smallest, 0.0).mean(dim=1).numpy()
    key = GreedyResiduals().make_key(network, 64, SECRET, asking("wide"))
    read = GreedyResiduals().decode(network, key)
    signs = np.where(expected > 0, 1.0, -1.0)
    assert np.array_equal(embedded(read.payload), signs)
    scaled = np.abs(expected) / np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(read.confidence, scaled, rtol=1e-9)


def test_signs_survive_positive_scaling_and_die_of_an_attack_that_needs_no_key(network):
    method, payload = GreedyResiduals(), Payload.from_bits("01" * 32)
    key = method.make_key(network, 64, SECRET, asking("wide"))
    marked = method.inject(network, payload, key, BENCH).weights["wide"]
    quieter = network.with_weights({"wide": np.float32(0.3) * marked})
    assert method.decode(quieter, key).payload == payload
    stranger = method.make_key(network, 64, bytes(32), asking("wide"))
    over = method.inject(network.with_weights({"wide": marked}), payload, stranger, BENCH)
    assert 16 < method.decode(over, key).payload.errors(payload) < 48


def trained_key(network, **options):
    method = GreedyResiduals(**options)
    return (
        method,
        method.make_key(network, 48, SECRET, asking("wide")),
        Payload.from_bits("110" * 16),
    )


def test_the_penalty_is_what_the_residuals_miss(network):
    """lambda sum ReLU(margin - s r); 36,864 weights are 48 rows of 253 blocks of 3."""
    method, key, payload = trained_key(network, strength=0.5)
    values = network.weights["wide"]
    margin = 2.0 * values.astype(np.float64).std() / math.sqrt(253 * 3)
    residuals = residuals_of(values, 48, 253, 3)
    told = embedded(payload) * residuals
    expected = 0.5 * sum(max(0.0, margin - one) for one in told)
    assert penalty(method, network, payload, key).value == pytest.approx(expected, rel=1e-9)


def test_the_gradient_agrees_with_finite_differences(network):
    method, key, payload = trained_key(network)
    weights = network.weights["wide"].astype(np.float64)

    def value(changed):
        return penalty(method, network, payload, key, {"wide": changed}).value

    told = penalty(method, network, payload, key, {"wide": weights}).weights["wide"]
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(5):
        way = rng.standard_normal(weights.shape)
        slope = (value(weights + 1e-8 * way) - value(weights - 1e-8 * way)) / 2e-8
        assert np.vdot(told, way) == pytest.approx(slope, rel=1e-4)


def test_a_reached_margin_has_no_gradient(network):
    method, key, payload = trained_key(network)
    marked = GreedyResiduals(margin=2.5).inject(network, payload, key, BENCH)
    found = penalty(method, network, payload, key, marked.weights)
    assert found.value == 0
    assert not found.weights["wide"].any()


def test_what_cannot_carry_is_refused(network):
    message = "greedy-residuals: largest kernel: expected at least 48000 weights for 3000 symbols, "
    with pytest.raises(InjectionError, match=message + "got 36864; use a shorter payload or anoth"):
        GreedyResiduals().make_key(network, 3000, SECRET, BENCH)
    with pytest.raises(InjectionError, match=r"layer 'first': expected at least 448 weights for 2"):
        GreedyResiduals().make_key(network, 28, SECRET, asking("first"))
