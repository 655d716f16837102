"""A watermark before it is put in: method, key and Payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays.commitments import bind_payload, digest
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.seeds import identity
from nnw_onnx.vocabulary import Key, Mark, Network, Payload, Spec, TrainingData


def new_mark(
    network: Network,
    payload: Payload,
    method: Spec,
    secret: bytes,
    *,
    layer: str | None = None,
    data: Callable[[], TrainingData] | None = None,
    images: NDArray[np.float32] | None = None,
    network_digest: str | None = None,
) -> Mark:
    """The method, and a key that carries the Payload and is committed to it.

    Args:
        network: what is to be watermarked; it is not changed.
        payload: the Symbols.
        method: name and options.
        secret: 32 bytes, from which everything random follows.
        layer: name of the carrier layer; chosen by the method if None.
        data: gives samples of the training, for a method with triggers.
        images: inputs (m, ...) to choose triggers from; None draws abstract ones.
        network_digest: SHA-256 of the unmarked network, for the commitment of triggers; of its
            weights if None.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; triggers do not fit.
        ConfigurationError, PluginError: an option or the method does not exist, or a method with
            triggers got no data.
    """
    made: Any = plugins.create("methods", method)
    key: Key = made.make_key(network, len(payload), secret, layer)
    if hasattr(made, "draw_triggers"):
        if data is None:
            raise ConfigurationError(
                f"{method.name}: expected some inputs of the training and the number of classes, "
                "which its triggers follow, got none; give both"
            )
        known = _digest_of(network) if network_digest is None else network_digest
        key = made.draw_triggers(key, data(), images, network_digest=known)
    return Mark(made, payload, bind_payload(key, payload))


def _digest_of(network: Network) -> str:
    """SHA-256 (hex) of every weight with its name, dtype and shape."""
    weights = {name: digest(np.atleast_1d(array)) for name, array in network.weights.items()}
    return identity(weights=weights)
