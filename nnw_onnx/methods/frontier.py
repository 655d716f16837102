"""Adversarial inputs at the boundary between classes, which the network learns to answer rightly.

Le Merrer, Perez, Tredan, "Adversarial Frontier Stitching for Remote Neural Network Watermarking",
Neural Computing and Applications 32 (2020), arXiv 1711.01894.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import InjectionError
from nnw_onnx.kit import carriers, keystream, knowing, stamps, trigger_sets, triggers
from nnw_onnx.kit.samples import only_feed
from nnw_onnx.math import binomial
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
    Network,
    Payload,
    Suspect,
    Trains,
    Values,
)

_BATCH = 64
_LOOKED_AT = 64
"""Samples that are looked at for each trigger, so that a robust network does not cost forever."""
_LEVEL = 0.05
_CROSSED, _KEPT, _NEVER_RIGHT = 0, 1, 2


class _Moved(NamedTuple):
    """Inputs (n, ...) after their step, their classes (n,), and what became of each (n,)."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    kinds: NDArray[np.int64]


@dataclass(frozen=True)
class Frontier(Commits, Detects, Trains):
    """One step along the sign of the gradient; half of the inputs cross the boundary, half do not.

    All of them are to be answered with their true class. The paper calls a network stolen where
    fewer than theta answers are wrong, theta being the least number of which Bin(n, 1/2) has 5 %
    below or at it. That one answer in two is wrong in other networks is no more than an assumption:
    an accurate network answers most of the inputs that did not cross, and many of the others. So
    there is no p-value; the paper's theta is in the notes of a Detection.
    """

    name = "frontier"
    summary = "true classes for adversarial inputs (frontier stitching): black-box, by training"
    access = "answers"
    needs = ("data", "trainer")
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Le Merrer, Perez, Tredan, Adversarial Frontier Stitching for Remote Neural Network "
        "Watermarking, Neural Computing and Applications 2020, arXiv 1711.01894",
        blind=True,
        capacity="none: it only says that it is there",
        key="the adversarial inputs with their true classes",
        null="none, measured on unmarked networks: the Bin(n, 1/2) of the paper is an assumption",
        reported=(
            "100 inputs answered after pruning of 80 % (ResNet-18) and 90 % (ResNet-34, -50, "
            "DenseNet) of the weights on CIFAR-10; 46 % on LeNet-5 of MNIST after 90 % "
            "(model-watermarking benchmark, largest usable rate)",
            "0.13 points of accuracy lost on CIFAR-10 (Watermark-Robustness-Toolbox, figure)",
        ),
        dies_of=(
            "the best single attack of the Watermark-Robustness-Toolbox: rescaled accuracy 0.40 "
            "on CIFAR-10 and 0.00 on ImageNet, below the 0.5 of its decision (figure)",
            "unlearning what an inversion of the network finds, or tuning on patterned images, "
            "without labels, in part: of 100 inputs, 97 to 100 right before, 73 to 75 and 74 are "
            "answered rightly, of which an unmarked network answers 50, for 0.9 to 1.6 and 1.6 to "
            "1.9 points (two networks of digits and keys not looked at, computed by this project)",
        ),
    )
    adaptive = (
        (knowing.step("unlearning"),),
        (knowing.step("patterned-tuning"), knowing.step("random-resizing")),
        (knowing.step("rejection"),),
    )

    count: Annotated[int, Ge(2), Le(1 << 14)] = option(100, help="number of inputs")
    epsilon: Annotated[float, Gt(0), Le(1)] = option(
        0.1, help="length of the step, as a share of the range of a channel"
    )
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key of inputs that the network answers rightly before the step, where there are enough.

        Raises:
            InjectionError: a payload or a layer was given, or there are too few samples.
        """
        carriers.check_presence(size, self.name)
        carriers.refuse_layers(bench, self.name)
        classes = triggers.class_count(network, bench, self.output)
        found, wanted = self._moved(network, bench, secret, classes), self.count // 2
        if len(found.labels) < self.count:
            raise InjectionError(
                f"frontier: expected at least {self.count} training samples, got "
                f"{len(found.labels)}; use a smaller count or more data"
            )
        places = _halves(found.kinds, self.count)
        chosen = trigger_sets.TriggerSet(found.inputs[places], found.labels[places], classes)
        crossed, kept, others = (
            int(np.count_nonzero(found.kinds[places] == kind))
            for kind in (_CROSSED, _KEPT, _NEVER_RIGHT)
        )
        why = [f"no carrier layer: {crossed} inputs that crossed a boundary, {kept} that did not"]
        if others:
            why.append(f"{others} that the network answers wrongly without a step as well")
        if min(crossed, kept) < wanted:
            why.append(f"not half of each: another epsilon than {self.epsilon:g} may find more")
        return trigger_sets.key_for(self, chosen, network, secret, self.output, why)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The inputs with their classes, as samples of the method's own.

        Raises:
            InjectionError: a payload was given.
            ConfigurationError: the key has no triggers.
        """
        carriers.check_presence(len(payload), self.name)
        return trigger_sets.additions(key, self.name)

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The inputs, their classes and the network; raises `ConfigurationError`."""
        return trigger_sets.committed(key, self.name, network, self.output)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The number of inputs answered with their class.

        Raises:
            CarrierNotFoundError: the network takes other inputs or tells other classes.
            ConfigurationError: the key has no triggers.
        """
        hits, n = trigger_sets.right(suspect, key, self.name, self.output)
        theta = tolerance(n)
        rule = f"{n - hits} of {n} answers are wrong; the paper accepts fewer than {theta}"
        return trigger_sets.measured(hits, n, "true classes of inputs at a boundary", [rule])

    def _moved(self, network: Network, bench: Bench, secret: bytes, classes: int) -> _Moved:
        """Inputs after a step, until there are enough of both kinds or too many were looked at."""
        parts: list[_Moved] = []
        for part in self._steps(network, bench, secret, classes):
            parts.append(part)
            kinds = np.concatenate([x.kinds for x in parts])
            if min(np.count_nonzero(kinds == k) for k in (_CROSSED, _KEPT)) * 2 >= self.count:
                break
        return _Moved(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _steps(
        self, network: Network, bench: Bench, secret: bytes, classes: int
    ) -> Iterator[_Moved]:
        training = bench.samples()
        low, high = stamps.channel_range(training)
        most = min(len(training), _LOOKED_AT * self.count)
        order = keystream.permutation(secret, "frontier/sources", len(training), most)
        for start in range(0, len(order), _BATCH):
            batch = training.read(order[start : start + _BATCH])
            ((name, inputs),) = batch.feeds.items()
            labels = trigger_sets.classes_of(batch)
            slopes = only_feed(bench.gradient(network, batch.feeds, labels))
            step = self.epsilon * (high - low) * np.sign(slopes)
            # What lies outside of the range of the samples looked at stays there.
            moved = np.clip(inputs + step, np.minimum(low, inputs), np.maximum(high, inputs))
            moved = moved.astype(np.float32)
            was, remains = (
                self._right(bench.run(network, {name: x}), labels, classes) for x in (inputs, moved)
            )
            kinds = np.where(was, np.where(remains, _KEPT, _CROSSED), _NEVER_RIGHT)
            yield _Moved(moved, labels, kinds)

    def _right(self, values: Values, labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
        """Which of the answers are the classes."""
        scores = triggers.scores_of(values, self.output, len(labels), classes)
        told: NDArray[np.bool_] = triggers.answers(scores).classes == labels
        return told


def tolerance(n: int) -> int:
    """Theta: the least number of wrong answers with P(Bin(n, 1/2) <= theta) >= 5 %."""
    reached = (t for t in range(n + 1) if binomial.tail(n - t, n).log10_p >= math.log10(_LEVEL))
    return next(reached)


def _halves(kinds: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Places of n inputs, half of each kind; where one has too few, of the other, then of any."""
    crossed, kept, others = (np.flatnonzero(kinds == kind) for kind in range(3))
    first = [crossed[: n - n // 2], kept[: n // 2]]
    rest = [crossed[n - n // 2 :], kept[n // 2 :], others]
    return np.concatenate([*first, *rest])[:n]
