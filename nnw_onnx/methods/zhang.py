"""Triggers made of training samples or foreign images: content, noise, unrelated.

Zhang, Gu, Jang, Wu, Stoecklin, Huang, Molloy, "Protecting Intellectual Property of Deep Neural
Networks with Watermarking", AsiaCCS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, evidence, keystream, knowing, stamps, trigger_sets, triggers
from nnw_onnx.kit.samples import only_feed
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
    Samples,
    Suspect,
    Trains,
)


@dataclass(frozen=True)
class Zhang(Commits, Detects, Trains):
    """Triggers that only a watermarked network answers with the owner's classes.

    content: training samples with a bright box; noise: with the same noise on all of them;
    unrelated: other images, or drawn patterns. With keyed labels each trigger has a class of its
    own, uniform over the C classes and independent of all else, so that a network made without the
    key answers Bin(n, 1/C) of them rightly, whatever it is. With one class for all of them, as in
    the paper, nothing is known of what other networks answer: there is no p-value.
    """

    name = "zhang"
    summary = "classes for stamped, noisy or foreign inputs (Zhang 2018): black-box, by training"
    access = "answers"
    needs = ("data",)
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Zhang, Gu, Jang, Wu, Stoecklin, Huang, Molloy, Protecting Intellectual Property of "
        "Deep Neural Networks with Watermarking, AsiaCCS 2018",
        blind=True,
        capacity="none: it only says that it is there",
        key="the trigger inputs with their classes",
        null="keyed labels: Bin(n, 1/C), exact; one class for all: none, measured on unmarked "
        "networks",
        reported=(
            "100 triggers answered after pruning of 60 % (ResNet-18) and 80 % (ResNet-34, -50, "
            "DenseNet) of the weights on CIFAR-10, content; 63 to 98 % on LeNets of MNIST after "
            "70 to 80 %, noise (model-watermarking benchmark, largest usable rate)",
            "0.7, 0.5 and 0.3 points of accuracy lost by content, noise and unrelated on CIFAR-10 "
            "(Watermark-Robustness-Toolbox, figure)",
        ),
        dies_of=(
            "the best single attack of the Watermark-Robustness-Toolbox on CIFAR-10: rescaled "
            "accuracy 0.46 (content), 0.02 (noise), 0.48 (unrelated), below the 0.5 of its "
            "decision (figure)",
            "unlearning what an inversion of the network finds, or tuning on patterned images, "
            "without labels: of 100 triggers (content), 60 to 63 right before, 10 and 9 to 12 "
            "stay, as by chance, for 0.3 to 0.9 and 0.7 to 1.4 points; 6 to 28 stay where odd "
            "inputs are answered at random (two networks of digits and keys not looked at, "
            "computed by this project)",
        ),
    )
    adaptive = (
        (knowing.step("unlearning"),),
        (knowing.step("patterned-tuning"), knowing.step("random-resizing")),
        (knowing.step("rejection"),),
    )

    form: Literal["content", "noise", "unrelated"] = option(
        "content", help="what triggers are: stamped samples, noisy samples, or other images"
    )
    labels: Literal["keyed", "target"] = option(
        "keyed", help="a class of its own for each trigger, or the one class of option target"
    )
    target: Annotated[int, Ge(0)] = option(0, help="class of all triggers; labels = target only")
    count: Annotated[int, Ge(1), Le(1 << 14)] = option(100, help="number of triggers")
    share: Annotated[float, Gt(0), Le(1)] = option(
        0.25, help="of each side that the box covers; form = content only"
    )
    deviation: Annotated[float, Gt(0), Le(10)] = option(
        0.3, help="of the noise, as a share of a channel's range; form = noise only"
    )
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")
    images: Path | None = option(
        None, help="folder, tar or zip of images; form = unrelated only, drawn patterns without it"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key with the triggers and their classes, committed to both and the network.

        Raises:
            InjectionError: a payload or a layer was given, or there are too few or equal inputs.
        """
        carriers.check_presence(size, self.name)
        carriers.refuse_layers(bench, self.name)
        training = bench.samples()
        classes = triggers.class_count(network, bench, self.output)
        inputs = self._inputs(training, secret)
        if self.labels == "keyed":
            labels = keystream.integers(secret, "zhang/labels", self.count, classes)
        else:
            labels = np.full(self.count, self.target, np.int64)
        chosen = trigger_sets.TriggerSet(inputs, labels, classes)
        # A key is shown to others: it names the images, and no folder of its owner's machine.
        named = self if self.images is None else replace(self, images=Path(self.images.name))
        why = (f"no carrier layer: {self.count} triggers ({self.form}), labels {self.labels}",)
        return trigger_sets.key_for(named, chosen, network, secret, self.output, why)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The triggers with their classes, as samples of the method's own.

        Raises:
            InjectionError: a payload was given.
            ConfigurationError: the key has no triggers.
        """
        carriers.check_presence(len(payload), self.name)
        return trigger_sets.additions(key, self.name)

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The triggers, their classes and the network; raises `ConfigurationError`."""
        return trigger_sets.committed(key, self.name, network, self.output)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The number of triggers answered with their class.

        Raises:
            CarrierNotFoundError: the network takes other inputs or tells other classes.
            ConfigurationError: the key has no triggers.
        """
        hits, n = trigger_sets.right(suspect, key, self.name, self.output)
        if self.labels == "keyed":
            chance = Fraction(1, trigger_sets.opened(key, self.name).classes)
            return evidence.counted(hits, n, chance)
        return trigger_sets.measured(hits, n, f"triggers answered with class {self.target}")

    def _inputs(self, training: Samples, secret: bytes) -> NDArray[np.float32]:
        if self.form == "unrelated":
            if self.images is not None:
                return triggers.from_images(
                    training, self.images, secret, "zhang/images", self.count
                )
            like = triggers.extremes(training)
            return triggers.patterns(secret, "zhang/patterns", self.count, like)
        but = self.target if self.labels == "target" else None
        plain = trigger_sets.sources(training, secret, "zhang/sources", self.count, but=but)
        given = only_feed(plain.feeds)
        if self.form == "content":
            return stamps.box(given, training, secret, "zhang/box", self.share)
        return stamps.noise(given, training, secret, "zhang/noise", self.deviation)
