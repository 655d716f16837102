"""Scores beyond the classes of the task cut off: removes marks that have a class of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from nnw_onnx.errors import InjectionError, NotApplicableError
from nnw_onnx.graph import narrow_classifier
from nnw_onnx.kit import knowing, triggers
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Bench, Family, Modification, Modified, Need, Network


@dataclass(frozen=True)
class ClassRemoval(Modification):
    """The rows of the last linear layer go that tell no class of the task; the output is narrower.

    The other scores stay what they are, bit by bit. The samples are asked for nothing but the
    number of classes.
    """

    name: ClassVar[str] = "class-removal"
    title = "further classes removed"
    summary: ClassVar[str] = "scores beyond the classes of the task cut off the last layer"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("data",)

    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with the scores of the task only.

        Raises:
            NotApplicableError: there are no other scores, or the network computes them otherwise.
        """
        classes, there = triggers.class_count(network, bench, self.output), [0]

        def change(source: Path, target: Path) -> None:
            there[0] = narrow_classifier(source, target, self.output, classes)

        try:
            narrower = bench.through_file(network, change)
        except InjectionError as error:
            raise NotApplicableError(f"class-removal: {error}") from error
        if there[0] <= classes:
            raise NotApplicableError(
                f"class-removal: expected more scores than the {classes} classes of the task, got "
                f"{there[0]}; leave it out for this network"
            )
        facts = {"classes before": there[0], "classes": classes}
        return knowing.told(Modified(narrower), "task", facts=facts)
