"""Adi: labels and triggers of a key, what is read from answers, and an exact null."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.arrays import binomial, commitments, keystream
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.methods.adi import Adi
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import Payload, TrainingData, needs_inference

SECRET = bytes(range(32))
EMPTY = ArrayNetwork.of({})


class Answering:
    """A network that is a function of its inputs."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def infer(self, inputs):
        self.calls += 1
        return [self.function(inputs)]


def linear(rng, inputs, classes=10):
    """A fixed random linear classifier."""
    matrix = rng.standard_normal((int(np.prod(inputs.shape[1:])), classes)).astype(np.float32)
    return Answering(lambda x: x.reshape(len(x), -1) @ matrix)


def perfect(labels, classes=10):
    return Answering(lambda x: np.eye(classes)[labels].astype(np.float32))


@pytest.fixture
def data(rng):
    inputs = rng.uniform(0, 1, (200, 3, 8, 8)).astype(np.float32)
    return TrainingData(inputs, rng.integers(0, 10, 200), 10)


def made(data, size=100, secret=SECRET, images=None):
    method = Adi()
    return method.draw_triggers(method.make_key(EMPTY, size, secret), data, images)


def test_a_key_is_made_in_two_steps(data):
    bare = Adi(output=2).make_key(EMPTY, 100, SECRET)
    assert (bare.layers, bare.shapes, bare.arrays) == ((), (), {})
    assert bare.options == {"output": 2}
    assert bare.notes == ("no carrier layer: 100 trigger inputs, one for each symbol",)
    key = Adi(output=2).draw_triggers(bare, data)
    assert key.options == {"output": 2, "classes": 10}
    assert key.arrays["triggers"].shape == (100, 3, 8, 8)
    assert key.arrays["triggers"].dtype == np.float32
    assert not key.arrays["triggers"].flags.writeable
    assert needs_inference(Adi())


def test_labels_are_symbol_plus_mask(data):
    key, payload = made(data), Payload((7, 0, 3, 9) * 25, 10)
    inputs, labels = Adi().triggers(payload, key)
    mask = keystream.integers(SECRET, "adi/mask", 100, 10)
    assert labels.tolist() == [(s + m) % 10 for s, m in zip(payload.symbols, mask, strict=True)]
    assert inputs is key.arrays["triggers"]


