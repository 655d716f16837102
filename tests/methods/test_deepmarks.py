"""DeepMarks: the code vector, its cost in closed form, averages of copies, the penalty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.methods.deepmarks import DeepMarks
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


def basis(size):
    """Gram-Schmidt, column by column."""
    drawn = keystream.gaussian(SECRET, "deepmarks/basis", size * size).reshape(size, size)
    found = []
    for column in drawn.T:
        rest = column - sum((column @ known) * known for known in found)
        found.append(rest / np.linalg.norm(rest))
    return np.array(found).T


def coefficients(weights, size):
    inputs = weights[0].size
    matrix = keystream.gaussian(SECRET, "deepmarks/projection", size * inputs)
    mean = weights.astype(np.float64).reshape(len(weights), -1).mean(axis=0)
    return basis(size).T @ (matrix.reshape(size, inputs) @ mean)


def test_every_coefficient_is_the_margin_with_the_sign_of_its_bit(network):
    method, payload = DeepMarks(margin=1.5), Payload.from_bits("0110" * 12)
    key = method.make_key(network, 48, SECRET, asking("wide"))
    plain = network.weights["wide"]
    marked = method.inject(network, payload, key, BENCH)
    change = (marked.weights["wide"].astype(np.float64) - plain).reshape(64, -1)
    assert np.abs(change - change[0]).max() < 1e-7
    margin = 1.5 * float(plain.astype(np.float64).std()) * math.sqrt(576 / 64)
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "deepmarks/mask", 48)
    told = coefficients(marked.weights["wide"], 48)
    np.testing.assert_allclose(told, np.where(bits, margin, -margin), rtol=1e-4)
    assert method.decode(marked, key).payload == payload


def test_cost_and_error_rate_in_closed_form():
    """rms = sqrt(T (1 + kappa^2) / (L (M-T-1))); under noise a the rate is Q(kappa / a) exactly."""
    filters, inputs, size, margin = 64, 576, 64, 1.5
    changes, wrong, repeats = [], 0, 8
    for seed in range(repeats):
        rng = np.random.Generator(np.random.PCG64(seed))
        weights = rng.standard_normal((filters, inputs, 1, 1))
        plain, payload = ArrayNetwork.of({"conv": weights}), Payload.random(size, rng)
        method = DeepMarks(margin=margin)
        key = method.make_key(plain, size, rng.bytes(32), BENCH)
        marked = method.inject(plain, payload, key, BENCH).weights["conv"]
        changes.append(np.sqrt(np.mean((marked - weights) ** 2)))
        noisy = plain.with_weights({"conv": marked + rng.standard_normal(weights.shape)})
        wrong += method.decode(noisy, key).payload.errors(payload)
    expected = math.sqrt(size * (1 + margin**2) / (filters * (inputs - size - 1)))
    assert np.mean(changes) == pytest.approx(expected, rel=0.05)
    rate, count = stats.norm.sf(margin), size * repeats
    assert abs(wrong / count - rate) <= 4.5 * math.sqrt(rate * (1 - rate) / count)


def test_averaged_copies_have_the_average_of_their_code_vectors(network):
    """Where all agree the bit stays, and where halves disagree the coefficient is exactly 0."""
    method = DeepMarks()
    key = method.make_key(network, 48, SECRET, asking("wide"))
    users = [Payload.from_bits(bits * 12) for bits in ("0011", "0101")]
    copies = [method.inject(network, user, key, BENCH).weights["wide"] for user in users]
    average = network.with_weights({"wide": np.mean(copies, axis=0, dtype=np.float64)})
    read = method.decode(average, key)
    first, second = (np.array(user.symbols) for user in users)
    same = first == second
    assert np.array_equal(np.array(read.payload.symbols)[same], first[same])
    confidence = np.array(read.confidence)
    assert confidence[~same].max() < 1e-4 * confidence[same].min()


def test_centred_projections_of_unrelated_networks_hardly_correlate():
    """oracles.json stat.deepmarks_uncentred: mean |cosine| of 100 projections 0.083 for M 2304."""
    rng = np.random.Generator(np.random.PCG64(3))
    network = ArrayNetwork.of({"conv": rng.standard_normal((4, 256, 3, 3))})
    key = DeepMarks().make_key(network, 100, SECRET, BENCH)
    matrix = keystream.gaussian(SECRET, "deepmarks/projection", 100 * 2304).reshape(100, 2304)
    first, second = (rng.standard_normal((2304, 400)) for _ in range(2))
    one, other = matrix @ first, matrix @ second
    cosine = (one * other).sum(axis=0)
    cosine /= np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    assert np.abs(cosine).mean() == pytest.approx(0.083, abs=0.02)
    assert key.size == 100


def trained_key(network, **options):
    method = DeepMarks(**options)
    return (
        method,
        method.make_key(network, 48, SECRET, asking("wide")),
        Payload.from_bits("110" * 16),
    )


def test_the_penalty_is_the_squared_distance_of_the_projections(network):
    """gamma ||X w - f||^2 = gamma ||U^T X w - m b||^2, since U is orthonormal."""
    method, key, payload = trained_key(network, strength=0.3)
    weights = network.weights["wide"].astype(np.float64)
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "deepmarks/mask", 48)
    wanted = np.where(bits, 1, -1) * 2.0 * weights.std() * math.sqrt(576 / 64)
    expected = 0.3 * float(np.sum((coefficients(weights, 48) - wanted) ** 2))
    assert penalty(method, network, payload, key).value == pytest.approx(expected, rel=1e-9)


def test_the_gradient_agrees_with_autograd(network):
    torch = pytest.importorskip("torch")
    method, key, payload = trained_key(network, strength=0.3)
    matrix = keystream.gaussian(SECRET, "deepmarks/projection", 48 * 576).reshape(48, 576)
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "deepmarks/mask", 48)
    margin = 2.0 * network.weights["wide"].astype(np.float64).std() * math.sqrt(576 / 64)
    wanted = torch.from_numpy(margin * (basis(48) @ np.where(bits, 1.0, -1.0)))
    weights = torch.tensor(network.weights["wide"].astype(np.float64), requires_grad=True)
    apart = torch.from_numpy(matrix) @ weights.mean(dim=0).flatten() - wanted
    (0.3 * (apart**2).sum()).backward()
    found = penalty(method, network, payload, key).weights["wide"]
    np.testing.assert_allclose(found, weights.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_gradient_agrees_with_finite_differences(network):
    method, key, payload = trained_key(network)
    weights = network.weights["wide"].astype(np.float64)
    told = penalty(method, network, payload, key, {"wide": weights}).weights["wide"]
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(5):
        way = rng.standard_normal(weights.shape)
        above, below = (
            penalty(method, network, payload, key, {"wide": weights + s * way}).value
            for s in (1e-5, -1e-5)
        )
        assert np.vdot(told, way) == pytest.approx((above - below) / 2e-5, rel=1e-6)


def test_what_cannot_carry_is_refused_in_the_words_of_uchida(network):
    message = "deepmarks: expected a kernel with more than 700 weights a filter, got at most 700; u"
    with pytest.raises(InjectionError, match=message):
        DeepMarks().make_key(network, 700, SECRET, BENCH)
