"""Trigger inputs that a network is trained to answer with the owner's classes: a black-box mark.

Adi, Baum, Cisse, Pinkas, Keshet, "Turning Your Weakness Into a Strength: Watermarking Deep Neural
Networks by Backdooring", USENIX Security 2018 (the "Trigger-Based Watermarking" of MPAI-NNW).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.arrays import carriers, keystream, triggers
from nnw_onnx.methods import _trigger_keys
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Decoding, Detection, Key, Network, Payload, TrainingData
from nnw_onnx.vocabulary import InferringNetwork as Asked


@dataclass(frozen=True)
class Adi:
    """Trigger i must be answered with class (symbol i + mask i) mod C.

    The mask is uniform over the C classes, so the labels are, whatever the payload: a network made
    without the key answers each trigger right with probability exactly 1/C. This holds only where
    the commitment of the key is older than the suspect: who may choose triggers after looking at a
    network always finds some that match.
    """

    name: ClassVar[str] = "adi"
    summary: ClassVar[str] = "keyed classes for trigger inputs (Adi 2018): black-box, by training"
    needs_inference: ClassVar[bool] = True

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def make_key(
        self, network: Network, payload_size: int, secret: bytes, layer: str | None = None
    ) -> Key:
        """A key without triggers, one Symbol a trigger; `draw_triggers` completes it.

        Raises:
            InjectionError: the payload is empty, or a layer was asked for.
        """
        carriers.check_size(payload_size)
        return _trigger_keys.empty(self.name, payload_size, secret, layer, {"output": self.output})

    def draw_triggers(
        self,
        key: Key,
        data: TrainingData,
        images: NDArray[np.float32] | None = None,
        *,
        network_digest: str = "",
    ) -> Key:
        """The key with its triggers, and a commitment to them, the classes and the network.

        Args:
            key: of `make_key`.
            data: training samples; only their shape, ranges and number of classes matter.
            images: inputs (m, ...) to choose from; None draws abstract smooth patterns.
            network_digest: SHA-256 of the unmarked network, for the commitment.

        Raises:
            InjectionError: too few images, or such as do not fit or are not all different.
        """
        if images is None:
            drawn = triggers.patterns(key.secret, "adi/patterns", key.payload_size, data.inputs)
        else:
            drawn = _trigger_keys.chosen(key, images, data.inputs.shape[1:])
        return _trigger_keys.completed(key, drawn, data.classes, network_digest)

    def triggers(self, payload: Payload, key: Key) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The trigger inputs (n, ...) and the class (n,) of each.

        Raises:
            InjectionError: the payload is not of this size, or has Symbols beyond the classes.
            ConfigurationError: the key has no triggers.
        """
        asked = _trigger_keys.opened(key, self.name)
        symbols = _trigger_keys.fitting(payload, key, asked.classes)
        return asked.inputs, (symbols + _mask(key, asked.classes)) % asked.classes

    def decode(self, network: Asked, key: Key) -> Decoding:
        """(answer - mask) mod C of each trigger, as a Symbol of an alphabet of C.

        The confidence is the largest score minus the runner-up, in standard deviations of all the
        scores. An answer that is undecided, because scores are equal or not a number, counts as a
        tie and is taken from the key: right by chance 1/C.

        Raises:
            CarrierNotFoundError: the network takes other inputs or tells other classes.
            ConfigurationError: the key has no triggers.
        """
        inputs, classes, output = _trigger_keys.opened(key, self.name)
        scores = triggers.scores_of(network.infer(inputs), output, len(inputs), classes)
        told = triggers.answers(scores)
        guess = keystream.integers(key.secret, "adi/ties", len(inputs), classes)
        read = (np.where(told.undecided, guess, told.classes) - _mask(key, classes)) % classes
        payload = Payload(tuple(read.tolist()), classes)
        return Decoding(payload, tuple(told.margins.tolist()), int(told.undecided.sum()))

    def detect(
        self, network: Asked, payload: Payload, key: Key, false_positive_rate: float = 1e-6
    ) -> Detection:
        """Exact binomial decision, chance 1/C, on the triggers that are answered right."""
        decoded = self.decode(network, key).payload
        return triggers.detection(decoded, payload, decoded.alphabet, false_positive_rate)


def _mask(key: Key, classes: int) -> NDArray[np.int64]:
    return keystream.integers(key.secret, "adi/mask", key.payload_size, classes)
