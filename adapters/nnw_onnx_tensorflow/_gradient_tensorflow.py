"""A term of the loss on TensorFlow, from a numpy function that gives value and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nnw_onnx.vocabulary import Array

Compute = Callable[[Sequence[Array], Sequence[Array]], tuple[float, Sequence[Array]]]
"""Values of tensors, and of the batch -> value of the term, its gradients by the tensors."""


def term(compute: Compute, tensors: Sequence[Any], batch: Sequence[Any]) -> Any:
    """A scalar of at least single precision whose gradients are those that `compute` returns.

    It runs in Python, so it works eagerly and in a `tf.function`, but not under XLA.
    """
    values = [tf.convert_to_tensor(tensor) for tensor in tensors]
    told = [tf.convert_to_tensor(part) for part in batch]
    # Half precision would round a small penalty away.
    scalar = tf.float64 if values and values[0].dtype == tf.float64 else tf.float32
    kinds = [scalar, *(value.dtype for value in values)]

    def run(*arrays: Array) -> list[Array]:
        count = len(values)
        value, gradients = compute(arrays[:count], arrays[count:])
        found = [np.asarray(value, scalar.as_numpy_dtype)]
        return [*found, *(np.asarray(g, a.dtype) for g, a in zip(gradients, arrays, strict=False))]

    # TensorFlow has no types, and may be absent where types are checked.
    @tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
    def penalty(*given: Any) -> tuple[Any, Callable[[Any], Any]]:
        value, *gradients = tf.numpy_function(run, [*given, *told], kinds)
        value.set_shape(())
        for gradient, tensor in zip(gradients, given, strict=True):
            gradient.set_shape(tensor.shape)

        def backward(upstream: Any) -> Any:
            scaled = [tf.cast(upstream, g.dtype) * g for g in gradients]
            return scaled if len(scaled) > 1 else scaled[0]

        return value, backward

    if values:
        return penalty(*values)
    return tf.reshape(tf.numpy_function(run, told, kinds)[0], ())


def gradients(function: Callable[[Sequence[Any]], Any], at: Sequence[Array]) -> list[Array]:
    """Gradients of a scalar function of tensors, computed at once; not to be called in a graph."""
    with tf.GradientTape() as tape:
        tensors = [tf.convert_to_tensor(array) for array in at]
        for tensor in tensors:
            tape.watch(tensor)
        value = function(tensors)
    found = tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [gradient.numpy() for gradient in found]
