"""RIGA: its terms against torch, a real training, what the detector is for, and no null."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.datasets.digits import Digits
from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    PluginError,
)
from nnw_onnx.graph import open_network
from nnw_onnx.kit import extractors, initialisation, keystream
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.math import binomial, penalties, projection, small_nets
from nnw_onnx.methods.riga import Riga
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.testing import ArrayBench, ArrayNetwork, check_method, small_network
from nnw_onnx.vocabulary import Claim, Job, Moment, Payload, Recipe

SECRET = bytes(range(32))
MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
PAYLOAD = Payload.from_bits("1101000111010010" * 2)
SMALL = Payload.from_bits("110100")


@pytest.fixture(scope="module")
def digits():
    """The network to mark and two that others have trained, and the training samples."""
    networks = [open_network(MODELS / f"cnn-{i}.onnx") for i in range(3)]
    samples = Digits(preprocessing=Preprocessing(scale=0.0625)).load("train")
    return networks, samples


@pytest.fixture(scope="module")
def trained(digits):
    """Covertness -> key with what was learnt, and the network after eight epochs."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from nnw_onnx_torch.training.trainer import TorchTrainer

    (network, *_), samples = digits
    recipe = Recipe(epochs=8, batch_size=32, learning_rate=0.02)
    found = {}
    for covertness in (0.0, 1.0):
        method = Riga(strength=0.1, covertness=covertness)
        key = method.make_key(network, len(PAYLOAD), SECRET, ArrayBench())
        added = method.additions(network, PAYLOAD, key)
        job = Job(samples.fitted(network.inputs), recipe, "cross-entropy", 0, added)
        done = TorchTrainer().train(network, job)
        assert done.epochs[-1].loss < 0.05
        learnt = dataclasses.replace(key, arrays={**key.arrays, **done.state})
        found[covertness] = method, learnt, done.network
    return found


def made(method=Riga(), secret=SECRET):  # noqa: B008 - frozen
    bench = ArrayBench(layers=("conv",))
    key = method.make_key(small_network(), len(SMALL), secret, bench)
    return key, method.additions(small_network(), SMALL, key)


def moment(weights, state):
    return Moment({"conv": weights}, {}, None, np.zeros(0, bool), state, 0, lambda w: {})


def test_the_key_has_the_carrier_and_its_mean():
    key, added = made()
    assert (key.layers, key.shapes) == (("conv",), ((48, 32, 3, 3),))
    assert key.notes == ("carrier conv (48x32x3x3): as asked",)
    chosen = Riga().make_key(small_network(), 6, SECRET, ArrayBench())
    assert chosen.notes == (
        "carrier middle (40x48x1x1): the last kernel of enough weights a filter",
    )
    mean = small_network().weights["conv"].astype(np.float64).mean(axis=0).reshape(-1)
    np.testing.assert_allclose(key.arrays["unmarked"], mean, rtol=1e-6)
    assert key.arrays["extractor.inner"].shape == (100, 288)
    assert key.arrays["extractor.outer"].shape == (6, 100)
    assert added.state["detector.outer"].shape == (1, 100)
    assert not any(name.startswith("detector") for name in key.arrays)


