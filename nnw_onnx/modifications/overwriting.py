"""Watermark overwriting: Modification 6 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.modifications import _recipes
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Job, Mark, Network, Parameter, TrainingOutcome, Workshop


@dataclass(frozen=True)
class Overwriting:
    """W further watermarks one after another, with fresh keys and random Payloads of the same size.

    By the method that was used, statically or by training as it was, or by another one. The new
    watermarks are read in the end: an overwriting that is not in is none.
    """

    name: ClassVar[str] = "overwriting"
    summary: ClassVar[str] = "further watermarks, random Payloads, fresh keys, put in on top"
    number: ClassVar[int | None] = 6
    depends_on_method: ClassVar[bool] = True
    parameter: ClassVar[Parameter] = Parameter("W", "further watermarks", "watermarks", 2, 4)

    intensity: Annotated[int, Ge(1), Le(64)] = option(help="W: number of further watermarks")
    method: str | None = option(None, help="another method; by default the one that was used")
    epochs: Annotated[float, Gt(0), Le(10_000)] | None = option(
        None, help="epochs of each training; by default as many as the first watermark took"
    )
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate of each training; by default as the first watermark's"
    )

    def modify_by_training(
        self, network: Network, workshop: Workshop, rng: np.random.Generator
    ) -> TrainingOutcome:
        """The network with W more watermarks.

        Raises:
            InjectionError, TrainingError: a watermark cannot be put in.
        """
        marks: list[Mark] = []
        trained = 0
        for index in range(self.intensity):
            mark, recipe = workshop.new_mark(network, index, self.method)
            marks.append(mark)
            seed = _recipes.seed(rng)
            if recipe is None:
                network = workshop.inject(network, mark)
                continue
            changes = _recipes.changed(recipe, epochs=self.epochs, learning_rate=self.learning_rate)
            network = workshop.train(network, Job(workshop.data, changes, seed, mark=mark)).network
            trained += 1
        errors = tuple((len(m.payload), workshop.errors(network, m)) for m in marks)
        facts: dict[str, float | str] = {
            "by training": float(trained),
            "method": marks[0].key.method,
        }
        return TrainingOutcome(network, new_marks=errors, facts=facts)
