"""A watermark for a training that somebody else runs: what the doors to frameworks put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.inject import new_claim, symbol_errors, training_method
from nnw_onnx.runs.suspect import AskLayers, Examined
from nnw_onnx.runs.training import Added
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Claim,
    Feeds,
    Job,
    Json,
    Loss,
    Method,
    Network,
    Payload,
    Recipe,
    Samples,
    Spec,
    Targets,
    Technology,
    Trained,
    Trains,
    Values,
)


class Mark:
    """A watermark that a training of your own puts in.

    Attributes:
        method: who puts it in.
        payload: the bits, before code and alphabet.
        additions: what the training has to do beside its own task.
    """

    def __init__(self, method: Trains, network: Network, claim: Claim, payload: Payload) -> None:
        """Ask the method what it adds; raises `PluginError` where it breaks its contract."""
        self.method, self.payload = method, payload
        self._added = Added(method, network, claim)
        self.additions: Additions = self._added.additions

    @property
    def claim(self) -> Claim:
        """Key and Symbols, with what the method has learnt up to the last step."""
        return self._added.claim

    def learnt(self, state: Mapping[str, Array]) -> Claim:
        """Key and Symbols with the method's own arrays as a training left them."""
        return self._added.learnt(state)

    def symbol_errors(self, network: Network, run: AskLayers | None = None) -> int | None:
        """Symbols that are read wrongly from the network as it is; None where nothing is read.

        Args:
            network: it has the layers of the one that the mark was made for.
            run: asks it, for a method that does not only read weights.

        Raises:
            ConfigurationError: the method asks, and there is no `run`.
        """
        ask = run or _no_run
        return symbol_errors(self.claim, lambda m: Examined(network, m.access, ask))

    def complaint(self, wrong: int, before: int | None = None) -> str | None:
        """What an owner must know of a network of which so many Symbols are read wrongly.

        Args:
            wrong: Symbols that are wrong now.
            before: those that were wrong when somebody looked last, or None.

        Returns:
            One line, or None where every Symbol is right.
        """
        symbols = len(self._added.claim.payload or Payload())
        if not wrong:
            return None
        lost = before is not None and before < wrong
        why = (
            f"only {before} were wrong before: other weights were put back since, as a callback "
            "that restores the best epoch or an average of weights does; leave it out, or train on"
            if lost
            else "train longer or with a larger strength, on the object on which the mark was made"
        )
        return (
            f"watermark: expected all {symbols} symbols to be read from the network, got {wrong} "
            f"wrong ones ({wrong / symbols:.0%}; chance is a half for bits); {why}"
        )


def make_mark(
    technology: Technology,
    network: Network,
    payload: Payload,
    secret: bytes,
    samples: Samples | None = None,
    run: AskLayers | None = None,
) -> Mark:
    """A fresh key and what its method adds to a training of this network.

    Args:
        technology: method, code and carriers asked for.
        network: what is to be trained; it is not changed.
        payload: the bits.
        secret: 32 bytes, from which everything random follows.
        samples: of the training, for a method that needs data.
        run: asks the network, for a method that needs its answers.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload.
        ConfigurationError: training cannot put the method in, or it needs what is not given.
        PluginError: the method breaks its contract.
    """
    method = training_method(plugins.create(Method, technology.method))
    bench = DoorBench(technology.layers, samples, run)
    claim = new_claim(technology, network, payload, secret, bench)
    return Mark(method, network, claim, payload)


def continue_mark(network: Network, claim: Claim, payload: Payload | str | None = None) -> Mark:
    """The watermark of a key file, to go on with its training.

    Args:
        network: what is trained.
        claim: with its payload; what the method had learnt is in the key.
        payload: a text or bits, where a code or an alphabet stands between them and the claim.

    Raises:
        ConfigurationError: training cannot put its method in, or the payload is not there.
        PluginError: the method breaks its contract.
    """
    if claim.payload is None:
        raise ConfigurationError(
            "claim: expected the payload with its key, got the key alone; give a claim that has it"
        )
    method = training_method(plugins.method_of(claim.key))
    mark = Mark(method, network, claim, Payload.of(payload or claim.payload))
    learnt = {n: claim.key.arrays[n] for n in mark.additions.state if n in claim.key.arrays}
    mark.additions = replace(mark.additions, state={**mark.additions.state, **learnt})
    return mark


@dataclass(frozen=True)
class DoorBench:
    """A `vocabulary.Bench` of a training that the project does not run.

    Attributes:
        layers: carriers that the owner asks for, or ().
        data: samples of the training, or None.
        ask: asks the network, or None.
    """

    layers: tuple[str, ...] = ()
    data: Samples | None = None
    ask: AskLayers | None = None

    @property
    def recipe(self) -> Recipe:
        """Nobody said."""
        _missing("a recipe")

    @property
    def loss(self) -> Loss:
        """Nobody said."""
        _missing("the loss of a task")

    @property
    def output(self) -> int:
        """Nobody said."""
        _missing("the output of a task")

    @property
    def initial_epochs(self) -> float:
        """Nobody said."""
        _missing("the epochs of an initial training")

    @property
    def original(self) -> Network:
        """There is none."""
        _missing("an original")

    @property
    def copies(self) -> Sequence[Network]:
        """There are none."""
        _missing("copies")

    def samples(self, of: Literal["task", "transfer"] = "task") -> Samples:
        """The samples that were given."""
        if of == "transfer" or self.data is None:
            raise ConfigurationError(
                f"samples: expected some of the {of}'s training, got none; give samples"
            )
        return self.data

    def run(self, network: Network, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """What the function that was given says, whatever the network's weights."""
        return (self.ask or _no_run)(feeds, layers)

    def gradient(self, network: Network, feeds: Feeds, targets: Targets) -> Feeds:
        """Nobody trains here."""
        _missing("a trainer")

    def train(self, network: Network, job: Job) -> Trained:
        """Nobody trains here."""
        _missing("a trainer")

    def open(self, name: str) -> Network:
        """There is none."""
        _missing("other networks")

    def through_file(self, network: Network, change: Callable[[Path, Path], None]) -> Network:
        """There is no file."""
        _missing("a network in an ONNX file")

    def mark(
        self,
        network: Network,
        method: Spec | None,
        index: int,
        changes: Mapping[str, Json] | None = None,
    ) -> tuple[Network, Claim]:
        """Nobody trains here."""
        _missing("a trainer")


def _missing(what: str) -> NoReturn:
    raise ConfigurationError(
        f"method: expected one that does without {what}, which a training of your own does not "
        "give, got one that asks for it; use 'nnw inject --training'"
    )


def _no_run(feeds: Feeds, layers: Sequence[str]) -> Values:
    raise ConfigurationError(
        "run: expected a function that asks the network, because the method looks at what it "
        "answers, got none; give one"
    )
