"""A watermark put in by `fit`: weights, logs, configuration, refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, TrainingError
from nnw_onnx.vocabulary import (
    Additions,
    Claim,
    Decodes,
    Decoding,
    Key,
    Moment,
    Payload,
    Penalty,
    Spec,
    Trains,
)
from nnw_onnx_tensorflow import KerasNetwork, Watermark, export, rekey

MINE = Payload.from_text("mine")
STRONG = {"strength": 0.1}


def told(mark):
    """The penalty of the model's weights, straight from the method."""
    network, claim = KerasNetwork(mark.model), mark.claim
    added = mark.method.additions(network, claim.payload, claim.key)
    weights = {name: network.weights[name] for name in added.carriers}
    moment = Moment(weights, {}, None, np.zeros(0, bool), {}, 0, lambda given: {})
    return added.penalty(moment)


def _fit(model, digits, *callbacks, epochs=2, **options):
    inputs, labels = (part[:1024] for part in digits)
    return model.fit(
        inputs, labels, epochs=epochs, batch_size=64, verbose=0, callbacks=callbacks, **options
    ).history


def test_three_lines_put_it_in_and_the_key_file_reads_it(classifier, digits, tmp_path):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    assert mark.key.layers[0].endswith("second/kernel")
    assert mark.symbol_error_rate() > 0.2
    history = _fit(model, digits, mark.callback(), epochs=5)
    mark.save_key(tmp_path / "key.npz")
    assert history["watermark_symbol_error_rate"][-1] == mark.symbol_error_rate() == 0
    claim = nnw.load_key(tmp_path / "key.npz")
    assert mark.method.decode(KerasNetwork(model), claim.key).payload == MINE == claim.payload
    assert history["accuracy"][-1] > 0.9
    penalties = history["watermark_penalty"]
    assert len(penalties) == 5
    assert penalties[-1] < penalties[0]
    assert penalties[-1] == pytest.approx(told(mark).value, rel=0.05)  # one step later


def test_without_the_callback_nothing_is_put_in(classifier, digits):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    _fit(model, digits)
    assert mark.symbol_error_rate() > 0.2


def test_a_model_already_fitted_learns_it_and_forgets_the_penalty(classifier, digits):
    model = classifier()
    _fit(model, digits, epochs=1, validation_data=digits)
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    variable = mark.learning[0].variable
    beside = variable.regularizer = keras.regularizers.L2(1e-4)
    history = _fit(model, digits, mark.callback(), epochs=4, validation_data=digits)
    assert history["watermark_symbol_error_rate"][-1] == 0
    assert variable.regularizer is beside
    plain = model.evaluate(*digits, verbose=0, return_dict=True)["loss"]
    with_penalty = history["val_loss"][-1]
    assert with_penalty - plain == pytest.approx(told(mark).value, rel=1e-2)


