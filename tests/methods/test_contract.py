"""Every built-in method obeys the common contract; those of bits in weights are alike further."""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnw_onnx import plugins
from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    ModelFileError,
    NnwError,
)
from nnw_onnx.kit import commitments
from nnw_onnx.kit.evidence import matched
from nnw_onnx.testing import ArrayBench, ArrayNetwork, check_method
from nnw_onnx.vocabulary import Decodes, Injects, Method, Payload, SeesWhole, Spec

SECRET = hashlib.sha256(b"owner").digest()
BENCH = ArrayBench()
EVERY = [
    name
    for name in plugins.names("methods")
    if plugins.origin(plugins.load(Method, name)).package == "nnw-onnx"
    # What takes networks of files is checked in tests/adapters, with classes of its own.
    and not issubclass(plugins.load(Method, name), SeesWhole)
]
METHODS = [plugins.load(Method, name) for name in ("uchida", "block-spread")]
CHECKS = [check for name in EVERY for check in check_method(plugins.load(Method, name))]


def asking(*layers):
    """A bench whose owner asks for these carriers."""
    return ArrayBench(layers=layers)


def detect(method, network, payload, key):
    return matched(method.decode(network, key).payload, payload)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_common_check(check):
    check()


@pytest.fixture(params=METHODS, ids=lambda m: m.name)
def method(request):
    return request.param()


@pytest.mark.parametrize("name", EVERY)
def test_every_built_in_method_has_a_card(name):
    card = plugins.load(Method, name).card
    assert card is not None
    told = [card.paper, card.capacity, card.key, card.null, *card.reported, *card.dies_of]
    assert all(line and line == line.strip() for line in told)
    if card.strength is not None:
        defaults = {
            option.name: option.default for option in plugins.options(plugins.load(Method, name))
        }
        assert isinstance(defaults[card.strength], int | float)


