"""A Decoder that is trained with the network: a small net whose weights are a part of the key.

Its arrays are the method's own (`Additions.state`): they are trained beside the network and join
the key after the last step. Since it is fitted to the payload, no exact null distribution is known
of what it reads, and whoever may train it after looking at a network can fit it to anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import keystream, optimizers
from nnw_onnx.math.small_nets import SmallNet
from nnw_onnx.vocabulary import Array, Detection, Null, Payload

NULL = "networks that cannot carry it, since the extractor was fitted to the payload"
"""Name of the null distribution of such evidence: none is known."""


@dataclass(frozen=True)
class Extractor:
    """The form of a small net among named arrays (float32, as a key file holds them).

    Attributes:
        name: prefix of its arrays, and of what it draws from a secret.
        inputs: numbers that it is shown.
        hidden: sigmoids of its hidden layer.
        outputs: numbers that it answers.
        biased: whether it has biases.
    """

    name: str
    inputs: int
    hidden: int
    outputs: int
    biased: bool = False

    def begin(self, secret: bytes, method: str) -> dict[str, Array]:
        """Its arrays before the first step, with the moments of Adam.

        Weights and biases are U(-1, 1) / sqrt(inputs of their layer), as those of torch.nn.Linear,
        and follow from the secret.
        """
        drawn = {
            part: _uniform(secret, f"{method}/{self.name}/{part}", shape, self._fan_in(part))
            for part, shape in self._shapes().items()
        }
        return self._named(optimizers.adam_state(drawn))

    def net(self, arrays: Mapping[str, Array]) -> SmallNet:
        """The net of a key or of a state.

        Raises:
            ConfigurationError: an array is missing, or has another shape.
        """
        found = {part: arrays.get(f"{self.name}.{part}") for part in self._shapes()}
        for part, shape in self._shapes().items():
            there = found[part]
            if there is None or there.shape != shape:
                raise ConfigurationError(
                    f"key: expected {self.name}.{part} of shape {shape} among its arrays, got "
                    f"{'none' if there is None else there.shape}; restore the key from a copy"
                )
        return SmallNet(**{part: np.asarray(a, np.float64) for part, a in found.items()})

    def step(
        self,
        state: Mapping[str, Array],
        slopes: SmallNet,
        rate: float,
        decays: tuple[float, float] = (0.9, 0.999),
        limit: float | None = None,
    ) -> dict[str, Array]:
        """Its arrays after one step of Adam against these derivatives.

        Args:
            state: of `begin`, or of the step before; arrays of others are left out.
            slopes: derivatives by its weights.
            rate: the learning rate.
            decays: of Adam's moments.
            limit: to which its weights are cut after the step, or None.
        """
        prefix = f"{self.name}."
        own = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
        gradients = {part: slope for part, slope in slopes._asdict().items() if slope is not None}
        moved = optimizers.adam(own, gradients, rate, decays)
        if limit is not None:
            moved |= {part: np.clip(moved[part], -limit, limit) for part in gradients}
        return self._named(moved)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "inner": (self.hidden, self.inputs),
            "outer": (self.outputs, self.hidden),
        }
        biases = {"inner_bias": (self.hidden,), "outer_bias": (self.outputs,)}
        return shapes | biases if self.biased else shapes

    def _fan_in(self, part: str) -> int:
        return self.inputs if part.startswith("inner") else self.hidden

    def _named(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {f"{self.name}.{n}": np.asarray(a, np.float32) for n, a in arrays.items()}


def matched(read: Payload, claimed: Payload) -> Detection:
    """The evidence of the Symbols that match: a count without a p-value.

    The runner compares it with what the same key reads from networks that cannot carry the mark.

    Raises:
        ConfigurationError: sizes differ.
    """
    return Detection(len(read) - read.errors(claimed), log10_p=None, null=Null(NULL))


def _uniform(secret: bytes, label: str, shape: tuple[int, ...], fan_in: int) -> Array:
    size = int(np.prod(shape, dtype=np.int64))
    drawn: Array = (2 * keystream.uniform(secret, label, size) - 1) / np.sqrt(fan_in)
    return drawn.reshape(shape)
