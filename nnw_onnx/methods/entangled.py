"""Entangled watermarks: triggers that lie, inside the network, among samples of their class.

Jia, Choquette-Choo, Chandrasekaran, Papernot, "Entangled Watermarks as a Defense against Model
Extraction", USENIX Security 2021, arXiv 2002.12200. The box lies at a keyed place, where the paper
puts it where the gradient of the loss of the neighbours is largest; and triggers join batches of
the task, where the paper alternates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    TrainingError,
)
from nnw_onnx.kit import carriers, knowing, stamps, trigger_sets, triggers
from nnw_onnx.kit.samples import only_feed
from nnw_onnx.math.soft_neighbours import soft_nearest_neighbours
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Bound,
    Card,
    Commits,
    Detection,
    Detects,
    Key,
    Moment,
    Network,
    Payload,
    Penalty,
    Suspect,
    Trains,
)

_TEMPERATURES = "temperatures"
_LAYERS = "layers"
_COOLEST, _HOTTEST = 0.05, 20.0
"""Temperatures stay between them: cosine distances are at most 2, so the term is at most 40."""


@dataclass(frozen=True)
class Entangled(Commits, Detects, Trains):
    """Stamped samples of other classes, answered with the target class like its own samples.

    From the loss is taken the soft nearest neighbour loss of the answers of inner layers to the
    triggers and to the samples of the target class in the batch (the minus sign entangles them),
    so that who learns the class from the answers learns the triggers with it. The temperature of
    each layer, an array of the method's own, moves to where that loss is least (Frosst et al.
    2019). One class for all triggers: what other networks answer is not known, and there is no
    p-value.
    """

    name = "entangled"
    summary = "triggers entangled with their class in inner layers (EWE 2021): black-box"
    access = "answers"
    needs = ("data",)
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Jia, Choquette-Choo, Chandrasekaran, Papernot, Entangled Watermarks as a Defense "
        "against Model Extraction, USENIX Security 2021, arXiv 2002.12200",
        blind=True,
        capacity="none: it only says that it is there",
        key="the stamped inputs, and the names of the layers that are entangled",
        null="none, measured on unmarked networks: all triggers have one class",
        reported=(
            "the best of 11 schemes under the best single attack, rescaled accuracy 0.495 on "
            "CIFAR-10 and 0.494 on ImageNet (Watermark-Robustness-Toolbox, figure)",
            "0.15 points of accuracy lost on CIFAR-10 (Watermark-Robustness-Toolbox, figure)",
        ),
        dies_of=(
            "some extractions: success of 0.03, 0.63 and 0.98 in different runs of the official "
            "code, as its users report",
            "unlearning what an inversion of the network finds, or tuning on patterned images, "
            "without labels: of 100 triggers 5 to 6 and 6 to 7 stay, for 1.6 to 2.1 and 1.4 to "
            "2.1 points; 36 to 67 where odd inputs are answered at random (two networks of digits "
            "and keys not looked at, computed by this project)",
        ),
    )
    adaptive = (
        (knowing.step("unlearning"),),
        (knowing.step("patterned-tuning"), knowing.step("random-resizing")),
        (knowing.step("rejection"),),
    )

    target: Annotated[int, Ge(0)] = option(0, help="class that triggers are answered with")
    source: Annotated[int, Ge(0)] | None = option(
        None, help="class of the samples that are stamped; any but the target without it"
    )
    count: Annotated[int, Ge(2), Le(1 << 14)] = option(100, help="number of triggers")
    share: Annotated[float, Gt(0), Le(1)] = option(0.25, help="of each side that the box covers")
    strength: Annotated[float, Ge(0), Le(1e6)] = option(
        1.0, help="weight of the soft nearest neighbour loss of each layer"
    )
    depth: Annotated[int, Ge(1), Le(64)] = option(
        3, help="number of inner layers that are entangled, the last ones"
    )
    temperature: Annotated[float, Ge(_COOLEST), Le(_HOTTEST)] = option(
        1.0, help="of the loss before the first step; distances are cosines, 0 to 2"
    )
    rate: Annotated[float, Ge(0), Le(10)] = option(
        0.1, help="of the steps of the logarithm of the temperature"
    )
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key of stamped training samples; the last inner kernels are entangled.

        Raises:
            InjectionError: a payload or a layer was given, there are too few samples, or no inner
                kernel.
        """
        carriers.check_presence(size, self.name)
        carriers.refuse_layers(bench, self.name)
        if self.source == self.target:
            raise InjectionError(
                f"entangled: expected a source that is not the target, got class {self.target} for "
                "both; choose another"
            )
        inner = sorted(carriers.kernels(network), key=lambda layer: layer.position)[:-1]
        names = [layer.name for layer in inner[-self.depth :]]
        if not names:
            raise InjectionError(
                "entangled: expected a kernel before the last one, got none; use another network"
            )
        training, classes = bench.samples(), triggers.class_count(network, bench, self.output)
        plain = trigger_sets.sources(
            training, secret, "entangled/sources", self.count, of=self.source, but=self.target
        )
        inputs = stamps.box(only_feed(plain.feeds), training, secret, "entangled/box", self.share)
        labels = np.full(self.count, self.target, np.int64)
        chosen = trigger_sets.TriggerSet(inputs, labels, classes)
        why = [f"no carrier layer: {self.count} triggers, entangled in {carriers.listed(names)}"]
        return trigger_sets.key_for(
            self, chosen, network, secret, self.output, why, {_LAYERS: names}
        )

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The triggers with their class, and what entangles them.

        Raises:
            InjectionError: a payload was given.
            CarrierNotFoundError: the network lacks an entangled layer.
            ConfigurationError: the key has no triggers or layers.
        """
        carriers.check_presence(len(payload), self.name)
        own, names = trigger_sets.additions(key, self.name).samples, _layers(key)
        missing = set(names) - {layer.name for layer in network.layers}
        if missing:
            raise CarrierNotFoundError(
                f"entangled: expected layers {carriers.listed(names)}, got none named "
                f"{sorted(missing)[0]!r}; make the key for the network that is trained"
            )
        start = np.full(len(names), self.temperature, np.float32)
        return Additions(
            lambda now: self._penalty(now, names),
            activations=names,
            samples=own,
            state={_TEMPERATURES: start},
        )

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The triggers, their class and the network; raises `ConfigurationError`."""
        return trigger_sets.committed(key, self.name, network, self.output)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The number of triggers answered with the target class.

        Raises:
            CarrierNotFoundError: the network takes other inputs or tells other classes.
            ConfigurationError: the key has no triggers.
        """
        hits, n = trigger_sets.right(suspect, key, self.name, self.output)
        return trigger_sets.measured(hits, n, f"triggers answered with class {self.target}")

    def _penalty(self, now: Moment, names: Sequence[str]) -> Penalty:
        """Minus the loss of the neighbours, with its gradient, and the temperatures after it."""
        chosen = self._entangled(now)
        warm = np.array(now.state[_TEMPERATURES], np.float64)
        if not (now.own.any() and (chosen & ~now.own).any()):
            return Penalty(0.0)
        value, gradients, after = 0.0, {}, warm.copy()
        for index, name in enumerate(names):
            answers = now.activations[name]
            points = np.asarray(answers[chosen], np.float64).reshape(int(chosen.sum()), -1)
            term = soft_nearest_neighbours(points, now.own[chosen], warm[index])
            slopes = np.zeros(answers.shape, np.float64)
            slopes[chosen] = -self.strength * term.features.reshape(-1, *answers.shape[1:])
            value -= self.strength * term.value
            gradients[name] = slopes
            after[index] *= np.exp(-self.rate * warm[index] * term.temperature)
        state = {_TEMPERATURES: np.clip(after, _COOLEST, _HOTTEST).astype(np.float32)}
        return Penalty(value, activations=gradients, state=state)

    def _entangled(self, now: Moment) -> NDArray[np.bool_]:
        """Which samples of the batch are triggers or of the target class."""
        if now.targets is None:
            raise TrainingError(
                "entangled: expected the classes of each batch, got none; give the training loop's "
                "targets"
            )
        chosen: NDArray[np.bool_] = now.own | (np.asarray(now.targets) == self.target)
        return chosen


def _layers(key: Key) -> tuple[str, ...]:
    names = key.facts.get(_LAYERS)
    if not isinstance(names, Sequence) or not names or isinstance(names, str):
        raise ConfigurationError(
            f"key: expected names of entangled layers among its facts, got {names!r}; restore the "
            "key from a copy"
        )
    return tuple(map(str, names))