def test_terms_gradient_and_steps_are_those_of_torch(rng):
    """The whole of one step with autograd: sort, both nets, both optimizers."""
    torch = pytest.importorskip("torch")
    method = Riga(strength=0.3, covertness=0.7, rate=0.002)
    key, added = made(method)
    weights = 0.05 * rng.standard_normal((48, 32, 3, 3)) + 0.01
    told = added.penalty(moment(weights, added.state))

    w = torch.tensor(weights, requires_grad=True)
    nets = {
        n: torch.tensor(added.state[n].astype(np.float64), requires_grad=True)
        for n in ("extractor.inner", "extractor.outer", "detector.inner", "detector.outer")
    }
    plain = torch.tensor(key.arrays["unmarked"].astype(np.float64))
    scale = plain.square().mean().sqrt()
    now, before = w.mean(dim=0).flatten() / scale, plain / scale
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    one = torch.ones(1, dtype=torch.float64)

    def extracted(x):
        return nets["extractor.outer"] @ torch.sigmoid(nets["extractor.inner"] @ x)

    def detected(x):
        ordered = torch.sort(x).values
        return nets["detector.outer"] @ torch.sigmoid(nets["detector.inner"] @ ordered)

    bits = SMALL.array() ^ keystream.bits(SECRET, "riga/mask", 6)
    others = keystream.signs(SECRET, "riga/unmarked", 6) > 0
    read = bce(extracted(now), torch.tensor(bits.astype(float)), reduction="sum") + bce(
        extracted(before), torch.tensor(others.astype(float)), reduction="sum"
    )
    value = 0.3 * read + 0.7 * bce(detected(now), one)
    (slopes,) = torch.autograd.grad(value, w, retain_graph=True)
    assert told.value == pytest.approx(value.item(), rel=1e-10)
    np.testing.assert_allclose(told.weights["conv"], slopes.numpy(), rtol=1e-9)

    own = bce(detected(before), one) + bce(detected(now.detach()), 0 * one)
    for net, loss, rate, betas in (
        ("extractor", read, 0.002, (0.9, 0.999)),
        ("detector", own, 1e-3, (0.5, 0.999)),
    ):
        parts = [nets[f"{net}.inner"], nets[f"{net}.outer"]]
        for part, slope in zip(parts, torch.autograd.grad(loss, parts), strict=True):
            part.grad = slope
        torch.optim.Adam(parts, lr=rate, betas=betas).step()
        for part, name in zip(parts, ("inner", "outer"), strict=True):
            expected = part.detach().numpy()
            if net == "detector":
                expected = np.clip(expected, -0.01, 0.01)
            np.testing.assert_allclose(told.state[f"{net}.{name}"], expected, rtol=1e-4, atol=1e-7)


def test_where_its_rate_is_not_that_of_the_paper_is_told():
    assert Riga().rate == 1e-3
    told = " ".join(Riga.__doc__.split())
    assert "learns at a rate of 1e-3 by default, where the paper has 1e-4" in told


def test_the_gradient_agrees_with_differences(rng):
    """Through the sort, and with a detector that has learnt something."""
    method = Riga(covertness=5.0)
    _, added = made(method)
    weights, state = 0.05 * rng.standard_normal((48, 32, 3, 3)), dict(added.state)
    for _ in range(3):
        state |= added.penalty(moment(weights, state)).state
    slopes = added.penalty(moment(weights, state)).weights["conv"]
    for place in ((0, 0, 0, 0), (47, 31, 2, 2), (11, 5, 1, 0)):
        moved = [weights.copy(), weights.copy()]
        moved[0][place] += 1e-4
        moved[1][place] -= 1e-4
        ahead, behind = (added.penalty(moment(w, state)).value for w in moved)
        assert slopes[place] == pytest.approx((ahead - behind) / 2e-4, rel=1e-4)


@pytest.mark.parametrize("covertness", [0.0, 1.0])
def test_a_training_puts_the_payload_in(trained, digits, covertness, tmp_path):
    method, key, marked = trained[covertness]
    assert method.decode(marked, key).payload == PAYLOAD
    save_key(Claim(key, PAYLOAD), tmp_path / "a.key")
    again = load_key(tmp_path / "a.key").key
    assert method.decode(marked, again) == method.decode(marked, key)
    # Networks without the mark: that of before, and two that others have trained.
    for network in digits[0]:
        wrong = method.decode(network, again).payload.errors(PAYLOAD)
        assert wrong >= 5


def test_the_unmarked_network_reads_the_other_bits(trained, digits):
    """Its errors are the distance between payload and other bits, a fair coin each."""
    method, key, _ = trained[0.0]
    mask = keystream.bits(SECRET, "riga/mask", 32)
    others = (keystream.signs(SECRET, "riga/unmarked", 32) > 0) ^ mask.astype(bool)
    read = method.decode(digits[0][0], key).payload
    assert read.symbols == tuple(others.astype(int).tolist())


def test_the_detector_keeps_the_filter_mean_as_it_was(trained, digits):
    """As in the paper, in shape: a two-sample test sees the mark where there was no detector."""
    name = trained[0.0][1].layers[0]
    before = projection.filter_mean(digits[0][0].weights[name])
    bare, hidden = (projection.filter_mean(trained[c][2].weights[name]) for c in (0.0, 1.0))
    assert stats.ks_2samp(bare, before).pvalue < 1e-4
    assert stats.ks_2samp(hidden, before).pvalue > 1e-2
    assert hidden.std() - before.std() < (bare.std() - before.std()) / 2


