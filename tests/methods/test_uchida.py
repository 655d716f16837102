"""Uchida: the choice of the layer, the margin, and its cost in closed form."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import keystream
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Modification, Moment, Payload, Spec

SECRET = bytes(range(32))
BENCH = ArrayBench()


def asking(*layers):
    """A bench whose owner asks for these carriers."""
    return ArrayBench(layers=layers)


def penalty(method, network, payload, key, weights=None):
    """The penalty of the method at some weights."""
    now = Moment(weights or network.weights, {}, None, np.zeros(0, bool), {}, 0, lambda w: {})
    return method.additions(network, payload, key).penalty(now)


def test_the_last_conv_with_ample_filters_is_chosen(network):
    key = Uchida().make_key(network, 64, SECRET, BENCH)
    assert key.layers == ("last",)
    assert key.shapes == ((48, 32, 3, 3),)
    assert key.notes == (
        "carrier last (48x32x3x3): the last fit Conv kernel with at least 16 filters of more than "
        "256 weights",
    )


def test_another_conv_when_the_last_is_too_small(network):
    assert Uchida().make_key(network, 100, SECRET, BENCH).layers == ("wide",)


def test_other_operators_when_no_conv_is_ample(network):
    key = Uchida().make_key(network, 150, SECRET, BENCH)
    assert key.layers == ("head",)
    assert "the last fit MatMul kernel with at least 16 filters of more than 600" in key.notes[0]


def test_ill_conditioned_only_when_nothing_is_ample(network):
    key = Uchida().make_key(network, 200, SECRET, BENCH)
    # 64 filters of 576 weights change less than 18 of 700
    assert key.layers == ("wide",)
    assert "the kernel that changes least" in key.notes[0]
    assert "ill-conditioned: 200 symbols in 576 weights a filter" in key.notes[1]


def test_a_layer_of_few_filters_is_chosen_only_when_nothing_else_is_fit(rng):
    arrays = {"many": rng.standard_normal((16, 300)), "few": rng.standard_normal((1, 32, 3, 3))}
    assert Uchida().make_key(ArrayNetwork.of(arrays), 64, SECRET, BENCH).layers == ("many",)
    key = Uchida().make_key(ArrayNetwork.of({"few": arrays["few"]}), 64, SECRET, BENCH)
    assert key.notes == ("carrier few (1x32x3x3): the kernel that changes least",)


def test_a_payload_longer_than_every_filter_is_refused(network):
    message = "expected a kernel with more than 700 weights a filter, got at most 700; use a short"
    with pytest.raises(InjectionError, match=message):
        Uchida().make_key(network, 700, SECRET, BENCH)
    assert Uchida().make_key(network, 699, SECRET, BENCH).layers == ("head",)


def test_a_named_layer_that_is_too_small_is_refused(network):
    message = r"layer 'first': expected more than 27 weights a filter, got 27 weights a filter; use"
    with pytest.raises(InjectionError, match=message):
        Uchida().make_key(network, 27, SECRET, asking("first"))
    key = Uchida().make_key(network, 26, SECRET, asking("first"))
    assert key.notes[0] == "carrier first (16x3x3x3): as asked"


def test_a_layer_whose_filters_are_unknown_is_refused(network):
    odd = ArrayNetwork.of(dict(network.weights), wide={"axes": None})
    with pytest.raises(InjectionError, match="whose filters are unknown; use a shorter payload or"):
        Uchida().make_key(odd, 8, SECRET, asking("wide"))


def test_every_filter_gets_the_same_change_and_the_margin_is_reached(network):
    method = Uchida(margin=1.5, carrier="mean")
    payload = Payload.from_bits("0011" * 16)
    key = method.make_key(network, 64, SECRET, asking("wide"))
    before = network.weights["wide"].astype(np.float64)
    after = method.inject(network, payload, key, BENCH).weights["wide"].astype(np.float64)
    change = (after - before).reshape(64, -1)
    assert np.abs(change - change[0]).max() < 1e-7
    matrix = keystream.gaussian(SECRET, "uchida/projection", 64 * 576).reshape(64, 576)
    before_y, after_y = (matrix @ w.reshape(64, -1).mean(axis=0) for w in (before, after))
    margin = 1.5 * before.std() * math.sqrt(576 / 64)
    mask = keystream.bits(SECRET, "uchida/mask", 64)
    signs = np.where(np.array(payload.symbols) ^ mask, 1, -1)
    raised = signs * before_y < margin
    np.testing.assert_allclose(signs[raised] * after_y[raised], margin, rtol=1e-5)
    np.testing.assert_allclose(after_y[~raised], before_y[~raised], atol=1e-5)
    # the least change: inside the span of the key's rows
    inside = matrix.T @ np.linalg.lstsq(matrix.T, change[0], rcond=None)[0]
    np.testing.assert_allclose(inside, change[0], atol=1e-6)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0, 4.0])
def test_cost_and_error_rate_follow_the_theory(margin):
    """methods.md, section 1: rms = sqrt(T G / (L (M-T-1))) and the error rate under noise."""
    filters, inputs, size, ratio = 64, 576, 64, 1.0
    changes, wrong, repeats = [], 0, 12
    for seed in range(repeats):
        rng = np.random.Generator(np.random.PCG64(seed))
        weights = rng.standard_normal((filters, inputs, 1, 1))
        plain, payload = ArrayNetwork.of({"conv": weights}), Payload.random(size, rng)
        method, secret = Uchida(carrier="mean", margin=margin), rng.bytes(32)
        key = method.make_key(plain, size, secret, BENCH)
        marked = method.inject(plain, payload, key, BENCH).weights["conv"]
        changes.append(np.sqrt(np.mean((marked - weights) ** 2)))
        noisy = plain.with_weights({"conv": marked + ratio * rng.standard_normal(weights.shape)})
        wrong += method.decode(noisy, key).payload.errors(payload)
    energy = (margin**2 + 1) * stats.norm.cdf(margin) + margin * stats.norm.pdf(margin)
    expected = math.sqrt(size * energy / (filters * (inputs - size - 1)))
    assert np.mean(changes) == pytest.approx(expected, rel=0.05)
    z = np.linspace(margin, 12, 20_001)
    beyond = stats.norm.pdf(z) * stats.norm.sf(z / ratio)
    tail = float(np.sum((beyond[1:] + beyond[:-1]) / 2) * (z[1] - z[0]))
    theory = stats.norm.cdf(margin) * stats.norm.sf(margin / ratio) + tail
    count = size * repeats
    assert abs(wrong / count - theory) <= 4.5 * math.sqrt(theory * (1 - theory) / count) + 0.003


def test_confidence_is_the_distance_in_deviations_over_random_keys(network):
    key = Uchida(carrier="mean").make_key(network, 32, SECRET, BENCH)
    mean = network.weights[key.layers[0]].astype(np.float64).mean(axis=0).reshape(-1)
    matrix = keystream.gaussian(SECRET, "uchida/projection", 32 * mean.size).reshape(32, -1)
    expected = np.abs(matrix @ mean) / np.linalg.norm(mean)
    np.testing.assert_allclose(
        Uchida(carrier="mean").decode(network, key).confidence, expected, rtol=1e-9
    )


def trained_key(network, size=48, **options):
    method = Uchida(**options)
    return (
        method,
        method.make_key(network, size, SECRET, asking("wide")),
        Payload.from_bits("110" * 16),
    )


def test_the_penalty_in_a_closed_form(network):
    """lambda sum_j log(1 + exp(-s_j X_j . mean)), restated without the package's arithmetic."""
    method, key, payload = trained_key(network, strength=0.5, carrier="mean")
    mean = network.weights["wide"].astype(np.float64).mean(axis=0).reshape(-1)
    matrix = keystream.gaussian(SECRET, "uchida/projection", 48 * 576).reshape(48, 576)
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "uchida/mask", 48)
    probability = 1 / (1 + np.exp(-matrix @ mean))
    expected = -0.5 * np.log(np.where(bits, probability, 1 - probability)).sum()
    found = penalty(method, network, payload, key)
    assert found.value == pytest.approx(expected, rel=1e-12)
    step = -0.5 * (bits - probability) @ matrix / 64
    assert list(found.weights) == ["wide"]
    assert found.weights["wide"].shape == (64, 64, 3, 3)
    assert found.weights["wide"].dtype == np.float64
    np.testing.assert_allclose(
        found.weights["wide"].reshape(64, -1), np.tile(step, (64, 1)), rtol=1e-9, atol=1e-15
    )


