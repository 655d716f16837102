"""Marks are heard again on networks put back in order, and nothing else is heard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.graph import fold_batch_norms
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit import channels
from nnw_onnx.kit.alignment import aligned
from nnw_onnx.math import binomial
from nnw_onnx.methods.block_spread import BlockSpread
from nnw_onnx.methods.fragile import Fragile
from nnw_onnx.methods.invariants import Invariants
from nnw_onnx.methods.nct import Nct
from nnw_onnx.methods.presence import Presence
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.runs import resync
from nnw_onnx.runs.modify import difference
from nnw_onnx.runs.realigning import realigned
from nnw_onnx.runs.suspect import Examined, Running
from nnw_onnx.runs.verify import verify
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Claim, HiddenAxis, Method, Payload, Strand

from .faulty import Plain

MODELS = Path(__file__).parents[2] / "models"
DIGITS, CIFAR = MODELS / "digits" / "cnn-0.onnx", MODELS / "cifar10" / "fast-0.onnx"
PAYLOAD = Payload.from_hex("0123456789abcdef")


def attacked(network, rng, sigma=0.5):
    """The network with the channels of every hidden axis in other places, and scaled."""
    now = {}
    for axis in network.hidden_axes:
        here = {name: now.get(name, network.weights[name]) for name in axis.layers}
        now |= channels.permuted(here, axis, rng.permutation(axis.size))
        for k in range(len(axis.scalings)):
            here = {name: now[name] for name in axis.layers}
            now |= channels.scaled(here, axis, np.exp(sigma * rng.standard_normal(axis.size)), k)
    return network.with_weights(now)


def folded(network, folder):
    network.save(folder / "plain.onnx")
    assert fold_batch_norms(folder / "plain.onnx", folder / "folded.onnx")
    return nnw.open(folder / "folded.onnx")


def running(network):
    return Running(network, SessionSettings(), 64)


def answers(network, layers=()):
    rng = np.random.Generator(np.random.Philox(7))
    shape = [8, *network.inputs[0].shape[1:]]
    fed = {network.inputs[0].name: rng.standard_normal(shape).astype(np.float32)}
    return running(network)(fed, layers)


@pytest.fixture(scope="module")
def digits():
    network = nnw.open(DIGITS)
    return network, nnw.inject(network, PAYLOAD, method="uchida", seed=1)


@pytest.fixture(scope="module")
def suspect(digits):
    return attacked(digits[1].network, np.random.Generator(np.random.Philox(1)))


@pytest.mark.parametrize("path", [DIGITS, CIFAR], ids=["digits", "cifar10"])
@pytest.mark.parametrize("method", ["uchida", "block-spread", "st-dm", "few"])
def test_a_mark_that_other_places_and_scales_hide_is_read_whole(path, method, rng):
    network = nnw.open(path)
    made = nnw.inject(network, PAYLOAD, method=method, seed=1)
    other = attacked(made.network, rng)
    assert not nnw.detect(other, made.claim)
    verdict = nnw.verify(other, made.claim, reference=network)
    assert (bool(verdict), verdict.errors) == (True, 0)


def test_what_is_put_in_order_answers_as_before_and_is_what_it_was(digits, suspect):
    network, made = digits
    found = realigned(suspect, network)
    assert (found.recovered, found.missing, found.folded) == (True, (), ())
    assert difference(list(answers(suspect).values()), list(answers(found.network).values())) < 1e-5
    for layer in network.layers:
        own, now = (np.asarray(x.weights[layer.name]) for x in (made.network, found.network))
        np.testing.assert_allclose(now, own, atol=5e-3 * np.abs(own).max())


def test_permuted_weights_come_back_bit_by_bit(digits, rng):
    """So that marks in the last bits are read too."""
    network = digits[0]
    made = nnw.inject(network, PAYLOAD, method="lsb", seed=1)
    other = attacked(made.network, rng, sigma=0.0)
    assert not nnw.detect(other, made.claim)
    found = realigned(other, network)
    for layer in network.layers:
        own, now = made.network.weights[layer.name], found.network.weights[layer.name]
        np.testing.assert_array_equal(own, now)
    assert nnw.verify(other, made.claim, reference=network).errors == 0


def test_folded_normalisations_are_unfolded(tmp_path, rng):
    network = nnw.open(CIFAR)
    made = nnw.inject(network, PAYLOAD, method="uchida", seed=1, layer="block2.conv1.weight")
    other = folded(attacked(made.network, rng), tmp_path)
    verdict = nnw.verify(other, made.claim, reference=network)
    assert (bool(verdict), verdict.errors) == (True, 0)
    found = realigned(other, network)
    assert len(found.folded) == 3
    assert found.missing == ()
    assert difference(list(answers(other).values()), list(answers(found.network).values())) < 1e-4
    # What inner layers answer before their normalisation is what they answered.
    own, now = (answers(x, ["block1.conv2.weight"]) for x in (made.network, found.network))
    one, two = own["block1.conv2.weight"], now["block1.conv2.weight"]
    assert np.abs(one - two).max() < 0.02 * np.abs(one).max()


def test_unmarked_networks_that_are_only_converted_need_no_reference_of_their_kind(tmp_path):
    """A reference that is folded itself is compared as it is."""
    network = folded(nnw.open(CIFAR), tmp_path)
    found = realigned(network, network)
    assert (found.recovered, found.folded, found.alignment.gap > 3) == (True, (), True)


def test_other_names_other_types_and_interleaved_channels_do_not_matter(digits, suspect):
    network, made = digits
    for name, options, ways in (
        ("dropped-names", {}, {"content"}),
        ("float16", {}, {"name"}),
        ("graph-optimization", {"level": "all"}, {"name", "content"}),
    ):
        other = nnw.modify(suspect, name, options=options).network
        verdict = nnw.verify(other, made.claim, reference=network)
        assert (bool(verdict), verdict.errors) == (True, 0), name
        assert set(resync.facts(realigned(other, network)).ways) == ways, name


def test_everything_that_leaves_the_answers_is_undone_together(tmp_path):
    """Places, scales, signs, dummies and folding, one after the other."""
    network = nnw.open(CIFAR)
    made = nnw.inject(network, PAYLOAD, method="block-spread", seed=1)
    other = made.network
    for name in ("permutation", "scaling", "sign-flips", "dummy-neurons"):
        other = nnw.modify(other, name, seed=3).network
    told = resync.facts(realigned(other, network))
    assert told.dummies > 10
    assert told.turned > 100
    assert (told.lost, told.missing) == (0, 0)
    for given in (other, folded(other, tmp_path)):
        verdict = nnw.verify(given, made.claim, reference=network)
        assert (bool(verdict), verdict.errors) == (True, 0)


def test_channels_that_were_cut_off_are_missing_and_the_rest_is_read(digits):
    network, made = digits
    other = nnw.modify(made.network, "structured-pruning", 25).network
    other = nnw.modify(other, "permutation", seed=3).network
    assert not nnw.detect(other, made.claim)
    verdict = nnw.verify(other, made.claim, reference=network)
    assert verdict
    assert "missing channels, which are zeros now" in verdict.detection.notes[0]


def test_integers_are_read_in_order(digits, suspect):
    network, made = digits
    other = nnw.modify(suspect, "int8", training="digits").network
    assert any(layer.quantization for layer in other.layers)
    assert not nnw.detect(other, made.claim)
    verdict = nnw.verify(other, made.claim, reference=network)
    assert (bool(verdict), verdict.errors) == (True, 0)


def test_a_verdict_says_where_it_was_read_and_how_sure_that_is(digits, suspect):
    network, made = digits
    other = nnw.modify(suspect, "dropped-names").network
    verdict = nnw.verify(other, made.claim, reference=network)
    (found,) = verdict.found
    assert (found.carrier, found.way, found.candidates) == ("conv3.weight", "content", 1)
    assert found.layer in {layer.name for layer in other.layers}
    assert found.layer != "conv3.weight"
    assert found.cosine == pytest.approx(0.98, abs=0.02)
    assert 0.4 < found.margin < 0.8
    assert not found.plain
    assert verdict.detection.found == verdict.decoding.found == verdict.found
    notes = verdict.detection.notes
    assert "112 of 112 channels of 3 hidden axes matched (mean cosine 0.99, " in notes[0]
    assert (
        "109 of them in other places; 112 scales undone" in notes[0] or "scales undone" in notes[0]
    )
    assert notes[1] == (
        "the order was told by the reference without the key, so the p-value needs no correction"
    )
    assert f"was read from {found.layer}, the one whose weights are most like its" in notes[2]
    assert verdict.detection.log10_p == pytest.approx(64 * np.log10(0.5))


def test_decode_reads_the_payload(digits, suspect):
    _, made = digits
    assert nnw.decode(suspect, made.key, reference=DIGITS).payload == PAYLOAD
    assert nnw.decode(suspect, made.key).payload != PAYLOAD


def test_whether_answers_depend_on_it_is_asked_of_the_network_that_was_given(digits, suspect):
    network, made = digits
    other = nnw.modify(suspect, "dropped-names").network
    detection = nnw.detect(other, made.claim, reference=network, run=True)
    assert detection.found[0].use == "answers depend"
    assert detection.found[0].layer in {layer.name for layer in other.layers}


def test_random_keys_are_ranked_on_the_network_in_order(digits, suspect):
    network, made = digits
    detection = nnw.detect(suspect, made.claim, reference=network, wrong_keys=50)
    assert detection.rank_p == 1 / 51


@pytest.mark.parametrize("path", sorted((MODELS / "digits").glob("cnn-[12].onnx")))
def test_a_foreign_network_is_heard_as_it_is(digits, path):
    network, made = digits
    verdict = nnw.verify(path, made.claim, reference=network)
    assert verdict.errors == nnw.verify(path, made.claim).errors
    assert not verdict
    told = verdict.detection.notes[0]
    assert told.startswith("not re-synchronised: its channels are no more like those of the ref")
    assert told.endswith("and 1.2 would tell them apart)")


def test_a_reference_with_the_mark_tells_the_order_by_other_layers(digits, suspect):
    _, made = digits
    verdict = nnw.verify(suspect, made.claim, reference=made.network)
    assert (bool(verdict), verdict.errors) == (True, 0)
    assert verdict.detection.notes[1] == (
        "the reference carries the mark itself, so the layers of the key took no part in telling "
        "the order; the p-value holds for a method that changed no others"
    )


def test_a_reference_with_the_mark_in_all_layers_is_refused(digits):
    network = digits[0]
    made = nnw.inject(
        network, PAYLOAD, method="spread-spectrum", seed=1,
        layer=[x.name for x in network.layers if x.role == "kernel"],
    )  # fmt: skip
    with pytest.raises(ConfigurationError) as refused:
        nnw.verify(made.network, made.claim, reference=made.network)
    assert str(refused.value) == (
        "reference: expected the network before the mark, or one with layers beside those of the "
        "key that tell the order of their channels, got the mark itself and none; give the network "
        "as it was before"
    )


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("nct", "a fingerprint is told by its likeness to the network it was taken from, which "),
        ("fragile", "integrity asks whether a network is as it was, its order included"),
    ],
)
def test_what_it_is_nothing_for_is_refused(digits, method, reason):
    network = digits[0]
    made = nnw.inject(network, "", method=method, seed=1)
    with pytest.raises(ConfigurationError, match=f"reference: expected none for {method}, because"):
        nnw.detect(network, made.claim, reference=network)
    assert reason in resync.refusal({"nct": Nct, "fragile": Fragile}[method]())


def test_methods_that_only_ask_do_not_need_it():
    @dataclass(frozen=True)
    class Asks(Plain):
        access = "answers"

    assert resync.refusal(Asks()) == (
        "what only asks a network does not depend on the order of its channels"
    )
    assert resync.refusal(Invariants()) == (
        "its mark lies in the order or the scales of channels, which putting back takes out"
    )
    assert resync.refusal(Uchida()) is None


@dataclass(frozen=True)
class Runs(Plain):
    """Sees inner layers."""

    access = "activations"


def inside(found, network, layers):
    """What a method that runs inner layers sees of a network in order."""
    shape = [4, *network.inputs[0].shape[1:]]
    fed = {"any name": np.random.Generator(np.random.Philox(3)).random(shape, np.float32)}
    given, now = running(network), running(found.network)
    suspect_of = resync.suspects(found, network, given, now)
    plain = Examined(network, "activations", given).run(fed, layers)
    return plain, suspect_of(Runs()).run(fed, layers)


def test_inner_layers_answer_in_the_order_of_the_reference(digits, rng):
    network, made = digits
    other = attacked(made.network, rng, sigma=0.0)
    found = realigned(other, network)
    _, now = inside(found, other, ["conv2.weight"])
    own, _ = inside(found, made.network, ["conv2.weight"])
    np.testing.assert_allclose(now["conv2.weight"], own["conv2.weight"], atol=1e-4)


def test_inner_layers_are_not_run_where_the_network_is_not_whole_or_answers_otherwise(
    digits, suspect
):
    found = realigned(suspect, digits[0])
    lost = replace(found, missing=("conv1.bias",))
    with pytest.raises(CarrierNotFoundError) as refused:
        inside(lost, suspect, ["conv2.weight"])
    assert str(refused.value) == (
        "re-synchronisation: expected every layer of the reference, because inner layers are run, "
        "got none that is conv1.bias; take the network that this one was converted from"
    )
    wrong = replace(found, network=nnw.open(MODELS / "digits" / "cnn-1.onnx"))
    with pytest.raises(CarrierNotFoundError, match="expected a network in order that answers as"):
        inside(wrong, suspect, ["conv2.weight"])


AXES = (
    HiddenAxis(48, (Strand("a", 0, "out"), Strand("b", 1, "in"))),
    HiddenAxis(32, (Strand("b", 0, "out"), Strand("c", 1, "in"))),
)


def arrays(rng):
    return {
        n: rng.standard_normal(s) for n, s in (("a", (48, 16)), ("b", (32, 48)), ("c", (8, 32)))
    }


def network_of(weights):
    return replace(ArrayNetwork.of(weights), hidden_axes=AXES)


def in_order(reference, weights):
    """The weights in the order of a reference, put in order whether they are its own or not."""
    found = aligned(reference, network_of(weights))
    return ArrayNetwork.of({name: found.weights(name) for name in weights})


def moved(weights, rng):
    now = dict(weights)
    for axis in AXES:
        now |= channels.permuted(now, axis, rng.permutation(axis.size))
    return now


def p_values(method: Method, network, claims):
    def ask(feeds, layers):
        raise AssertionError("weights only")

    told = verify(lambda m: Examined(network, m.access, ask), claims, 1e-6)
    return np.array([verdict.detection.p_value for verdict in told])


@pytest.mark.parametrize("method", [Uchida, BlockSpread, Presence], ids=lambda m: m.name)
@pytest.mark.parametrize("kind", ["marked and moved", "unmarked", "foreign"])
def test_wrong_keys_match_as_chance_makes_them_on_networks_in_order(method, kind, rng):
    """The null stays what it was: 400 keys, whatever was put in order, beside the exact tail."""
    weights, made = arrays(rng), method()
    reference = network_of(weights)
    size = 32 if made.alphabet else 0
    bench = ArrayBench(layers=("b",))

    def claim():
        payload = Payload.random(size, rng) if size else Payload()
        return Claim(made.make_key(reference, size, rng.bytes(32), bench), payload)

    own = claim()
    if kind == "marked and moved":
        marked = made.inject(reference, own.payload, own.key, bench)
        given = moved({name: np.array(marked.weights[name]) for name in weights}, rng)
    else:
        given = moved(weights, rng) if kind == "unmarked" else arrays(rng)
    network = in_order(reference, given)
    if kind == "marked and moved":
        assert p_values(made, network, [own])[0] < 1e-6
    told = p_values(made, network, (claim() for _ in range(400)))
    for level in (0.5, 0.2, 0.05, 0.01):
        low, high = binomial_limits(400, _attained(size, level) if size else level)
        count = np.count_nonzero(told <= level)
        assert count <= high, level
        assert count >= low or not size, level  # the tail of presence is a bound


def _attained(size, level):
    """The chance of a p-value of at most a level, of a count of fair coins."""
    tails = [binomial.tail(k, size).p_value for k in range(size + 1)]
    return max([p for p in tails if p <= level], default=0.0)


def binomial_limits(n, p):
    from scipy.stats import binom

    return binom.ppf(1e-5, n, p), binom.ppf(1 - 1e-5, n, p)


def test_unmarked_networks_of_a_thousand_owners_raise_no_alarm(rng):
    """The other way round: one key each, on networks that were put in order of its reference."""
    told = []
    for _ in range(200):
        weights = arrays(rng)
        reference = network_of(weights)
        key = Uchida().make_key(reference, 32, rng.bytes(32), ArrayBench(layers=("b",)))
        claim = Claim(key, Payload.random(32, rng))
        near = {n: w + 0.3 * rng.standard_normal(w.shape) for n, w in weights.items()}
        told += list(p_values(Uchida(), in_order(reference, moved(near, rng)), [claim]))
    low, high = binomial_limits(200, _attained(32, 0.1))
    assert low <= np.count_nonzero(np.array(told) <= 0.1) <= high
