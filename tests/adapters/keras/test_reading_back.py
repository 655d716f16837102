"""The mark is read back where a key is saved, a training ends and a model is exported."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx.vocabulary import Payload
from nnw_onnx_tensorflow import KerasNetwork, Watermark, export

MINE = Payload.from_text("mine")
STRONG = {"strength": 0.1}
PUT_BACK = r"only 0 were wrong before: other weights were put back since"


def _fit(model, digits, *callbacks, epochs=6, steps=None):
    inputs, labels = (part[:1024] for part in digits)
    return model.fit(
        inputs,
        labels,
        epochs=epochs,
        steps_per_epoch=steps,
        batch_size=64,
        verbose=0,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("order", ["before", "behind"])
def test_a_callback_that_puts_weights_back_is_noticed(classifier, digits, order):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    # The loss is asked to grow, so the first epoch is kept: one step does not bring the mark in.
    best = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=100, restore_best_weights=True
    )
    callbacks = [best, mark.callback()]
    given = callbacks if order == "before" else callbacks[::-1]
    with pytest.warns(UserWarning, match=PUT_BACK) as caught:
        history = _fit(model, digits, *given, epochs=64, steps=1)
    assert history.history["watermark_symbol_error_rate"][-1] == 0 < mark.symbol_error_rate()
    assert len([w for w in caught if "watermark" in str(w.message)]) == 1
    assert "on_train_end" not in vars(history)


def test_averaged_weights_that_hold_the_mark_are_no_reason_to_warn(classifier, digits):
    model = classifier()
    optimizer = keras.optimizers.Adam(3e-3, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, model.loss)
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _fit(model, digits, mark.callback())
    assert mark.symbol_error_rate() == 0


def test_a_key_and_an_export_come_with_a_word_about_the_mark(classifier, digits, tmp_path):
    model = classifier()
    first = model.get_weights()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    with pytest.warns(UserWarning, match=r"expected all 32 symbols .*; train longer"):
        mark.save_key(tmp_path / "early.npz")
    _fit(model, digits, mark.callback(), epochs=5)
    inputs = digits[0][:4]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mark.save_key(tmp_path / "key.npz")
        export(model, tmp_path / "marked.onnx", inputs)
    copy = keras.models.clone_model(model)  # fresh weights
    with pytest.warns(UserWarning, match="expected the object on which a mark was made"):
        export(copy, tmp_path / "copy.onnx", inputs)
    model.set_weights(first)
    with pytest.warns(UserWarning, match=PUT_BACK):
        export(model, tmp_path / "restored.onnx", inputs)
    assert nnw.load_key(tmp_path / "early.npz").payload == MINE


def test_a_callback_outside_of_fit_checks_at_once(classifier):
    model = classifier()
    mark = Watermark(model, MINE, options=STRONG, seed=1)
    callbacks = keras.callbacks.CallbackList([mark.callback()], model=model)
    callbacks.on_train_begin()
    with pytest.warns(UserWarning, match="expected all 32 symbols"):
        callbacks.on_train_end()


def test_a_model_with_another_purpose_is_not_looked_at(classifier, tmp_path):
    mark = Watermark(classifier(), MINE, options=STRONG, seed=1)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        export(other, tmp_path / "other.onnx", np.zeros((2, 4), np.float32))
    assert mark.symbol_error_rate() > 0
    assert KerasNetwork(other).producer.startswith("keras ")
