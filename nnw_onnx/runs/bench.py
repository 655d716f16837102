"""The bench of a run: what an owner or an attacker has, wired to one evaluation."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.kit.trainings import changed
from nnw_onnx.runs import guard, training
from nnw_onnx.runs.inject import inject
from nnw_onnx.runs.seeds import generator, identity
from nnw_onnx.runs.surroundings import Surroundings, Tell, Trainings
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.training import trainings_of
from nnw_onnx.runs.verify import SuspectOf
from nnw_onnx.vocabulary import (
    Claim,
    Epoch,
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
    Trainer,
    Values,
)

__all__ = ["Place", "RunBench", "Surroundings", "Tell", "Trainings"]

DEFAULT_SIZE = 64
"""Bits of a further watermark where no technology says another size."""


@dataclass(frozen=True)
class Place:
    """Where in an evaluation a bench stands.

    Attributes:
        name: of what is being done, unique in the run: checkpoints and progress have it.
        title: what is shown while it trains.
        draw: identity that the keys and payloads of further watermarks follow from.
        technology: the one under test, or None.
        layers: layers aimed at, or carriers asked for.
        original: the network before any watermark, where it is given.
        copies: copies of several recipients, the network at hand first, where they are given.
    """

    name: str
    title: str
    draw: str = ""
    technology: Technology | None = None
    layers: tuple[str, ...] = ()
    original: OnnxNetwork | None = None
    copies: tuple[OnnxNetwork, ...] = ()


class RunBench:
    """A `vocabulary.Bench` of one network in one evaluation.

    Attributes:
        place: where it stands.
        checkpoints: names of those that its trainings have used, to be discarded once all is done.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        network: OnnxNetwork,
        place: Place,
        tell: Tell = lambda words: None,
    ) -> None:
        """Nothing is read, run or trained yet.

        Args:
            surroundings: of the evaluation.
            network: the one at hand, to whose inputs samples are fitted.
            place: where it stands.
            tell: is told each epoch of a training in one line.
        """
        self._surroundings, self._network, self._tell = surroundings, network, tell
        self._samples: dict[str, Samples] = {}
        self._running: tuple[OnnxNetwork, Running] | None = None
        self.place = place
        self.checkpoints: list[str] = []

    @property
    def seed(self) -> int:
        """Of the evaluation: what trainings draw follows from it."""
        return self._surroundings.seed

    @property
    def layers(self) -> tuple[str, ...]:
        """See `vocabulary.Bench`."""
        return self.place.layers

    @property
    def recipe(self) -> Recipe:
        """See `vocabulary.Bench`."""
        return trainings_of(self._surroundings).recipe

    @property
    def loss(self) -> Loss:
        """See `vocabulary.Bench`."""
        loss = trainings_of(self._surroundings).loss
        if loss is None:
            raise ConfigurationError(
                "task: expected one whose networks can be trained, got one without a loss; leave "
                "out what trains"
            )
        return loss

    @property
    def output(self) -> int:
        """See `vocabulary.Bench`."""
        return trainings_of(self._surroundings).output

    @property
    def initial_epochs(self) -> float:
        """See `vocabulary.Bench`."""
        epochs = trainings_of(self._surroundings).initial_epochs
        if epochs is None:
            raise ConfigurationError(
                "training.initial_epochs: expected the epochs of the networks' initial training, "
                "got none; add them"
            )
        return epochs

    @property
    def original(self) -> OnnxNetwork:
        """See `vocabulary.Bench`."""
        if self.place.original is None:
            raise ConfigurationError(
                "original: expected the network before any watermark, got none; use 'nnw evaluate'"
            )
        return self.place.original

    @property
    def copies(self) -> Sequence[OnnxNetwork]:
        """See `vocabulary.Bench`."""
        if len(self.place.copies) < 2:
            raise ConfigurationError(
                "copies: expected those of several recipients, got none; give them (--copy), or "
                "say how many in the configuration (copies)"
            )
        return self.place.copies

    def samples(self, of: Literal["task", "transfer"] = "task") -> Samples:
        """See `vocabulary.Bench`."""
        if of not in self._samples:
            found = self._surroundings.training_samples(of)
            self._samples[of] = found.fitted(self._network.inputs)
        return self._samples[of]

    def run(self, network: Network, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """See `vocabulary.Bench`."""
        return self._run(_onnx(network))(feeds, layers)

    def suspect_of(self, network: OnnxNetwork) -> SuspectOf:
        """A network as the Decoder of a method may see it."""
        return suspects(network, self._run(network))

    @contextlib.contextmanager
    def telling_epochs(self) -> Iterator[Callable[[Epoch], None]]:
        """What says how far a training is that a method carries out by itself."""

        def tell(epoch: Epoch) -> None:
            words = f"{self.place.title}: epoch {epoch.number}, {training.in_words(epoch)}"
            self._surroundings.tell_progress(self.place.name, words)
            self._tell(words)

        try:
            yield tell
        finally:
            self._surroundings.forget_progress(self.place.name)

    def gradient(self, network: Network, feeds: Feeds, targets: Targets) -> Feeds:
        """See `vocabulary.Bench`."""
        common = trainings_of(self._surroundings)
        trainer = plugins.create(Trainer, common.trainer)
        return guard.guarded(
            trainer,
            "gradient",
            lambda: trainer.gradient(network, feeds, targets, self.loss, common.output),
        )

    def train(self, network: Network, job: Job) -> Trained:
        """See `vocabulary.Bench`."""
        name = f"{self.place.name}-{len(self.checkpoints)}"
        self.checkpoints.append(name)
        return training.train(
            self._surroundings, _onnx(network), job, name, self.place.title, self._tell
        )

    def open(self, name: str) -> OnnxNetwork:
        """See `vocabulary.Bench`."""
        return self._surroundings.named(name)

    def through_file(self, network: Network, change: Callable[[Path, Path], None]) -> OnnxNetwork:
        """See `vocabulary.Bench`."""
        given, folder = _onnx(network), _Folder()
        source, target = (folder.inside() / given.path.name for _ in range(2))
        given.save(source)
        change(source, target)
        if not target.is_file():
            raise guard.MisuseError(
                "file: expected a model at the path that was given, got none; write it there"
            )
        return open_network(target, keep=folder)

    def mark(
        self,
        network: Network,
        method: Spec | None,
        index: int,
        changes: Mapping[str, Json] | None = None,
    ) -> tuple[OnnxNetwork, Claim]:
        """See `vocabulary.Bench`."""
        technology, given = self._technology_of(method), _onnx(network)
        if technology.recipe is not None:
            recipe = changed(technology.recipe, **(changes or {}))
            technology = dataclasses.replace(technology, recipe=recipe)
        rng = generator(purpose="new payload", draw=self.place.draw, index=index)
        payload = Payload.random(technology.size, rng)
        secret = bytes.fromhex(identity(purpose="new key", draw=self.place.draw, index=index))
        place = dataclasses.replace(
            self.place, name=f"{self.place.name}-mark-{index}", layers=technology.layers
        )
        bench = RunBench(self._surroundings, given, place, self._tell)
        made = inject(technology, given, payload, secret, bench)
        self.checkpoints += bench.checkpoints
        return made.network, made.claim

    def _run(self, network: OnnxNetwork) -> Running:
        if self._running is None or self._running[0] is not network:
            common = self._surroundings
            self._running = network, Running(network, common.settings, common.batch_size)
        return self._running[1]

    def _technology_of(self, method: Spec | None) -> Technology:
        """How a further watermark is put in; it starts from the network as it is."""
        used = self.place.technology
        if method is None and used is None:
            raise ConfigurationError(
                "method: expected that of the further watermarks, got none; give the option method"
            )
        if used is not None and (method is None or method == used.method):
            return dataclasses.replace(used, start="trained")
        made = plugins.create(Method, method or Spec(""))
        only_trains = plugins.trains(made) is not None and plugins.injects(made) is None
        size = used.size if used is not None and used.size else DEFAULT_SIZE
        return Technology(
            made.spec(), size if made.alphabet else 0, recipe=self.recipe if only_trains else None
        )


class _Folder:
    """A temporary folder that is there as long as somebody keeps it."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="nnw-"))
        weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)

    def inside(self) -> Path:
        """A new folder in it."""
        return Path(tempfile.mkdtemp(dir=self._path))


def _onnx(network: Network) -> OnnxNetwork:
    if not isinstance(network, OnnxNetwork):
        raise guard.MisuseError(
            f"bench: expected a network as it was given, or one made of it, got a "
            f"{type(network).__name__}; give that"
        )
    return network
