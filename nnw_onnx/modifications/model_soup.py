"""The mean of several fine-tuned copies that an attacker makes of one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.kit import trainings
from nnw_onnx.kit.copies import mean
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Json,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Recipe,
)


@dataclass(frozen=True)
class ModelSoup(Modification):
    """Every weight becomes the mean of that weight in K copies, each fine-tuned in its own order.

    Wortsman et al., "Model soups", ICML 2022. The attacker has one network, training samples and
    time for K trainings; what the copies do not share of their changes is averaged out, so that he
    can take larger rates than with one. The statistics of normalisations are averaged too. A table
    without a learning rate stands for three settings: a tenth of that of the recipe, that, and ten
    times it. What else is not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "model-soup"
    title = "average of fine-tuned copies"
    summary: ClassVar[str] = "the mean of several copies that the attacker fine-tunes himself"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "K", "copies that are fine-tuned and averaged", "copies", option="fine_tuned"
    )
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    fine_tuned: Annotated[int, Ge(2), Le(64)] = option(
        help="K: copies that are fine-tuned and averaged"
    )
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(1.0, help="epochs of each of them")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; without it a table is tried at three around the recipe's"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many training samples the attacker has; by default all"
    )

    def settings(self, recipe: Recipe) -> tuple[Mapping[str, Json], ...]:
        """The learning rates, where none is given."""
        return trainings.rates(recipe) if self.learning_rate is None else ()

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The mean network.

        Raises:
            TrainingError: the network cannot be trained.
        """
        data = trainings.some(bench.samples(), self.samples, rng)
        recipe = trainings.changed(
            bench.recipe, epochs=self.epochs, learning_rate=self.learning_rate
        )
        copies = [
            trainings.resumed(network, data, recipe, bench, rng) for _ in range(self.fine_tuned)
        ]
        means = mean(self.name, [copy.network for copy in copies])
        return Modified(
            network.with_weights(means), facts={**copies[-1].facts, "copies": self.fine_tuned}
        )
