"""Clauses on what a Modification does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import keystream
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Weights

_SHAPES = {"second": (12, 8, 3, 3), "first": (16, 3, 3, 3), "head": (10, 40), "one": (1, 1)}


def weights(dtype: str = "float32") -> dict[str, NDArray[Any]]:
    """Read-only keyed Gaussian weights of a few layers, not in alphabetical order."""
    result: dict[str, NDArray[Any]] = {}
    for name, shape in _SHAPES.items():
        values = keystream.gaussian(bytes(32), name, int(np.prod(shape)))
        result[name] = (0.05 * values).reshape(shape).astype(dtype)
        result[name].flags.writeable = False
    return result


def _run(modification: Any, given: Weights, seed: int = 0) -> dict[str, NDArray[Any]]:
    result: dict[str, NDArray[Any]] = modification.modify_weights(
        given, np.random.Generator(np.random.PCG64(seed))
    )
    return result


def _keeps_names_and_shapes(modification: Any) -> None:
    for dtype in ("float16", "float32", "float64"):
        given = weights(dtype)
        found = _run(modification, given)
        require(list(found) == list(given), f"the layers {list(given)} in this order",
                list(found), "return every given layer, and no other")  # fmt: skip
        for name, values in found.items():
            require(values.shape == given[name].shape, f"shape {given[name].shape} of {name}",
                    values.shape, "keep the shape")  # fmt: skip
            require(np.issubdtype(values.dtype, np.floating), f"floating-point {name}",
                    values.dtype, "return floats; storing casts them")  # fmt: skip
            require(np.isfinite(values).all(), f"finite {name}", "NaN or infinity", "check it")


def _is_repeatable(modification: Any) -> None:
    first, second = (_run(modification, weights(), seed=7) for _ in range(2))
    same = all(np.array_equal(first[name], second[name]) for name in first)
    require(same, "the same weights for the same generator", "others", "use only `rng`")


def _keeps_its_input(modification: Any) -> None:
    given = weights()
    for values in given.values():
        values.flags.writeable = True
    kept = {name: values.copy() for name, values in given.items()}
    found = _run(modification, given)
    same = all(np.array_equal(given[name], kept[name]) for name in kept)
    require(same, "untouched weights", "changed ones", "copy before changing")
    for name, values in found.items():
        if values.flags.writeable:
            values[...] = 0
        require(np.array_equal(given[name], kept[name]), f"a copy of {name}",
                "a view of the given array", "return new arrays")  # fmt: skip


def _accepts_nothing(modification: Any) -> None:
    found = _run(modification, {})
    require(found == {}, "no layers for no layers", found, "loop over what is given")


def _accepts_constant_layers(modification: Any) -> None:
    given = {"zero": np.zeros((4, 5), np.float32), "one": np.ones((3, 2, 1, 1), np.float32)}
    found = _run(modification, given)
    finite = all(np.isfinite(values).all() for values in found.values())
    require(finite, "finite weights from constant layers", "NaN", "guard the division")


def _changes_something(modification: Any) -> None:
    require(_change(modification) > 0, "a change at this intensity", "none", "apply it")


def _grows_with_intensity(modification: Any) -> None:
    parameter = type(modification).parameter
    low, high = (
        _change(dataclasses.replace(modification, intensity=value))
        for value in (parameter.low, parameter.high)
    )
    weak, strong = (low, high) if parameter.stronger == "up" else (high, low)
    require(weak < strong, f"more change towards {parameter.stronger} of {parameter.letter}",
            f"{weak:.3g} and {strong:.3g}", "correct Parameter.stronger or the range")  # fmt: skip


def _change(modification: Any) -> float:
    given = weights("float64")
    found = _run(modification, given)
    return float(sum(np.sum((found[n].astype(np.float64) - given[n]) ** 2) for n in given))


CLAUSES: dict[str, Callable[[Any], None]] = {
    "returns the given layers": _keeps_names_and_shapes,
    "gives the same weights for the same generator": _is_repeatable,
    "leaves its input untouched": _keeps_its_input,
    "accepts an empty list of layers": _accepts_nothing,
    "accepts constant layers": _accepts_constant_layers,
    "changes weights": _changes_something,
    "changes more at a stronger intensity": _grows_with_intensity,
}
