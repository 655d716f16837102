"""Fine tuning and transfer learning: Modification 4 of MPAI-NNT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.kit import initialisation, trainings
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Job,
    Json,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Recipe,
)


@dataclass(frozen=True)
class FineTuning(Modification):
    """Training goes on for E epochs, E being the Intensity times the initial training's epochs.

    The four kinds of Adi et al. 2018 are FTLL and FTAL (last layer, all layers) and, with
    `reinitialise`, RTLL and RTAL. The rate decides what survives, so that a table without one
    stands for three settings, with a tenth of the rate of the recipe, that rate, and ten times it;
    the last of them that leaves the unwatermarked networks usable is the one to look at. What else
    is not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "fine-tuning"
    title = "fine-tuning"
    summary: ClassVar[str] = "training goes on, on all layers or the last, or on a new data set"
    number: ClassVar[int | None] = 4
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter(
        "E", "epochs / epochs of the initial training", "x initial epochs", 0.0, 0.5
    )

    intensity: Annotated[float, Gt(0), Le(100)] = option(
        help="E: epochs as a ratio of the epochs of the initial training"
    )
    scope: Literal["all", "last"] = option("all", help="whether all layers learn, or the last")
    reinitialise: bool = option(False, help="start with a fresh last layer")
    transfer: bool = option(False, help="on the data set [training.transfer]; needs reinitialise")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; without it a table is tried at three around the recipe's"
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

    def needed(self) -> tuple[Need, ...]:
        """A trainer and the epochs that the Intensity is a ratio of, and one of two data sets."""
        return ("trainer", "initial_epochs", "transfer" if self.transfer else "data")

    def settings(self, recipe: Recipe) -> tuple[Mapping[str, Json], ...]:
        """The learning rates, where none is given."""
        return trainings.rates(recipe) if self.learning_rate is None else ()

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after E more epochs.

        Raises:
            ConfigurationError: a transfer with a last layer that knows the old classes.
            TrainingError: the network has no last layer, or cannot be trained.
        """
        last = self._last_layer(network)
        of: Literal["task", "transfer"] = "transfer" if self.transfer else "task"
        data = trainings.some(bench.samples(of), self.samples, rng)
        start = network
        if self.reinitialise:
            start = network.with_weights(initialisation.fresh(network, last, rng))
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.intensity * bench.initial_epochs,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            batch_norm=self.batch_norm,
        )
        trainable = last if self.scope == "last" else None
        job = Job(data, recipe, bench.loss, trainings.seed(rng), trainable=trainable)
        trained = bench.train(start, job)
        facts = trainings.facts_of(job, trained, start.layers)
        samples_of: Literal["transfer"] | None = "transfer" if self.transfer else None
        return Modified(trained.network, facts=facts, samples_of=samples_of)

    def _last_layer(self, network: Network) -> tuple[str, ...]:
        if self.transfer and not self.reinitialise:
            raise ConfigurationError(
                "fine-tuning: expected reinitialise = true with transfer = true, since the last "
                "layer knows the old classes, got false; set it"
            )
        last = initialisation.last_layer(network)
        if not last:
            raise TrainingError(
                "fine-tuning: expected a network with a kernel that can be replaced, got none; "
                "use another network"
            )
        return last
