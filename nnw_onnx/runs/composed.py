"""Networks around the one under evaluation, whose own output has no meaning.

NNW-NNT evaluates such a network within the whole that it is a part of: what is fed goes through
networks before it, and its answers through networks after it. None of these is ever marked or
modified. What comes out of those before is made once and kept, as features of the samples.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Self

import numpy as np

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.samples import Kept
from nnw_onnx.runs.suspect import AskLayers, Running, running, wrapped
from nnw_onnx.vocabulary import (
    Around,
    Array,
    Ask,
    Batch,
    Feeds,
    Indices,
    Json,
    Samples,
    Task,
    TensorInfo,
    Values,
)


@dataclass(frozen=True)
class Chain:
    """Networks one after the other.

    Attributes:
        files: of them.
        sha256: their digests, checked when they are opened.
        settings: how they are run.
        batch_size: samples a run where a graph leaves it open.
    """

    files: tuple[Path, ...] = ()
    sha256: tuple[str, ...] = ()
    settings: SessionSettings = field(default_factory=SessionSettings)
    batch_size: int = 64

    def __bool__(self) -> bool:
        return bool(self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(file.name for file in self.files)

    @property
    def networks(self) -> tuple[OnnxNetwork, ...]:
        """The networks; raises `RunError` where a file is another one by now."""
        return tuple(map(_opened, self.files, self.sha256))

    def answers(self, told: Values, known: Feeds) -> Values:
        """What comes out at the end.

        Args:
            told: values (n, ...) of the network before the first.
            known: values by the names that they had before that, which may be inputs too.

        Raises:
            ConfigurationError: an input of a network has no value.
            InferenceError: a network does not run on them.
        """
        for file, digest in zip(self.files, self.sha256, strict=True):
            network = _opened(file, digest)
            fed = connected(file.name, network.inputs, told, known)
            known = {**known, **told}
            told = _tensors(_asking(file, digest, self.settings, self.batch_size)(fed, ()))
        return told


NOTHING = Chain()
"""No networks at all."""


def connected(
    title: str, inputs: Sequence[TensorInfo], told: Values, known: Mapping[str, Array]
) -> dict[str, Array]:
    """Values for the inputs of a network.

    Outputs of the network before go to inputs of their names, others by place to the inputs that
    have none, first to those whose names nobody has; what is then left takes earlier values of its
    name. So neither "input" of two networks nor a mask beside a hidden state is mistaken.

    Args:
        title: of the network, for messages.
        inputs: of the network.
        told: outputs of the network before.
        known: earlier values by name.

    Raises:
        ConfigurationError: an input has no value.
    """
    fed = {port.name: told[port.name] for port in inputs if port.name in told}
    spare = [values for name, values in told.items() if name not in fed]
    rest = [port.name for port in inputs if port.name not in fed]
    fresh = [name for name in rest if name not in known]
    # Two networks may both call their input "input": something of the one before must arrive.
    by_place = fresh if fresh or fed else rest
    fed |= dict(zip(by_place, spare, strict=False))
    fed |= {name: known[name] for name in rest if name not in fed and name in known}
    missing = [port.name for port in inputs if port.name not in fed]
    if missing:
        raise ConfigurationError(
            f"composed: expected a value for each input of {title}, got none for {missing[0]!r} "
            f"from {', '.join(told) or 'no outputs'}; correct the order of the networks, or give "
            "outputs the names of inputs"
        )
    return {port.name: fed[port.name] for port in inputs}


def chain_of(files: Sequence[Path], settings: SessionSettings, batch_size: int) -> Chain:
    """These networks, opened once for their digests; raises `ModelFileError`."""
    digests = tuple(open_network(file).sha256 for file in files)
    return Chain(tuple(files), digests, settings, batch_size)


def asking(run: Running, task: Task, after: Chain, around: Sequence[Around] = ()) -> Ask:
    """A network behind its wrappers, and what the networks after it make of its answers."""
    if not after:
        return wrapped(run.reading(task.reads()), around)
    own = wrapped(run, around)
    return lambda feeds: after.answers(_tensors(own(feeds)), feeds)


class ComposedSamples(Samples):
    """Samples as they come out of the networks before the one that is fitted."""

    def __init__(self, given: Samples, before: Chain) -> None:
        """Nothing is run yet.

        Args:
            given: of the data set, not fitted.
            before: networks that they go through.
        """
        self._given, self._before = given, before
        self._inputs: tuple[TensorInfo, ...] = ()
        self._kept: dict[str, Kept] = {}
        self._last: tuple[bytes, dict[str, Array]] = b"", {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the samples and the networks before."""
        words = " ".join((self._given.digest, *self._before.sha256))
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def facts(self) -> Mapping[str, Json]:
        """Those of the data set."""
        return self._given.facts

    def __len__(self) -> int:
        return len(self._given)

    def read(self, indices: Indices) -> Batch:
        """What comes out of the networks before for the samples at these places."""
        given = self._given.read(indices)
        if not self._inputs:
            return given
        if not self._kept:
            first, what = self._made(np.arange(1)), f"{self.digest} {self._before.settings}"
            self._kept = {
                name: Kept(len(self), values, f"{what} {name}") for name, values in first.items()
            }
        feeds = {
            name: kept.read(indices, partial(self._one, name)) for name, kept in self._kept.items()
        }
        return Batch(feeds, given.targets)

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same samples for a network with these inputs, which take what comes out.

        Raises:
            ConfigurationError: the samples do not fit the first network.
        """
        made = copy.copy(self)
        made._given = self._given.fitted(self._before.networks[0].inputs)
        made._inputs, made._kept = tuple(inputs), {}
        return made

    def _one(self, name: str, indices: Indices) -> Array:
        return self._made(indices)[name]

    def _made(self, indices: Indices) -> dict[str, Array]:
        """Values for each input; those of the last question are there for the next input."""
        question = indices.tobytes()
        if self._last[0] != question:
            feeds = self._given.read(indices).feeds
            told = self._before.answers(feeds, {})
            self._last = question, connected("the network", self._inputs, told, feeds)
        return self._last[1]


def _tensors(told: Values) -> dict[str, Array]:
    return {name: values for name, values in told.items() if values.dtype.kind != "O"}


@lru_cache(maxsize=16)
def _opened(file: Path, digest: str) -> OnnxNetwork:
    network = open_network(file)
    if network.sha256 != digest:
        raise RunError(
            f"{file.name}: expected the network that the plan was made for, got another; start a "
            "new run"
        )
    return network


@lru_cache(maxsize=16)
def _asking(file: Path, digest: str, settings: SessionSettings, batch_size: int) -> AskLayers:
    return running(_opened(file, digest), settings, batch_size)