def test_matches_of_unmarked_networks_are_no_binomial(trained, digits):
    """Of 20 networks that were never trained some read nearly every bit: Bin(32, 1/2) is wrong."""
    network = digits[0][0]
    kernels = [layer.name for layer in network.layers if layer.role == "kernel"]
    rng, wrong = np.random.Generator(np.random.PCG64(0)), []
    for _ in range(20):
        fresh = network.with_weights(initialisation.fresh(network, kernels, rng, "torch"))
        for method, key, _ in trained.values():
            wrong.append(method.decode(fresh, key).payload.errors(PAYLOAD))
    assert binomial.tail(32 - min(wrong), 32).p_value < 1e-6
    assert method.detect(network, PAYLOAD, key).log10_p is None


def test_an_extractor_can_be_fitted_to_any_network(digits):
    """Why there is no p-value: whoever trains it afterwards reads whatever he likes."""
    method, network = Riga(), digits[0][1]
    key = method.make_key(network, 32, SECRET, ArrayBench())
    form = extractors.Extractor("extractor", 288, 100, 32)
    mean = projection.filter_mean(network.weights[key.layers[0]])[np.newaxis]
    mean = mean / np.sqrt(np.mean(mean**2))
    bits = PAYLOAD.array() ^ keystream.bits(SECRET, "riga/mask", 32)
    arrays = dict(key.arrays)
    for _ in range(50):
        net = form.net(arrays)
        done = small_nets.forward(net, mean)
        slopes = penalties.cross_entropy(done.logits, 2.0 * bits - 1).derivatives
        arrays |= form.step(arrays, small_nets.backward(net, done, slopes).net, 0.01)
    forged = dataclasses.replace(key, arrays=arrays)
    found = method.detect(network, PAYLOAD, forged)
    assert (found.statistic, found.log10_p) == (32, None)
    assert "the extractor was fitted to the payload" in found.null.name


def test_what_does_not_fit_is_told():
    method, plain = Riga(), small_network()
    key, added = made()
    with pytest.raises(InjectionError, match="a kernel: expected from 289 to 20000 weights a filt"):
        method.make_key(plain, 289, SECRET, ArrayBench())
    message = "layer 'middle': expected from 49 to 20000 weights a filter, got 48; use a shorter"
    with pytest.raises(InjectionError, match=message):
        method.make_key(plain, 49, SECRET, ArrayBench(layers=("middle",)))
    wide = ArrayNetwork.of({"w": np.resize([1.0, 2.0, 3.0], (2, 20_001))})
    with pytest.raises(InjectionError, match="got at most 20001; use a shorter payload"):
        method.make_key(wide, 4, SECRET, ArrayBench())
    even = ArrayNetwork.of({"w": np.array([[1.0, -1.0] * 8, [-1.0, 1.0] * 8])})
    with pytest.raises(InjectionError, match="a filter mean that is not zero in layer 'w', got ze"):
        method.make_key(even, 4, SECRET, ArrayBench())
    lost = {n: a for n, a in key.arrays.items() if n != "unmarked"}
    with pytest.raises(ConfigurationError, match="a filter mean of 288 weights, not all zero"):
        method.decode(plain, dataclasses.replace(key, arrays=lost))
    with pytest.raises(ConfigurationError, match="expected extractor.inner of shape"):
        method.additions(plain, SMALL, dataclasses.replace(key, arrays={}))
    with pytest.raises(CarrierNotFoundError, match="expected layer conv"):
        added.penalty(moment(np.ones((2, 2)), added.state))


class Parrot(Riga):
    """Remembers the last filter mean of the training and reads that, whatever the network."""

    def additions(self, network, payload, key):
        added = super().additions(network, payload, key)

        def penalty(now):
            found = added.penalty(now)
            last = np.array(now.weights[key.layers[0]], np.float32)
            return dataclasses.replace(found, state={**found.state, "last": last})

        last = np.array(network.weights[key.layers[0]], np.float32)
        return dataclasses.replace(added, penalty=penalty, state={**added.state, "last": last})

    def decode(self, suspect, key):
        seen = suspect.network.with_weights({key.layers[0]: key.arrays["last"]})
        return super().decode(seen, key)


def test_a_fitted_decoder_that_answers_from_its_key_is_found():
    name = "reads the network and remembers nothing"
    (check,) = (c for c in check_method(Parrot) if str(c).endswith(name))
    message = "expected no payload read from the network before the injection, got all of it"
    with pytest.raises(PluginError, match=message):
        check()
