"""DeepSigns: its gradient, its centres, a real training, and an exact null."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    TrainingError,
)
from nnw_onnx.kit import keystream
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.methods.deepsigns import DeepSigns
from nnw_onnx.testing import (
    ArrayBench,
    ArrayNetwork,
    ArraySuspect,
    ArrayTrainer,
    run,
    small_network,
    small_samples,
)
from nnw_onnx.vocabulary import Job, Moment, Payload, Recipe

SECRET = bytes(range(32))
RECIPE = Recipe(epochs=40, batch_size=40, learning_rate=0.02, weight_decay=0.0)
BENCH = ArrayBench(samples=small_samples(), run=run)
PAYLOAD = Payload.from_bits("110100")


def seen(network):
    return ArraySuspect(network, "activations", run)


@pytest.fixture(scope="module")
def made():
    """Method, key, and what a training with the watermark came to."""
    method, plain = DeepSigns(count=10), small_network()
    key = method.make_key(plain, 6, SECRET, BENCH)
    job = Job(small_samples(), RECIPE, "cross-entropy", 0, method.additions(plain, PAYLOAD, key))
    return method, key, ArrayTrainer().train(plain, job)


def moment(answers, targets, state, own=None):
    own = np.zeros(len(targets), bool) if own is None else own
    return Moment({}, {"middle": answers}, targets, own, state, 0, lambda w: {})


def test_the_key_holds_inputs_of_the_class(made):
    _, key, _ = made
    assert (key.layers, key.shapes) == (("middle",), ((40, 48, 1, 1),))
    assert dict(key.facts) == {"classes": 10, "features": 40, "pooled": False}
    assert key.notes == (
        "carrier middle (40x48x1x1): the last inner kernel; 40 answers",
        "10 inputs of class 0",
    )
    every = small_samples().read(np.arange(200))
    inputs = next(iter(every.feeds.values()))
    for held in key.arrays["feed_0"]:
        (place,) = np.flatnonzero((inputs == held).all(axis=(1, 2, 3)))
        assert every.targets[place] == 0


def test_a_training_puts_the_payload_in_and_leaves_its_centres(made):
    method, key, trained = made
    before = method.decode(seen(small_network()), key)
    after = method.decode(seen(trained.network), key)
    assert before.payload.errors(PAYLOAD) > 0
    assert after.payload == PAYLOAD
    assert trained.epochs[-1].loss < 0.1
    assert trained.epochs[-1].penalty < trained.epochs[1].penalty / 2
    centres = trained.state["centres"]
    assert (centres.shape, centres.dtype, trained.state["seen"].all()) == ((10, 40), "f4", True)
    # Centres have followed the classes that they stand for.
    every = small_samples().read(np.arange(200))
    told = run(trained.network, every.feeds, ["middle"])["middle"].reshape(200, 40)
    means = np.array([told[np.asarray(every.targets) == c].mean(axis=0) for c in range(10)])
    nearest = ((means[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert nearest.tolist() == list(range(10))


def test_one_question_is_asked_for_all_bits(made):
    method, key, trained = made
    suspect = seen(trained.network)
    method.decode(suspect, key)
    assert [layers for _, layers in suspect.asked] == [("middle",)]


def test_the_decoder_reads_the_mean_answer_in_closed_form(made):
    method, key, trained = made
    told = run(trained.network, {"x": key.arrays["feed_0"]}, ["middle"])["middle"]
    mean = told.reshape(10, 40).astype(np.float64).mean(axis=0)
    matrix = keystream.gaussian(SECRET, "deepsigns/projection", 240).reshape(6, 40)
    bits = (matrix @ mean > 0) ^ keystream.bits(SECRET, "deepsigns/mask", 6).astype(bool)
    read = method.decode(seen(trained.network), key)
    assert read.payload.symbols == tuple(bits.astype(int).tolist())
    np.testing.assert_allclose(read.confidence, abs(matrix @ mean) / np.linalg.norm(mean))


def test_the_gradient_agrees_with_differences(made, rng):
    method, key, trained = made
    added = method.additions(small_network(), PAYLOAD, key)
    answers, targets = rng.standard_normal((12, 40, 1, 1)), np.arange(12) % 5
    own = np.arange(12) == 10  # one of the marked class
    found = added.penalty(moment(answers, targets, trained.state, own)).activations["middle"]
    assert found.shape == answers.shape
    assert not found[10].any()  # samples of somebody's own have no class centre
    for place in ((0, 3), (5, 7), (11, 39)):
        moved = [answers.copy(), answers.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        ahead, behind = (added.penalty(moment(a, targets, trained.state, own)).value for a in moved)
        assert found[place][0, 0] == pytest.approx((ahead - behind) / 2e-5, rel=1e-6, abs=1e-9)


def test_the_first_step_makes_centres_of_the_other_classes(made, rng):
    method, key, _ = made
    added = method.additions(small_network(), PAYLOAD, key)
    told = run(small_network(), {"x": key.arrays["feed_0"]}, ["middle"])["middle"]
    start = added.state["centres"]
    np.testing.assert_allclose(start[0], told.reshape(10, 40).mean(axis=0), rtol=1e-6)
    assert (np.flatnonzero(added.state["seen"]).tolist(), start[1:].any()) == ([0], False)
    answers, targets = rng.standard_normal((6, 40, 1, 1)), np.array([0, 0, 3, 3, 3, -1])
    found = added.penalty(moment(answers, targets, added.state))
    slopes = found.activations["middle"]
    assert slopes[:2].all()
    assert not slopes[2:].any()
    assert np.flatnonzero(found.state["seen"]).tolist() == [0, 3]
    expected = answers[2:5].reshape(3, 40).mean(axis=0)
    np.testing.assert_allclose(found.state["centres"][3], expected, rtol=1e-5, atol=1e-7)
    assert not found.state["centres"][1].any()


def test_the_value_restated(made, rng):
    """closeness / 2 mean ||f - mu||^2 / mean(mu^2) + strength sum log(1 + exp(-s 4 y / ||mu||))."""
    method, key, trained = made
    answers, targets = rng.standard_normal((8, 40, 1, 1)), np.array([0, 0, 1, 2, 3, 4, 5, -1])
    found = method.additions(small_network(), PAYLOAD, key).penalty(
        moment(answers, targets, trained.state)
    )
    centres = trained.state["centres"].astype(np.float64)
    apart = answers[:7].reshape(7, 40) - centres[targets[:7]]
    matrix = keystream.gaussian(SECRET, "deepsigns/projection", 240).reshape(6, 40)
    bits = PAYLOAD.array() ^ keystream.bits(SECRET, "deepsigns/mask", 6)
    scores = 4 * matrix @ answers[:2].reshape(2, 40).mean(axis=0) / np.linalg.norm(centres[0])
    probability = 1 / (1 + np.exp(-scores))
    bce = -np.log(np.where(bits, probability, 1 - probability)).sum()
    near = np.mean((apart**2).sum(axis=1)) / np.mean(centres**2)
    assert found.value == pytest.approx(0.001 / 2 * near + 0.01 * bce, rel=1e-6)
    # Class 6 is not in the batch: its centre stays. That of class 1 goes half of its way.
    moved = found.state["centres"]
    assert np.array_equal(moved[6], trained.state["centres"][6])
    np.testing.assert_allclose(
        moved[1], (centres[1] + answers[2].reshape(40)) / 2, rtol=1e-5, atol=1e-6
    )


def test_wrong_keys_guess(made):
    method, key, trained = made
    wide = dataclasses.replace(key, size=30)
    suspect, wrong = seen(trained.network), []
    for i in range(400):
        other = dataclasses.replace(wide, secret=i.to_bytes(32, "big"))
        wrong.append(method.decode(suspect, other).payload.errors(Payload((1,) * 30)))
    counts = np.bincount(wrong, minlength=31)
    low, high = counts[:12].sum(), counts[19:].sum()
    middle = counts[12:19]
    pmf = stats.binom.pmf(range(31), 30, 0.5)
    expected = np.array([pmf[:12].sum(), *pmf[12:19], pmf[19:].sum()]) * 400
    assert stats.chisquare([low, *middle, high], expected).pvalue > 1e-3


def test_large_answers_are_averaged_over_their_positions():
    """2,000 classes of 48 x 64 answers would be 6 million numbers."""
    classes = [str(n) for n in range(2000)]
    x, names = np.ones((20, 3), np.float32), ("conv", "fc")

    def ask(network, feeds, layers=()):
        n = len(next(iter(feeds.values())))
        wide = np.arange(n * 48 * 64, dtype=np.float32).reshape(n, 48, 8, 8)
        return {"y": np.zeros((n, 2000)), **dict.fromkeys(layers, wide)}

    bench = ArrayBench(samples=ArraySamples({"x": x}, np.zeros(20, np.int64), {"classes": classes}),
                       run=ask)  # fmt: skip
    network = ArrayNetwork.of({name: np.eye(9).reshape(9, 3, 3) for name in names})
    method = DeepSigns()
    key = method.make_key(network, 12, SECRET, bench)
    assert dict(key.facts) == {"classes": 2000, "features": 48, "pooled": True}
    assert "48 answers on average over positions" in key.notes[0]
    added = method.additions(network, Payload((0,) * 12), key)
    answers = np.random.Generator(np.random.Philox(0)).standard_normal((4, 48, 8, 8))
    state = {"centres": np.ones((2000, 48), "f4"), "seen": np.ones(2000, "f4")}
    now = Moment({}, {"conv": answers}, np.arange(1, 5), np.zeros(4, bool), state, 0, lambda w: {})
    slopes = added.penalty(now).activations["conv"]
    mean = answers.mean(axis=(2, 3))
    expected = np.broadcast_to((0.001 / 4 * (mean - 1) / 64)[:, :, None, None], answers.shape)
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


def test_what_does_not_fit_is_told(made):
    method, key, trained = made
    plain = small_network()
    with pytest.raises(InjectionError, match="an inner layer of more than 48 answers, got 48; use"):
        method.make_key(plain, 48, SECRET, BENCH)
    with pytest.raises(InjectionError, match="layer 'middle' of more than 40 answers, got 40; use"):
        method.make_key(plain, 40, SECRET, ArrayBench(samples=small_samples(), run=run,
                                                      layers=("middle",)))  # fmt: skip
    with pytest.raises(InjectionError, match="training samples of class 11, got none; choose"):
        DeepSigns(target=11).make_key(plain, 6, SECRET, BENCH)
    scores = ArraySamples({"x": np.ones((4, 3), "f4")}, np.ones((4, 2)), {"classes": ["a", "b"]})
    with pytest.raises(
        InjectionError, match=r"one class a sample, got targets of float64 \(4, 2\)"
    ):
        method.make_key(plain, 6, SECRET, ArrayBench(samples=scores, run=run))
    with pytest.raises(ConfigurationError, match="expected inputs of a class, got none; restore"):
        method.decode(seen(plain), dataclasses.replace(key, arrays={}))
    with pytest.raises(ConfigurationError, match="numbers of classes and features among its facts"):
        method.decode(seen(plain), dataclasses.replace(key, facts={}))
    other = dataclasses.replace(key, facts={**key.facts, "features": 41})
    with pytest.raises(CarrierNotFoundError, match="expected 41 answers, got 40; decode a network"):
        method.decode(seen(trained.network), other)
    bare = dataclasses.replace(key, arrays={})
    with pytest.raises(ConfigurationError, match="the 40 mean answers to class 0 of 10, got none"):
        method.additions(plain, PAYLOAD, bare)
    added = method.additions(plain, PAYLOAD, key)
    with pytest.raises(TrainingError, match="expected the classes of each batch, got none; give"):
        added.penalty(moment(np.zeros((2, 40, 1, 1)), None, added.state, np.zeros(2, bool)))
