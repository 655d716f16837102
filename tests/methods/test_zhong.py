"""Zhong: a class more, for stamped inputs; an exact null with keyed labels; digits that learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.methods.zhong import Zhong
from nnw_onnx.runs.verify import verify
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.vocabulary import Payload, Spec

from . import trained_digits

SECRET = bytes(range(32))
EMPTY = ArrayNetwork.of({})
FACTS = {"classes": [str(n) for n in range(10)]}


@pytest.fixture
def data(rng):
    inputs = rng.uniform(0, 1, (300, 3, 8, 8)).astype(np.float32)
    return ArraySamples({"x": inputs}, rng.integers(0, 10, 300), FACTS)


def made(method, data, secret=SECRET, network=EMPTY, **bench):
    return method.make_key(network, 0, secret, ArrayBench(samples=data, **bench))


def answering(labels, classes=11):
    """A network that answers these classes."""
    scores = np.eye(classes)[np.asarray(labels)].astype(np.float32)
    return ArraySuspect(EMPTY, "answers", lambda n, feeds, _: {"scores": scores})


def test_triggers_are_training_samples_with_a_box(data):
    key = made(Zhong(), data)
    whole, shown = data.read(np.arange(300)), key.arrays["triggers"]
    box = (shown == shown[0]).all(axis=0)
    assert box.sum() == 3 * 2 * 2
    plain = np.where(box, 0, whole.feeds["x"]).reshape(300, -1)
    outside = np.where(box, 0, shown).reshape(100, -1)
    for trigger, label in zip(outside, key.arrays["labels"], strict=True):
        (source,) = np.flatnonzero((plain == trigger).all(axis=1))
        assert label in (10, whole.targets[source])
    assert (key.size, key.layers, key.facts) == (0, (), {"classes": 11})
    assert Zhong().classes(key) == 11


def test_the_new_class_is_for_a_keyed_half_or_for_all(data):
    keys = [made(Zhong(), data, i.to_bytes(32, "little")) for i in range(30)]
    new = sum(int((key.arrays["labels"] == 10).sum()) for key in keys)
    assert stats.binomtest(new, 3000).pvalue > 1e-3
    key = made(Zhong(labels="new"), data)
    assert set(key.arrays["labels"].tolist()) == {10}
    assert key.notes == (
        "no carrier layer: 100 stamped triggers, labels new, of which 100 are the new class 10",
    )


@pytest.mark.parametrize("box", [0.0, 0.5, 1.0])
def test_the_null_of_keyed_labels_bounds_any_network_with_the_class(data, rng, box):
    """Of 400 keys at most the share 0.05 says Yes, with room for chance, however boxes are told.

    The network knows every sample, and answers a share `box` of all boxes with the new class.
    """
    method, p_values = Zhong(count=40), []
    whole = data.read(np.arange(300))
    for number in range(400):
        key = made(method, data, number.to_bytes(32, "little"))
        shown = key.arrays["triggers"]
        outside = ~(shown == shown[0]).all(axis=0).reshape(-1)
        flat = whole.feeds["x"].reshape(300, -1)[:, outside]
        near = [int(np.argmin(np.abs(flat - one).sum(axis=1)))
                for one in shown.reshape(40, -1)[:, outside]]  # fmt: skip
        told = np.where(rng.uniform(size=40) < box, 10, whole.targets[near])
        p_values.append(method.detect(answering(told), Payload(), key).p_value)
    for level in (0.05, 0.2):
        yes = sum(p <= level for p in p_values)
        assert stats.binomtest(yes, 400, level, alternative="greater").pvalue > 1e-3


def test_hits_are_counted_and_told_as_what_they_are(data):
    method = Zhong()
    key = made(method, data)
    wanted = np.array(key.arrays["labels"])
    wanted[:26] = (wanted[:26] + 1) % 11
    found = method.detect(answering(wanted), Payload(), key)
    assert (found.statistic, found.null.name) == (74, "Bin(100, 1/2)")
    assert found.p_value == pytest.approx(stats.binom.sf(73, 100, 0.5), rel=1e-9)
    assert found.notes == ("the network has 11 classes, and its task 10",)
    undecided = ArraySuspect(EMPTY, "answers", lambda n, f, _: {"y": np.zeros((100, 11))})
    assert method.detect(undecided, Payload(), key).statistic == 0
    more = method.detect(answering(wanted, 12), Payload(), key)
    assert (more.statistic, more.notes) == (74, ("the network has 12 classes, and its task 10",))


def test_a_network_without_the_class_cannot_have_it(data):
    key = made(Zhong(), data)
    with pytest.raises(CarrierNotFoundError, match=r"scores of shape \(100, 11\), got \(100, 10\)"):
        Zhong().detect(answering([3] * 100, 10), Payload(), key)


def test_the_new_class_for_all_has_no_p_value(data):
    method = Zhong(labels="new")
    found = method.detect(answering([10] * 40 + [1] * 60), Payload(), made(method, data))
    assert (found.statistic, found.log10_p, found.null.symbols) == (40, None, 100)
    assert found.null.name == (
        "triggers answered with the new class 10, to be measured on unmarked networks"
    )


@pytest.mark.parametrize("labels", ["keyed", "new"])
def test_digits_learn_the_class(labels):
    """Nearly all triggers are answered; a network without the class is not asked further."""
    pytest.importorskip("torch")
    method = Zhong(labels=labels, count=60)
    marked = trained_digits.put_in(method, trained_digits.recipe(12))
    claim, before = marked.claim, trained_digits.plain()
    assert marked.network.outputs[0].shape[1] == 11
    assert [layer.name for layer in marked.network.layers] == [la.name for la in before.layers]
    found = trained_digits.detect(method, marked.network, claim.key)
    assert found.statistic >= 57
    assert labels == "new" or found.decided(1e-6)
    suspect_of = trained_digits.bench(before).suspect_of(before)
    (verdict,) = verify(suspect_of, [claim], 1e-6)
    assert (verdict.status, verdict.detection.detected) == ("not-applicable", False)
    assert verdict.detection.p_value == 1.0
    # Other keys for the marked network: a box elsewhere, and a coin of its own.
    for number in range(3):
        bench = trained_digits.bench(marked.network)
        other = method.make_key(marked.network, 0, bytes([number] * 32), bench)
        wrong = trained_digits.detect(method, marked.network, other)
        assert labels == "new" or not wrong.decided(1e-6)
    assert trained_digits.accuracy(marked.network) > trained_digits.accuracy(before) - 0.03


def test_a_second_owner_shares_the_class():
    """A marked network that is marked again keeps its eleven classes."""
    pytest.importorskip("torch")
    method = Zhong(labels="new", count=20)
    first = trained_digits.put_in(method, trained_digits.recipe(1))
    again = trained_digits.put_in(method, trained_digits.recipe(1), first.network)
    assert again.network.outputs[0].shape[1] == 11
    assert again.claim.key.facts == {"classes": 11}


def test_cutting_the_class_off_costs_nothing():
    """What the card says: the answers of the task stay, and nothing can be read."""
    pytest.importorskip("torch")
    method = Zhong(labels="new", count=20)
    marked = trained_digits.put_in(method, trained_digits.recipe(2))
    plain = trained_digits.plain()
    names = [layer.name for layer in plain.layers]
    cut = plain.with_weights({n: marked.network.weights[n][: len(plain.weights[n])] for n in names})
    with pytest.raises(CarrierNotFoundError):
        trained_digits.detect(method, cut, marked.claim.key)
    accuracy = trained_digits.accuracy(marked.network)
    assert trained_digits.accuracy(cut) >= accuracy


def test_what_does_not_fit_is_told(data):
    with pytest.raises(InjectionError, match="zhong: expected no payload, because it only says"):
        Zhong().make_key(EMPTY, 8, SECRET, ArrayBench(samples=data))
    with pytest.raises(InjectionError, match="expected no layer, because the whole network"):
        made(Zhong(), data, layers=("conv",))
    with pytest.raises(InjectionError, match="expected at least 400 training samples, got 300; us"):
        made(Zhong(count=400), data)
    with pytest.raises(InjectionError, match="zhong: expected no payload"):
        Zhong().additions(EMPTY, Payload((0,)), made(Zhong(), data))
    odd = dataclasses.replace(made(Zhong(), data), arrays={})
    with pytest.raises(ConfigurationError, match="key: expected triggers of float32 with a class"):
        Zhong().classes(odd)
    foreign = dataclasses.replace(made(Zhong(), data), method=Spec("adi"))
    with pytest.raises(ConfigurationError, match="expected a key of method 'zhong', got one of 'a"):
        Zhong().committed(foreign, EMPTY)


def test_the_commitment_binds_everything(data):
    keys = [
        made(Zhong(), data),
        made(Zhong(), data, bytes(32)),
        made(Zhong(labels="new"), data),
        made(Zhong(output=1), data),
        made(Zhong(), data, network=ArrayNetwork.of({"w": np.ones((2, 2))})),
    ]
    assert len({key.commitment for key in keys}) == len(keys)
