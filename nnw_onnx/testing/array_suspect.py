"""A suspect that is only arrays and a function: what a method may not see raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nnw_onnx.errors import CarrierNotFoundError, PluginError
from nnw_onnx.vocabulary import Feeds, Layer, Network, TensorInfo, Values, Weights

Run: TypeAlias = Callable[[Network, Feeds, Sequence[str]], Values]
"""A network, feeds, names of layers -> outputs, then what the operators of these layers answer."""


@dataclass
class ArraySuspect:
    """A `vocabulary.Suspect`: the weights of a network and, where it is given, what it answers.

    Attributes:
        network: whose weights it has.
        access: what the method that examines it declares.
        answers: runs the network; None: it does not run.
        asked: every question so far: feeds, and layers.
    """

    network: Network
    access: Literal["weights", "activations", "answers"] = "weights"
    answers: Run | None = None
    asked: list[tuple[Feeds, tuple[str, ...]]] = field(default_factory=list)

    @property
    def layers(self) -> Sequence[Layer]:
        """Every layer, in the order of the file."""
        return self.network.layers

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        return self.network.inputs

    @property
    def weights(self) -> Weights:
        """Weights by layer; raises `PluginError` where the access is answers only."""
        if self.access == "answers":
            raise self._forbidden("weights")
        return self.network.weights

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then those of these layers.

        Raises:
            PluginError: the access does not allow it, or nothing says what the network answers.
            CarrierNotFoundError: there is no such layer.
        """
        if self.access == "weights":
            raise self._forbidden("answers")
        if layers and self.access != "activations":
            raise self._forbidden("activations")
        if self.answers is None:
            raise PluginError("suspect: expected one that runs, got weights only; give answers")
        missing = set(layers) - {layer.name for layer in self.layers}
        if missing:
            raise CarrierNotFoundError(
                f"layers: expected layers of this network, got {', '.join(sorted(missing))}; "
                "decode a network that has them"
            )
        self.asked.append((feeds, tuple(layers)))
        return self.answers(self.network, feeds, layers)

    def _forbidden(self, what: str) -> PluginError:
        return PluginError(
            f"suspect: expected what access {self.access!r} allows, got a question for {what}; "
            "declare the access that the method needs"
        )
