"""Clauses on a method that training puts in by a penalty of what a layer answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import keystream
from nnw_onnx.errors import NnwError
from nnw_onnx.testing import _method, _penalty, descent
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Detection, Key, Payload, Penalty, TrainingData, needs_inference

_SIZE = 24
_CLASSES = 10
_SAMPLES = 60
_LAYER = "conv"
_OUTPUTS = 3
_KEYS = 200


def _data() -> TrainingData:
    """Samples that carry their own number, by which a network can tell them apart."""
    numbers = np.arange(_SAMPLES, dtype=np.float32)
    inputs = np.broadcast_to(numbers[:, None, None, None], (_SAMPLES, 1, 2, 2)).copy()
    return TrainingData(inputs, np.arange(_SAMPLES) % _CLASSES, _CLASSES)


def _key(method: Any, label: str = "owner") -> Key:
    key: Key = method.make_key(_method.network(), _SIZE, _method.secret(label), _LAYER)
    if hasattr(method, "draw_triggers"):
        key = method.draw_triggers(key, _data())
    return key


def _activations(key: Key) -> NDArray[np.float64]:
    """What the carrier answers to the samples, before training: (samples, outputs, 3, 3)."""
    shape = (_SAMPLES, key.shapes[0][0], 3, 3)
    drawn = keystream.gaussian(_method.secret("activations"), "samples", int(np.prod(shape)))
    return drawn.reshape(shape) + 0.5


class _Answering:
    """A network of which every output is what the carrier answers."""

    def __init__(self, activations: NDArray[np.float64]) -> None:
        self._activations = activations

    def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        numbers = np.rint(inputs.reshape(len(inputs), -1)[:, 0]).astype(np.int64)
        return [self._activations[np.clip(numbers, 0, _SAMPLES - 1)]] * _OUTPUTS


def _function(method: Any, key: Key, payload: Payload) -> descent.Function:
    labels = _data().labels

    def penalty(arrays: descent.Arrays) -> Penalty:
        found = method.activation_penalty(arrays["activations"], labels, payload, key)
        return Penalty(found.value, {"activations": found.gradient})

    return penalty


def _trained(method: Any, key: Key) -> Any:
    function = _function(method, key, _method.payload(_SIZE))
    found = descent.minimise(function, {"activations": _activations(key)})
    if not needs_inference(method):
        require(
            False, "needs_inference = True for what is read from activations", "False", "set it"
        )
    return _Answering(found["activations"])


def _has_a_layer(method: Any) -> None:
    key = _key(method)
    require(
        key.layers[:1] == (_LAYER,), f"the layer {_LAYER!r} as asked", key.layers, "use `layer`"
    )
    require(key.notes, "a note on why the carrier was chosen", "none", "fill Key.notes")


def _has_a_gradient(method: Any) -> None:
    key, payload = _key(method), _method.payload(_SIZE)
    activations, labels = _activations(key), _data().labels
    for scale in (0.0, 1.0, 1e4):
        _check(method.activation_penalty(scale * activations, labels, payload, key), activations)
    for only in range(_CLASSES):
        one_class = np.full(_SAMPLES, only)
        _check(method.activation_penalty(activations, one_class, payload, key), activations)


def _check(penalty: Penalty, activations: NDArray[np.float64]) -> None:
    _penalty.require_number(penalty)
    found = np.asarray(penalty.gradient)
    require(found.shape == activations.shape and np.isfinite(found).all(),
            f"a finite gradient of shape {activations.shape}", f"{found.shape} or NaN",
            "give zeros for samples that do not count")  # fmt: skip


def _has_the_gradient_of_its_penalty(method: Any) -> None:
    key = _key(method)
    function = _function(method, key, _method.payload(_SIZE))
    at = {"activations": _activations(key)}
    _penalty.require_slopes(function, at, "activations")
    _penalty.require_fall(function, at)


def _is_put_in_by_descent(method: Any) -> None:
    key, payload = _key(method), _method.payload(_SIZE)
    network = _trained(method, key)
    wrong = method.decode(network, key).payload.errors(payload)
    require(wrong == 0, f"no wrong symbol after {descent.STEPS} steps down the penalty",
            f"{wrong} of {_SIZE}", "let the penalty fall where the decoder reads more")  # fmt: skip
    found: Detection = method.detect(network, payload, key)
    require(found.detected, "its payload detected", found, "compare all symbols")


def _guesses_with_a_wrong_key(method: Any) -> None:
    own, payload = _key(method), _method.payload(_SIZE)
    suspects = {
        "on the watermarked network": _trained(method, own),
        "on the unwatermarked network": _Answering(_activations(own)),
    }
    for where, suspect in suspects.items():
        keys = (_key(method, f"wrong {index}") for index in range(_KEYS))
        values = [method.detect(suspect, payload, key).p_value for key in keys]
        _method.require_guesses(values, where)


def _refuses_a_payload_of_another_size(method: Any) -> None:
    key, labels, other = _key(method), _data().labels, _method.payload(_SIZE - 1)
    _method.refused(
        NnwError,
        "a payload of another size than the key's in a training",
        lambda: method.activation_penalty(_activations(key), labels, other, key),
    )


CLAUSES: dict[str, Callable[[Any], None]] = {
    "takes the layer whose answers it wants": _has_a_layer,
    "has a gradient for every batch": _has_a_gradient,
    "has the gradient of its penalty of activations": _has_the_gradient_of_its_penalty,
    "is put in by descent on activations": _is_put_in_by_descent,
    "guesses activations with a wrong key": _guesses_with_a_wrong_key,
    "refuses activations for a payload of another size": _refuses_a_payload_of_another_size,
}
