"""A network under examination: what Decoder and Detector see of it, and no more."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from nnw_onnx.errors import CarrierNotFoundError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import RunnableGraph, Session, SessionSettings, run_isolated, unwrap
from nnw_onnx.runs.guard import MisuseError
from nnw_onnx.vocabulary import (
    Around,
    Array,
    Ask,
    Feeds,
    Layer,
    Method,
    Network,
    TensorInfo,
    Values,
    Weights,
)

Access: TypeAlias = Literal["weights", "activations", "answers"]
AskLayers: TypeAlias = Callable[[Feeds, Sequence[str]], Values]
"""Every output of a network, then the output of the operator of each of these layers."""

TIMEOUT = 600.0
BATCH_SIZE = 64
MOST_SESSIONS = 4
REMEMBERED_BYTES = 1 << 28
"""Answers of one suspect that are kept for equal questions."""


class Examined:
    """A `vocabulary.Suspect`: access enforced, wrappers applied, equal questions asked once."""

    def __init__(
        self,
        network: Network,
        access: Access,
        ask: AskLayers,
        around: Sequence[Around] = (),
    ) -> None:
        """Nothing is run yet.

        Args:
            network: the network.
            access: of the method that examines it.
            ask: runs the network, such as `Running(...)`, which all suspects of it share.
            around: what stands before the network, the newest first.
        """
        self._network, self._access = network, access
        self._ask, self._around = ask, around
        self._told: OrderedDict[str, Values] = OrderedDict()

    @property
    def layers(self) -> Sequence[Layer]:
        """See `vocabulary.Suspect`."""
        self._check_white_box("layers")
        return self._network.layers

    @property
    def weights(self) -> Weights:
        """See `vocabulary.Suspect`."""
        self._check_white_box("weights")
        return self._network.weights

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """See `vocabulary.Suspect`."""
        return self._network.inputs

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """See `vocabulary.Suspect`."""
        self._check_run(layers)
        fed = fitted(self._network, feeds)
        question = _digest(fed, layers)
        if question not in self._told:
            self._told[question] = asked(self._ask, fed, layers, self._around)
            self._forget()
        self._told.move_to_end(question)
        return self._told[question]

    def _check_white_box(self, what: str) -> None:
        if self._access == "answers":
            raise MisuseError(
                f"{what}: expected a method of access 'weights' or 'activations', got one that "
                "only asks; declare what it sees in its class variable access"
            )

    def _check_run(self, layers: Sequence[str]) -> None:
        if self._access == "weights" or (layers and self._access == "answers"):
            wanted = "'activations'" if layers else "'activations' or 'answers'"
            raise MisuseError(
                f"run: expected a method of access {wanted}, got {self._access!r}; declare what "
                "it sees in its class variable access"
            )

    def _forget(self) -> None:
        sizes = {q: sum(v.nbytes for v in told.values()) for q, told in self._told.items()}
        total = sum(sizes.values())
        while total > REMEMBERED_BYTES and len(self._told) > 1:
            oldest, _ = self._told.popitem(last=False)
            total -= sizes[oldest]


class Running:
    """A network that answers through the runtime, as `AskLayers` and as `Ask`.

    One session serves every question about outputs, and one each tuple of inner layers; each is
    made when it is first needed. They are not one, because a runtime fuses no operators across an
    output: answers would then depend on which layers somebody else has asked for.
    """

    def __init__(self, network: OnnxNetwork, settings: SessionSettings, batch_size: int) -> None:
        self._network, self._settings, self._batch_size = network, settings, batch_size
        self._sessions: dict[tuple[str, ...], Session] = {}

    def __call__(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output (n, ...), then that of each of these layers; raises `InferenceError`."""
        asked = tuple(layers)
        if asked not in self._sessions:
            if len(self._sessions) >= MOST_SESSIONS:
                self._sessions.pop(next(name for name in self._sessions if name))
            self._sessions[asked] = Session(self._network.runnable(asked), self._settings)
        told = self._sessions[asked].predict(feeds, self._batch_size)
        return _named(self._network, asked, told)


