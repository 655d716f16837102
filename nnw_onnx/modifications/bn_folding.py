"""BatchNormalization folded into the layer before it, as deployment tools and exporters do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import fold_batch_norms
from nnw_onnx.vocabulary import Bench, Family, FileModification


@dataclass(frozen=True)
class BnFolding(FileModification):
    """Every BatchNormalization behind Conv, ConvTranspose, Gemm or MatMul goes into its weights.

    The network answers the same. Each filter is multiplied by a factor of its own, negative ones
    included, so what is read from the weights changes although their names stay.
    """

    name: ClassVar[str] = "bn-folding"
    title = "BN folding"
    summary: ClassVar[str] = "normalisations folded into the weights before them"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-4

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the folded model.

        Raises:
            NotApplicableError: there is nothing to fold.
        """
        if not fold_batch_norms(source, target):
            raise NotApplicableError(
                "bn-folding: expected a BatchNormalization behind a layer with constant weights, "
                "got none; there is nothing to fold, leave it out for this network"
            )
