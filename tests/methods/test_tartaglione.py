"""Tartaglione: fixed weights, the update by replicas restated, and an exact null."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.datasets.digits import Digits
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import keystream
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.methods.tartaglione import Tartaglione
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArrayTrainer, small_network, small_samples
from nnw_onnx.vocabulary import Claim, Job, Moment, Payload, Recipe

SECRET = bytes(range(32))
MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
BENCH = ArrayBench()
PIXELS = Payload((0, 128, 255, 3, 77, 200, 31, 254), 256)
KERNELS = ("conv", "middle", "head")


def places(network, key):
    """(layer, flat position) of each Symbol, by counting through all kernels."""
    total = sum(network.weights[name].size for name in KERNELS)
    drawn = keystream.permutation(SECRET, "tartaglione/positions", total, key.size)
    found = []
    for position in drawn.tolist():
        start = 0
        for name in KERNELS:
            if 0 <= position - start < network.weights[name].size:
                found.append((name, position - start))
            start += network.weights[name].size
    return found


def test_marked_weights_are_pixels_between_minus_scale_and_scale():
    """(2 pixel / 255 - 1) SF at keyed positions over all kernels, and nothing else changes."""
    method, plain = Tartaglione(alphabet=256, scale=0.5), small_network()
    key = method.make_key(plain, 8, SECRET, BENCH)
    assert (key.layers, key.notes) == (
        KERNELS,
        ("8 of 16144 weights in 3 layers, chosen by the key",),
    )
    marked = method.inject(plain, PIXELS, key, BENCH)
    pixels = (PIXELS.array() + keystream.integers(SECRET, "tartaglione/mask", 8, 256)) % 256
    where = places(plain, key)
    for pixel, (name, position) in zip(pixels, where, strict=True):
        found = marked.weights[name].reshape(-1)[position]
        assert found == np.float32((2 * pixel / 255 - 1) * 0.5)
    changed = sum(np.count_nonzero(marked.weights[n] != plain.weights[n]) for n in plain.weights)
    assert changed == 8
    assert method.decode(marked, key).payload == PIXELS


def test_positions_are_in_proportion_to_the_size_of_layers():
    """Of 500 Symbols in layers of 13,824, 1,920 and 400 weights."""
    method, plain = Tartaglione(), small_network()
    key = method.make_key(plain, 500, SECRET, BENCH)
    where = places(plain, key)
    assert len(set(where)) == 500
    counts = [sum(name == n for name, _ in where) for n in KERNELS]
    sizes = np.array([plain.weights[n].size for n in KERNELS])
    assert stats.chisquare(counts, 500 * sizes / sizes.sum()).pvalue > 1e-3
    added = method.additions(plain, Payload((1,) * 500), key)
    assert {n: int(mask.sum()) for n, mask in added.fixed.items()} == dict(
        zip(KERNELS, counts, strict=True)
    )


def test_many_weights_are_drawn_from_without_a_permutation():
    large = ArrayNetwork.of({"w": np.arange(90_000.0).reshape(300, 300)})
    method = Tartaglione()
    key = method.make_key(large, 3000, SECRET, BENCH)
    fixed = method.additions(large, Payload((1, 0) * 1500), key).fixed["w"]
    assert int(fixed.sum()) == 3000
    first, second = fixed[:150].sum(), fixed[150:].sum()
    assert stats.binomtest(int(first), int(first + second)).pvalue > 1e-3


def test_the_update_by_replicas_restated():
    """With loss = sum a w^2 / 2 a replica is (w + e)(1 + eta a), with e = 0 where it is marked."""
    method = Tartaglione(replicas=3, spread=0.02, ascent=0.7, strength=0.4)
    plain = small_network("float64")
    key = method.make_key(plain, 40, SECRET, BENCH)
    added = method.additions(plain, Payload((1,) * 40), key)
    weights = {n: np.array(plain.weights[n]) for n in KERNELS}
    curve = 2.5
    asked = []

    def gradient(at):
        asked.append(at)
        return {name: curve * values for name, values in at.items()}

    now = Moment(weights, {}, None, np.zeros(0, bool), {}, 17, gradient)
    told = added.penalty(now)
    assert len(asked) == 3
    energy = 0.0
    for name in KERNELS:
        size, shape = weights[name].size, weights[name].shape
        noise = [
            keystream.gaussian(SECRET, f"tartaglione/replica/17/{r}/{name}", size).reshape(shape)
            for r in range(3)
        ]
        free = ~added.fixed[name]
        for r, at in enumerate(asked):
            np.testing.assert_array_equal(at[name][~free], weights[name][~free])
            np.testing.assert_allclose(at[name][free], (weights[name] + 0.02 * noise[r])[free])
        replicas = [(weights[name] + 0.02 * e) * (1 + 0.7 * curve) * free for e in noise]
        np.testing.assert_allclose(told.weights[name], 0.4 * np.mean(replicas, axis=0), atol=1e-15)
        energy += np.mean([np.sum(r**2) for r in replicas])
    assert told.value == pytest.approx(0.2 * energy, rel=1e-12)


def test_a_plain_step_takes_lambda_times_the_mean_replica():
    """The paper's update, with strength = lambda / learning rate; marked weights do not move."""
    method = Tartaglione(replicas=4, ascent=0.0, strength=0.05 / 0.1)
    plain = small_network("float64")
    key = method.make_key(plain, 40, SECRET, BENCH)
    recipe = Recipe(epochs=1, batch_size=200, learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    added = method.additions(plain, Payload((1,) * 40), key)
    bare = dataclasses.replace(added, penalty=None)
    with_, without = (
        ArrayTrainer().train(plain, Job(small_samples(), recipe, "cross-entropy", 0, a)).network
        for a in (added, bare)
    )
    start = plain.with_weights(added.start)
    for name in KERNELS:
        fixed = added.fixed[name]
        np.testing.assert_array_equal(with_.weights[name][fixed], start.weights[name][fixed])
        mean_replica = (without.weights[name] - with_.weights[name])[~fixed] / 0.05
        noise = mean_replica - start.weights[name][~fixed]
        # Of four replicas, each with noise of 0.01.
        assert noise.std() == pytest.approx(0.005, rel=0.15)
        assert abs(noise.mean()) < 4 * 0.005 / np.sqrt(noise.size)


def test_a_training_keeps_the_payload_and_the_network(tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from nnw_onnx_torch import OnnxModule
    from nnw_onnx_torch.training.trainer import TorchTrainer

    network = open_network(MODELS / "cnn-0.onnx")
    data = Digits(preprocessing=Preprocessing(scale=0.0625))
    training, test = (data.load(s).fitted(network.inputs) for s in ("train", "test"))
    method = Tartaglione(scale=0.5, replicas=2)
    payload = Payload.random(256, np.random.Generator(np.random.PCG64(1)))
    key = method.make_key(network, 256, SECRET, BENCH)
    save_key(Claim(key, payload), tmp_path / "a.key")
    key = load_key(tmp_path / "a.key").key
    bare = method.inject(network, payload, key, BENCH)
    recipe = Recipe(epochs=1, batch_size=32, learning_rate=0.02)
    added = method.additions(network, payload, key)
    done = TorchTrainer().train(network, Job(training, recipe, "cross-entropy", 0, added))
    held = test.read(np.arange(len(test)))

    def accuracy(it):
        scores = next(iter(OnnxModule(it).run(held.feeds).values()))
        return np.mean(scores.argmax(axis=1) == held.targets)

    assert method.decode(done.network, key).payload == payload
    for name, fixed in added.fixed.items():
        assert set(np.abs(done.network.weights[name][fixed]).tolist()) == {0.5}
    assert accuracy(network) > 0.98
    assert accuracy(done.network) > accuracy(bare)
    assert accuracy(done.network) > 0.97


def test_any_network_answers_uniformly():
    """Exact null for any weights, here all equal: 2,000 keys and four values a Symbol."""
    method = Tartaglione(alphabet=4)
    flat = ArrayNetwork.of({"w": np.full((8, 8), 0.03)})
    key = Tartaglione(alphabet=4).make_key(
        ArrayNetwork.of({"w": np.arange(64.0).reshape(8, 8)}), 10, SECRET, BENCH
    )
    counts = np.zeros(11)
    for i in range(2000):
        other = dataclasses.replace(key, secret=i.to_bytes(32, "little"))
        read = method.decode(flat, other).payload
        counts[10 - read.errors(Payload((3,) * 10, 4))] += 1
    pmf = stats.binom.pmf(range(11), 10, 1 / 4)
    seen = [*counts[:6], counts[6:].sum()]
    assert stats.chisquare(seen, 2000 * np.array([*pmf[:6], pmf[6:].sum()])).pvalue > 1e-3


def test_confidence_is_the_distance_from_the_nearest_border():
    method = Tartaglione(alphabet=3, scale=1.0)  # -1, 0, 1; borders -0.5, 0.5
    plain = ArrayNetwork.of({"w": np.array([[-3.0, -0.75], [0.25, 0.5]])})
    key = method.make_key(plain, 4, SECRET, BENCH)
    found = method.decode(plain, key)
    order = keystream.permutation(SECRET, "tartaglione/positions", 4, 4)
    away = np.array([2.5, 0.25, 0.25, 0.0]) / np.sqrt(np.mean([9, 0.5625, 0.0625, 0.25]))
    np.testing.assert_allclose(found.confidence, away[order])
    assert found.ties == 1
    levels = np.array([0, 0, 1, 2])[order]  # round half to even: place 1.5 is 2
    mask = keystream.integers(SECRET, "tartaglione/mask", 4, 3)
    assert found.payload.symbols == tuple(((levels - mask) % 3).tolist())


def test_without_replicas_weights_are_only_fixed():
    plain = small_network()
    for method in (Tartaglione(replicas=0), Tartaglione(strength=0.0)):
        key = method.make_key(plain, 8, SECRET, BENCH)
        added = method.additions(plain, Payload((1,) * 8), key)
        assert added.penalty is None
        assert sum(int(mask.sum()) for mask in added.fixed.values()) == 8


def test_what_does_not_fit_is_told():
    method, plain = Tartaglione(), small_network()
    with pytest.raises(
        InjectionError, match="at least 16145 weights in kernels, got 16144 in 3 la"
    ):
        method.make_key(plain, 16145, SECRET, BENCH)
    with pytest.raises(InjectionError, match="weights in kernels, got none; use a shorter payload"):
        method.make_key(ArrayNetwork.of({"bias": np.ones(4)}), 2, SECRET, BENCH)
    key = method.make_key(plain, 8, SECRET, BENCH)
    with pytest.raises(
        ConfigurationError, match="at most one symbol a weight, got 20000 for 16144"
    ):
        method.decode(plain, dataclasses.replace(key, size=20000))
    with pytest.raises(CarrierNotFoundError, match="expected layer conv"):
        method.decode(ArrayNetwork.of({"other": np.eye(4)}), key)
    fine = Tartaglione(alphabet=256, scale=1000.0)
    coarse = ArrayNetwork.of({"w": np.arange(64.0).reshape(8, 8).astype(np.float16)})
    key = fine.make_key(coarse, 8, SECRET, BENCH)
    assert fine.decode(fine.inject(coarse, PIXELS, key, BENCH), key).payload == PIXELS


def test_wrong_keys_guess(wrong_keys, assert_uniform):
    assert_uniform(wrong_keys(Tartaglione()))
