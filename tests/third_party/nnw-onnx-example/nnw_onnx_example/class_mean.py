"""Bits in what a layer answers on average to one class, put in by training.

After Rouhani, Chen, Koushanfar, "DeepSigns", ASPLOS 2019, without its term that draws classes
together. A training framework only brings activations and takes the gradient back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from nnw_onnx.arrays import carriers, commitments, keystream, penalties, symbols
from nnw_onnx.errors import CarrierNotFoundError, InjectionError
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Decoding,
    Detection,
    InferringNetwork,
    Key,
    Network,
    Payload,
    Penalty,
    TrainingData,
)


@dataclass(frozen=True)
class ClassMean:
    """Signs of random projections of the mean answer of a layer to samples of one class.

    The layer's answers must be an output of the network; by default it is the last one's scores.
    """

    name: ClassVar[str] = "class-mean"
    summary: ClassVar[str] = "projections of a layer's mean answer to one class (DeepSigns 2019)"
    needs_inference: ClassVar[bool] = True

    label: Annotated[int, Ge(0)] = option(0, help="the class")
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that the layer answers in")
    strength: Annotated[float, Gt(0)] = option(0.1, help="factor of the term of the loss")

    def make_key(
        self, network: Network, payload_size: int, secret: bytes, layer: str | None = None
    ) -> Key:
        """Key of the last kernel, or of `layer`; `draw_triggers` gives it samples of the class."""
        carriers.check_size(payload_size)
        last = [carriers.named(network, layer)] if layer else carriers.kernels(network)[-1:]
        if not last or last[0].shape[0] < payload_size:
            raise InjectionError(
                f"class-mean: expected a layer of at least {payload_size} outputs, got "
                f"{carriers.describe(last[0]) if last else 'none'}; use a shorter payload"
            )
        carrier = carriers.take(network, last[0])
        why = [f"carrier {carriers.describe(last[0])}: {'as asked' if layer else 'the last one'}"]
        key = carriers.key_for(self.name, carrier, network, payload_size, secret, why)
        return dataclasses.replace(key, options={"label": self.label, "output": self.output})

    def draw_triggers(
        self, key: Key, data: TrainingData, images: Any = None, *, network_digest: str = ""
    ) -> Key:
        """The key with the samples (at most 64) of the class that the Decoder will show."""
        chosen = np.array(data.inputs[data.labels == self.label][:64], np.float32)
        if images is not None or len(chosen) == 0:
            raise InjectionError(
                f"class-mean: expected samples of class {self.label} and no images, got "
                f"{len(chosen)} samples; use another class"
            )
        bound = [("inputs", chosen.shape, commitments.digest(chosen)), (key.commitment, (), "")]
        commitment = commitments.commit(key.secret, self.name, bound)
        return dataclasses.replace(key, arrays={"inputs": chosen}, commitment=commitment)

    def activation_penalty(
        self, activations: NDArray[Any], labels: NDArray[np.int64], payload: Payload, key: Key
    ) -> Penalty:
        """Cross-entropy of the projected mean, and zeros for samples of other classes."""
        signs, mine = symbols.embedded_signs(payload, key), labels == key.options["label"]
        gradient = np.zeros(activations.shape)
        if not mine.any():
            return Penalty(0.0, gradient)
        matrix, own = _matrix(key), activations[mine]
        value, by_projection = penalties.cross_entropy(matrix @ _mean(own), signs)
        each = self.strength * (by_projection @ matrix) * (own.shape[1] / own.size)
        gradient[mine] = each.reshape(-1, *(1,) * (own.ndim - 2))
        return Penalty(self.strength * value, gradient)

    def decode(self, network: InferringNetwork, key: Key) -> Decoding:
        """Signs of the projections of the mean answer to the samples of the key."""
        outputs, index = network.infer(key.arrays["inputs"]), key.options["output"]
        if index >= len(outputs) or outputs[index].shape[1:2] != key.shapes[0][:1]:
            raise CarrierNotFoundError(
                f"class-mean: expected {key.shapes[0][0]} answers in output {index}, got others; "
                "decode a network that tells what the layer answers"
            )
        mean = _mean(outputs[index])
        return symbols.read(_matrix(key) @ mean, float(np.linalg.norm(mean)), key)

    def detect(
        self, network: Any, payload: Payload, key: Key, false_positive_rate: float = 1e-6
    ) -> Detection:
        """Exact binomial decision: the key matrix is symmetric, the embedded bits fair coins."""
        return symbols.detection(self.decode(network, key).payload, payload, false_positive_rate)


def _mean(activations: NDArray[Any]) -> NDArray[np.float64]:
    """Mean (outputs,) of (n, outputs, ...) over samples and places."""
    places = activations.reshape(*activations.shape[:2], -1)
    return np.asarray(places.mean(axis=(0, 2), dtype=np.float64))


def _matrix(key: Key) -> NDArray[np.float64]:
    size, outputs = key.payload_size, key.shapes[0][0]
    drawn = keystream.gaussian(key.secret, "class-mean/projection", size * outputs)
    return drawn.reshape(size, outputs)