def test_the_penalty_agrees_with_autograd(network):
    torch = pytest.importorskip("torch")
    method, key, payload = trained_key(network, strength=0.01, carrier="mean")
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "uchida/mask", 48)
    matrix = keystream.gaussian(SECRET, "uchida/projection", 48 * 576).reshape(48, 576)
    weights = torch.tensor(network.weights["wide"].astype(np.float64), requires_grad=True)
    scores = torch.from_numpy(matrix) @ weights.mean(dim=0).flatten()
    loss = 0.01 * torch.nn.functional.binary_cross_entropy_with_logits(
        scores, torch.from_numpy(bits.astype(np.float64)), reduction="sum"
    )
    loss.backward()
    found = penalty(method, network, payload, key)
    assert found.value == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(found.weights["wide"], weights.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_strength_scales_the_penalty_and_nothing_else(network):
    weak, key, payload = trained_key(network, strength=0.01)
    strong, other_key, _ = trained_key(network, strength=1.0)
    assert dataclasses.replace(key, method=other_key.method) == other_key
    assert weak.decode(network, key) == strong.decode(network, key)
    marked = weak.inject(network, payload, key, BENCH).weights["wide"]
    assert np.array_equal(marked, strong.inject(network, payload, key, BENCH).weights["wide"])
    small, large = (penalty(m, network, payload, key) for m in (weak, strong))
    assert large.value == pytest.approx(100 * small.value, rel=1e-14)


def test_descent_on_the_penalty_alone_puts_the_payload_in(network):
    method, key, payload = trained_key(network, strength=0.01)
    weights = {"wide": network.weights["wide"].astype(np.float64)}
    assert method.decode(network, key).payload.errors(payload) > 0
    for _ in range(200):
        step = penalty(method, network, payload, key, weights).weights
        weights["wide"] = weights["wide"] - step["wide"]
    assert method.decode(network.with_weights(weights), key).payload == payload


def test_a_training_without_the_carrier_is_told(network):
    method, key, payload = trained_key(network)
    message = r"layer wide of shape \(64, 64, 3, 3\) in the training, got none of this na"
    with pytest.raises(CarrierNotFoundError, match=message):
        penalty(method, network, payload, key, {"last": network.weights["last"]})
    other = ArrayNetwork.of({"wide": network.weights["last"]})
    with pytest.raises(CarrierNotFoundError, match=r"got one of shape \(48, 32, 3, 3\); make the"):
        method.additions(other, payload, key)
    with pytest.raises(InjectionError, match="a payload of 48 symbols from at most 2, got 4 from"):
        method.additions(network, Payload.from_bits("0110"), key)
    foreign = dataclasses.replace(key, method=Spec("adi"))
    with pytest.raises(ConfigurationError, match="expected a key of method 'uchida', got one of"):
        method.additions(network, payload, foreign)


def test_the_penalty_names_its_carrier(network):
    method, key, payload = trained_key(network)
    added = method.additions(network, payload, key)
    assert added.carriers == ("wide",)
    assert (added.samples, added.activations, added.state, added.start) == (None, (), {}, {})


def test_a_key_of_before_there_were_carriers_reads_the_plain_mean(network):
    key = Uchida().make_key(network, 32, SECRET, BENCH)
    old = dataclasses.replace(key, method=Spec("uchida", {"margin": 2.0, "strength": 0.01}))
    assert plugins.method_of(old) == Uchida(carrier="mean")
    assert plugins.method_of(key) == Uchida(carrier="signed")


def test_a_signed_carrier_is_the_mean_of_filters_times_keyed_signs(network):
    method, payload = Uchida(margin=1.5, carrier="signed"), Payload.from_bits("0011" * 16)
    key = method.make_key(network, 64, SECRET, asking("wide"))
    before = network.weights["wide"].astype(np.float64).reshape(64, -1)
    marked = method.inject(network, payload, key, BENCH)
    after = marked.weights["wide"].astype(np.float64).reshape(64, -1)
    filters = keystream.signs(SECRET, "uchida/filters", 64)
    assert set(filters.tolist()) == {-1, 1}
    changes = [sign * (b - a) for sign, a, b in zip(filters, before, after, strict=True)]
    assert np.abs(np.array(changes) - changes[0]).max() < 1e-7
    matrix = keystream.gaussian(SECRET, "uchida/projection", 64 * 576).reshape(64, 576)
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "uchida/mask", 64)
    margin = 1.5 * before.std() * math.sqrt(576 / 64)
    for row, bit in zip(matrix, bits, strict=True):
        told = [
            sum(sign * float(row @ filtered) for sign, filtered in zip(filters, w, strict=True))
            for w in (before, after)
        ]
        was, now = (told_ * (1 if bit else -1) / 64 for told_ in told)
        assert now == pytest.approx(max(was, margin), abs=2e-6)
    assert method.decode(marked, key).payload == payload


