"""Clauses on a method that training puts in by a penalty of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import NnwError
from nnw_onnx.testing import _method, descent
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Key, Payload, Penalty

_SIZE = 64


def _prepared(method: Any, size: int = _SIZE) -> tuple[ArrayNetwork, Key, Payload]:
    plain = _method.network("float64")
    key = method.make_key(plain, size, _method.secret("owner"))
    return plain, key, _method.payload(size)


def _carriers(plain: ArrayNetwork, key: Key) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(plain.weights[name]) for name in key.layers}


def _function(method: Any, plain: ArrayNetwork, key: Key, payload: Payload) -> descent.Function:
    def penalty(weights: dict[str, NDArray[np.float64]]) -> Penalty:
        found: Penalty = method.weight_penalty({**plain.weights, **weights}, payload, key)
        return found

    return penalty


def require_number(penalty: Penalty) -> None:
    """Require a value that is finite and not negative."""
    value = penalty.value
    require(np.ndim(value) == 0 and np.isfinite(value) and value >= 0, "a finite penalty >= 0",
            value, "use a stable form, such as numpy.logaddexp")  # fmt: skip


def require_slopes(function: descent.Function, at: descent.Arrays, name: str) -> None:
    """Require a gradient that agrees with central differences along every direction."""
    for direction in descent.directions(at[name].shape):
        told, measured = descent.slopes(function, at, name, direction)
        close = abs(told - measured) <= 1e-5 * abs(measured) + 1e-8
        require(close, f"the slope {measured:.6g} of the penalty in {name}", f"{told:.6g} from the "
                "gradient", "derive the gradient again")  # fmt: skip


def require_fall(function: descent.Function, at: descent.Arrays) -> None:
    """Require a penalty that falls along its negative gradient."""
    told = function(at)
    norm = np.sqrt(sum(float(np.sum(np.square(told.gradient[name]))) for name in at))
    require(norm > 0, "a gradient that is not zero before the watermark is in", "zero", "see it")
    ahead = function({name: x - 1e-4 * told.gradient[name] / norm for name, x in at.items()})
    require(ahead.value < told.value, f"a penalty below {told.value:.9g} along the negative "
            "gradient", f"{ahead.value:.9g}", "see the sign of the gradient")  # fmt: skip


def _is_finite(method: Any) -> None:
    plain, key, payload = _prepared(method)
    function, carriers = _function(method, plain, key, payload), _carriers(plain, key)
    for scale in (0.0, 1.0, 1e4):
        require_number(function({name: scale * x for name, x in carriers.items()}))


def _has_a_gradient_of_its_carriers(method: Any) -> None:
    plain, key, payload = _prepared(method)
    gradient = method.weight_penalty(plain.weights, payload, key).gradient
    require(set(gradient) == set(key.layers), f"gradients of {set(key.layers)}", set(gradient),
            "give one for each layer of the key, and no other")  # fmt: skip
    for name, values in gradient.items():
        require(values.shape == plain.weights[name].shape and values.dtype == np.float64,
                f"a float64 gradient of shape {plain.weights[name].shape} for {name}",
                f"{values.dtype} of {values.shape}", "use the canonical layout")  # fmt: skip
        require(np.isfinite(values).all(), f"a finite gradient of {name}", "NaN or infinity",
                "guard the division")  # fmt: skip


def _has_the_gradient_of_its_penalty(method: Any) -> None:
    plain, key, payload = _prepared(method)
    function, carriers = _function(method, plain, key, payload), _carriers(plain, key)
    for name in carriers:
        require_slopes(function, carriers, name)


def _falls(method: Any) -> None:
    plain, key, payload = _prepared(method)
    require_fall(_function(method, plain, key, payload), _carriers(plain, key))


def _is_put_in_by_descent(method: Any) -> None:
    plain, key, payload = _prepared(method)
    trained = descent.descended(method, plain, payload, key)
    wrong = method.decode(trained, key).payload.errors(payload)
    require(wrong == 0, f"no wrong symbol after {descent.STEPS} steps down the penalty",
            f"{wrong} of {_SIZE}", "let the penalty fall where the decoder reads more")  # fmt: skip


def _only_looks(method: Any) -> None:
    plain, key, payload = _prepared(method)
    own = {name: np.array(values) for name, values in plain.weights.items()}
    first = method.weight_penalty(own, payload, key)
    same = all(np.array_equal(own[name], values) for name, values in plain.weights.items())
    require(same, "untouched weights", "changed ones", "copy before changing")
    for values in first.gradient.values():
        if values.flags.writeable:
            values[...] = 0
    again = method.weight_penalty(own, payload, key)
    moved = any(np.any(values) for values in again.gradient.values())
    require(again.value == first.value and moved, "the same penalty for the same weights",
            "another", "keep nothing that a caller can change")  # fmt: skip


def _refuses_a_payload_of_another_size(method: Any) -> None:
    plain, key, _ = _prepared(method)
    _method.refused(
        NnwError,
        "a payload of another size than the key's in a training",
        lambda: method.weight_penalty(plain.weights, _method.payload(_SIZE - 1), key),
    )


CLAUSES: dict[str, Callable[[Any], None]] = {
    "has a penalty that is a number": _is_finite,
    "has a gradient of its carriers only": _has_a_gradient_of_its_carriers,
    "has the gradient of its penalty": _has_the_gradient_of_its_penalty,
    "has a penalty that falls along the negative gradient": _falls,
    "is put in by descent on its penalty": _is_put_in_by_descent,
    "only looks at weights that are trained": _only_looks,
    "refuses to train a payload of another size": _refuses_a_payload_of_another_size,
}

_STATIC_ONLY = {"reads back 64 symbols from float16", "refuses a payload that is too long"}

METHOD_CLAUSES = {n: clause for n, clause in _method.CLAUSES.items() if n not in _STATIC_ONLY}
"""What a method must do however it was put in, here by descent on its penalty."""