def test_an_interrupted_fit_leaves_nothing_that_counts_twice(classifier, digits):
    class Interruption(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = classifier()
    mark = Watermark(model, MINE, seed=1)
    plain = model.compute_loss
    callback = mark.callback()
    with pytest.raises(KeyboardInterrupt):
        _fit(model, digits, callback, Interruption())
    assert model.compute_loss is not plain
    _fit(model, digits, callback, epochs=1)
    assert model.compute_loss == plain


def test_two_watermarks_in_one_training(classifier, digits):
    model = classifier()
    one, other = (Watermark(model, MINE, options=STRONG, layer="second", seed=s) for s in (1, 2))
    history = _fit(model, digits, one.callback(), other.callback("other"), epochs=5)
    assert history["watermark_symbol_error_rate"][-1] == 0
    assert history["other_symbol_error_rate"][-1] == 0


def test_later_callbacks_see_the_rate(classifier, digits):
    model = classifier()
    mark = Watermark(model, MINE, options={"strength": 1.0}, seed=1)
    monitored = keras.callbacks.EarlyStopping("watermark_symbol_error_rate", mode="min")
    history = _fit(model, digits, mark.callback(), monitored, epochs=8)
    rates = history["watermark_symbol_error_rate"]
    assert len(rates) < 8
    assert rates[-1] >= rates[-2]


def test_jit_compile_is_switched_off_for_the_training(classifier, digits):
    model = classifier(jit=True)
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    message = (
        r"jit_compile: expected False for a watermark's penalty, got True; training runs without "
        r"it, pass jit_compile=False to compile\(\)"
    )
    with pytest.warns(UserWarning, match=message):
        history = _fit(model, digits, mark.callback(), epochs=3)
    assert history["watermark_symbol_error_rate"][-1] < 0.1
    assert model.jit_compile


def test_the_saved_model_knows_nothing_of_the_key(classifier, digits, tmp_path):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    saving = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    _fit(model, digits, mark.callback(), saving, epochs=3)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.losses
    # Keras names the layers of what it loads without the name of the model.
    again = Watermark(loaded, claim=mark.claim)
    assert again.key.layers == ("second/kernel",) != mark.key.layers
    assert again.decode().payload == MINE


def test_the_penalty_is_for_training_steps_of_ones_own(classifier):
    model = classifier()
    mark = Watermark(model, MINE, seed=1)
    value = keras.ops.convert_to_numpy(mark.penalty())
    assert value == pytest.approx(told(mark).value, rel=1e-5)


def test_a_seed_makes_the_key_repeatable(classifier):
    one, again = (Watermark(classifier(), MINE, seed=7).key for _ in "ab")
    other = Watermark(classifier(), MINE, seed=8).key
    fresh = [Watermark(classifier(), MINE).key for _ in "ab"]
    assert one.secret == again.secret
    assert one.commitment == again.commitment
    assert len({one.secret, other.secret, *(key.secret for key in fresh)}) == 4
    assert "secret" not in repr(Watermark(classifier(), MINE, seed=7))


def test_a_frozen_carrier_is_refused(classifier, digits):
    model = classifier()
    mark = Watermark(model, MINE, layer="second", seed=1)
    model.get_layer("second").trainable = False
    with pytest.raises(TrainingError, match="expected a carrier that learns, got a frozen one; se"):
        _fit(model, digits, mark.callback())


def test_another_model_is_refused(classifier, digits):
    mark = Watermark(classifier(), MINE, seed=1)
    with pytest.raises(TrainingError, match="callback: expected to train model 'net', got 'net'; "):
        _fit(classifier(), digits, mark.callback())


def test_methods_that_do_not_train_are_refused(classifier):
    message = "training: expected a method that training can put in, got block-spread"
    with pytest.raises(ConfigurationError, match=message):
        Watermark(classifier(), MINE, "block-spread")


def test_an_unknown_layer_is_refused(classifier):
    with pytest.raises(InjectionError, match="expected the name of a layer of this network, got"):
        Watermark(classifier(), MINE, layer="third")


def test_a_method_of_penalties_has_no_samples_of_its_own(classifier, digits):
    mark = Watermark(classifier(), MINE, seed=1)
    assert not mark.has_own_samples
    assert mark.own_samples is None
    inputs, labels = mark.extend(*digits)
    assert inputs.shape == digits[0].shape
    assert labels is not None
    assert mark.extend_dataset(digits) is digits


def test_a_method_that_looks_at_activations_is_put_in_and_found_in_the_file(
    classifier, digits, tmp_path
):
    model, payload = classifier(hidden=64), Payload.from_bits("1011001110001011")
    options = {"closeness": 0.1}
    mark = Watermark(
        model, payload, "deepsigns", layer="hidden", options=options,
        inputs=digits[0][:600], targets=digits[1][:600], classes=10, seed=1,
    )  # fmt: skip
    history = _fit(model, digits, mark.callback(), epochs=12, validation_data=digits)
    assert history["watermark_symbol_error_rate"][-1] == 0
    assert mark.state["centres"].any()
    steps = mark.state_dict()["step"]
    assert steps == 12 * 16  # validation is no step
    exported = export(model, tmp_path / "model.onnx", digits[0][:4])
    claim = rekey(mark.claim, exported)
    assert nnw.decode(tmp_path / "model.onnx", claim).payload == mark.claim.payload


class Held(Trains, Decodes):
    """Sets some weights and keeps them; learns a number of its own; asks for the task."""

    name = "held"

    def make_key(self, network, size, secret, bench):
        name = network.layers[0].name
        return Key(Spec("held"), secret, size, layers=(name,), shapes=(network.layers[0].shape,))

    def additions(self, network, payload, key):
        (name,) = key.layers
        values = np.array(network.weights[name])
        values.flat[:5] = 0.25
        fixed = np.arange(values.size).reshape(values.shape) < 5

        def penalty(now):
            elsewhere = now.task_gradient({name: now.weights[name] * 0.5})[name]
            self.asked.append(elsewhere)
            return Penalty(1.0, {name: np.zeros(values.shape)}, state={"n": now.state["n"] + 1})

        return Additions(
            penalty, carriers=(name,), state={"n": np.zeros(1)},
            start={name: values}, fixed={name: fixed},
        )  # fmt: skip

    def decode(self, suspect, key):
        return Decoding(Payload((0,) * key.size), (0.0,) * key.size)


def test_start_fixed_weights_own_arrays_and_the_gradient_of_the_task(
    classifier, digits, monkeypatch
):
    model, method = classifier(), Held()
    method.asked = []
    claim = Claim(method.make_key(KerasNetwork(model), 4, bytes(32), None), Payload((0,) * 4))
    monkeypatch.setattr(plugins, "method_of", lambda key: method)
    mark = Watermark(model, claim=claim)
    before = np.array(mark.learning[0].read())
    _fit(model, digits, mark.callback(), epochs=1)
    after = mark.learning[0].read()
    assert (after.flat[:5] == 0.25).all()
    assert (after.flat[5:] != before.flat[5:]).all()
    assert mark.state["n"] == 16 == mark.state_dict()["step"]
    assert mark.key.arrays["n"] == 16
    assert all(np.isfinite(g).all() and g.any() for g in method.asked)


def test_a_training_that_goes_on_ends_the_same(classifier, digits):
    def watermark(model):
        return Watermark(
            model, Payload.from_bits("10110"), "deepsigns", layer="head",
            inputs=digits[0][:600], targets=digits[1][:600], classes=10, seed=1,
        )  # fmt: skip

    one = classifier()
    whole = watermark(one)
    _fit(one, digits, whole.callback(), epochs=2, shuffle=False)
    other = classifier()
    first = watermark(other)
    _fit(other, digits, first.callback(), epochs=1, shuffle=False)
    second = Watermark(other, claim=first.claim)
    second.load_state_dict(first.state_dict())
    _fit(other, digits, second.callback(), epochs=1, shuffle=False)
    assert second.state_dict()["step"] == whole.state_dict()["step"] == 32
    np.testing.assert_allclose(
        second.state["centres"], whole.state["centres"], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(TrainingError, match="expected the state of a watermark, got another"):
        second.load_state_dict({})


def test_a_layer_that_cannot_be_listened_to_is_refused(classifier, digits):
    model = classifier(norm=True)
    with pytest.raises(TrainingError, match="expected a convolution or a Dense layer, whose ans"):
        KerasNetwork(model).run({"x": digits[0][:2]}, ["net/norm/gamma"])
