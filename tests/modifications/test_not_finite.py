"""Weights that are no numbers, as a hostile file may hold them, are told in one line."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.modifications.low_rank import LowRank


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_low_rank_needs_numbers(value: float) -> None:
    layer = np.full((4, 4), value, np.float32)
    rng = np.random.Generator(np.random.PCG64(0))
    with pytest.raises(NotApplicableError, match="^low-rank: expected finite weights, got NaN or"):
        LowRank(50).modify_weights({"w": layer}, rng)
