"""What an owner (making a key) or an attacker (modifying a network) has to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from nnw_onnx.vocabulary.evidence import Claim
from nnw_onnx.vocabulary.networks import Feeds, Network, Values
from nnw_onnx.vocabulary.specs import Json, Spec

if TYPE_CHECKING:
    from nnw_onnx.vocabulary.tasks import Loss, Samples, Targets
    from nnw_onnx.vocabulary.training import Job, Recipe, Trained


class Bench(Protocol):
    """Data, a way to run and to train, other networks.

    Only what a plug-in `needs` is sure to be there; anything else raises `ConfigurationError` with
    the words that say what to add to the configuration.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that are aimed at, found in the network at hand.

        For `Method.make_key` the carriers that the owner asks for, or () to choose.
        """
        ...

    @property
    def recipe(self) -> Recipe:
        """How networks are trained here, but for what a Modification changes ("trainer")."""
        ...

    @property
    def loss(self) -> Loss:
        """What a training of the task minimises ("trainer")."""
        ...

    @property
    def output(self) -> int:
        """Index of the graph output that the task is about ("trainer")."""
        ...

    @property
    def initial_epochs(self) -> float:
        """Epochs of the initial training of the networks ("initial_epochs")."""
        ...

    @property
    def original(self) -> Network:
        """The network before any watermark ("original")."""
        ...

    @property
    def copies(self) -> Sequence[Network]:
        """Copies of several recipients, the network at hand first ("copies")."""
        ...

    def samples(self, of: Literal["task", "transfer"] = "task") -> Samples:
        """Training samples of the task ("data") or of a transfer ("transfer"), fitted."""
        ...

    def run(self, network: Network, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """Every output, then the output of the operator of each of these layers."""
        ...

    def gradient(self, network: Network, feeds: Feeds, targets: Targets) -> Feeds:
        """Gradient of the task's loss by each floating-point input ("trainer")."""
        ...

    def train(self, network: Network, job: Job) -> Trained:
        """The network after a training ("trainer"); the output is that of the task."""
        ...

    def open(self, name: str) -> Network:
        """A network that `PlugIn.opens` names: `nnw:` for a shipped one, or an ONNX file."""
        ...

    def through_file(self, network: Network, change: Callable[[Path, Path], None]) -> Network:
        """What `change(source, target)` makes of the network's ONNX file, opened again."""
        ...

    def mark(
        self,
        network: Network,
        method: Spec | None,
        index: int,
        changes: Mapping[str, Json] | None = None,
    ) -> tuple[Network, Claim]:
        """The network with one more watermark, fresh key and random payload ("method").

        By the method under test, with its code and training, or by another one of the same payload
        size. `index` counts the new watermarks of one Modification; `changes` are fields of the
        recipe, such as "epochs", that the training which puts it in has otherwise.
        """
        ...
