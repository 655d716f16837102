"""DICTION: its terms against torch, a real training, and why it has no p-value."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.datasets.digits import Digits
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.graph import open_network
from nnw_onnx.kit import keystream
from nnw_onnx.kit.extractors import Extractor
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.math.small_nets import SmallNet
from nnw_onnx.methods.diction import Diction
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.testing import ArrayBench, ArraySuspect, run, small_network, small_samples
from nnw_onnx.vocabulary import Claim, Job, Moment, Payload, Recipe

SECRET = bytes(range(32))
MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
PAYLOAD = Payload.from_bits("1101000111010010" * 2)
SMALL = Payload.from_bits("110100")
BENCH = ArrayBench(samples=small_samples(), run=run)


@pytest.fixture(scope="module")
def trained():
    """Method, key with what was learnt, the marked network, unmarked ones, suspects of them."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from nnw_onnx_torch import OnnxModule
    from nnw_onnx_torch.training.trainer import TorchTrainer

    networks = [open_network(MODELS / f"cnn-{i}.onnx") for i in range(3)]
    samples = Digits(preprocessing=Preprocessing(scale=0.0625)).load("train")
    samples = samples.fitted(networks[0].inputs)

    def ask(network, feeds, layers=()):
        return OnnxModule(network).run(feeds, layers)

    method = Diction(strength=0.1)
    bench = ArrayBench(samples=samples, run=ask)
    key = method.make_key(networks[0], len(PAYLOAD), SECRET, bench)
    added = method.additions(networks[0], PAYLOAD, key)
    recipe = Recipe(epochs=4, batch_size=32, learning_rate=0.02)
    done = TorchTrainer().train(networks[0], Job(samples, recipe, "cross-entropy", 0, added))
    assert done.epochs[-1].loss < 0.05
    learnt = dataclasses.replace(key, arrays={**key.arrays, **done.state})
    return method, learnt, done.network, networks, lambda n: ArraySuspect(n, "activations", ask)


def made(method=Diction(count=5)):  # noqa: B008 - frozen
    key = method.make_key(small_network(), len(SMALL), SECRET, BENCH)
    return key, method.additions(small_network(), SMALL, key)


def moment(answers, own, state):
    return Moment({}, {"middle": answers}, None, own, state, 0, lambda w: {})


def test_the_key_holds_noise_and_what_the_unmarked_network_answers():
    key, added = made()
    assert (key.layers, dict(key.facts)) == (("middle",), {"answers": 40})
    assert key.notes == (
        "carrier middle (40x48x1x1): the last inner kernel that answers enough; 40 answers",
        "5 triggers of noise",
    )
    noise = key.arrays["triggers"]
    drawn = keystream.gaussian(SECRET, "diction/triggers", noise.size).reshape(noise.shape)
    drawn[:, :5, :5] = 1  # channels are on the shortest axis
    assert np.array_equal(noise, drawn.astype(np.float32))
    told = run(small_network(), {"x": noise}, ["middle"])
    places = keystream.integers(SECRET, "diction/features", 40, 40)
    assert len(set(places.tolist())) < 40  # with replacement
    np.testing.assert_allclose(key.arrays["unmarked"], told["middle"].reshape(5, 40)[:, places])
    assert np.array_equal(key.arrays["labels"], told["scores"].argmax(axis=1))
    batch = added.samples.read(np.arange(5))
    assert np.array_equal(batch.feeds["triggers"], noise)
    assert np.array_equal(batch.targets, key.arrays["labels"])


def test_a_square_is_where_images_have_their_first_pixels():
    images = np.zeros((20, 8, 7, 3), np.float32)
    samples = ArraySamples({"x": images}, np.arange(20) % 10, {"classes": 10})

    def ask(network, feeds, layers=()):
        n = len(next(iter(feeds.values())))
        return {"y": np.zeros((n, 10)), **{name: np.ones((n, 48)) for name in layers}}

    key = Diction(count=3).make_key(
        small_network(), 6, SECRET, ArrayBench(samples=samples, run=ask)
    )
    ones = key.arrays["triggers"] == 1
    assert ones[:, :5, :5].all()
    assert not ones[:, 5:].any()
    assert not ones[:, :, 5:].any()