def isolated(network: OnnxNetwork, timeout: float = TIMEOUT) -> AskLayers:
    """A network that answers from a process of its own, for at most `timeout` seconds.

    A suspect from elsewhere may crash, hang or ask for too much memory.
    """

    def ask(feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        asked = tuple(layers)
        outcome = run_isolated(
            _answers,
            network.runnable(asked),
            dict(feeds),
            timeout=timeout,
        )
        told = unwrap(outcome)
        return _named(network, asked, told)

    return ask


def asked(
    ask: AskLayers, feeds: Feeds, layers: Sequence[str] = (), around: Sequence[Around] = ()
) -> Values:
    """What a network answers behind its wrappers, of which the newest is asked first."""
    if not around:
        return ask(feeds, layers)
    newest, older = around[0], around[1:]
    return newest(feeds, lambda inner: asked(ask, inner, layers, older))


def wrapped(ask: AskLayers, around: Sequence[Around] = ()) -> Ask:
    """A network behind its wrappers, asked for outputs only."""
    return lambda feeds: asked(ask, feeds, (), around)


def suspects(
    network: OnnxNetwork, ask: AskLayers, around: Sequence[Around] = ()
) -> Callable[[Method], Examined]:
    """A network as each method may see it; methods of one access share what was answered."""
    made: dict[Access, Examined] = {}

    def suspect_of(method: Method) -> Examined:
        if method.access not in made:
            made[method.access] = Examined(network, method.access, ask, around)
        return made[method.access]

    return suspect_of


def fitted(network: Network, feeds: Feeds) -> Feeds:
    """The feeds under the names of the network's inputs, which they fit.

    Raises:
        CarrierNotFoundError: the network takes inputs of another number or shape.
    """
    inputs = {info.name: info for info in network.inputs}
    # Another file of the same network may have renamed its inputs.
    named = feeds if set(feeds) & set(inputs) else dict(zip(inputs, feeds.values(), strict=False))
    if len(feeds) != len(inputs) or set(named) != set(inputs):
        raise CarrierNotFoundError(
            f"network: expected inputs {', '.join(feeds)}, got a network that takes "
            f"{', '.join(inputs) or 'none'}; give one with the inputs of the one that was marked"
        )
    for name, info in inputs.items():
        if not _fits(info, named[name]):
            wanted = ", ".join("?" if n is None else str(n) for n in info.shape)
            raise CarrierNotFoundError(
                f"network: expected an input that takes shape {named[name].shape}, "
                f"got one of shape ({wanted}); give a network with the inputs of the one that was "
                "marked"
            )
    return {name: named[name] for name in inputs}


def _fits(info: TensorInfo, values: Array) -> bool:
    """Whether values fit an input but for the size of the batch; nothing known fits."""
    if not info.shape:
        return True
    sizes = zip(info.shape[1:], values.shape[1:], strict=False)
    same = all(want == have for want, have in sizes if isinstance(want, int))
    return len(info.shape) == values.ndim and same


def _answers(runnable: RunnableGraph, feeds: dict[str, Array]) -> dict[str, Array]:
    return Session(runnable, SessionSettings()).predict(feeds, BATCH_SIZE)


def _named(network: OnnxNetwork, layers: tuple[str, ...], told: Values) -> Values:
    """Outputs in the order of the graph, then inner values under the names of their layers."""
    inner = network.inner(layers)
    outputs = {info.name: told[info.name] for info in network.outputs}
    return {**outputs, **{layer: told[inner[layer]] for layer in layers}}


def _digest(feeds: Feeds, layers: Sequence[str]) -> str:
    state = hashlib.sha256("\0".join(layers).encode())
    for name, values in feeds.items():
        state.update(f"\0{name}\0{values.dtype}{values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()
