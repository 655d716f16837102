"""Clauses on a method that training puts in by trigger inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import keystream
from nnw_onnx.errors import CarrierNotFoundError, NnwError
from nnw_onnx.testing import _method
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Decoding, Detection, Key, Payload, TrainingData

_SIZE = 40
_CLASSES = 10
_SHAPE = (3, 8, 8)
_OUTPUTS = 3
_KEYS = 100
_LARGEST_CHI_SQUARE = 61.4
"""Quantile 1 - 1e-9 for ten classes."""


def _data() -> TrainingData:
    values = keystream.uniform(_method.secret("data"), "samples", 40 * int(np.prod(_SHAPE)))
    inputs = (4 * values - 1).reshape(40, *_SHAPE).astype(np.float32)
    return TrainingData(inputs, np.arange(40) % _CLASSES, _CLASSES)


def _key(method: Any, label: str = "owner") -> Key:
    key: Key = method.make_key(_method.network(), _SIZE, _method.secret(label))
    if hasattr(method, "draw_triggers"):
        key = method.draw_triggers(key, _data())
    return key


class _Answering:
    """A fixed classifier that may have learnt some inputs by heart; every output is the same."""

    def __init__(
        self, learnt: tuple[NDArray[Any], NDArray[Any]] | None = None, classes: int = _CLASSES
    ) -> None:
        inputs, labels = learnt or ((), ())
        self._known = {x.tobytes(): int(y) for x, y in zip(inputs, labels, strict=True)}
        size = int(np.prod(_SHAPE)) * classes
        self._matrix = keystream.gaussian(_method.secret("net"), "matrix", size).reshape(
            -1, classes
        )

    def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
        scores = inputs.reshape(len(inputs), -1) @ self._matrix
        for row, x in zip(scores, inputs, strict=True):
            if x.tobytes() in self._known:
                row[self._known[x.tobytes()]] = np.abs(row).max() + 1
        return [scores.astype(np.float32)] * _OUTPUTS


def _has_inputs_and_labels(method: Any) -> None:
    inputs, labels = method.triggers(_method.payload(_SIZE), _key(method))
    require(inputs.shape == (len(labels), *_SHAPE) and inputs.dtype == np.float32,
            f"float32 triggers of shape {_SHAPE}, one for each label",
            f"{inputs.dtype} of {inputs.shape}", "use the shape of the data")  # fmt: skip
    require(len(labels) >= _SIZE, f"at least {_SIZE} triggers for {_SIZE} symbols", len(labels),
            "give each symbol a trigger")  # fmt: skip
    require(
        np.isfinite(inputs).all(), "finite triggers", "NaN or infinity", "see how they are drawn"
    )
    whole = np.issubdtype(labels.dtype, np.integer)
    require(whole and ((labels >= 0) & (labels < _CLASSES)).all(), f"labels 0 to {_CLASSES - 1}",
            labels[:5], "take them modulo the number of classes")  # fmt: skip


def _is_repeatable(method: Any) -> None:
    symbols = _method.payload(_SIZE)
    (x, y), (again, y_again) = (method.triggers(symbols, _key(method)) for _ in range(2))
    require(np.array_equal(x, again) and np.array_equal(y, y_again), "the same triggers from the "
            "same secret", "others", "derive everything random from the secret")  # fmt: skip
    other, y_other = method.triggers(symbols, _key(method, "other"))
    differ = not np.array_equal(x, other) or not np.array_equal(y, y_other)
    require(differ, "other triggers from another secret", "the same", "use the secret")


def _has_uniform_labels(method: Any) -> None:
    """Labels over many keys of one payload; a failure by chance has probability 1e-9."""
    counts = np.zeros(_CLASSES)
    for index in range(_KEYS):
        _, labels = method.triggers(Payload((1,) * _SIZE), _key(method, f"key {index}"))
        counts += np.bincount(labels, minlength=_CLASSES)
    expected = counts.sum() / _CLASSES
    chi_square = float(np.sum(np.square(counts - expected)) / expected)
    require(chi_square < _LARGEST_CHI_SQUARE, "labels uniform over the classes for random keys",
            f"chi-square {chi_square:.1f}", "mask the payload with uniform classes")  # fmt: skip


def _detects_right_answers(method: Any) -> None:
    key, symbols = _key(method), _method.payload(_SIZE)
    network = _Answering(method.triggers(symbols, key))
    decoding: Decoding = method.decode(network, key)
    wrong = decoding.payload.errors(symbols)
    require(wrong == 0, "every symbol from right answers", f"{wrong} wrong ones", "see decode")
    values = np.array(decoding.confidence)
    require(len(values) == _SIZE and np.isfinite(values).all() and (values >= 0).all(),
            "a finite confidence >= 0 for each symbol", decoding.confidence[:4],
            "see vocabulary.Decoding")  # fmt: skip
    found: Detection = method.detect(network, symbols, key)
    require(found.detected, "right answers detected", found, "compare all symbols")


def _guesses_with_a_wrong_key(method: Any) -> None:
    own, symbols = _key(method), _method.payload(_SIZE)
    suspects = {
        "on the watermarked network": _Answering(method.triggers(symbols, own)),
        "on the unwatermarked network": _Answering(),
    }
    for where, suspect in suspects.items():
        keys = (_key(method, f"wrong {index}") for index in range(_KEYS))
        values = [method.detect(suspect, symbols, key).p_value for key in keys]
        _method.require_guesses(values, where)
    chance: Detection = method.detect(_Answering(), symbols, own)
    require(not chance.detected, "nothing detected before the training", chance, "see the null")


def _distrusts_answers_without_numbers(method: Any) -> None:
    class Broken(_Answering):
        def infer(self, inputs: NDArray[Any]) -> Sequence[NDArray[Any]]:
            return [np.full((len(inputs), _CLASSES), np.nan, np.float32)] * _OUTPUTS

    found: Detection = method.detect(Broken(), _method.payload(_SIZE), _key(method))
    require(not found.detected, "nothing detected in scores that are no numbers", found,
            "count such answers as undecided")  # fmt: skip


def _misses_the_classes(method: Any) -> None:
    foreign = _Answering(classes=_CLASSES + 2)
    _method.refused(CarrierNotFoundError, "a network of other classes",
                    lambda: method.decode(foreign, _key(method)))  # fmt: skip


def _refuses_a_payload_of_another_size(method: Any) -> None:
    key, other = _key(method), _method.payload(_SIZE - 1)
    _method.refused(NnwError, "triggers for a payload of another size than the key's",
                    lambda: method.triggers(other, key))  # fmt: skip


CLAUSES: dict[str, Callable[[Any], None]] = {
    "has a label for each trigger": _has_inputs_and_labels,
    "has the same triggers for the same secret": _is_repeatable,
    "has labels that are uniform over keys": _has_uniform_labels,
    "detects right answers": _detects_right_answers,
    "guesses with wrong triggers": _guesses_with_a_wrong_key,
    "distrusts answers that are no numbers": _distrusts_answers_without_numbers,
    "says where the classes are others": _misses_the_classes,
    "refuses triggers for a payload of another size": _refuses_a_payload_of_another_size,
}