def test_terms_gradient_and_step_are_those_of_torch(rng):
    torch = pytest.importorskip("torch")
    method = Diction(count=5, strength=0.3, rate=0.002)
    key, added = made(method)
    answers, own = rng.standard_normal((7, 40, 1, 1)), np.arange(7) >= 4
    told = added.penalty(moment(answers, own, added.state))

    names = ("inner", "outer", "inner_bias", "outer_bias")
    parts = [
        torch.tensor(added.state[f"projection.{n}"].astype(np.float64), requires_grad=True)
        for n in names
    ]
    x = torch.tensor(answers, requires_grad=True)
    plain = torch.tensor(key.arrays["unmarked"].astype(np.float64))
    scale = plain.square().mean().sqrt()
    places = torch.tensor(keystream.integers(SECRET, "diction/features", 40, 40))

    def read(shown):
        inner, outer, inner_bias, outer_bias = parts
        hidden = torch.sigmoid(torch.nn.functional.linear(shown / scale, inner, inner_bias))
        return torch.nn.functional.linear(hidden, outer, outer_bias)

    def bce(logits, bits):
        each = torch.tensor(bits.astype(float)).expand_as(logits)
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        return loss(logits, each, reduction="none").sum(dim=1).mean()

    bits = SMALL.array() ^ keystream.bits(SECRET, "diction/mask", 6)
    others = keystream.signs(SECRET, "diction/unmarked", 6) > 0
    value = 0.3 * (bce(read(x[4:].flatten(1)[:, places]), bits) + bce(read(plain), others))
    by_x, *by_parts = torch.autograd.grad(value, [x, *parts])
    assert told.value == pytest.approx(value.item(), rel=1e-10)
    np.testing.assert_allclose(told.activations["middle"], by_x.numpy(), rtol=1e-9, atol=1e-15)
    assert not told.activations["middle"][:4].any()
    for part, slope in zip(parts, by_parts, strict=True):
        part.grad = slope
    torch.optim.Adam(parts, lr=0.002).step()
    for part, name in zip(parts, names, strict=True):
        found = told.state[f"projection.{name}"]
        np.testing.assert_allclose(found, part.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_that_its_net_is_not_decayed_as_by_the_paper_is_told():
    """AdamW would shrink weights that nothing else moves."""
    _, added = made()
    still = SmallNet(*(np.zeros(added.state[f"projection.{n}"].shape) for n in SmallNet._fields))
    net = Extractor("projection", still.inner.shape[1], len(still.inner), len(still.outer), True)
    moved = net.step(added.state, still, Diction().rate)
    for name in SmallNet._fields:
        np.testing.assert_array_equal(
            moved[f"projection.{name}"], added.state[f"projection.{name}"]
        )
    told = " ".join(Diction.__doc__.split())
    assert "Adam without weight decay, where the paper has AdamW" in told


def test_the_gradient_agrees_with_differences(rng):
    _, added = made()
    answers, own = rng.standard_normal((6, 40, 1, 1)), np.arange(6) >= 3
    slopes = added.penalty(moment(answers, own, added.state)).activations["middle"]
    for place in ((3, 0), (4, 17), (5, 39)):
        moved = [answers.copy(), answers.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        ahead, behind = (added.penalty(moment(a, own, added.state)).value for a in moved)
        assert slopes[place][0, 0] == pytest.approx((ahead - behind) / 2e-5, rel=1e-6, abs=1e-10)


def test_a_batch_without_triggers_adds_nothing():
    _, added = made()
    found = added.penalty(moment(np.ones((4, 40, 1, 1)), np.zeros(4, bool), added.state))
    assert (found.value, dict(found.activations), dict(found.state)) == (0.0, {}, {})


def test_a_training_puts_the_payload_in(trained, tmp_path):
    method, key, marked, networks, seen = trained
    assert method.decode(seen(marked), key).payload == PAYLOAD
    save_key(Claim(key, PAYLOAD), tmp_path / "a.key")
    again = load_key(tmp_path / "a.key").key
    assert method.decode(seen(marked), again) == method.decode(seen(marked), key)
    wrong = method.decode(seen(networks[0]), again).payload.errors(PAYLOAD)
    assert wrong >= 5


def test_the_unmarked_network_reads_the_other_bits(trained):
    method, key, _, networks, seen = trained
    mask = keystream.bits(SECRET, "diction/mask", 32).astype(bool)
    others = (keystream.signs(SECRET, "diction/unmarked", 32) > 0) ^ mask
    read = method.decode(seen(networks[0]), key).payload
    assert read.symbols == tuple(others.astype(int).tolist())


def test_bits_of_other_networks_are_not_independent(trained):
    """Why matches are no binomial: networks read the payload or the other bits, as a whole."""
    method, key, _, networks, seen = trained
    distance = method.decode(seen(networks[0]), key).payload.errors(PAYLOAD)
    for network in networks[1:]:
        wrong = method.decode(seen(network), key).payload.errors(PAYLOAD)
        assert min(abs(wrong - distance), wrong) <= 4
    found = method.detect(seen(networks[1]), PAYLOAD, key)
    assert found.log10_p is None
    assert "fitted to the payload" in found.null.name


def test_what_does_not_fit_is_told():
    method, plain = Diction(count=5), small_network()
    key, _ = made()
    with pytest.raises(InjectionError, match="an inner layer of at least 49 answers, got 48; use"):
        method.make_key(plain, 49, SECRET, BENCH)
    asked = ArrayBench(samples=small_samples(), run=run, layers=("middle",))
    with pytest.raises(InjectionError, match="layer 'middle' of at least 41 answers, got 40; use"):
        method.make_key(plain, 41, SECRET, asked)
    words = ArraySamples({"x": np.ones((4, 3), np.int64)}, np.arange(4), {"classes": 4})
    with pytest.raises(InjectionError, match="one input of real numbers, got x of int64; use a"):
        method.make_key(plain, 6, SECRET, ArrayBench(samples=words, run=run))
    seen = ArraySuspect(plain, "activations", run)
    with pytest.raises(ConfigurationError, match=r"expected triggers, a class .* got \[\(\), \("):
        method.decode(seen, dataclasses.replace(key, arrays={}))
    lost = {**key.arrays, "labels": np.zeros(4, np.int64)}
    with pytest.raises(
        ConfigurationError, match=r"got \[\(5, 32, 3, 3\), \(4,\), \(5, 40\)\]; rest"
    ):
        method.decode(seen, dataclasses.replace(key, arrays=lost))
    with pytest.raises(ConfigurationError, match="number of answers among its facts, got None; re"):
        method.decode(seen, dataclasses.replace(key, facts={}))
    more = dataclasses.replace(key, facts={"answers": 41})
    arrays = {**key.arrays, "unmarked": np.ones((5, 41)), "projection.inner": np.ones((512, 41))}
    with pytest.raises(CarrierNotFoundError, match="expected 41 answers, got 40; decode a network"):
        method.decode(seen, dataclasses.replace(more, arrays=arrays))
