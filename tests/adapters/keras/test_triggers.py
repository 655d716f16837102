"""Trigger sets: among arrays and batches, learnt, and found again in the exported file."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.vocabulary import Payload
from nnw_onnx_tensorflow import KerasNetwork, Watermark, export, rekey


@pytest.fixture
def mark(classifier, digits):
    payload = Payload.random(40, np.random.Generator(np.random.PCG64(0)))
    return Watermark(classifier(), payload, "adi", inputs=digits[0][:256], classes=10, seed=3)


def test_it_is_learnt_and_found_in_the_exported_file(mark, digits, tmp_path):
    inputs, labels = mark.extend(*digits, copies=8)
    history = mark.model.fit(
        inputs, labels, epochs=10, batch_size=64, verbose=0, callbacks=[mark.callback()]
    ).history
    assert history["watermark_symbol_error_rate"][-1] <= 0.05
    assert "watermark_penalty" not in history
    exported = export(mark.model, tmp_path / "model.onnx", digits[0][:4])
    mark.save_key(tmp_path / "key.npz")
    key = nnw.load_key(tmp_path / "key.npz")
    assert rekey(mark.key, exported).layers == ()
    detection = nnw.detect(tmp_path / "model.onnx", key)
    assert detection.detected
    assert detection.statistic >= 38
    assert detection.null == "Bin(40, 1/10)"
    for other in (3, 4):
        fresh = Watermark(
            mark.model, mark.payload, "adi", inputs=inputs[:256], classes=10, seed=other + 10
        )
        assert not nnw.detect(tmp_path / "model.onnx", fresh.key).detected


def test_extending_appends_every_trigger(mark, digits):
    inputs, labels = digits
    wanted, classes = mark.triggers()
    longer, answers = mark.extend(inputs, labels, copies=2)
    assert longer.dtype == inputs.dtype
    assert answers.dtype == labels.dtype
    n = len(inputs)
    assert np.array_equal(longer[:n], inputs)
    assert np.array_equal(answers[:n], labels)
    assert np.array_equal(longer[n:], np.concatenate([wanted, wanted]))
    assert np.array_equal(answers[n:], np.concatenate([classes, classes]))
    assert len(mark.extend(inputs, labels)[0]) == n + 3 * 40
    assert len(mark.extend(inputs[:9], labels[:9])[0]) == 9 + 40


def test_labels_keep_their_form(mark, digits):
    inputs, labels = digits
    _, classes = mark.triggers()
    _, column = mark.extend(inputs, labels[:, None], copies=1)
    assert np.array_equal(column[-40:], classes[:, None])
    one_hot = np.eye(10, dtype=np.float32)[labels]
    _, answers = mark.extend(inputs, one_hot, copies=1)
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
        ((5, 8, 8, 1), (5, 10, 2), r"expected labels \(n,\), .*, got shape \(5, 10, 2\)"),
    ],
)
def test_samples_of_another_form_are_refused(mark, inputs, labels, message):
    with pytest.raises(TrainingError, match=message):
        mark.extend(np.zeros(inputs, np.float32), np.zeros(labels))


def test_a_generator_gets_triggers_in_turn(mark, digits):
    inputs, labels = digits
    wanted, classes = mark.triggers()
    batches = ((inputs[k : k + 16], labels[k : k + 16]) for k in range(0, 160, 16))
    found = list(mark.triggered(batches, per_batch=12))
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
    triggered = mark.triggered(batches, per_batch=4)
    assert isinstance(triggered, keras.utils.PyDataset)
    assert len(triggered) == 10
    _, labels, weights = triggered[3]
    assert np.array_equal(labels[16:], mark.triggers()[1][12:16])
    assert weights.tolist() == [0.5] * 16 + [1.0] * 4
    mark.model.fit(triggered, epochs=2, verbose=0, callbacks=[mark.callback()])
    assert batches.epochs >= 2


def test_batches_of_torch_get_triggers(mark, digits):
    torch = pytest.importorskip("torch")
    batch = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
    ((inputs, labels),) = mark.triggered([batch], per_batch=4)
    assert inputs.shape == (20, 8, 8, 1)
    assert np.array_equal(labels[16:], mark.triggers()[1][:4])


def test_a_dataset_of_tensorflow_gets_triggers(mark, digits):
    tf = pytest.importorskip("tensorflow")
    inputs, labels = digits
    dataset = tf.data.Dataset.from_tensor_slices((inputs[:160], labels[:160])).batch(16)
    triggered = mark.triggered(dataset, per_batch=12)
    assert int(triggered.cardinality()) == 10
    found = [(x.numpy(), y.numpy()) for x, y in triggered]
    wanted, classes = mark.triggers()
    assert np.array_equal(np.concatenate([x[16:] for x, _ in found])[:40], wanted)
    assert np.array_equal(np.concatenate([y[16:] for _, y in found])[:40], classes)
    weighted = tf.data.Dataset.from_tensor_slices(
        (inputs[:32], np.eye(10, dtype=np.float32)[labels[:32]], np.zeros(32, np.float32))
    ).batch(16)
    (_, answers, weights), *_ = mark.triggered(weighted, per_batch=4)
    assert np.array_equal(answers.numpy()[16:].argmax(1), classes[:4])
    assert weights.numpy().tolist() == [0.0] * 16 + [1.0] * 4
    with pytest.raises(TrainingError, match=r"expected a data set of \(inputs, labels\) or"):
        mark.triggered(tf.data.Dataset.from_tensor_slices(inputs).batch(4))
    with pytest.raises(TrainingError, match="got elements tuple; change the data set"):
        mark.triggered(tf.data.Dataset.from_tensor_slices(({"x": inputs}, labels)).batch(4))


def test_batches_of_another_form_are_refused(mark, digits):
    with pytest.raises(TrainingError, match=r"expected batches \(inputs, labels\) or .*, got nd"):
        next(mark.triggered([digits[0][:4]]))


@pytest.mark.parametrize(
    "given", [{"classes": 10}, {"inputs": True}], ids=["no inputs", "no classes"]
)
def test_a_trigger_set_needs_inputs_and_classes(classifier, digits, given):
    if "inputs" in given:
        given = {"inputs": digits[0][:8]}
    message = "adi: expected some inputs of the training and the number of classes, which its trig"
    with pytest.raises(ConfigurationError, match=message):
        Watermark(classifier(), Payload.from_bits("0110"), "adi", **given)


def test_it_has_no_penalty(mark):
    assert mark.penalty() == 0
    with pytest.raises(TrainingError, match="expected a method that penalises weights, got a trig"):
        mark.regularizer()


def test_images_of_the_owner_are_used(classifier, digits):
    inputs = digits[0]
    mark = Watermark(
        classifier(), Payload.from_bits("0110"), "adi",
        inputs=inputs[:64], classes=10, images=inputs[100:110], seed=1,
    )  # fmt: skip
    chosen = {trigger.tobytes() for trigger in mark.triggers()[0]}
    assert chosen <= {image.tobytes() for image in inputs[100:110]}
    assert mark.symbol_error_rate() == np.mean(
        mark.payload.array()
        != mark.method.decode(KerasNetwork(mark.model), mark.key).payload.array()
    )
