"""Trigger inputs that a network is trained to answer with the owner's classes: a black-box mark.

Adi, Baum, Cisse, Pinkas, Keshet, "Turning Your Weakness Into a Strength: Watermarking Deep Neural
Networks by Backdooring", USENIX Security 2018 (the "Trigger-Based Watermarking" of MPAI-NNW).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.kit import carriers, foreign, keystream, knowing, symbols, triggers
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Bound,
    Card,
    Commits,
    Decodes,
    Decoding,
    Key,
    Network,
    Payload,
    Suspect,
    Trains,
)

_FEED = "triggers"  # no input has to have this name: feeds are then matched by their place


@dataclass(frozen=True)
class Adi(Commits, Decodes, Trains):
    """Trigger i must be answered with class (symbol i + mask i) mod C.

    The mask is uniform over the C classes, so the labels are, whatever the payload: a network made
    without the key answers each trigger right with probability exactly 1/C. This holds only where
    the commitment of the key is older than the suspect: who may choose triggers after looking at a
    network always finds some that match.
    """

    name = "adi"
    summary = "keyed classes for trigger inputs (Adi 2018): black-box, by training"
    access = "answers"
    needs = ("data",)
    card: ClassVar[Card | None] = Card(
        paper="Adi, Baum, Cisse, Pinkas, Keshet, Turning Your Weakness Into a Strength, USENIX "
        "Security 2018, arXiv 1802.04633",
        blind=True,
        capacity="one Symbol a trigger, of as many values as classes; 100 in the paper",
        key="the trigger inputs",
        null="Bin(triggers, 1/classes), exact: keyed labels, committed before the suspect",
        reported=(
            "all of 100 triggers after pruning 70 % of a ResNet-18, 80 % of a ResNet-34 or "
            "DenseNet, 90 % of a ResNet-50 on CIFAR-10 (sbaresearch/model-watermarking, its CSV)",
            "best removal of the Watermark-Robustness-Toolbox: rescaled watermark accuracy 0.458 "
            "on CIFAR-10, 0.490 on ImageNet, where 0.5 is the threshold (its figure)",
            "0.5 points of accuracy lost by embedding on CIFAR-10 (the same toolbox, its figure)",
        ),
        dies_of=(
            "fine-tuning with a strong schedule of learning rates (REFIT)",
            "the best removal of the Watermark-Robustness-Toolbox (see above)",
            "unlearning what an inversion of the network finds, without labels: 3 to 6 of 40 "
            "triggers stay on digits for 0.2 to 0.4 points, 4 to 13 on CIFAR-10 for 2.0 to 2.9 "
            "(two and three small networks and keys not looked at, computed by this project)",
            "answering at random what is odd to the inner layers: 5 to 9 of 40 on digits for 1.1 "
            "to 1.9 points, 3 to 23 on CIFAR-10 for 1.6 to 1.8, which is a yes in one of three "
            "(the same)",
            "tuning on patterned images, without labels, on digits only: 5 to 11 of 40 stay on "
            "digits for 0.8 to 1.8 points, 17 to 19 on CIFAR-10, which is a yes, for 5.2 to 5.6 "
            "(the same)",
            "triggers chosen for a suspect afterwards, where nothing was committed (see the null)",
        ),
    )
    adaptive = (
        (knowing.step("unlearning"),),
        (knowing.step("patterned-tuning"), knowing.step("random-resizing")),
        (knowing.step("rejection"),),
    )

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")
    images: Path | None = option(
        None, help="folder, tar or zip of trigger images; without it patterns are drawn"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key with one trigger a Symbol, committed to them, the classes and the network.

        Of the training samples only shape, ranges and number of classes matter.

        Raises:
            InjectionError: the payload is empty, a layer was asked for, there are too few images or
                equal triggers, or the network is no classifier of real numbers.
        """
        carriers.check_size(size)
        carriers.refuse_layers(bench, self.name)
        training = bench.samples()
        if self.images is None:
            like = triggers.extremes(training)
            drawn = triggers.patterns(secret, "adi/patterns", size, like)
        else:
            drawn = triggers.from_images(training, self.images, secret, "adi/images", size)
        classes = triggers.class_count(network, bench, self.output)
        # A key is shown to others: it names the images, and no folder of its owner's machine.
        named = self if self.images is None else replace(self, images=Path(self.images.name))
        return triggers.key_for(named, drawn, classes, network, secret, self.output)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The triggers with their classes, as samples of the method's own.

        Raises:
            InjectionError: the payload is not of this size, or has Symbols beyond the classes.
            ConfigurationError: the key has no triggers.
        """
        inputs, classes = triggers.opened(key, self.name)
        labels = (symbols.fitting(payload, key, classes) + _mask(key, classes)) % classes
        return Additions(samples=ArraySamples({_FEED: inputs}, labels))

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The triggers, the classes and the network; raises `ConfigurationError`."""
        return triggers.committed(key, self.name, network, self.output)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """(answer - mask) mod C of each trigger, as a Symbol of an alphabet of C.

        The confidence is the largest score minus the runner-up, in standard deviations of all the
        scores. An answer that is undecided, because scores are equal or not a number, counts as a
        tie and is taken from the key: right by chance 1/C.

        Raises:
            CarrierNotFoundError: the network takes other inputs or tells other classes.
            ConfigurationError: the key has no triggers.
        """
        inputs, classes = triggers.opened(key, self.name)
        values = suspect.run({_FEED: inputs})
        scores = triggers.scores_of(values, self.output, len(inputs), classes)
        told = triggers.answers(scores)
        guess = keystream.integers(key.secret, "adi/ties", len(inputs), classes)
        read = (np.where(told.undecided, guess, told.classes) - _mask(key, classes)) % classes
        payload = Payload(tuple(read.tolist()), classes)
        return Decoding(payload, tuple(told.margins.tolist()), int(told.undecided.sum()))


def _mask(key: Key, classes: int) -> NDArray[np.int64]:
    if foreign.is_foreign(key):
        return np.zeros(key.size, np.int64)
    return keystream.integers(key.secret, "adi/mask", key.size, classes)
