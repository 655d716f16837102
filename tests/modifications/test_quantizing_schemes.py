"""Quantizing as integer runtimes store weights, against a restatement filter by filter."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Modification, Spec


def restated(weights, bits, scheme):
    """One scale for all of `weights`, in plain steps."""
    if scheme == "symmetric":
        top = 2 ** (bits - 1) - 1
        scale = float(np.float32(2 * abs(weights).max() / (2 * top)))
        return np.clip(np.rint(weights / scale), -top, top) * scale
    low, high = min(weights.min(), 0.0), max(weights.max(), 0.0)
    scale = float(np.float32((high - low) / (2**bits - 1)))
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(weights / scale) + zero, 0, 2**bits - 1) - zero) * scale


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("per_filter", [False, True])
def test_a_scheme_rounds_as_it_says(rng, scheme, bits, per_filter):
    weights = rng.normal(size=(5, 3, 2, 2)) * np.array([1, 2, 0.1, 5, 1]).reshape(5, 1, 1, 1)
    options = {"intensity": bits, "scheme": scheme, "per_filter": per_filter}
    made = plugins.create(Modification, Spec("quantizing", options))
    found = made.modify_weights({"w": weights}, rng)["w"]
    parts = weights if per_filter else [weights]
    expected = np.stack([restated(part, bits, scheme) for part in parts]).reshape(weights.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    levels = len(np.unique(found[0]))
    assert levels <= 2**bits


@pytest.mark.parametrize(
    "options",
    [
        {"intensity": 1, "scheme": "symmetric"},
        {"intensity": 17, "scheme": "asymmetric"},
        {"intensity": 8, "per_filter": True},
    ],
)
def test_what_a_scheme_does_not_have_is_refused(rng, options):
    made = plugins.create(Modification, Spec("quantizing", options))
    with pytest.raises(ConfigurationError, match="expected 2 to 16 bits for symmetric"):
        made.modify_weights({"w": rng.normal(size=(4, 4))}, rng)
