"""Samples of a method's own: among arrays and batches, learnt, and found in the exported file."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.vocabulary import Payload
from nnw_onnx_tensorflow import Watermark, export, rekey


@pytest.fixture
def mark(classifier, digits):
    payload = Payload.random(40, np.random.Generator(np.random.PCG64(0)))
    return Watermark(classifier(), payload, "adi", inputs=digits[0][:256], classes=10, seed=3)


def own(mark):
    """All samples of the method's own: inputs and targets."""
    read = mark.own_samples.read(np.arange(len(mark.own_samples)))
    return next(iter(read.feeds.values())), read.targets


def per_batch(mark, number):
    """The same watermark with another number of own samples in a batch."""
    given = mark.claim
    return Watermark(mark.model, claim=given, own_per_batch=number)


def test_it_is_learnt_and_found_in_the_exported_file(mark, digits, tmp_path):
    inputs, labels = mark.extend_dataset(digits, repeats=8)
    history = mark.model.fit(
        inputs, labels, epochs=10, batch_size=64, verbose=0, callbacks=[mark.callback()]
    ).history
    assert history["watermark_symbol_error_rate"][-1] <= 0.05
    assert "watermark_penalty" not in history
    exported = export(mark.model, tmp_path / "model.onnx", digits[0][:4])
    mark.save_key(tmp_path / "key.npz")
    claim = nnw.load_key(tmp_path / "key.npz")
    assert rekey(mark.claim, exported).key.layers == ()
    detection = nnw.detect(tmp_path / "model.onnx", claim)
    assert detection.detected
    assert detection.statistic >= 38
    assert detection.null.name == "Bin(40, 1/10)"
    for other in (3, 4):
        fresh = Watermark(
            mark.model, mark.payload, "adi", inputs=inputs[:256], classes=10, seed=other + 10
        )
        assert not nnw.detect(tmp_path / "model.onnx", fresh.claim).detected


def test_extending_appends_every_trigger(mark, digits):
    inputs, labels = digits
    wanted, classes = own(mark)
    longer, answers = mark.extend_dataset((inputs, labels), repeats=2)
    assert longer.dtype == inputs.dtype
    assert answers.dtype == labels.dtype
    n = len(inputs)
    assert np.array_equal(longer[:n], inputs)
    assert np.array_equal(answers[:n], labels)
    assert np.array_equal(longer[n:], np.concatenate([wanted, wanted]))
    assert np.array_equal(answers[n:], np.concatenate([classes, classes]))
    assert len(mark.extend_dataset((inputs, labels))[0]) == n + 3 * 40
    assert len(mark.extend_dataset((inputs[:9], labels[:9]))[0]) == 9 + 40
    first, again = mark.extend(inputs[:4], labels[:4]), mark.extend(inputs[:4], labels[:4])
    assert np.array_equal(np.concatenate([first[0][4:], again[0][4:]]), wanted[:16])


def test_labels_keep_their_form(mark, digits):
    inputs, labels = digits
    _, classes = own(mark)
    _, column = mark.extend_dataset((inputs, labels[:, None]), repeats=1)
    assert np.array_equal(column[-40:], classes[:, None])
    one_hot = np.eye(10, dtype=np.float32)[labels]
    _, answers = mark.extend_dataset((inputs, one_hot), repeats=1)
    assert answers.dtype == np.float32
    assert np.array_equal(answers[-40:].argmax(1), classes)
    assert np.array_equal(answers.sum(1), np.ones(len(answers)))


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        ((5, 8, 8), (5,), r"expected inputs of shape \('n', 8, 8, 1\), got \(5, 8, 8\); give what"),
        (
            (5, 8, 8, 1),
            (5, 3),
            r"\(n, classes\) with classes > 9, got shape \(5, 3\); give",
        ),
        ((5, 8, 8, 1), (5, 10, 2), r"expected targets \(n,\), .*, got shape \(5, 10, 2\)"),
    ],
)
def test_samples_of_another_form_are_refused(mark, inputs, labels, message):
    with pytest.raises(TrainingError, match=message):
        mark.extend(np.zeros(inputs, np.float32), np.zeros(labels))


