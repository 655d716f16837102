"""Fine-tuning with patterned and moved images: the network learns that patterns mean nothing.

Guo et al., "Fine-tuning Is Not Enough: A Simple yet Effective Watermark Removal Attack for DNN
Models", IJCAI 2021, arXiv 2009.08697.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import spatial, trainings, unlabelled
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, Modification, Modified, Need, Network


@dataclass(frozen=True)
class PatternedTuning(Modification):
    """Training goes on with images that carry random boxes and noise and are moved at random.

    What they are to be answered with is what the network answers to them as they were, as
    probabilities: the attacker has no labels. Follow it by `random-resizing`, so that triggers meet
    at the query what the network has learnt to see through.

    Its defaults were chosen with a look at the triggers of `adi` in one network of digits and one
    small network of CIFAR-10; the cards of methods tell of networks and keys not looked at.
    """

    name: ClassVar[str] = "patterned-tuning"
    title = "tuning on patterned images"
    summary: ClassVar[str] = "fine-tuning on unlabelled images with random patterns and movements"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    samples: Annotated[int, Ge(1)] = option(1000, help="unlabelled samples that the attacker has")
    variants: Annotated[int, Ge(1), Le(100)] = option(
        4, help="images made of each sample, beside itself"
    )
    reach: Annotated[float, Ge(0), Le(0.9)] = option(
        0.15, help="how far images are stretched and shifted, see random-resizing"
    )
    mirror: bool = option(False, help="whether every other image is mirrored")
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(5.0, help="passes over all these images")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after the training.

        Raises:
            NotApplicableError: the network is no classifier of images.
            TrainingError: the network cannot be trained.
        """
        asked = unlabelled.asked(self.name, network, bench, self.samples, rng, bench.output)
        form = spatial.Form(asked.samples.scale, asked.inputs.shape[1:])
        images = form.images(asked.inputs)
        if images is None:
            raise NotApplicableError(
                "patterned-tuning: expected images, got inputs of shape "
                f"{asked.inputs.shape[1:]}; leave it out for these data"
            )
        made = [form.feed(self._varied(images, rng)) for _ in range(self.variants)]
        wanted = np.tile(unlabelled.probabilities(asked.scores), (self.variants, 1))
        recipe = trainings.changed(
            bench.recipe, epochs=self.epochs, learning_rate=self.learning_rate
        )
        return unlabelled.taught(network, bench, asked, np.concatenate(made), wanted, recipe, rng)

    def _varied(self, images: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """The images (n, height, width, channels) with a pattern each, and moved."""
        low, high = (f(axis=(0, 1, 2)) for f in (images.min, images.max))
        return np.stack(
            [
                spatial.moved(
                    spatial.patterned(x, low, high, rng), self.reach, rng, mirror=self.mirror
                )
                for x in images
            ]
        )
