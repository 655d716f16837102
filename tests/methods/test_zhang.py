"""Zhang: triggers of three forms, an exact null with keyed labels, and digits that learn them."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.math import binomial
from nnw_onnx.methods.zhang import Zhang
from nnw_onnx.testing import ArrayBench, ArrayNetwork, ArraySuspect
from nnw_onnx.vocabulary import Payload, Spec

from . import trained_digits

SECRET = bytes(range(32))
EMPTY = ArrayNetwork.of({})
CLASSES = [str(n) for n in range(10)]


@pytest.fixture
def data(rng):
    inputs = rng.uniform(0, 1, (300, 3, 8, 8)).astype(np.float32)
    return ArraySamples({"x": inputs}, rng.integers(0, 10, 300), {"classes": CLASSES})


def made(method, data, secret=SECRET, network=EMPTY, **bench):
    return method.make_key(network, 0, secret, ArrayBench(samples=data, **bench))


def answering(labels, classes=10):
    """A network that answers these classes."""
    scores = np.eye(classes)[np.asarray(labels)].astype(np.float32)
    return ArraySuspect(EMPTY, "answers", lambda n, feeds, _: {"scores": scores})


@pytest.mark.parametrize("labels", ["keyed", "target"])
def test_triggers_are_samples_with_the_class_they_are_to_be_answered_with(data, labels):
    method = Zhang(labels=labels, target=3)
    key = made(method, data)
    assert (key.size, key.layers, key.facts) == (0, (), {"classes": 10})
    batch = method.additions(EMPTY, Payload(), key).samples.read(np.arange(100))
    assert np.array_equal(batch.feeds["triggers"], key.arrays["triggers"])
    assert np.array_equal(batch.targets, key.arrays["labels"])
    assert (set(batch.targets.tolist()) == {3}) == (labels == "target")


def test_stamped_samples_of_one_target_are_of_other_classes(data):
    """But for the box, each trigger is a training sample that is not of the target."""
    key = made(Zhang(labels="target", target=3), data)
    whole = data.read(np.arange(300))
    box = (key.arrays["triggers"] == key.arrays["triggers"][0]).all(axis=0)
    assert box.sum() == 3 * 2 * 2
    plain = np.where(box, 0, whole.feeds["x"]).reshape(300, -1)
    for trigger in np.where(box, 0, key.arrays["triggers"]).reshape(100, -1):
        (source,) = np.flatnonzero((plain == trigger).all(axis=1))
        assert whole.targets[source] != 3


def test_keyed_labels_are_uniform(data):
    keys = [made(Zhang(), data, i.to_bytes(32, "little")) for i in range(30)]
    counts = np.bincount(np.concatenate([k.arrays["labels"] for k in keys]), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_null_of_keyed_labels_is_exact_for_any_network(data, rng):
    """300 keys on a network that answers nearly all inputs with one class."""
    method, hits = Zhang(count=20), []
    told = np.where(rng.uniform(size=20) < 0.9, 7, rng.integers(0, 10, 20))
    for number in range(300):
        key = made(method, data, number.to_bytes(32, "little"))
        hits.append(int(method.detect(answering(told), Payload(), key).statistic))
    observed = np.bincount(np.minimum(hits, 5), minlength=6)
    expected = [stats.binom.pmf(k, 20, 0.1) for k in range(5)] + [stats.binom.sf(4, 20, 0.1)]
    assert stats.chisquare(observed, 300 * np.array(expected)).pvalue > 1e-3


def test_hits_are_counted_and_told_as_what_they_are(data):
    method = Zhang()
    key = made(method, data)
    wanted = np.array(key.arrays["labels"])
    wanted[:70] = (wanted[:70] + 1) % 10
    found = method.detect(answering(wanted), Payload(), key)
    assert (found.statistic, found.null.name) == (30, "Bin(100, 1/10)")
    assert found.log10_p == binomial.tail(30, 100, Fraction(1, 10)).log10_p
    # 28 of 100 hits for a rate of 1e-6: the number of methods.md, section 2.
    assert binomial.threshold(100, 1e-6, Fraction(1, 10)) == 28
    undecided = ArraySuspect(EMPTY, "answers", lambda n, f, _: {"y": np.zeros((100, 10))})
    assert method.detect(undecided, Payload(), key).statistic == 0


def test_one_class_for_all_has_no_p_value(data):
    method = Zhang(labels="target", target=2)
    key = made(method, data)
    found = method.detect(answering([2] * 40 + [1] * 60), Payload(), key)
    assert (found.statistic, found.log10_p, found.null.symbols) == (40, None, 100)
    assert found.null.name == (
        "triggers answered with class 2, to be measured on unmarked networks"
    )
    with pytest.raises(ConfigurationError, match="expected a known null, got 'triggers answered"):
        found.decided(0.01)


@pytest.mark.parametrize(
    ("form", "labels"), [("content", "keyed"), ("noise", "target"), ("unrelated", "keyed")]
)
def test_digits_learn_them(form, labels):
    """All triggers are answered after eight epochs; other networks do not know them."""
    pytest.importorskip("torch")
    method = Zhang(form=form, labels=labels, count=50, target=5)
    marked = trained_digits.put_in(method)
    key = marked.claim.key
    assert trained_digits.detect(method, marked.network, key).statistic == 50
    other = [trained_digits.detect(method, trained_digits.plain(i), key) for i in range(3)]
    if labels == "keyed":
        assert not any(found.decided(1e-6) for found in other)
    assert max(found.statistic for found in other) < 25
    before = trained_digits.accuracy(trained_digits.plain())
    assert trained_digits.accuracy(marked.network) > before - 0.03


def test_the_commitment_binds_everything(data):
    few = ArraySamples(data.read(np.arange(150)).feeds, np.arange(150) % 10, {"classes": CLASSES})
    keys = [
        made(Zhang(), data),
        made(Zhang(), data, bytes(32)),
        made(Zhang(), few),
        made(Zhang(labels="target"), data),
        made(Zhang(output=1), data),
        made(Zhang(), data, network=ArrayNetwork.of({"w": np.ones((2, 2))})),
    ]
    assert len({key.commitment for key in keys}) == len(keys)


def test_what_does_not_fit_is_told(data):
    with pytest.raises(InjectionError, match="zhang: expected no payload, because it only says"):
        Zhang().make_key(EMPTY, 8, SECRET, ArrayBench(samples=data))
    with pytest.raises(InjectionError, match="expected no layer, because the whole network"):
        made(Zhang(), data, layers=("conv",))
    with pytest.raises(InjectionError, match="expected at least 400 training samples, got 300; us"):
        made(Zhang(count=400), data)
    with pytest.raises(InjectionError, match="training samples not of class 3, got 2"):
        made(Zhang(count=300, labels="target", target=3), data)
    with pytest.raises(InjectionError, match="zhang: expected classes from 0 to 9, got another; c"):
        made(Zhang(labels="target", target=10), data)
    vague = ArraySamples(data.read(np.arange(300)).feeds, np.zeros((300, 2)), {"classes": CLASSES})
    with pytest.raises(
        InjectionError, match=r"one class a sample, got targets of float64 \(256, 2"
    ):
        made(Zhang(), vague)
    same = ArraySamples(
        {"x": np.ones((300, 4), np.float32)}, np.zeros(300, np.int64), {"classes": CLASSES}
    )
    with pytest.raises(InjectionError, match="100 different triggers of finite numbers, got 1 or"):
        made(Zhang(), same)
    with pytest.raises(InjectionError, match="zhang: expected no payload"):
        Zhang().additions(EMPTY, Payload((0,)), made(Zhang(), data))


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {}},
        {"facts": {}},
        {"facts": {"classes": 2}},
    ],
)
def test_keys_that_are_not_whole_are_told(data, change):
    odd = dataclasses.replace(made(Zhang(), data), **change)
    with pytest.raises(ConfigurationError, match="key: expected triggers of float32 with a class"):
        Zhang().detect(answering([0] * 100), Payload(), odd)
    foreign = dataclasses.replace(made(Zhang(), data), method=Spec("adi"))
    with pytest.raises(ConfigurationError, match="expected a key of method 'zhang', got one of 'a"):
        Zhang().committed(foreign, EMPTY)


def test_images_of_ones_own(data, tmp_path, rng):
    """Named in the key without their folder, as those of adi."""
    from PIL import Image

    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{i}.png")
    digits = trained_digits.samples().fitted(trained_digits.plain().inputs)
    key = made(Zhang(form="unrelated", images=tmp_path, count=10), digits)
    assert key.method.options["images"] == tmp_path.name
    assert key.arrays["triggers"].shape == (10, 1, 8, 8)
