"""Networks that methods are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nnw_onnx.kit.evidence import matched
from nnw_onnx.testing import ArrayBench, ArrayNetwork
from nnw_onnx.vocabulary import Decodes, Detection, Detects, Injects, Key, Network, Payload


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


# What becomes of weights that no null may assume to be random; None: as they are.
HARD = {
    "pruned": lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), 0.95), 0, w),
    "two bits": lambda w: np.rint((w - w.min()) / np.ptp(w) * 3) / 3 * np.ptp(w) + w.min(),
    "all equal": lambda w: np.full_like(w, 0.25),
    "float16": lambda w: w.astype(np.float16),
    "marked with another key": None,
}
WrongKeys = Callable[..., "list[Detection]"]


@pytest.fixture(params=HARD)
def wrong_keys(request) -> WrongKeys:
    """Evidence of 2,000 keys that have nothing to do with weights of each hard kind.

    The payload is fixed, and two thirds of it are ones.
    """
    shared = np.random.Generator(np.random.PCG64(11)).standard_normal((1, 16, 3, 3))
    noise = np.random.Generator(np.random.PCG64(12)).standard_normal((16, 16, 3, 3))
    plain = (0.05 * (noise + shared + 0.5)).astype(np.float32)

    def found(method: Injects, size: int = 32, keys: int = 2000) -> list[Detection]:
        network = ArrayNetwork.of({"conv": plain})
        payload = Payload(((1, 1, 0) * size)[:size])
        key = method.make_key(network, size, b"\xff" * 32, ArrayBench())
        change = HARD[request.param]
        suspect = (
            ArrayNetwork.of({"conv": change(plain)})
            if change is not None
            else method.inject(network, payload, key, ArrayBench())
        )
        others = [replace(key, secret=i.to_bytes(32, "little")) for i in range(keys)]
        return [_evidence(method, suspect, payload, other) for other in others]

    return found


def _evidence(method: Injects, suspect: Network, payload: Payload, key: Key) -> Detection:
    if isinstance(method, Detects):
        return method.detect(suspect, payload, key)
    assert isinstance(method, Decodes)
    return matched(method.decode(suspect, key).payload, payload)


@pytest.fixture
def assert_uniform() -> Callable[[list[Detection]], None]:
    """Require exactly uniform p-values, made continuous by P(> t) + u P(= t), u uniform."""

    def check(found: list[Detection]) -> None:
        p_value = np.array([10.0**one.log10_p for one in found])
        tie = np.array([10.0**one.log10_tie for one in found])
        u = np.random.Generator(np.random.PCG64(5)).uniform(size=len(found))
        for level in (1e-2, 1e-1, 0.5):
            hits = int(np.count_nonzero(p_value - (1 - u) * tie <= level))
            assert stats.binomtest(hits, len(found), level).pvalue > 1e-4

    return check
