"""A term of the loss on TensorFlow, from a numpy function that gives value and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Compute = Callable[[Sequence[NDArray[Any]]], tuple[float, Sequence[NDArray[Any]]]]


def term(compute: Compute, tensors: Sequence[Any]) -> Any:
    """A scalar of the type of the tensors whose gradient is the one that `compute` returns.

    It runs in Python, so it works eagerly and in a `tf.function`, but not under XLA.
    """
    values = [tf.convert_to_tensor(tensor) for tensor in tensors]
    dtype = values[0].dtype

    def run(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
        value, gradients = compute(arrays)
        kind = dtype.as_numpy_dtype
        return [np.asarray(value, kind), *(np.asarray(g, kind) for g in gradients)]

    # TensorFlow has no types, and may be absent where types are checked.
    @tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
    def penalty(*given: Any) -> tuple[Any, Callable[[Any], Any]]:
        value, *gradients = tf.numpy_function(run, given, [dtype] * (1 + len(given)))
        value.set_shape(())
        for gradient, tensor in zip(gradients, given, strict=True):
            gradient.set_shape(tensor.shape)

        def backward(upstream: Any) -> Any:
            scaled = [upstream * gradient for gradient in gradients]
            return scaled if len(scaled) > 1 else scaled[0]

        return value, backward

    return penalty(*values)