def test_the_two_carriers_read_each_other_by_chance(network):
    payload = Payload.from_bits("01" * 32)
    signed, plain = Uchida(), Uchida(carrier="mean")
    key = signed.make_key(network, 64, SECRET, asking("wide"))
    marked = signed.inject(network, payload, key, BENCH)
    assert 16 < plain.decode(marked, key).payload.errors(payload) < 48


SEEDS = range(2)
FILTERS, INPUTS, SIZE = 256, 2304, 256


def marked_layer(carrier, margin, seed):
    """Key, payload and the marked weights (256, 2304) of independent N(0, 1) ones."""
    rng = np.random.Generator(np.random.PCG64(seed))
    plain = ArrayNetwork.of({"conv": rng.standard_normal((FILTERS, 256, 3, 3))})
    method, payload = Uchida(margin=margin, carrier=carrier), Payload.random(SIZE, rng)
    key = method.make_key(plain, SIZE, rng.bytes(32), BENCH)
    marked = method.inject(plain, payload, key, BENCH).weights["conv"]

    def wrong(weights):
        suspect = plain.with_weights({"conv": weights.reshape(marked.shape)})
        return method.decode(suspect, key).payload.errors(payload) / SIZE

    return marked.reshape(FILTERS, INPUTS), plain.weights["conv"].reshape(FILTERS, -1), wrong, rng


