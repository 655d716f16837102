"""A network under examination: what Decoder and Detector see of it, and no more."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, InferenceError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.candidates import Candidate
from nnw_onnx.runs.guard import MisuseError
from nnw_onnx.vocabulary import (
    Around,
    Array,
    Ask,
    Feeds,
    Layer,
    Method,
    Suspect,
    TensorInfo,
    Values,
    Weighted,
    Weights,
)

if TYPE_CHECKING:
    from nnw_onnx.inference import RunnableGraph, Session

# Whoever reads weights runs nothing, so what runs networks is imported by what does.
Access: TypeAlias = Literal["weights", "activations", "answers"]
AskLayers: TypeAlias = Callable[[Feeds, Sequence[str]], Values]
"""Every output of a network, then the output of the operator of each of these layers."""

USUAL = SessionSettings()
TIMEOUT = 600.0
BATCH_SIZE = 64
MOST_SESSIONS = 4
REMEMBERED_BYTES = 1 << 28
"""Answers of one suspect that are kept for equal questions."""


class Readable(Weighted, Protocol):
    """What is told of a network under examination without running it."""

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Inputs that must be fed."""
        ...


class Examined:
    """A `vocabulary.Suspect`: access enforced, wrappers applied, equal questions asked once."""

    def __init__(
        self,
        network: Readable,
        access: Access,
        ask: AskLayers,
        around: Sequence[Around] = (),
        *,
        whole: bool = False,
    ) -> None:
        """Nothing is run yet.

        Args:
            network: the network.
            access: of the method that examines it.
            ask: runs the network, such as `Running(...)`, which all suspects of it share.
            around: what stands before the network, the newest first.
            whole: whether the method is shown the network itself.
        """
        self._network, self._access = network, access
        self._ask, self._around, self._whole = ask, around, whole
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

    @property
    def network(self) -> OnnxNetwork:
        """See `vocabulary.WholeSuspect`."""
        if not self._whole or not isinstance(self._network, OnnxNetwork):
            raise MisuseError(
                "network: expected a method that sees networks whole, got another; subclass "
                "SeesWhole"
            )
        if self._around and self._access != "weights":
            raise InferenceError(
                "network: expected one that is asked as it is, got one behind a Modification of "
                "its inputs or answers, which no file can hold for a method that runs the network "
                "itself; leave that Modification or the method out"
            )
        return self._network

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


