"""Fine tuning and transfer learning: Modification 4 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.arrays import initialisation
from nnw_onnx.errors import TrainingError
from nnw_onnx.modifications import _recipes
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Job, Network, Parameter, TrainingOutcome, Workshop


@dataclass(frozen=True)
class FineTuning:
    """Training goes on for E epochs, E being the Intensity times the initial training's epochs.

    The four kinds of Adi et al. 2018 are FTLL and FTAL (last layer, all layers) and, with
    `reinitialise`, RTLL and RTAL. The rate decides: a small one shows little, so sweep it. What is
    not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "fine-tuning"
    summary: ClassVar[str] = "training goes on, on all layers or the last, or on a new data set"
    number: ClassVar[int | None] = 4
    parameter: ClassVar[Parameter] = Parameter(
        "E", "epochs / epochs of the initial training", "ratio", 0.0, 0.5
    )

    intensity: Annotated[float, Gt(0), Le(100)] = option(
        help="E: epochs as a ratio of the epochs of the initial training"
    )
    scope: Literal["all", "last"] = option("all", help="whether all layers learn, or the last")
    reinitialise: bool = option(False, help="start with a fresh last layer")
    transfer: bool = option(False, help="on the data set [training.transfer]; needs reinitialise")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )
    schedule: Literal["constant", "linear", "cosine", "triangular"] | None = option(
        None, help="schedule of the learning rate; by default that of the recipe"
    )
    batch_norm: Literal["update", "freeze"] | None = option(
        None, help="whether normalisations learn the statistics of the batches"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many training samples the attacker has; by default all"
    )

    def needs(self) -> tuple[str, ...]:
        """Keys of `[training]` without which it cannot be carried out."""
        return ("initial_epochs", "transfer") if self.transfer else ("initial_epochs",)

    def modify_by_training(
        self, network: Network, workshop: Workshop, rng: np.random.Generator
    ) -> TrainingOutcome:
        """The network after E more epochs.

        Raises:
            TrainingError: the network has no last layer, or cannot be trained.
        """
        last = initialisation.last_layer(network)
        if not last:
            raise TrainingError(
                "fine-tuning: expected a network with a kernel that can be replaced, got none; "
                "use another network"
            )
        name, data = workshop.transfer(network) if self.transfer else (None, workshop.data)
        data = _recipes.drawn(data, self.samples or len(data), rng)
        start = network
        if self.reinitialise:
            start = network.with_weights(initialisation.fresh(network, last, rng))
        epochs = self.intensity * workshop.initial_epochs
        recipe = _recipes.changed(
            workshop.recipe,
            epochs=epochs,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm=self.batch_norm,
        )
        trainable = last if self.scope == "last" else None
        job = Job(data, recipe, _recipes.seed(rng), trainable=trainable)
        trained = workshop.train(start, job)
        facts = {
            "epochs": epochs,
            "samples": float(len(data)),
            "learning rate": recipe.learning_rate,
            "schedule": recipe.schedule,
            "last loss": trained.epochs[-1].loss,
        }
        return TrainingOutcome(trained.network, facts=facts, classes_of=name)
