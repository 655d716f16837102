"""Fine-tuning that begins at a large learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import lessons, trainings
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Family,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Samples,
)


@dataclass(frozen=True)
class Refit(Modification):
    """Training goes on at a large learning rate, which falls to 0.

    The schedule of REFIT (Chen et al., "REFIT: a unified watermark removal framework for deep
    learning systems with limited data", ASIA CCS 2021): as large a rate at the start as the task
    survives. So the rate is what is swept, and the strongest Intensity that leaves the
    unwatermarked networks usable is the one that counts. As there, samples without labels can be
    labelled by the network itself; the pull towards weights that matter to the task (elastic weight
    consolidation) is not part of it. What is not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "refit"
    title = "fine-tuning from a large rate"
    summary: ClassVar[str] = "training goes on at a large learning rate, which falls to 0"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter("R", "learning rate at the start", "", option="rate")

    rate: Annotated[float, Gt(0), Le(100)] = option(
        help="R: learning rate at the start, such as 0.05"
    )
    epochs: Annotated[float, Gt(0), Le(10_000)] = option(10.0, help="epochs")
    schedule: Literal["linear", "cosine"] = option("linear", help="how the rate falls to 0")
    labels: Literal["true", "own"] = option(
        "true", help="those of the samples, or own: what the network itself answers"
    )
    data: Literal["task", "transfer"] = option(
        "task", help="samples of the task, or those of [training.transfer], with labels = own"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many samples the attacker has; by default all"
    )

    def needed(self) -> tuple[Need, ...]:
        """A trainer, and one of two data sets."""
        return ("trainer", "transfer" if self.data == "transfer" else "data")

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network after the training.

        Raises:
            ConfigurationError: samples of another data set with their own labels.
            TrainingError: the network cannot be trained, or its answers are no labels.
        """
        drawn = trainings.some(bench.samples(self.data), self.samples, rng)
        recipe = trainings.changed(
            bench.recipe,
            epochs=self.epochs,
            learning_rate=self.rate,
            schedule=self.schedule,
        )
        return trainings.resumed(network, self._labelled(network, drawn, bench), recipe, bench, rng)

    def _labelled(self, network: Network, drawn: Samples, bench: Bench) -> Samples:
        if self.labels == "own":
            return lessons.lesson(network, drawn, bench).samples
        if self.data == "transfer":
            raise ConfigurationError(
                "refit: expected labels = 'own' with data = 'transfer', whose labels mean "
                "something else, got 'true'; change it"
            )
        return drawn
