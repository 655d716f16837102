"""Clauses on what a Modification that trains does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnw_onnx.arrays import keystream
from nnw_onnx.testing._method import network
from nnw_onnx.testing.array_workshop import ArrayWorkshop
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import TrainingData, TrainingOutcome

_SAMPLES = 40


def workshop() -> ArrayWorkshop:
    """A workshop with a few samples that fit `_method.network`."""
    plain = network()
    inputs = plain.weights["head"].shape[1]
    classes = plain.weights["head"].shape[0]
    values = keystream.gaussian(bytes(32), "samples", _SAMPLES * inputs)
    labels = (keystream.uint64(bytes(32), "labels", _SAMPLES) % np.uint64(classes)).astype(np.int64)
    data = TrainingData(values.reshape(_SAMPLES, inputs).astype(np.float32), labels, classes)
    return ArrayWorkshop(data)


def _run(modification: Any, seed: int = 0) -> TrainingOutcome:
    rng = np.random.Generator(np.random.PCG64(seed))
    outcome: TrainingOutcome = modification.modify_by_training(network(), workshop(), rng)
    return outcome


def _gives_an_outcome(modification: Any) -> None:
    outcome = _run(modification)
    require(isinstance(outcome, TrainingOutcome), "a TrainingOutcome", type(outcome), "return one")
    for name, values in outcome.network.weights.items():
        require(np.isfinite(values).all(), f"finite weights of {name}", "NaN or infinity",
                "check them")  # fmt: skip
    for name, fact in outcome.facts.items():
        require(isinstance(fact, float | str), f"a float or a text as fact {name!r}", repr(fact),
                "convert it")  # fmt: skip


def _is_repeatable(modification: Any) -> None:
    first, second = (_run(modification, seed=7).network.weights for _ in range(2))
    same = all(np.array_equal(first[name], second[name]) for name in first)
    require(same, "the same weights for the same generator", "others", "use only `rng`")


def _keeps_its_input(modification: Any) -> None:
    plain = network()
    modification.modify_by_training(plain, workshop(), np.random.Generator(np.random.PCG64(0)))
    fresh = network()
    same = all(np.array_equal(plain.weights[n], fresh.weights[n]) for n in fresh.weights)
    require(same, "an untouched network", "a changed one", "use `with_weights`")


CLAUSES: dict[str, Callable[[Any], None]] = {
    "gives an outcome of finite weights": _gives_an_outcome,
    "gives the same network for the same generator": _is_repeatable,
    "leaves its input untouched": _keeps_its_input,
}
