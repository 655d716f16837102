"""Keys that hold trigger inputs: made without them, completed with them, opened again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import commitments, keystream
from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.vocabulary import Key, Payload

_NAME = "triggers"


class Questions(NamedTuple):
    """Trigger inputs (payload_size, ...), number of classes, and index of the output of scores."""

    inputs: NDArray[np.float32]
    classes: int
    output: int


def empty(
    method: str, size: int, secret: bytes, layer: str | None, options: Mapping[str, Any]
) -> Key:
    """A key of `size` Symbols that has no triggers yet; raises `InjectionError` for a layer."""
    if layer is not None:
        raise InjectionError(
            f"{method}: expected no layer, because the whole network carries the watermark, got "
            f"{layer!r}; leave it out"
        )
    note = f"no carrier layer: {size} trigger inputs, one for each symbol"
    commitment = commitments.commit(secret, method, [])
    return Key(method, secret, (), (), size, options, commitment, notes=(note,))


def chosen(key: Key, images: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The images (n, ...) that the key chooses among those given (m, ...).

    Raises:
        InjectionError: there are too few, or they are of another shape than the samples.
    """
    if images.shape[1:] != shape or len(images) < key.payload_size:
        raise InjectionError(
            f"triggers: expected at least {key.payload_size} images of shape {shape}, got "
            f"{len(images)} of shape {images.shape[1:]}; give others or a shorter payload"
        )
    order = keystream.permutation(key.secret, f"{key.method}/images", len(images), key.payload_size)
    return np.asarray(images[order], np.float32)


def completed(key: Key, inputs: NDArray[np.float32], classes: int, network_digest: str) -> Key:
    """The key with its triggers, committed to them, the classes and the unmarked network.

    Raises:
        InjectionError: inputs that are not finite or not all different, or less than two classes.
    """
    if classes < 2:
        raise InjectionError(
            f"{key.method}: expected a network of at least 2 classes, got {classes}; use a "
            "classifier"
        )
    different = len({trigger.tobytes() for trigger in inputs})
    if different < len(inputs) or not np.isfinite(inputs).all():
        raise InjectionError(
            f"triggers: expected {len(inputs)} different inputs of finite numbers, got "
            f"{different} or others; give other data or images"
        )
    inputs.flags.writeable = False
    bound = [
        (_NAME, inputs.shape, commitments.digest(inputs)),
        ("classes", (classes, *key.options.values()), network_digest),
    ]
    return dataclasses.replace(
        key,
        options={**key.options, "classes": classes},
        commitment=commitments.commit(key.secret, key.method, bound),
        arrays={_NAME: inputs},
    )


def opened(key: Key, method: str) -> Questions:
    """What a key asks a network.

    Raises:
        ConfigurationError: it is of another method, or has no such triggers.
    """
    inputs, classes = key.arrays.get(_NAME), key.options.get("classes")
    output = key.options.get("output")
    if key.method != method or inputs is None:
        raise ConfigurationError(
            f"key: expected a key of method {method!r} with triggers, got one of {key.method!r} "
            f"{'with' if _NAME in key.arrays else 'without'}; use the key of the training"
        )
    whole = inputs.dtype == np.float32 and inputs.shape[:1] == (key.payload_size,)
    if not (whole and _is_index(classes, 2) and _is_index(output, 0)):
        raise ConfigurationError(
            f"key: expected {key.payload_size} triggers of float32 for an output of at least 2 "
            f"classes, got {inputs.dtype} of shape {inputs.shape} for output {output!r} of "
            f"{classes!r}; restore the key from a copy"
        )
    return Questions(inputs, int(classes), int(output))


def _is_index(value: Any, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def fitting(payload: Payload, key: Key, classes: int) -> NDArray[np.int64]:
    """The Symbols of a payload that fits the key.

    Raises:
        InjectionError: it has another size, or more different Symbols than there are classes.
    """
    if len(payload) != key.payload_size or payload.alphabet > classes:
        raise InjectionError(
            f"{key.method}: expected a payload of {key.payload_size} symbols from at most "
            f"{classes}, got {len(payload)} from {payload.alphabet}; make a key for this payload"
        )
    return payload.array()