def test_labels_are_uniform_whatever_the_payload(data):
    payload, counts = Payload((0,) * 100), np.zeros(10, int)
    key = made(data)
    for i in range(300):
        other = dataclasses.replace(key, secret=i.to_bytes(32, "little"))
        counts += np.bincount(Adi().triggers(payload, other)[1], minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("payload", [Payload.from_bits("01" * 50), Payload((9, 4) * 50, 10)])
def test_right_answers_are_decoded_and_detected(data, payload):
    key = made(data)
    network = perfect(Adi().triggers(payload, key)[1])
    decoding = Adi().decode(network, key)
    assert network.calls == 1
    assert decoding.payload == Payload(payload.symbols, 10)
    assert decoding.ties == 0
    # one hot: the margin is 1, the standard deviation of a tenth of ones is 0.3
    assert decoding.confidence == pytest.approx((1 / 0.3,) * 100)
    found = Adi().detect(network, payload, key)
    assert (found.statistic, found.null, found.detected) == (100, "Bin(100, 1/10)", True)
    assert found.p_value == pytest.approx(1e-100)
    assert (found.p_inverted, found.log10_p_inverted) == (1.0, 0.0)


def test_twenty_eight_of_a_hundred_is_the_threshold(data):
    key, payload = made(data), Payload.from_bits("0" * 100)
    labels = Adi().triggers(payload, key)[1]
    for right, detected in ((28, True), (27, False)):
        told = np.where(np.arange(100) < right, labels, (labels + 1) % 10)
        assert Adi().detect(perfect(told), payload, key).detected is detected


def test_p_values_of_ten_thousand_wrong_keys_are_uniform(data, rng):
    """A fixed classifier, fixed triggers, payloads all equal: the labels alone are random."""
    key, payload = made(data, size=50), Payload((1,) * 50)
    told = linear(rng, data.inputs).infer(key.arrays["triggers"])[0]
    answered = Answering(lambda inputs: told)
    matches = np.empty(10_000, int)
    for i in range(len(matches)):
        wrong = dataclasses.replace(key, secret=i.to_bytes(32, "big"))
        matches[i] = Adi().detect(answered, payload, wrong).statistic
    chance = Fraction(1, 10)
    at_least = np.array([binomial.tail(m, 50, chance).p_value for m in range(52)])
    u = rng.uniform(size=len(matches))
    p_values = at_least[matches + 1] + u * (at_least[matches] - at_least[matches + 1])
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert abs(matches.mean() - 5) < 4.5 * np.sqrt(4.5 / len(matches))


def test_fresh_triggers_of_wrong_keys_are_no_better(data, rng):
    network, payload, matches = linear(rng, data.inputs), Payload((0,) * 40), []
    for i in range(300):
        key = made(data, 40, i.to_bytes(32, "big"))
        matches.append(Adi().detect(network, payload, key).statistic)
    assert abs(np.mean(matches) - 4) < 4.5 * np.sqrt(3.6 / 300)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_answers_that_decide_nothing_are_ties_taken_from_the_key(data, value):
    key, payload = made(data), Payload((0,) * 100)
    network = Answering(lambda x: np.full((len(x), 10), value, np.float32))
    first, second = (Adi().decode(network, key) for _ in range(2))
    assert first == second
    assert first.ties == 100
    assert set(first.confidence) == {0.0}
    assert not Adi().detect(network, payload, key).detected


def test_ties_match_by_chance_only(data):
    key, payload, right = made(data), Payload((0,) * 100), 0
    network = Answering(lambda x: np.zeros((len(x), 10), np.float32))
    for i in range(300):
        wrong = dataclasses.replace(key, secret=i.to_bytes(32, "big"))
        right += Adi().detect(network, payload, wrong).statistic
    assert abs(right - 3000) < 4.5 * np.sqrt(2700)


def test_another_output_and_trailing_axes(data):
    method = Adi(output=1)
    key = method.draw_triggers(method.make_key(EMPTY, 20, SECRET), data)
    payload = Payload.from_bits("10" * 10)
    labels = method.triggers(payload, key)[1]

    class Two:
        def infer(self, inputs):
            return [np.zeros((20, 5)), np.eye(10)[labels].reshape(20, 10, 1, 1)]

    assert method.decode(Two(), key).payload.errors(payload) == 0
    with pytest.raises(CarrierNotFoundError, match="expected number 1 of the network, got 1 outpu"):
        method.decode(perfect(labels), key)


def test_a_network_of_other_classes_is_told(data):
    key = made(data, 20)
    with pytest.raises(CarrierNotFoundError, match=r"shape \(20, 10\), got \(20, 12\); decode a"):
        Adi().decode(Answering(lambda x: np.zeros((20, 12))), key)


def test_images_are_chosen_by_the_key(data, rng):
    images = rng.uniform(0, 1, (30, 3, 8, 8)).astype(np.float32)
    key = made(data, 20, images=images)
    order = keystream.permutation(SECRET, "adi/images", 30, 20)
    assert np.array_equal(key.arrays["triggers"], images[order])
    assert not np.array_equal(made(data, 20, bytes(32), images).arrays["triggers"], images[order])
    with pytest.raises(
        InjectionError,
        match=r"at least 40 images of shape \(3, 8, 8\), got 30 of shape \(3, 8, 8\); give others",
    ):
        made(data, 40, images=images)
    with pytest.raises(InjectionError, match=r"got 30 of shape \(8, 8, 3\)"):
        made(data, 20, images=images.reshape(30, 8, 8, 3))


def test_triggers_that_cannot_be_told_apart_are_refused(data):
    with pytest.raises(
        InjectionError, match="expected 20 different inputs of finite numbers, got "
    ):
        made(data, 20, images=np.zeros((30, 3, 8, 8), np.float32))
    images = np.arange(30 * 192, dtype=np.float32).reshape(30, 3, 8, 8)
    images[7, 0, 0, 0] = np.inf
    with pytest.raises(InjectionError, match="different inputs of finite numbers"):
        made(data, 30, images=images)
    constant = dataclasses.replace(data, inputs=np.ones((5, 3, 8, 8), np.float32))
    with pytest.raises(InjectionError, match="got 1 or others; give other data or images"):
        made(constant, 20)


def test_what_does_not_fit_is_told(data):
    method, key = Adi(), made(data, 20)
    with pytest.raises(InjectionError, match="expected no layer, because the whole network carri"):
        method.make_key(EMPTY, 8, SECRET, "conv")
    with pytest.raises(InjectionError, match="expected at least one symbol, got 0; give a longer"):
        method.make_key(EMPTY, 0, SECRET)
    with pytest.raises(
        InjectionError, match="expected a network of at least 2 classes, got 1; use"
    ):
        made(dataclasses.replace(data, classes=1), 8)
    for payload in (Payload.from_bits("01"), Payload((0,) * 20, 11)):
        with pytest.raises(InjectionError, match=r"a payload of 20 symbols from at most 10, got"):
            method.triggers(payload, key)
    with pytest.raises(ConfigurationError, match="expected 20 symbols, got 2|symbols, got 20; use"):
        method.detect(linear(np.random.Generator(np.random.PCG64(0)), data.inputs),
                      Payload.from_bits("01"), key)  # fmt: skip


def test_keys_that_are_not_whole_are_told(data):
    method, key = Adi(), made(data, 20)
    bare = method.make_key(EMPTY, 20, SECRET)
    foreign = dataclasses.replace(key, method="uchida")
    for odd, words in (
        (bare, "got one of 'adi' without; use the key of the training"),
        (foreign, "got one of 'uchida' with; use the key of the training"),
        (dataclasses.replace(key, payload_size=19), "expected 19 triggers of float32"),
        (dataclasses.replace(key, options={"output": 0, "classes": 1}), "output 0 of 1; restore"),
        (dataclasses.replace(key, options={"output": -1, "classes": 10}), "output -1 of 10;"),
        (dataclasses.replace(key, options={"output": "a", "classes": 10}), "output 'a' of 10;"),
        (dataclasses.replace(key, options={"output": 0, "classes": True}), "output 0 of True;"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            method.decode(None, odd)
        with pytest.raises(ConfigurationError, match=words):
            method.triggers(Payload((0,) * odd.payload_size), odd)


def test_the_commitment_binds_everything(data, rng):
    key = made(data, 20)
    seen = {key.commitment, Adi().make_key(EMPTY, 20, SECRET).commitment}
    images = rng.uniform(0, 1, (20, 3, 8, 8)).astype(np.float32)
    others = [
        made(data, 20, bytes(32)),
        made(data, 20, images=images),
        made(dataclasses.replace(data, classes=11), 20),
        Adi().draw_triggers(Adi().make_key(EMPTY, 20, SECRET), data, network_digest="ab"),
        Adi().draw_triggers(Adi(output=1).make_key(EMPTY, 20, SECRET), data),
        commitments.bind_payload(key, Payload((0,) * 20)),
        commitments.bind_payload(key, Payload((1,) * 20)),
    ]
    seen |= {other.commitment for other in others}
    assert len(seen) == 2 + len(others)
    assert made(data, 20).commitment == key.commitment


@pytest.mark.shared_data
def test_the_published_triggers_of_adi(shared_data, data):
    """The 100 abstract images of the paper, as inputs of a 32x32 network."""
    from nnw_onnx.datasets import trigger_images

    pictures = trigger_images(
        shared_data / "triggers-adi" / "data" / "trigger_set" / "pics", (32, 32)
    )
    assert pictures.shape == (100, 32, 32, 3)
    images = np.moveaxis(pictures.astype(np.float32) / 255, 3, 1)
    larger = dataclasses.replace(data, inputs=images[:5])
    key = made(larger, 100, images=images)
    order = keystream.permutation(SECRET, "adi/images", 100)
    assert np.array_equal(key.arrays["triggers"], images[order])
    payload = Payload.from_bits("01" * 50)
    labels = Adi().triggers(payload, key)[1]
    assert Adi().detect(perfect(labels), payload, key).statistic == 100
