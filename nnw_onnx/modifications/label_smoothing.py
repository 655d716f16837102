"""Fine-tuning with smoothed labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from nnw_onnx.kit import trainings
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
)


@dataclass(frozen=True)
class LabelSmoothing(Modification):
    """Training goes on with labels of which a share is spread over all classes.

    It makes networks less sure of what they answer, triggers among it. The attack of Lukas et al.,
    IEEE S&P 2022, with a share of 0.3 for 5 epochs. What is not given here is as in the recipe of
    the evaluation; tasks without classes have no labels to smooth.
    """

    name: ClassVar[str] = "label-smoothing"
    summary: ClassVar[str] = "training goes on with smoothed labels"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "S", "share of each label that is spread over all classes", "ratio", option="share"
    )
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    share: Annotated[float, Gt(0), Lt(1)] = option(
        help="S: share of each label that is spread over all classes, such as 0.3"
    )
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(5.0, help="epochs")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many training samples the attacker has; by default all"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after the training.

        Raises:
            TrainingError: the network cannot be trained, or its task has no classes.
        """
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            label_smoothing=self.share,
        )
        data = trainings.some(bench.samples(), self.samples, rng)
        return trainings.resumed(network, data, recipe, bench, rng)
