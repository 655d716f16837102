"""Weight decay that is raised for a while, and then what it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

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
class Regularisation(Modification):
    """Training goes on with a large weight decay, and then with that of the recipe again.

    The attack of Lukas et al., IEEE S&P 2022: a decay of 0.1 for 5 epochs takes what the task does
    not hold up, and up to 50 epochs give back what the task has lost. There the second training
    ends when the loss falls no more; here it has a length, which the recipe's schedule needs. What
    is not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "regularisation"
    summary: ClassVar[str] = "training goes on with a large weight decay, then with the usual one"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter(
        "D", "weight decay of the first training", "", option="decay"
    )
    needs: ClassVar[tuple[Need, ...]] = ("trainer", "data")

    decay: Annotated[float, Gt(0), Le(1)] = option(
        help="D: weight decay of the first training, such as 0.1"
    )
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(5.0, help="epochs of the first training")
    epochs_after: Annotated[float, Gt(0), Le(10_000)] = option(
        10.0, help="epochs of the second one, with the weight decay of the recipe"
    )
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate of both; by default that of the recipe"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many training samples the attacker has; by default all"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after both trainings; the facts are those of the second one.

        Raises:
            TrainingError: the network cannot be trained.
        """
        data = trainings.some(bench.samples(), self.samples, rng)
        usual = trainings.changed(
            bench.recipe, epochs=self.epochs_after, learning_rate=self.learning_rate
        )
        raised = trainings.changed(usual, epochs=self.epochs, weight_decay=self.decay)
        first = trainings.resumed(network, data, raised, bench, rng)
        return trainings.resumed(first.network, data, usual, bench, rng)