def test_methods_that_are_alike():
    assert all(isinstance(m(), Decodes) and isinstance(m(), Injects) for m in METHODS)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["uchida", "block-spread"]),
    bits=st.lists(st.integers(0, 1), min_size=1, max_size=60),
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    scale=st.sampled_from([1e-3, 0.05, 1.0, 50.0]),
    shift=st.sampled_from([-2.0, 0.0, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(name, bits, dtype, scale, shift, seed):
    """Whatever layer, dtype, scale and mean (in standard deviations): what goes in comes out."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.Generator(np.random.PCG64(seed))
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    weights = (scale * (rng.standard_normal((24, 32, 3, 3)) + shift)).astype(kind)
    network = ArrayNetwork.of({"conv": weights})
    plugin, payload = plugins.create(Method, Spec(name)), Payload.from_bits(bits)
    key = plugin.make_key(network, len(bits), rng.bytes(32), BENCH)
    marked = plugin.inject(network, payload, key, BENCH)
    decoding = plugin.decode(marked, key)
    assert decoding.payload == payload
    assert decoding.ties == 0
    assert marked.weights["conv"].dtype == weights.dtype
    assert detect(plugin, marked, payload, key).statistic == len(bits)


def test_detection_is_the_exact_binomial(method, network):
    key = method.make_key(network, 64, SECRET, BENCH)
    payload = Payload.from_bits("01" * 32)
    marked = method.inject(network, payload, key, BENCH)
    wrong = Payload.from_bits("10" + "01" * 31)
    found = detect(method, marked, wrong, key)
    assert (found.statistic, found.null.name, found.null.symbols) == (62, "Bin(64, 1/2)", 64)
    # P(Bin(64, 1/2) >= 62) = (2016 + 64 + 1) / 2^64
    assert found.p_value == pytest.approx(2081 / 2**64, rel=1e-12)
    assert found.decided(1e-9).detected
    assert 10**found.log10_inverted == pytest.approx(1 - 65 / 2**64)
    # C(64, 2) ways to have two wrong ones
    assert 10**found.log10_tie == pytest.approx(2016 / 2**64, rel=1e-9)
    assert found.null.log10_least == pytest.approx(-64 * np.log10(2))


def test_an_inverted_watermark_is_told(method, network):
    key = method.make_key(network, 64, SECRET, BENCH)
    payload = Payload.from_bits("0110" * 16)
    marked = method.inject(network, payload, key, BENCH)
    inverted = network.with_weights({n: -marked.weights[n] for n in key.layers})
    found = detect(method, inverted, payload, key)
    assert found.statistic == 0
    assert not found.decided(1e-6)
    assert 10**found.log10_inverted == pytest.approx(2.0**-64)


def test_an_erased_carrier_gives_ties_from_the_key(method, network):
    key = method.make_key(network, 64, SECRET, BENCH)
    erased = network.with_weights({n: 0 * network.weights[n] for n in key.layers})
    first, second = (method.decode(erased, key) for _ in range(2))
    assert first == second
    assert first.ties == 64
    assert set(first.confidence) == {0.0}
    assert 10 < sum(first.payload.symbols) < 54


def test_the_mask_hides_the_payload(method, network):
    """A payload of equal bits is embedded as fair coins, which differ from key to key."""
    key = method.make_key(network, 64, SECRET, BENCH)
    payload = Payload.from_bits("1" * 64)
    other = dataclasses.replace(key, secret=hashlib.sha256(b"other").digest())
    marked = method.inject(network, payload, key, BENCH)
    assert method.decode(marked, key).payload == payload
    assert 10 < method.decode(marked, other).payload.errors(payload) < 54


def test_commitment_binds_everything(method, network):
    key = method.make_key(network, 8, SECRET, BENCH)
    payload = Payload.from_bits("10110100")
    bound = commitments.bound(key, payload)
    assert dataclasses.replace(bound, commitment=key.commitment, opening="") == key
    assert bound.opening == key.commitment
    name = key.layers[0]
    changed = network.with_weights({name: network.weights[name] * np.float32(1.001)})
    others = [
        commitments.bound(method.make_key(network, 8, bytes(32), BENCH), payload),
        commitments.bound(method.make_key(changed, 8, SECRET, BENCH), payload),
        commitments.bound(key, Payload.from_bits("10110101")),
        commitments.bound(dataclasses.replace(key, commitment=""), payload),
        key,
    ]
    assert len({bound.commitment, *(o.commitment for o in others)}) == 1 + len(others)
    assert re.fullmatch("[0-9a-f]{64}", bound.commitment)
    again = commitments.bound(method.make_key(network, 8, SECRET, BENCH), payload)
    assert again == bound


def test_commitments_of_two_methods_differ(network):
    made = {m().make_key(network, 8, SECRET, asking("wide")).commitment for m in METHODS}
    assert len(made) == len(METHODS)


def test_a_decoder_reads_the_layer_of_its_key_only(method, network):
    """Where a carrier may be else is found before (`runs.verify`), whatever the method."""
    key = method.make_key(network, 16, SECRET, BENCH)
    weights = network.weights[key.layers[0]]
    renamed = ArrayNetwork.of({"v": weights})
    with pytest.raises(CarrierNotFoundError, match=r"expected layer .*, got none of this name; d"):
        method.decode(renamed, key)
    cut = ArrayNetwork.of({key.layers[0]: weights[1:]})
    with pytest.raises(CarrierNotFoundError, match=r"expected layer .*, got one of shape .*; deco"):
        method.decode(cut, key)
    dead = ArrayNetwork.of({key.layers[0]: weights}, **{key.layers[0]: {"live": False}})
    with pytest.raises(CarrierNotFoundError, match="got one that no output depends on; decode"):
        method.decode(dead, key)


def test_a_damaged_suspect_is_told(method, network):
    key = method.make_key(network, 16, SECRET, BENCH)
    damaged = {n: w.copy() for n, w in network.weights.items()}
    damaged[key.layers[0]].flat[5] = np.nan
    with pytest.raises(ModelFileError, match=r"expected finite weights, got NaN or infinity; use"):
        method.decode(ArrayNetwork.of(damaged), key)


def test_a_key_of_another_method_is_refused(method, network):
    key = dataclasses.replace(method.make_key(network, 16, SECRET, BENCH), method=Spec("other"))
    with pytest.raises(
        ConfigurationError, match=r"expected a key of method .*, got one of 'other'"
    ):
        method.decode(network, key)


BAD_LAYERS = {
    "NaN or infinity": lambda w: np.where(w > 0.1, np.nan, w),
    "the same value 0 everywhere": np.zeros_like,
    "the same value 1 everywhere": np.ones_like,
    r"values whose variance is inf": lambda w: np.where(w > 0, 1e200, 0.0),
}


@pytest.mark.parametrize("words", BAD_LAYERS)
def test_weights_that_cannot_carry_are_refused_by_name(method, network, words):
    bad = {**network.weights, "wide": BAD_LAYERS[words](network.weights["wide"])}
    message = rf"layer 'wide': expected finite weights that differ, got {words}; choose another"
    with pytest.raises(InjectionError, match=message):
        method.make_key(ArrayNetwork.of(bad), 16, SECRET, asking("wide"))
    assert method.make_key(ArrayNetwork.of(bad), 16, SECRET, BENCH).layers == ("last",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "norm"}, "is a norm"),
        (
            {"obstacle": "its scales are computed"},
            "takes no new values, because its scales are computed",
        ),
        (
            {"consumers": ("Conv:a:1", "Gemm:b:1")},
            "is shared by 2 operators that read it differently",
        ),
        ({"live": False}, "no output depends on"),
        ({"learns": False}, "does not learn: it is a constant"),
    ],
)
def test_layers_that_cannot_carry_are_refused_and_never_chosen(method, network, changes, words):
    odd = ArrayNetwork.of(dict(network.weights), wide=changes, last=changes)
    message = "expected weights that can carry a watermark, got a layer that " + re.escape(words)
    with pytest.raises(InjectionError, match=message):
        method.make_key(odd, 16, SECRET, asking("wide"))
    assert method.make_key(odd, 16, SECRET, BENCH).layers == ("head",)


@pytest.mark.parametrize("role", ["recurrent", "embedding"])
def test_other_weights_carry_where_they_are_named_and_are_never_chosen(method, network, role):
    odd = ArrayNetwork.of(dict(network.weights), wide={"role": role}, last={"role": role})
    assert method.make_key(odd, 16, SECRET, BENCH).layers == ("head",)
    key = method.make_key(odd, 16, SECRET, asking("wide"))
    payload = Payload.from_bits("0110" * 4)
    assert method.decode(method.inject(odd, payload, key, BENCH), key).payload == payload


@pytest.mark.parametrize(
    "changes",
    [
        {"consumers": ("Conv:a:1", "Conv:b:1")},
        {"arithmetic": ("Mul",)},
        {"quantization": "QLinear"},
    ],
)
def test_shared_masked_and_quantized_kernels_are_taken_where_there_is_no_other(
    method, network, changes
):
    some = ArrayNetwork.of(dict(network.weights), wide=changes, last=changes)
    assert method.make_key(some, 16, SECRET, BENCH).layers == ("head",)
    every = ArrayNetwork.of(dict(network.weights), **dict.fromkeys(network.weights, changes))
    plain = method.make_key(network, 16, SECRET, BENCH).layers
    assert method.make_key(every, 16, SECRET, BENCH).layers == plain


def test_refusals_say_what_is_in_the_way(method, network):
    changes = {
        "wide": {"live": False},
        "last": {"role": "recurrent"},
        "head": {"obstacle": "it is computed"},
        "first": {"consumers": ("Conv:a:1", "Gemm:b:1")},
    }
    odd = ArrayNetwork.of(dict(network.weights), **changes)
    with pytest.raises(InjectionError) as refused:
        method.make_key(odd, 16, SECRET, BENCH)
    text = str(refused.value)
    assert "got none but " in text
    assert "1 that is recurrent and has to be named" in text or "1 that no output" in text


def test_a_public_constant_is_no_carrier(method, network):
    size, rng = 128, np.random.Generator(np.random.PCG64(2))
    waves = np.fft.fft(np.eye(size)).real[:, None] * np.hanning(size)
    arrays = {"stft": waves[:, 0], "dense": rng.standard_normal((40, 120))}
    speech = ArrayNetwork.of({n: w.astype(np.float32) for n, w in arrays.items()})
    assert method.make_key(speech, 16, SECRET, BENCH).layers == ("dense",)
    message = r"got a layer that is a public constant \(a Fourier transform\)"
    with pytest.raises(InjectionError, match=message):
        method.make_key(speech, 16, SECRET, asking("stft"))
    alone = ArrayNetwork.of({"stft": speech.weights["stft"]})
    with pytest.raises(InjectionError, match=r"which is a public constant \(a Fourier transform\)"):
        method.make_key(alone, 16, SECRET, BENCH)


def test_a_network_that_was_never_trained_is_told(method):
    blank = ArrayNetwork.of({"conv": np.zeros((32, 32, 3, 3), np.float32)})
    message = "got the same value 0 everywhere in layer 'conv'; use a trained network"
    with pytest.raises(InjectionError, match=message):
        method.make_key(blank, 16, SECRET, BENCH)


def test_unknown_layer_gets_a_suggestion(method, network):
    with pytest.raises(
        InjectionError, match=r"got 'wied' \(did you mean 'wide'\?\); take for example"
    ):
        method.make_key(network, 16, SECRET, asking("wied"))


def test_pruned_layers_are_filled_and_noted(method, network):
    pruned = network.weights["wide"].copy()
    pruned[np.abs(pruned - 0.01) < 0.05] = 0
    sparse = ArrayNetwork.of({**network.weights, "wide": pruned})
    key = method.make_key(sparse, 16, SECRET, asking("wide"))
    assert "68% of its weights are zero; the watermark fills them" in key.notes
    payload = Payload.from_bits("0110" * 4)
    assert method.decode(method.inject(sparse, payload, key, BENCH), key).payload == payload


@pytest.mark.parametrize("size", [0, -3])
def test_an_empty_payload_is_refused(method, network, size):
    with pytest.raises(
        InjectionError, match=r"expected at least one symbol, got .*; give a longer"
    ):
        method.make_key(network, size, SECRET, BENCH)


def test_payloads_that_do_not_fit_the_key_are_refused(method, network):
    key = method.make_key(network, 4, SECRET, BENCH)
    with pytest.raises(InjectionError, match=r"4 symbols from at most 2, got 5 from 2; make"):
        method.inject(network, Payload.from_bits("01011"), key, BENCH)
    with pytest.raises(InjectionError, match=r"4 symbols from at most 2, got 4 from 4; make a"):
        method.inject(network, Payload((0, 1, 2, 3), 4), key, BENCH)
    with pytest.raises(ConfigurationError, match=r"an alphabet of at most 2, got 4; give the"):
        detect(method, network, Payload((0, 1, 2, 3), 4), key)
    with pytest.raises(ConfigurationError, match=r"expected 4 symbols, got 5; use the key"):
        detect(method, network, Payload.from_bits("01011"), key)


def test_several_layers_are_refused(method, network):
    with pytest.raises(InjectionError, match="at most one carrier layer, got 2; name one of wide,"):
        method.make_key(network, 16, SECRET, asking("wide", "last"))


def test_a_dtype_too_coarse_for_the_mark_is_refused(method, network):
    """Weights of one huge value and a tiny spread: half precision rounds the watermark away."""
    rng = np.random.Generator(np.random.PCG64(3))
    coarse = (1000 + rng.integers(0, 2, (64, 64, 3, 3)) * 0.5).astype(np.float16)
    plain = ArrayNetwork.of({"conv": coarse})
    weak = dataclasses.replace(method, margin=1e-3)
    key = weak.make_key(plain, 64, SECRET, BENCH)
    message = r"read back, got \d+ wrong ones once stored as float16; use a larger margin"
    with pytest.raises(InjectionError, match=message):
        weak.inject(plain, Payload.from_bits("0110" * 16), key, BENCH)


def test_values_too_large_for_the_dtype_are_refused(method):
    rng = np.random.Generator(np.random.PCG64(4))
    large = np.where(rng.integers(0, 2, (16, 16, 3, 3)), 65504, -65504).astype(np.float16)
    plain = ArrayNetwork.of({"conv": large})
    key = method.make_key(plain, 8, SECRET, BENCH)
    with pytest.raises(ModelFileError, match="finite as float16"):
        method.inject(plain, Payload.from_bits("01101001"), key, BENCH)


def test_a_network_without_kernels_is_refused(method):
    with pytest.raises(
        NnwError, match=r"expected a kernel .* got none;|largest kernel: .* got none;"
    ):
        method.make_key(ArrayNetwork.of({"bias": np.ones(4)}), 8, SECRET, BENCH)


def test_nothing_secret_is_shown(method, network):
    key = method.make_key(network, 4, SECRET, BENCH)
    shown = repr(key) + str(key) + "".join(key.notes)
    assert SECRET.hex() not in shown
    assert repr(SECRET) not in shown


@pytest.mark.parametrize("name", ["block-spread", "uchida"])
def test_a_key_of_more_symbols_than_weights_is_refused_at_once(name):
    method = plugins.create(Method, Spec(name))
    rng = np.random.Generator(np.random.Philox(5))
    network = ArrayNetwork.of({"w": rng.normal(size=(64, 16, 3, 3))})
    key = method.make_key(network, 8, bytes(32), BENCH)
    with pytest.raises(
        ConfigurationError, match="expected at most one symbol a weight, got 8388608"
    ):
        method.decode(network, dataclasses.replace(key, size=8 << 20))