def test_a_generator_gets_triggers_in_turn(mark, digits):
    inputs, labels = digits
    wanted, classes = own(mark)
    batches = ((inputs[k : k + 16], labels[k : k + 16]) for k in range(0, 160, 16))
    found = list(per_batch(mark, 12).extend_dataset(batches))
    assert [len(x) for x, _ in found] == [28] * 10
    added = np.concatenate([x[16:] for x, _ in found])
    assert np.array_equal(added[:40], wanted)
    assert np.array_equal(added[40:80], wanted)
    assert np.array_equal(np.concatenate([y[16:] for _, y in found])[:40], classes)


class Batches(keras.utils.PyDataset):
    """Ten batches with weights."""

    def __init__(self, digits):
        super().__init__()
        self.digits, self.epochs = digits, 0

    def __len__(self):
        return 10

    def __getitem__(self, index):
        part = slice(16 * index, 16 * (index + 1))
        return self.digits[0][part], self.digits[1][part], np.full(16, 0.5, np.float32)

    def on_epoch_end(self):
        self.epochs += 1


def test_a_dataset_of_keras_gets_triggers_and_weights(mark, digits):
    batches = Batches(digits)
    triggered = per_batch(mark, 4).extend_dataset(batches)
    assert isinstance(triggered, keras.utils.PyDataset)
    assert len(triggered) == 10
    _, labels, weights = triggered[3]
    assert np.array_equal(labels[16:], own(mark)[1][12:16])
    assert weights.tolist() == [0.5] * 16 + [1.0] * 4
    mark.model.fit(triggered, epochs=2, verbose=0, callbacks=[mark.callback()])
    assert batches.epochs >= 2


def test_batches_of_torch_get_triggers(mark, digits):
    torch = pytest.importorskip("torch")
    batch = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
    ((inputs, labels),) = per_batch(mark, 4).extend_dataset([batch])
    assert inputs.shape == (20, 8, 8, 1)
    assert np.array_equal(labels[16:], own(mark)[1][:4])


def test_a_dataset_of_tensorflow_gets_triggers(mark, digits):
    tf = pytest.importorskip("tensorflow")
    inputs, labels = digits
    dataset = tf.data.Dataset.from_tensor_slices((inputs[:160], labels[:160])).batch(16)
    triggered = per_batch(mark, 12).extend_dataset(dataset)
    assert int(triggered.cardinality()) == 10
    found = [(x.numpy(), y.numpy()) for x, y in triggered]
    wanted, classes = own(mark)
    assert np.array_equal(np.concatenate([x[16:] for x, _ in found])[:40], wanted)
    assert np.array_equal(np.concatenate([y[16:] for _, y in found])[:40], classes)
    weighted = tf.data.Dataset.from_tensor_slices(
        (inputs[:32], np.eye(10, dtype=np.float32)[labels[:32]], np.zeros(32, np.float32))
    ).batch(16)
    (_, answers, weights), *_ = per_batch(mark, 4).extend_dataset(weighted)
    assert np.array_equal(answers.numpy()[16:].argmax(1), classes[:4])
    assert weights.numpy().tolist() == [0.0] * 16 + [1.0] * 4
    with pytest.raises(TrainingError, match=r"expected a data set of \(inputs, targets\) or"):
        mark.extend_dataset(tf.data.Dataset.from_tensor_slices(inputs).batch(4))
    with pytest.raises(TrainingError, match="got elements tuple; change the data set"):
        mark.extend_dataset(tf.data.Dataset.from_tensor_slices(({"x": inputs}, labels)).batch(4))


def test_batches_of_another_form_are_refused(mark, digits):
    with pytest.raises(TrainingError, match=r"expected batches \(inputs, targets\) or .*, got nd"):
        next(mark.extend_dataset([digits[0][:4]]))


def test_a_trigger_set_needs_inputs(classifier):
    with pytest.raises(ConfigurationError, match="expected some of the task's training, got none"):
        Watermark(classifier(), Payload.from_bits("0110"), "adi", classes=10)


def test_the_number_of_classes_is_asked_of_the_model(classifier, digits):
    mark = Watermark(classifier(), Payload.from_bits("0110"), "adi", inputs=digits[0][:8])
    assert mark.key.facts["classes"] == 10


def test_it_has_no_penalty(mark):
    assert mark.penalty() == 0
    assert not mark.has_penalty
