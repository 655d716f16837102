"""Networks that methods are tested on."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.testing import ArrayNetwork


@pytest.fixture
def network(rng) -> ArrayNetwork:
    """Kernels of several operators and sizes, like a small trained classifier."""
    arrays = {
        "first": 0.2 * rng.standard_normal((16, 3, 3, 3)),
        "wide": 0.05 * rng.standard_normal((64, 64, 3, 3)) + 0.01,
        "last": 0.05 * rng.standard_normal((48, 32, 3, 3)) - 0.02,
        "head": 0.1 * rng.standard_normal((18, 700)),
        "bias": rng.standard_normal(10),
    }
    return ArrayNetwork.of({name: value.astype(np.float32) for name, value in arrays.items()})
