"""One watermark into one network: the only place that makes keys and claims."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError, PluginError, TrainingError
from nnw_onnx.graph import open_network
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.runs import training
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.inject import inject, new_claim, symbol_errors, train_twin
from nnw_onnx.vocabulary import (
    Additions,
    Key,
    Payload,
    Penalty,
    Recipe,
    Spec,
    Technology,
    Trains,
)

from .faulty import SECRET, Plain, detecting_by, registered
from .surroundings import MODEL, Around, Noting

PAYLOAD = Payload.from_text("own")
PLAIN = Technology(Spec("plain"), 24)
TRAINED = replace(PLAIN, method=Spec("learning"), recipe=Recipe(epochs=1))


@dataclass(frozen=True)
class Learning(Plain, Trains):
    """Its penalty moves the first weights to the signs asked for, and counts in its state."""

    name = "learning"

    def additions(self, network, payload, key):
        name = key.layers[0]

        def penalty(now):
            weights = now.weights[name]
            wanted = np.array(weights)
            signs = 1 - 2 * payload.array()
            wanted.ravel()[: len(payload)] = np.abs(wanted.ravel()[: len(payload)]) * signs
            return Penalty(1.0, {name: weights - wanted}, state={"steps": now.state["steps"] + 1})

        return Additions(penalty, carriers=key.layers, state={"steps": np.zeros(1)})


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


@pytest.fixture(autouse=True)
def plugins_there(monkeypatch):
    registered(monkeypatch, Plain, Learning, Noting)
    Noting.jobs.clear()
    Noting.starts.clear()


def bench_of(network, technology=PLAIN, around=None):
    place = Place("here", "title", "draw", technology, technology.layers, network)
    return RunBench(around or Around(), network, place)


def test_a_claim_has_key_and_symbols_and_the_key_no_payload(network):
    technology = replace(PLAIN, code=Spec("repetition", {"times": 3}))
    claim = new_claim(technology, network, PAYLOAD, SECRET, bench_of(network), "recipient")
    assert claim.of == "recipient"
    assert (claim.key.size, claim.key.carries) == (72, 24)
    assert claim.payload.symbols == PAYLOAD.symbols * 3
    assert claim.key.method == Plain().spec()
    assert claim.key.code == Spec("repetition", {"times": 3})
    assert PAYLOAD.bits not in repr(claim)


def test_every_option_is_in_the_key(network):
    technology = Technology(Spec("uchida", {"margin": "3"}), 24)
    claim = new_claim(technology, network, PAYLOAD, SECRET, bench_of(network, technology))
    assert claim.key.method == Uchida(margin=3.0).spec()


def test_the_commitment_binds_the_symbols(network):
    """Step two of the key policy, computed here."""
    bench = bench_of(network)
    # the method commits to nothing, so that its secret and name are all that is bound before
    first = hashlib.sha256(b"nnw-onnx commitment 1" + SECRET + b'["plain", []]').hexdigest()
    key = new_claim(PLAIN, network, PAYLOAD, SECRET, bench).key
    text = json.dumps([first, dict(Plain().spec().options), None, 24, 24, dict(key.facts), {}])
    second = hashlib.sha256(b"nnw-onnx commitment with options 1" + text.encode()).hexdigest()
    text = json.dumps([second, 2, list(PAYLOAD.symbols)])
    expected = hashlib.sha256(b"nnw-onnx commitment with payload 1" + text.encode()).hexdigest()
    assert (key.commitment, key.opening) == (expected, second)


def test_without_training_it_is_put_in_and_read_back(network):
    bench = bench_of(network)
    made = inject(PLAIN, network, PAYLOAD, SECRET, bench)
    assert made.trained is None
    assert symbol_errors(made.claim, bench.suspect_of(made.network)) == 0
    assert symbol_errors(made.claim, bench.suspect_of(network)) > 0
    assert made.payload == PAYLOAD
    assert network.digest == open_network(MODEL).digest


def test_a_fingerprint_is_enrolled_and_nothing_is_put_in(network, monkeypatch):
    odd = detecting_by(lambda claim: None)
    registered(monkeypatch, odd)
    technology = Technology(odd().spec(), 0)
    made = inject(technology, network, Payload(), SECRET, bench_of(network, technology))
    assert made.network is network
    assert (made.claim.key.size, made.claim.payload) == (0, Payload())
    assert symbol_errors(made.claim, bench_of(network).suspect_of(network)) is None


def test_a_training_gets_additions_and_a_watch(network):
    around = Around()
    bench = bench_of(network, TRAINED, around)
    made = inject(TRAINED, network, PAYLOAD, SECRET, bench)
    (job,) = Noting.jobs
    assert job.recipe == TRAINED.recipe
    assert (job.loss, len(job.samples)) == ("cross-entropy", 40)
    assert list(job.samples.read(np.arange(1)).feeds) == [network.inputs[0].name]
    # the watch is the Symbol Error Rate of the network that it is told
    assert job.watch(network) == symbol_errors(made.claim, bench.suspect_of(network)) / 24 > 0
    assert made.trained.epochs[0].watched == 0.0
    assert symbol_errors(made.claim, bench.suspect_of(made.network)) == 0
    assert bench.checkpoints == around.names == ["here-0"]
    assert around.told == [
        "title: 8 layers (conv1.weight, conv1.bias, conv2.weight, conv2.bias, conv3.weight, "
        "conv3.bias, ...) learn",
        "title: epoch 1/1, loss 0.500, penalty 0.25, watermark error 0.0%", "end of here-0"
    ]  # fmt: skip


def test_what_a_method_learns_is_in_its_key_also_while_it_learns(network):
    made = inject(TRAINED, network, PAYLOAD, SECRET, bench_of(network, TRAINED))
    assert made.claim.key.arrays["steps"].tolist() == [1.0]
    assert made.claim.payload == PAYLOAD


def test_batches_are_the_same_for_all_payloads_and_the_twin(network):
    for payload in (PAYLOAD, Payload.from_text("two")):
        inject(TRAINED, network, payload, SECRET, bench_of(network, TRAINED))
    train_twin(TRAINED, network, bench_of(network, TRAINED))
    one, two, twin = Noting.jobs
    assert one.seed == two.seed == twin.seed
    assert (twin.additions, twin.watch) == (None, None)
    longer = replace(TRAINED, recipe=Recipe(epochs=2))
    train_twin(longer, network, bench_of(network, longer))
    assert Noting.jobs[-1].seed != one.seed


def test_from_scratch_starts_with_fresh_weights_the_same_for_all(network):
    fresh = replace(TRAINED, start="scratch")
    inject(fresh, network, PAYLOAD, SECRET, bench_of(network, fresh))
    train_twin(fresh, network, bench_of(network, fresh))
    first, second = Noting.starts
    assert first.digest == second.digest != network.digest


def test_a_kept_claim_is_gone_on_with(network):
    claim = new_claim(PLAIN, network, PAYLOAD, b"k" * 32, bench_of(network))
    made = inject(PLAIN, network, PAYLOAD, SECRET, bench_of(network), claim)
    assert made.claim is claim


@pytest.mark.parametrize(
    ("technology", "words"),
    [
        (replace(PLAIN, recipe=Recipe()), "expected a method that training can put in, got plain"),
        (Technology(Spec("adi"), 24), "adi: expected a training, because this method is put in by"),
        (replace(PLAIN, method=Spec("plain", {"x": 1})), "expected an option among none; got 'x'"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(network, technology, words):
    with pytest.raises(ConfigurationError, match=words):
        inject(technology, network, PAYLOAD, SECRET, bench_of(network, technology))


def test_a_twin_has_a_recipe(network):
    with pytest.raises(TrainingError, match=r"expected a recipe of its training, got none; add"):
        train_twin(PLAIN, network, bench_of(network))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"make_key": lambda *a: Key(Spec("plain"), SECRET, 3)}, "make_key: expected a key of 24"),
        ({"inject": lambda *a: None}, "inject: expected a network, got NoneType"),
        (
            {"inject": lambda self, n, *a: n.with_weights({"conv1.weight": np.full(9, np.nan)})},
            "inject: expected an answer that fits the network, got: layer 'conv1.weight'",
        ),
        ({"inject": lambda self, n, p, k, b: k.layers[7]}, "inject: expected an answer, got Index"),
    ],
)
def test_a_method_that_breaks_its_contract_is_named(network, monkeypatch, broken, words):
    for name, function in broken.items():
        monkeypatch.setattr(Plain, name, function)
    with pytest.raises(PluginError, match=rf"^plain \(tests\): {words}"):
        inject(PLAIN, network, PAYLOAD, SECRET, bench_of(network))


def test_a_penalty_that_breaks_its_contract_is_the_methods_fault(network, monkeypatch):
    real = Learning.additions

    def additions(self, *arguments):
        made = real(self, *arguments)
        return replace(made, penalty=lambda now: Penalty(1.0, {"conv1.weight": np.zeros(3)}))

    monkeypatch.setattr(Learning, "additions", additions)
    with pytest.raises(PluginError, match=r"^learning \(tests\): penalty: expected a gradient of"):
        inject(TRAINED, network, PAYLOAD, SECRET, bench_of(network, TRAINED))


def test_seeds_of_trainings_are_those_before_the_vocabulary(network):
    """The number that `job_seed` gave when its fields had other names: same trained networks."""
    recipe = Recipe(epochs=2.0, own_per_batch=4)
    assert training.recipe_fields(recipe)["triggers_per_batch"] == 4
    assert training.job_seed(recipe, network, 0) == 290817945749530673
