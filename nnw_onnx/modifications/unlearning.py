"""Inputs that a network answers surely and that are none of its data, unlearnt.

Compare Lu et al., "Neural Dehydration", arXiv 2309.03466 (first "MIRA"), and Wang et al., "Neural
Cleanse", IEEE S&P 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.kit import trainings, triggers, unlabelled
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Modification,
    Modified,
    Need,
    Network,
)

_BATCH = 256


@dataclass(frozen=True)
class Unlearning(Modification):
    """The network is inverted for each class, and trained to be undecided of what comes out.

    Half of the inputs start as smooth patterns and half as noise, in the range of the samples;
    steps along the sign of the gradient take each to a class. What a network without a watermark
    would make of them nobody knows, so all classes are to be equally likely for them, while samples
    of the task keep the probabilities that the network now tells. The attacker has no labels.
    Normalisations keep their statistics, which are those of the task.

    Its defaults were chosen with a look at the triggers of `adi` in one network of digits and one
    small network of CIFAR-10; the cards of methods tell of networks and keys not looked at.
    """

    name: ClassVar[str] = "unlearning"
    title = "unlearning of inverted inputs"
    summary: ClassVar[str] = "the network inverted class by class, and what is found unlearnt"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    samples: Annotated[int, Ge(1)] = option(
        2000,
        help="unlabelled samples that the attacker has; with fewer than inputs the task suffers",
    )
    inverted: Annotated[int, Ge(2), Le(1 << 16)] = option(
        1000, help="inputs that are made, the same number for each class"
    )
    steps: Annotated[int, Ge(0), Le(1000)] = option(20, help="steps towards the class")
    step: Annotated[float, Gt(0), Le(1)] = option(
        0.02, help="length of a step, as a share of the range of the samples"
    )
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(5.0, help="passes over all these inputs")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after the training.

        Raises:
            NotApplicableError: the network is no classifier of one input of real numbers.
            TrainingError: the network cannot be trained.
        """
        asked = unlabelled.asked(self.name, network, bench, self.samples, rng, bench.output)
        found = self._inverted(network, bench, asked, rng)
        classes = asked.scores.shape[1]
        even = np.full((len(found), classes), 1 / classes, np.float32)
        recipe = trainings.changed(
            bench.recipe, epochs=self.epochs, learning_rate=self.learning_rate, batch_norm="freeze"
        )
        return unlabelled.taught(network, bench, asked, found, even, recipe, rng)

    def _inverted(
        self, network: Network, bench: Bench, asked: unlabelled.Asked, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Inputs (inverted, ...) that the network takes for one class each, if it ever does."""
        low, high = asked.inputs.min(axis=0), asked.inputs.max(axis=0)
        half = self.inverted // 2
        noise = low + (high - low) * rng.uniform(size=(self.inverted - half, *low.shape))
        smooth = triggers.patterns(rng.bytes(32), self.name, half, np.stack([low, high]))
        made = np.concatenate([smooth, noise]).astype(np.float32)
        labels = rng.permutation(np.arange(self.inverted) % asked.scores.shape[1])
        for start in range(0, self.inverted, _BATCH):
            part = slice(start, start + _BATCH)
            for _ in range(self.steps):
                feeds = {asked.name: made[part]}
                (slopes,) = bench.gradient(network, feeds, labels[part]).values()
                closer = made[part] - self.step * (high - low) * np.sign(slopes)
                made[part] = np.clip(closer, low, high)
        return made