@pytest.mark.parametrize("margin", [1.0, 2.0, 4.0])
def test_replacing_the_filter_mean_erases_the_mean_and_leaves_the_signed_carrier(margin):
    """modifications-2.md, section 12: W - mean + a random permutation of the mean's entries."""
    wrong = {"mean": [], "signed": []}
    for carrier, found in wrong.items():
        for seed in SEEDS:
            marked, _, errors, rng = marked_layer(carrier, margin, seed)
            attack = plugins.create(Modification, Spec("filter-mean", {}))
            found.append(errors(attack.modify_weights({"w": marked}, rng)["w"]))
    assert max(wrong["signed"]) == 0
    # Bin(512, 1/2) / 512: standard deviation 0.022
    assert abs(np.mean(wrong["mean"]) - 0.5) < 4.5 * 0.022


def test_both_carriers_cost_and_survive_alike():
    """Change, noise and pruning by the theory of methods.md, section 1, at a margin of 2."""
    margin, count = 2.0, SIZE * len(SEEDS)
    energy = (margin**2 + 1) * stats.norm.cdf(margin) + margin * stats.norm.pdf(margin)
    change = math.sqrt(SIZE * energy / (FILTERS * (INPUTS - SIZE - 1)))
    z = np.linspace(margin, 12, 20_001)
    for carrier in ("mean", "signed"):
        moved, noisy, pruned = [], [], []
        for seed in SEEDS:
            marked, plain, errors, rng = marked_layer(carrier, margin, seed)
            moved.append(np.sqrt(np.mean((marked - plain) ** 2)) / plain.std())
            noisy.append(errors(marked + rng.standard_normal(marked.shape)))
            small = np.abs(marked) < np.quantile(np.abs(marked), 0.9)
            pruned.append(errors(np.where(small, 0.0, marked)))
        assert np.mean(moved) == pytest.approx(change, rel=0.05)
        # oracles.json static_uchida.effective_noise: pruning 90 % by size is noise of 1.1298
        for ratio, found in ((1.0, noisy), (1.1298, pruned)):
            beyond = np.trapezoid(stats.norm.pdf(z) * stats.norm.sf(z / ratio), z)
            theory = stats.norm.cdf(margin) * stats.norm.sf(margin / ratio) + beyond
            allowed = 4.5 * math.sqrt(theory * (1 - theory) / count) + 0.003
            assert abs(np.mean(found) - theory) <= allowed, (carrier, ratio)


