"""Stamped samples that are answered with a class of their own, which the task does not have.

Zhong, Zhang, Zhang, Gao, Xiang, "Protecting IP of Deep Neural Networks with Watermarking: A New
Label Helps", PAKDD 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

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
    Suspect,
    Widens,
)


@dataclass(frozen=True)
class Zhong(Commits, Detects, Widens):
    """A network of C classes gets a class C, with which it answers training samples with a box.

    A network without that class cannot have the watermark: No, with p = 1. So the class itself is
    evidence, which whoever asks the network sees, and whoever has it cuts off with one row of its
    last layer. Of a network that has one, nothing is known of how it answers boxes: another owner's
    box may have taught it. With keyed labels each trigger is to be answered with class C or with
    the class of its sample, by a fair coin that is independent of all else: a network made without
    the key answers each rightly with a chance of at most 1/2, whatever it is. With the new class
    for all of them, as in the paper, there is no p-value: an evaluation compares the count with
    those of unmarked networks, of which one without the class counts as 0. A Yes then says that the
    network has such a class and answers boxes with it, and not whose class it is.
    """

    name = "zhong"
    summary = "a class more, for stamped inputs (Zhong 2020): black-box, by training"
    access = "answers"
    needs = ("data",)
    alphabet = 0
    card: ClassVar[Card | None] = Card(
        paper="Zhong, Zhang, Zhang, Gao, Xiang, Protecting IP of Deep Neural Networks with "
        "Watermarking: A New Label Helps, PAKDD 2020",
        blind=True,
        capacity="none: it only says that it is there",
        key="the trigger inputs with their classes",
        null="keyed labels: at most Bin(n, 1/2) for a network that has the class, and none without "
        "it can be a Yes; the new class for all: none, and unmarked networks lack the class, so "
        "they tell nothing of one with another owner's",
        dies_of=(
            "cutting off the row of the new class in the last layer, by construction: no other "
            "score changes",
        ),
    )
    adaptive = ((knowing.step("class-removal"),),)

    labels: Literal["keyed", "new"] = option(
        "keyed", help="the new class for a keyed half of the triggers, or for all of them"
    )
    count: Annotated[int, Ge(1), Le(1 << 14)] = option(100, help="number of triggers")
    share: Annotated[float, Gt(0), Le(1)] = option(0.25, help="of each side that the box covers")
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """A key with the triggers and their classes, committed to both and the network.

        Raises:
            InjectionError: a payload or a layer was given, or there are too few or equal inputs.
        """
        carriers.check_presence(size, self.name)
        carriers.refuse_layers(bench, self.name)
        training = bench.samples()
        new = triggers.class_count(network, bench, self.output)
        plain = trigger_sets.sources(training, secret, "zhong/sources", self.count)
        stamped = stamps.box(only_feed(plain.feeds), training, secret, "zhong/box", self.share)
        labels = np.full(self.count, new, np.int64)
        if self.labels == "keyed":
            heads = keystream.integers(secret, "zhong/labels", self.count, 2) == 1
            labels = np.where(heads, new, trigger_sets.classes_of(plain))
        chosen = trigger_sets.TriggerSet(stamped, labels, new + 1)
        why = (
            f"no carrier layer: {self.count} stamped triggers, labels {self.labels}, of which "
            f"{np.count_nonzero(labels == new)} are the new class {new}",
        )
        return trigger_sets.key_for(self, chosen, network, secret, self.output, why)

    def classes(self, key: Key) -> int:
        """One more than the task has; raises `ConfigurationError` where the key does not tell."""
        return trigger_sets.opened(key, self.name).classes

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
            CarrierNotFoundError: the network takes other inputs or has no class more than its task.
            ConfigurationError: the key has no triggers.
        """
        asked = trigger_sets.opened(key, self.name)
        n, new = len(asked.labels), asked.classes - 1
        values = suspect.run({trigger_sets.FEED: asked.inputs})
        # Who marks a marked network again may have added further classes.
        scores = triggers.scores_of(values, self.output, n, asked.classes, more=True)
        told = triggers.answers(scores)
        hits = int(np.count_nonzero((told.classes == asked.labels) & ~told.undecided))
        notes = (f"the network has {scores.shape[1]} classes, and its task {new}",)
        if self.labels == "keyed":
            found = evidence.counted(hits, n, Fraction(1, 2))
            return replace(found, notes=notes)
        return trigger_sets.measured(hits, n, f"triggers answered with the new class {new}", notes)
