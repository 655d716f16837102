"""Adi: labels and triggers of a key, what is read from answers, and an exact null."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import commitments, keystream
from nnw_onnx.kit.evidence import matched
from nnw_onnx.kit.samples import ArraySamples, ImageSamples
from nnw_onnx.math import binomial
from nnw_onnx.methods.adi import Adi
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.vocabulary import Payload, Spec

SECRET = bytes(range(32))
EMPTY = ArrayNetwork.of({})
CLASSES = [str(n) for n in range(10)]


def suspect(function, output="scores"):
    """A network that answers a function of its inputs, and has no weights to see."""
    return ArraySuspect(
        EMPTY, "answers", lambda n, feeds, _: {output: function(next(iter(feeds.values())))}
    )


def linear(rng, inputs, classes=10):
    """A fixed random linear classifier."""
    matrix = rng.standard_normal((int(np.prod(inputs.shape[1:])), classes)).astype(np.float32)
    return suspect(lambda x: x.reshape(len(x), -1) @ matrix)


def perfect(labels, classes=10):
    return suspect(lambda x: np.eye(classes)[labels].astype(np.float32))


@pytest.fixture
def data(rng):
    inputs = rng.uniform(0, 1, (200, 3, 8, 8)).astype(np.float32)
    return ArraySamples({"x": inputs}, rng.integers(0, 10, 200), {"classes": CLASSES})


def made(data, size=100, secret=SECRET, method=None, network=EMPTY):
    return (method or Adi()).make_key(network, size, secret, ArrayBench(samples=data))


def labels_of(payload, key):
    own = Adi().additions(EMPTY, payload, key).samples
    return np.asarray(own.read(np.arange(len(own))).targets)


def detect(network, payload, key):
    return matched(Adi().decode(network, key).payload, payload)


def test_a_key_is_whole_at_once(data):
    key = made(data, method=Adi(output=2))
    assert (key.layers, key.shapes, key.size) == ((), (), 100)
    assert key.method.options == {"output": 2, "images": None}
    assert key.facts == {"classes": 10}
    assert key.notes == ("no carrier layer: 100 trigger inputs, one for each symbol",)
    assert key.arrays["triggers"].shape == (100, 3, 8, 8)
    assert key.arrays["triggers"].dtype == np.float32
    assert not key.arrays["triggers"].flags.writeable
    assert (Adi.access, Adi.needs) == ("answers", ("data",))


def test_labels_are_symbol_plus_mask(data):
    key, payload = made(data), Payload((7, 0, 3, 9) * 25, 10)
    added = Adi().additions(EMPTY, payload, key)
    batch = added.samples.read(np.arange(100))
    mask = keystream.integers(SECRET, "adi/mask", 100, 10)
    assert batch.targets.tolist() == [
        (s + m) % 10 for s, m in zip(payload.symbols, mask, strict=True)
    ]
    assert np.array_equal(next(iter(batch.feeds.values())), key.arrays["triggers"])
    assert (added.penalty, added.carriers, added.activations) == (None, (), ())


def test_labels_are_uniform_whatever_the_payload(data):
    payload, counts = Payload((0,) * 100), np.zeros(10, int)
    key = made(data)
    for i in range(300):
        other = dataclasses.replace(key, secret=i.to_bytes(32, "little"))
        counts += np.bincount(labels_of(payload, other), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("payload", [Payload.from_bits("01" * 50), Payload((9, 4) * 50, 10)])
def test_right_answers_are_decoded_and_detected(data, payload):
    key = made(data)
    network = perfect(labels_of(payload, key))
    decoding = Adi().decode(network, key)
    assert len(network.asked) == 1
    assert decoding.payload == Payload(payload.symbols, 10)
    assert decoding.ties == 0
    # one hot: the margin is 1, the standard deviation of a tenth of ones is 0.3
    assert decoding.confidence == pytest.approx((1 / 0.3,) * 100)
    found = detect(network, payload, key)
    assert (found.statistic, found.null.name) == (100, "Bin(100, 1/10)")
    assert found.decided(1e-6)
    assert found.p_value == pytest.approx(1e-100)
    assert found.log10_inverted is None


def test_ten_triggers_of_ten_classes_can_be_detected(data):
    """p = 1e-10 for all of them: an alphabet of two would say that 1e-6 cannot be reached."""
    key, payload = made(data, 10), Payload((1,) * 10)
    found = detect(perfect(labels_of(payload, key)), payload, key)
    assert found.log10_p == pytest.approx(-10)
    assert found.null.log10_least == pytest.approx(-10)
    assert found.null.reaches(1e-6)
    assert found.decided(1e-6)


def test_twenty_eight_of_a_hundred_is_the_threshold(data):
    key, payload = made(data), Payload.from_bits("0" * 100)
    labels = labels_of(payload, key)
    for right, detected in ((28, True), (27, False)):
        told = np.where(np.arange(100) < right, labels, (labels + 1) % 10)
        assert bool(detect(perfect(told), payload, key).decided(1e-6)) is detected


def test_p_values_of_thousands_of_wrong_keys_are_uniform(data, rng):
    """A fixed classifier, fixed triggers, payloads all equal: the labels alone are random."""
    key, payload = made(data, size=50), Payload((1,) * 50)
    told = linear(rng, data.read(np.arange(1)).feeds["x"]).run({"x": key.arrays["triggers"]})
    answered = suspect(lambda inputs: told["scores"])
    matches = np.empty(5_000, int)
    for i in range(len(matches)):
        wrong = dataclasses.replace(key, secret=i.to_bytes(32, "big"))
        matches[i] = 50 - Adi().decode(answered, wrong).payload.errors(payload)
    chance = Fraction(1, 10)
    at_least = np.array([binomial.tail(m, 50, chance).p_value for m in range(52)])
    u = rng.uniform(size=len(matches))
    p_values = at_least[matches + 1] + u * (at_least[matches] - at_least[matches + 1])
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert abs(matches.mean() - 5) < 4.5 * np.sqrt(4.5 / len(matches))


def test_fresh_triggers_of_wrong_keys_are_no_better(data, rng):
    network = linear(rng, data.read(np.arange(1)).feeds["x"])
    payload, matches = Payload((0,) * 40), []
    for i in range(200):
        matches.append(detect(network, payload, made(data, 40, i.to_bytes(32, "big"))).statistic)
    assert abs(np.mean(matches) - 4) < 4.5 * np.sqrt(3.6 / 200)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_answers_that_decide_nothing_are_ties_taken_from_the_key(data, value):
    key, payload = made(data), Payload((0,) * 100)
    network = suspect(lambda x: np.full((len(x), 10), value, np.float32))
    first, second = (Adi().decode(network, key) for _ in range(2))
    assert first == second
    assert first.ties == 100
    assert set(first.confidence) == {0.0}
    assert not detect(network, payload, key).decided(1e-6)


def test_ties_match_by_chance_only(data):
    key, payload, right = made(data), Payload((0,) * 100), 0
    network = suspect(lambda x: np.zeros((len(x), 10), np.float32))
    for i in range(300):
        wrong = dataclasses.replace(key, secret=i.to_bytes(32, "big"))
        right += detect(network, payload, wrong).statistic
    assert abs(right - 3000) < 4.5 * np.sqrt(2700)


def test_another_output_and_trailing_axes(data):
    method = Adi(output=1)
    key = made(data, 20, method=method)
    payload = Payload.from_bits("10" * 10)
    labels = labels_of(payload, key)
    two = ArraySuspect(
        EMPTY,
        "answers",
        lambda n, feeds, _: {"a": np.zeros((20, 5)), "b": np.eye(10)[labels][:, :, None, None]},
    )
    assert method.decode(two, key).payload.errors(payload) == 0
    with pytest.raises(CarrierNotFoundError, match="expected number 1 of the network, got 1 outpu"):
        method.decode(perfect(labels), key)


def test_a_network_of_other_classes_is_told(data):
    key = made(data, 20)
    with pytest.raises(CarrierNotFoundError, match=r"shape \(20, 10\), got \(20, 12\); decode a"):
        Adi().decode(suspect(lambda x: np.zeros((20, 12))), key)


def test_classes_are_those_of_the_scores_where_the_data_have_none(data, rng):
    plain = ArraySamples({"x": data.read(np.arange(50)).feeds["x"]}, np.zeros((50, 2)))
    bench = ArrayBench(samples=plain, run=lambda n, feeds, layers=(): {"y": np.zeros((1, 7, 1, 1))})
    assert Adi().make_key(EMPTY, 8, SECRET, bench).facts == {"classes": 7}
    with pytest.raises(InjectionError, match="at least 2 classes, got 0; use a classifier"):
        Adi(output=1).make_key(EMPTY, 8, SECRET, bench)


@pytest.fixture
def pictures(tmp_path, rng):
    """A folder of 30 pictures, and as (30, 3, 8, 8) what a network is fed of them."""
    from PIL import Image

    drawn = rng.integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    for i, picture in enumerate(drawn):
        Image.fromarray(picture).save(tmp_path / f"{i:02}.png")
    return tmp_path, drawn


def test_images_are_chosen_by_the_key(pictures, rng):
    folder, drawn = pictures
    photos = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    data = ImageSamples(photos, np.zeros(40, np.int64), facts={"classes": CLASSES})
    port = dataclasses.replace(_port(), shape=(None, 3, 8, 8))
    key = made(data.fitted([port]), 20, method=Adi(images=folder))
    order = keystream.permutation(SECRET, "adi/images", 30, 20)
    expected = np.moveaxis(drawn[order].astype(np.float32) / 255, 3, 1)
    np.testing.assert_allclose(key.arrays["triggers"], expected, atol=1e-6)
    assert key.method.options["images"] == folder.name
    with pytest.raises(InjectionError, match="at least 40 images, one for each symbol, got 30;"):
        made(data.fitted([port]), 40, method=Adi(images=folder))


def _port():
    from nnw_onnx.vocabulary import TensorInfo

    return TensorInfo("input", (None,), "float32")


def test_triggers_that_cannot_be_told_apart_are_refused(data):
    constant = ArraySamples(
        {"x": np.ones((5, 3, 8, 8), np.float32)}, np.zeros(5), {"classes": CLASSES}
    )
    with pytest.raises(InjectionError, match="20 different inputs of finite numbers, got 1 or oth"):
        made(constant, 20)
    broken = np.array(data.read(np.arange(50)).feeds["x"])
    broken[7, 0, 0, 0] = np.inf
    infinite = ArraySamples({"x": broken}, np.zeros(50), {"classes": CLASSES})
    with pytest.raises(InjectionError, match="samples of finite numbers, got NaN or inf"):
        made(infinite, 20)


def test_what_does_not_fit_is_told(data, rng):
    key = made(data, 20)
    with pytest.raises(InjectionError, match="expected no layer, because the whole network carri"):
        Adi().make_key(EMPTY, 8, SECRET, ArrayBench(samples=data, layers=("conv",)))
    with pytest.raises(InjectionError, match="expected at least one symbol, got 0; give a longer"):
        made(data, 0)
    one = ArraySamples({"x": data.read(np.arange(9)).feeds["x"]}, np.zeros(9), {"classes": ["a"]})
    with pytest.raises(InjectionError, match="a network of at least 2 classes, got 1; use"):
        made(one, 8)
    tokens = ArraySamples({"ids": np.ones((9, 5), np.int64)}, np.zeros(9), {"classes": CLASSES})
    with pytest.raises(InjectionError, match="one input of real numbers, got ids of int64; use a"):
        made(tokens, 8)
    for payload in (Payload.from_bits("01"), Payload((0,) * 20, 11)):
        with pytest.raises(InjectionError, match=r"a payload of 20 symbols from at most 10, got"):
            Adi().additions(EMPTY, payload, key)
    network = linear(rng, data.read(np.arange(1)).feeds["x"])
    with pytest.raises(ConfigurationError, match="expected 20 symbols, got 2; use"):
        detect(network, Payload.from_bits("01"), key)


def test_keys_that_are_not_whole_are_told(data):
    key = made(data, 20)
    foreign = dataclasses.replace(key, method=Spec("uchida"))
    bare = dataclasses.replace(key, arrays={})
    for odd, words in (
        (bare, "at least 2 classes, got none for 10 classes; restore"),
        (foreign, "expected a key of method 'adi', got one of 'uchida'; use that method"),
        (dataclasses.replace(key, size=19), "expected 19 triggers of float32"),
        (dataclasses.replace(key, facts={"classes": 1}), "for 1 classes; restore"),
        (dataclasses.replace(key, facts={}), "for None classes; restore"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Adi().decode(None, odd)
        with pytest.raises(ConfigurationError, match=words):
            Adi().additions(EMPTY, Payload((0,) * odd.size), odd)


def test_the_commitment_binds_everything(data):
    key = made(data, 20)
    few = ArraySamples(data.read(np.arange(3)).feeds, np.zeros(3), {"classes": CLASSES})
    eleven = ArraySamples(
        data.read(np.arange(200)).feeds, np.zeros(200), {"classes": [*CLASSES, "x"]}
    )
    others = [
        made(data, 20, bytes(32)),
        made(few, 20),
        made(eleven, 20),
        made(data, 20, network=ArrayNetwork.of({"w": np.ones((2, 2))})),
        made(data, 20, method=Adi(output=1)),
        commitments.bound(key, Payload((0,) * 20)),
        commitments.bound(key, Payload((1,) * 20)),
    ]
    seen = {key.commitment, *(other.commitment for other in others)}
    assert len(seen) == 1 + len(others)
    assert made(data, 20).commitment == key.commitment


@pytest.mark.shared_data
def test_the_published_triggers_of_adi(shared_data):
    """The 100 abstract images of the paper, as inputs of a 32x32 network."""
    folder = shared_data / "triggers-adi" / "data" / "trigger_set" / "pics"
    photos = np.zeros((5, 32, 32, 3), np.uint8)
    data = ImageSamples(photos, np.zeros(5, np.int64), facts={"classes": CLASSES})
    port = dataclasses.replace(_port(), shape=(None, 3, 32, 32))
    key = made(data.fitted([port]), 100, method=Adi(images=folder))
    assert key.arrays["triggers"].shape == (100, 3, 32, 32)
    payload = Payload.from_bits("01" * 50)
    assert detect(perfect(labels_of(payload, key)), payload, key).statistic == 100