@pytest.mark.parametrize(("margin", "expected"), [(1.0, 0.0), (2.0, 0.007), (4.0, 0.33)])
def test_the_first_singular_component_is_where_a_strong_signed_mark_sticks_out(margin, expected):
    """modifications-2.md, section 12: error rate once that component is subtracted."""
    found = []
    for seed in SEEDS:
        marked, _, errors, rng = marked_layer("signed", margin, seed)
        attack = plugins.create(Modification, Spec("leading-components", {}))
        found.append(errors(attack.modify_weights({"w": marked}, rng)["w"]))
    assert np.mean(found) == pytest.approx(expected, abs=0.05 + expected / 5)


def test_the_order_of_the_filters_matters_to_the_signed_carrier_only():
    for carrier, expected in (("mean", 0.0), ("signed", 0.5)):
        marked, _, errors, rng = marked_layer(carrier, 2.0, 0)
        assert errors(rng.permutation(marked, axis=0)) == pytest.approx(expected, abs=0.14)


def test_the_signed_penalty_agrees_with_autograd(network):
    torch = pytest.importorskip("torch")
    method, key, payload = trained_key(network, strength=0.01, carrier="signed")
    bits = np.array(payload.symbols) ^ keystream.bits(SECRET, "uchida/mask", 48)
    matrix = keystream.gaussian(SECRET, "uchida/projection", 48 * 576).reshape(48, 576)
    filters = torch.from_numpy(keystream.signs(SECRET, "uchida/filters", 64).astype(np.float64))
    weights = torch.tensor(network.weights["wide"].astype(np.float64), requires_grad=True)
    mean = (filters[:, None, None, None] * weights).mean(dim=0).flatten()
    loss = 0.01 * torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(matrix) @ mean, torch.from_numpy(bits.astype(np.float64)), reduction="sum"
    )
    loss.backward()
    found = penalty(method, network, payload, key)
    assert found.value == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(found.weights["wide"], weights.grad.numpy(), rtol=1e-9, atol=1e-14)


def test_descent_on_the_signed_penalty_alone_puts_the_payload_in(network):
    method, key, payload = trained_key(network, strength=0.01, carrier="signed")
    weights = {"wide": network.weights["wide"].astype(np.float64)}
    assert method.decode(network, key).payload.errors(payload) > 0
    for _ in range(200):
        step = penalty(method, network, payload, key, weights).weights
        weights["wide"] = weights["wide"] - step["wide"]
    assert method.decode(network.with_weights(weights), key).payload == payload


def test_a_key_without_a_carrier_is_of_the_mean_whatever_the_default_is(network):
    method = Uchida(carrier="mean")
    key = method.make_key(network, 16, SECRET, BENCH)
    options = {k: v for k, v in key.method.options.items() if k != "carrier"}
    old = dataclasses.replace(key, method=Spec("uchida", options))
    assert plugins.method_of(old) == method
