"""A network as a black-box Decoder sees it: inputs go in, outputs come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session, SessionSettings, run_isolated
from nnw_onnx.vocabulary import needs_inference

TIMEOUT = 600.0
_BATCH_SIZE = 64

Answers = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class BlackBox:
    """A network that is asked, and nothing else.

    Attributes:
        network: the network.
        ask: runs it: inputs (n, ...) -> every output (n, ...).
    """

    network: OnnxNetwork
    ask: Callable[[NDArray[Any]], Answers]

    def infer(self, inputs: NDArray[Any]) -> Answers:
        """Every output (n, ...) for inputs (n, ...).

        Raises:
            CarrierNotFoundError: the network takes inputs of another shape.
            InferenceError: the network does not run.
        """
        shape = self.network.inputs[0].shape if len(self.network.inputs) == 1 else ()
        given = zip(shape[1:], inputs.shape[1:], strict=False)
        fits = len(shape) == inputs.ndim and all(
            want == have for want, have in given if isinstance(want, int)
        )
        if shape and not fits:
            wanted = ", ".join("?" if n is None else str(n) for n in shape)
            raise CarrierNotFoundError(
                f"{self.network.path.name}: expected triggers of shape ({wanted}), got "
                f"{inputs.shape}; decode a network with the inputs of the one that was trained"
            )
        return self.ask(inputs)


def subject(network: OnnxNetwork, method: Any, timeout: float = TIMEOUT) -> Any:
    """What Decoder and Detector of a method look at: the weights, or what the network answers.

    Answers are asked for in a process of their own, because a suspect network may crash, hang or
    ask for too much memory; `timeout` is in seconds.
    """
    if not needs_inference(method):
        return network
    return BlackBox(network, partial(_isolated, network, timeout))


def _isolated(network: OnnxNetwork, timeout: float, inputs: NDArray[Any]) -> Answers:
    outcome = run_isolated(_answers, network.runnable(), inputs, timeout=timeout)
    answers: Answers = outcome.unwrap()
    return answers


def _answers(runnable: Any, inputs: NDArray[Any]) -> Answers:
    return Session(runnable, SessionSettings()).predict(inputs, _BATCH_SIZE)
