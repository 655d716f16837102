"""Every built-in method against somebody who has read its paper: what its own attacks do to it."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, NotApplicableError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit import knowing
from nnw_onnx.kit.evidence import matched
from nnw_onnx.runs.inject import inject
from nnw_onnx.runs.modify import Stacked, modify, select_layers
from nnw_onnx.runs.suspect import Running, suspects, wrapped
from nnw_onnx.testing import ArrayNetwork, check_method
from nnw_onnx.vocabulary import Injects, Method, Payload, SeesWhole, Spec, Step, Technology

from . import trained_digits

SIZES = {"invariants": 48}  # the small network has 56 pairs of hidden channels
SIZE = 64
LEVEL = 1e-6
BUDGET = 0.02  # three standard deviations of a share of 98.9 % of 898 digits, and a third more


def generator(*parts: object) -> np.random.Generator:
    seed = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed[:8], "big")))


def label(stack) -> str:
    def one(step: Step) -> str:
        options = (f"{k}={v:g}" for k, v in step.modification.options.items())
        return " ".join([step.modification.name, *options])

    return ", ".join(map(one, stack))


def flips(stack) -> bool:
    return any(step.modification.name == "sign-flips" for step in stack)


EVERY = [
    name
    for name in plugins.names("methods")
    if plugins.origin(plugins.load(Method, name)).package == "nnw-onnx"
    # What runs a class of somebody else knows none of its attacks, and is not ranked.
    and not issubclass(plugins.load(Method, name), SeesWhole)
]
STATIC = [
    (name, stack)
    for name in EVERY
    for stack in plugins.load(Method, name).adaptive
    if issubclass(plugins.load(Method, name), Injects) or name in ("nct", "independence")
]
# What uchida outlives at its defaults, carrier "signed" and a margin of 2.
OUTLIVED = {("uchida", "filter-mean"), ("uchida", "leading-components count=1")}


def normalised_network():
    return open_network(trained_digits.MODELS.parent / "cifar10" / "fast-0.onnx")


@functools.cache
def marked(name: str, options: tuple = (), bits: int = SIZE, normalised: bool = False):
    """A network of digits, or one with normalisations, with a mark; its method, key, payload."""
    plain, rng = (
        normalised_network() if normalised else trained_digits.plain(),
        generator("key", name),
    )
    method = plugins.create(Method, Spec(name, dict(options)))
    size = SIZES.get(name, bits) if method.alphabet else 0
    symbols = rng.integers(max(method.alphabet, 1), size=size)
    payload = Payload(tuple(symbols.tolist()), method.alphabet) if size else Payload()
    bench = trained_digits.bench(plain)
    key = method.make_key(plain, size, rng.bytes(32), bench)
    static = plugins.injects(method)
    network = plain if static is None else static.inject(plain, payload, key, bench)
    return network, method, key, payload


def attacked(network, stack, *seed: object) -> Stacked:
    """A network after the attack, whose randomness knows nothing of the key."""
    return modify(
        network,
        stack,
        lambda index, now, layers: trained_digits.bench(now, layers=layers),
        lambda index: generator("attack", index, *seed),
    )


def evidence(done: Stacked, method, key, payload):
    """What is found; None where the network cannot have the mark."""
    ask = Running(done.network, SessionSettings(), 64)
    suspect = suspects(done.network, ask, done.around)(method)
    detector, reader = plugins.detects(method), plugins.decodes(method)
    try:
        if detector is not None:
            return detector.detect(suspect, payload, key)
        return matched(reader.decode(suspect, key).payload, payload)
    except CarrierNotFoundError:
        return None


def accuracy(done: Stacked) -> float:
    test = trained_digits.samples("test").fitted(done.network.inputs)
    batch = test.read(np.arange(len(test)))
    ask = wrapped(Running(done.network, SessionSettings(), 64), done.around)
    scores = next(iter(ask(batch.feeds).values()))
    return float(np.mean(scores.argmax(axis=1) == batch.targets))


def test_every_built_in_method_is_attacked_adaptively():
    assert not [n for n in EVERY if not plugins.load(Method, n).adaptive]


@pytest.mark.parametrize(
    ("name", "stack"), STATIC, ids=lambda x: x if isinstance(x, str) else label(x)
)
def test_what_becomes_of_a_mark_that_is_put_in_without_training(name, stack):
    # The attacker tries several numbers of rows, of which one is that of the bits.
    bits = stack[0].modification.options.get("rows", SIZE)
    # Signs pass a normalisation only, and the network of digits has none.
    flipped = flips(stack)
    network, method, key, payload = marked(name, (), bits, flipped)
    before = evidence(Stacked(network), method, key, payload)
    assert before.decided(LEVEL).detected
    done = attacked(network, stack, name)
    after = evidence(done, method, key, payload)
    if (name, label(stack)) in OUTLIVED:
        assert after.decided(LEVEL).detected
    else:
        assert after is None or after.log10_p > -4
        if flipped:  # there are no samples of its task here, and its own tests prove it harmless
            return
        # No more than the mark itself has cost, which of 256 residuals is much.
        plain, own = accuracy(Stacked(trained_digits.plain())), accuracy(Stacked(network))
        assert accuracy(done) > min(own, 2 * own - plain) - BUDGET


@pytest.mark.parametrize(("carrier", "margin", "attack", "erased"), [
    ("mean", 2.0, "filter-mean", True), ("signed", 2.0, "filter-mean", False),
    ("signed", 40.0, "filter-mean", False), ("signed", 40.0, "leading-components", True),
])  # fmt: skip
def test_the_counter_and_the_counter_to_it(carrier, margin, attack, erased):
    """modifications-2.md, section 12, in a trained layer."""
    options = (("carrier", carrier), ("margin", margin))
    network, method, key, payload = marked("uchida", options)
    done = attacked(network, (knowing.aimed("@last", attack),), carrier)
    errors = payload.errors(method.decode(done.network, key).payload)
    assert (errors > SIZE // 4) == erased
    assert errors == 0 or erased


def test_guesses_are_what_methods_choose():
    plain = trained_digits.plain()
    bench = trained_digits.bench(plain)
    chosen = {
        "@last": ("uchida", "st-dm", "deepmarks"),
        "@largest": ("lsb", "emmark", "constant-weight", "greedy-residuals"),
    }
    for guess, names in chosen.items():
        for name in names:
            key = plugins.create(Method, Spec(name)).make_key(plain, SIZE, bytes(32), bench)
            assert select_layers(plain, (guess,)) == key.layers
    nothing = ArrayNetwork.of({"bias": np.ones(4)})
    with pytest.raises(
        NotApplicableError, match=r"layers: expected a kernel .* \(@last\), got none"
    ):
        knowing.guessed(nothing, "@last")


def test_attacks_that_do_not_exist_are_told():
    class Wrong(plugins.load(Method, "lsb")):
        name = "wrong"

    def fault(*stack: Step) -> str:
        Wrong.adaptive = (stack,)
        checks = {str(check): check for check in check_method(Wrong)}
        with pytest.raises(PluginError) as raised:
            checks["wrong: names attacks that exist"]()
        return str(raised.value)

    assert "got modifications: expected one of" in fault(knowing.step("no-such"))
    unknown = fault(knowing.aimed("@all", "low-bits", keep=3))
    assert "got low-bits: expected an option among kept" in unknown
    aimless = fault(knowing.aimed("@all", "permutation"))
    assert "got layers for permutation, which does not aim; correct them" in aimless
    assert "got an empty one; leave it out" in fault()


# --- marks that training puts in, on digits -------------------------------------------------

BLACK_BOX = {"adi": 40, "zhang": 0}
WHITE_BOX = {"riga": 32, "deepsigns": 16}
SYMBOLS = BLACK_BOX | WHITE_BOX


@functools.cache
def trained(name: str):
    """A network of digits with a mark that training put in."""
    plain, rng, size = trained_digits.plain(), generator("key", name), SYMBOLS[name]
    method = plugins.create(Method, Spec(name))
    payload = Payload(tuple(rng.integers(2, size=size).tolist())) if size else Payload()
    technology = Technology(method.spec(), size, recipe=trained_digits.recipe())
    bench = trained_digits.bench(plain, technology)
    done = inject(technology, plain, payload, rng.bytes(32), bench)
    return done.network, method, done.claim.key, payload


@pytest.mark.xdist_group("black-box attacks")
@pytest.mark.parametrize("name", BLACK_BOX)
@pytest.mark.parametrize("index", range(3))
def test_what_becomes_of_triggers(name, index):
    pytest.importorskip("torch")
    network, method, key, payload = trained(name)
    before = evidence(Stacked(network), method, key, payload)
    assert before.log10_p < -20
    stack = method.adaptive[index]
    done = attacked(network, stack, name)
    after = evidence(done, method, key, payload)
    # Who only rejects leaves what lies near to the data: a stamped digit is one.
    partly = (name, label(stack)) == ("zhang", "rejection")
    assert after.log10_p > (before.log10_p / 2 if partly else -3)
    assert accuracy(done) > accuracy(Stacked(network)) - 0.03


@pytest.mark.xdist_group("black-box attacks")
def test_the_same_training_without_inverted_inputs_leaves_the_triggers():
    """So what removes them is what is unlearnt, and not that training goes on."""
    pytest.importorskip("torch")
    network, method, key, payload = trained("zhang")
    done = attacked(network, (knowing.step("unlearning", inverted=2),), "zhang")
    assert evidence(done, method, key, payload).log10_p < -10


@pytest.mark.xdist_group("white-box attacks")
@pytest.mark.parametrize("name", WHITE_BOX)
def test_what_becomes_of_extractors_and_of_answers_of_layers(name):
    pytest.importorskip("torch")
    network, method, key, payload = trained(name)
    assert evidence(Stacked(network), method, key, payload).statistic == len(payload)
    own = accuracy(Stacked(network))
    for stack in (stack for stack in method.adaptive if not flips(stack)):
        done = attacked(network, stack, name)
        after = evidence(done, method, key, payload)
        # Half of the bits, and three deviations of that; none where the shapes are others.
        most = len(payload) / 2 + 1.5 * len(payload) ** 0.5
        assert after is None or after.statistic <= most
        assert accuracy(done) > own - BUDGET
