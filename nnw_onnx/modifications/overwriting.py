"""Watermark overwriting: Modification 6 of MPAI-NNT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Claim,
    Family,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Spec,
)


@dataclass(frozen=True)
class Overwriting(Modification):
    """W further watermarks one after another, with fresh keys and random Payloads of the same size.

    By the method that was used, statically or by training as it was, or by another one. The new
    watermarks are read in the end: an overwriting that is not in is none.
    """

    name: ClassVar[str] = "overwriting"
    summary: ClassVar[str] = "further watermarks, random Payloads, fresh keys, put in on top"
    number: ClassVar[int | None] = 6
    family: ClassVar[Family] = "standard"
    parameter: ClassVar[Parameter] = Parameter("W", "further watermarks", "watermarks", 2, 4)
    needs: ClassVar[tuple[Need, ...]] = ("method",)

    intensity: Annotated[int, Ge(1), Le(64)] = option(help="W: number of further watermarks")
    method: str | None = option(None, help="another method; by default the one that was used")
    epochs: Annotated[float, Gt(0), Le(10_000)] | None = option(
        None, help="epochs of each training; by default as many as the first watermark took"
    )
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate of each training; by default as the first watermark's"
    )

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with W more watermarks.

        Raises:
            InjectionError, TrainingError: a watermark cannot be put in.
        """
        method = None if self.method is None else Spec(self.method)
        changes = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        given = {name: value for name, value in changes.items() if value is not None}
        marks: list[Claim] = []
        for index in range(self.intensity):
            network, claim = bench.mark(network, method, index, given)
            marks.append(claim)
        return Modified(network, marks=tuple(marks), facts={"method": marks[0].key.method.name})
