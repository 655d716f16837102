"""A watermark put in by `fit`: weights, logs, configuration, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras
import pytest

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, TrainingError
from nnw_onnx.vocabulary import Key, Payload
from nnw_onnx_tensorflow import KerasNetwork, Watermark

MINE = Payload.from_text("mine")
STRONG = {"strength": 0.1}


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
    key = nnw.load_key(tmp_path / "key.npz")
    assert mark.method.decode(KerasNetwork(model), key).payload == MINE == key.payload
    assert history["accuracy"][-1] > 0.9
    penalties = history["watermark_penalty"]
    assert len(penalties) == 5
    assert penalties[-1] < penalties[0]
    expected = mark.method.weight_penalty(KerasNetwork(model).weights, MINE, mark.key).value
    assert penalties[-1] == pytest.approx(expected, rel=1e-4)


def test_without_the_callback_nothing_is_put_in(classifier, digits):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    _fit(model, digits)
    assert mark.symbol_error_rate() > 0.2


def test_a_model_already_fitted_learns_it_and_forgets_the_penalty(classifier, digits):
    model = classifier()
    _fit(model, digits, epochs=1, validation_data=digits)
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    variable = mark.entries()[0].variable
    beside = variable.regularizer = keras.regularizers.L2(1e-4)
    history = _fit(model, digits, mark.callback(), epochs=4, validation_data=digits)
    assert history["watermark_symbol_error_rate"][-1] == 0
    assert variable.regularizer is beside
    plain = model.evaluate(*digits, verbose=0, return_dict=True)["loss"]
    with_penalty = history["val_loss"][-1]
    assert with_penalty - plain == pytest.approx(history["watermark_penalty"][-1], rel=1e-2)


def test_an_interrupted_fit_leaves_nothing_that_counts_twice(classifier, digits):
    class Interruption(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = classifier()
    mark = Watermark(model, MINE, seed=1)
    variable = mark.entries()[0].variable
    with pytest.raises(KeyboardInterrupt):
        _fit(model, digits, mark.callback(), Interruption())
    assert variable.regularizer is not None
    _fit(model, digits, mark.callback(), epochs=1)
    assert variable.regularizer is None


def test_two_watermarks_in_one_training(classifier, digits):
    model = classifier()
    one, other = (Watermark(model, MINE, options=STRONG, layer="second", seed=s) for s in (1, 2))
    history = _fit(model, digits, one.callback(), other.callback("other"), epochs=5)
    assert history["watermark_symbol_error_rate"][-1] == 0
    assert history["other_symbol_error_rate"][-1] == 0
    assert one.entries()[0].variable.regularizer is None


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
    assert mark.method.decode(KerasNetwork(loaded), mark.key).payload == MINE


def test_the_penalty_is_for_training_steps_of_ones_own(classifier):
    model = classifier()
    mark = Watermark(model, MINE, seed=1)
    value = keras.ops.convert_to_numpy(mark.penalty())
    expected = mark.method.weight_penalty(KerasNetwork(model).weights, MINE, mark.key).value
    assert value == pytest.approx(expected, rel=1e-5)


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
    message = "block-spread: expected a method that training can put in, got another; use for"
    with pytest.raises(ConfigurationError, match=message):
        Watermark(classifier(), MINE, "block-spread")


@dataclass(frozen=True)
class Activations:
    """A method that penalises activations."""

    name: ClassVar[str] = "activations"
    summary: ClassVar[str] = "for tests"

    def make_key(self, network, payload_size, secret, layer=None):
        return Key(self.name, secret, (), (), payload_size)

    def activation_penalty(self, activations, labels, payload, key):
        raise NotImplementedError


def test_penalties_of_activations_are_refused(classifier, monkeypatch):
    monkeypatch.setattr(plugins, "create", lambda group, spec: Activations())
    with pytest.raises(TrainingError, match="got a penalty of activations; use method uchida or"):
        Watermark(classifier(), MINE, "activations")


def test_an_unknown_layer_is_refused(classifier):
    with pytest.raises(InjectionError, match="expected the name of a layer of this network, got"):
        Watermark(classifier(), MINE, layer="third")


def test_a_method_of_penalties_has_no_triggers(classifier, digits):
    mark = Watermark(classifier(), MINE, seed=1)
    for use in (lambda: mark.extend(*digits), mark.triggers, lambda: mark.triggered([])):
        with pytest.raises(
            TrainingError, match="uchida: expected a trigger set, got a method"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)