class Presented:
    """A `vocabulary.Suspect` whose carriers have the names and shapes that a key knows them by.

    Other layers keep their names. One that only has the name of a carrier is not there.
    """

    def __init__(
        self, suspect: Suspect, carriers: Mapping[str, Candidate], names: Sequence[str]
    ) -> None:
        """Nothing is read yet.

        Args:
            suspect: as it is.
            carriers: name in the key -> where it is.
            names: of all carriers of the key, also of those that are missing.
        """
        self._suspect, self._carriers, self._names = suspect, carriers, names

    @cached_property
    def layers(self) -> Sequence[Layer]:
        """See `vocabulary.Suspect`."""
        found = []
        for layer in self._suspect.layers:
            own = {n: c for n, c in self._carriers.items() if c.layer.name == layer.name}
            found += [_presented(name, candidate) for name, candidate in own.items()]
            if not own and layer.name not in self._names:
                found.append(layer)
        return tuple(found)

    @property
    def weights(self) -> Weights:
        """See `vocabulary.Suspect`."""
        names = [layer.name for layer in self.layers]
        return _PresentedWeights(self._suspect.weights, self._carriers, names)

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """See `vocabulary.Suspect`."""
        return self._suspect.inputs

    def run(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """See `vocabulary.Suspect`."""
        own = {n: c.layer.name for n, c in self._carriers.items() if n in layers}
        told = self._suspect.run(feeds, [own.get(name, name) for name in layers])
        outputs = {n: v for n, v in told.items() if n not in own.values()}
        return {**outputs, **{name: told[own.get(name, name)] for name in layers}}


class _PresentedWeights(Mapping[str, Array]):
    def __init__(
        self, weights: Weights, carriers: Mapping[str, Candidate], names: Sequence[str]
    ) -> None:
        self._weights, self._carriers, self._names = weights, carriers, names

    def __getitem__(self, name: str) -> Array:
        if name in self._carriers:
            return self._carriers[name].of(self._weights)
        if name not in self._names:
            raise KeyError(name)
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _presented(name: str, candidate: Candidate) -> Layer:
    axes = tuple(range(len(candidate.shape)))
    layer = replace(candidate.layer, name=name)
    if layer.shape == candidate.shape and not candidate.part:
        return layer
    return replace(layer, shape=candidate.shape, stored_shape=candidate.shape, axes=axes)


class Running:
    """A network that answers through the runtime, as `AskLayers` and as `Ask`.

    One session serves every question about outputs, and one each tuple of inner layers; each is
    made when it is first needed. They are not one, because a runtime fuses no operators across an
    output: answers would then depend on which layers somebody else has asked for.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        settings: SessionSettings,
        batch_size: int,
        base: OnnxNetwork | None = None,
    ) -> None:
        """Nothing is made yet.

        Args:
            network: what answers.
            settings: how it is run.
            batch_size: samples a run where the graph leaves it open.
            base: a network that others are changes of too, so that what they have in common is
                worth keeping; see `runs.shared`. No answer hangs on it.
        """
        self._network, self._settings, self._batch_size = network, settings, batch_size
        self._base = base
        self._sessions: dict[tuple[str, ...], Session] = {}

    def __call__(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output (n, ...), then that of each of these layers; raises `InferenceError`.

        n times None stands for what is no tensor.
        """
        asked = tuple(layers)
        return _named(self._network, asked, self._session(asked).predict(feeds, self._batch_size))

    def reading(self, outputs: Sequence[int] | None) -> AskLayers:
        """The same, of whose outputs only these are fetched; None for all."""
        if outputs is None:
            return self
        every = [info.name for info in self._network.outputs]
        wanted = [every[index] for index in outputs if index < len(every)]

        def ask(feeds: Feeds, layers: Sequence[str] = ()) -> Values:
            from nnw_onnx.inference import filled

            if layers or not wanted:
                return self(feeds, layers)
            told = self._session(()).predict(feeds, self._batch_size, wanted)
            return filled(told, every, len(told[wanted[0]]))

        return ask

    @property
    def facts(self) -> dict[str, str]:
        """What the sessions that were made say of themselves, that for outputs before others."""
        made = sorted(self._sessions, key=len, reverse=True)
        return {name: fact for key in made for name, fact in self._sessions[key].facts.items()}

    def _session(self, asked: tuple[str, ...]) -> Session:
        if asked not in self._sessions:
            if len(self._sessions) >= MOST_SESSIONS:
                self._sessions.pop(next(name for name in self._sessions if name))
            self._sessions[asked] = self._made(asked)
        return self._sessions[asked]

    def _made(self, asked: tuple[str, ...]) -> Session:
        from nnw_onnx.inference import Session
        from nnw_onnx.runs.shared import session_of

        if asked or self._base is None:
            return Session(self._network.runnable(asked), self._settings)
        return session_of(self._network, self._base, self._settings)


def isolated(
    network: OnnxNetwork,
    timeout: float = TIMEOUT,
    memory_limit: int | None = None,
    settings: SessionSettings = USUAL,
) -> AskLayers:
    """A network that answers from a process of its own.

    A suspect from elsewhere may crash, hang or ask for too much memory.

    Args:
        network: the suspect.
        timeout: seconds that an answer may take.
        memory_limit: bytes that it may take (Linux only); None allows what a network of its size
            may need on the CPU, and anything elsewhere: drivers reserve more than they use.
        settings: how it is run.
    """
    elsewhere = settings.providers != USUAL.providers

    def ask(feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        from nnw_onnx.inference import memory_for, run_isolated, unwrap

        asked = tuple(layers)
        runnable = network.runnable(asked)
        weights = len(runnable.model) + sum(w.nbytes for w in runnable.initializers.values())
        fed = sum(values.nbytes for values in feeds.values())
        outcome = run_isolated(
            _answers,
            runnable,
            dict(feeds),
            settings,
            timeout=timeout,
            memory_bytes=memory_limit or (None if elsewhere else memory_for(weights, fed)),
        )
        told = unwrap(outcome)
        return _named(network, asked, told)

    return ask


def running(network: OnnxNetwork, settings: SessionSettings, batch_size: int) -> AskLayers:
    """What runs a network: in a worker as it is, elsewhere in a process of its own."""
    import multiprocessing

    if multiprocessing.parent_process() is None:
        return isolated(network, settings=settings)
    return Running(network, settings, batch_size)


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
    made: dict[tuple[Access, bool], Examined] = {}

    def suspect_of(method: Method) -> Examined:
        seen = method.access, plugins.sees_whole(method) is not None
        if seen not in made:
            made[seen] = Examined(network, method.access, ask, around, whole=seen[1])
        return made[seen]

    return suspect_of


def fitted(network: Readable, feeds: Feeds) -> Feeds:
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


def _answers(
    runnable: RunnableGraph, feeds: dict[str, Array], settings: SessionSettings
) -> dict[str, Array]:
    from nnw_onnx.inference import Session

    return Session(runnable, settings).predict(feeds, BATCH_SIZE)


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
