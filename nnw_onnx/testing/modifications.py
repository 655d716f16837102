"""Clauses on what a Modification does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.kit import keystream
from nnw_onnx.testing.array_bench import ArrayBench
from nnw_onnx.testing.array_training import ArrayTrainer, run, small_network, small_samples
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Claim,
    Feeds,
    FileModification,
    InputModification,
    Key,
    Modification,
    Modified,
    Network,
    Payload,
    Recipe,
    Scale,
    Spec,
    WeightModification,
    Weights,
)

_SHAPES = {"second": (12, 8, 3, 3), "first": (16, 3, 3, 3), "head": (10, 40), "one": (1, 1)}


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _bench(modification: Modification) -> ArrayBench:
    plain = small_network()
    return ArrayBench(
        layers=("conv", "head") if modification.aims else (),
        samples=small_samples(),
        transfer=small_samples(60),
        recipe=Recipe(epochs=1, batch_size=40, learning_rate=0.01),
        trainer=ArrayTrainer(),
        run=run,
        original=plain,
        copies=(plain, small_network(label="second copy")),
        initial_epochs=2.0,
        networks=dict.fromkeys(modification.opens(), small_network(label="another network")),
        mark=_marked,
    )


def _marked(network: Network, method: Spec | None, index: int) -> tuple[Network, Claim]:
    head = network.weights["head"]
    key = Key(method or Spec("mark"), bytes(32), 0, layers=("head",), shapes=(head.shape,))
    changed = network.with_weights({"head": head * (1 + 0.01 * (index + 1))})
    return changed, Claim(key, Payload())


def _run(modification: Modification, seed: int = 0) -> Modified:
    return modification.modify(small_network(), _bench(modification), _rng(seed))


def clauses(kind: type[Modification]) -> dict[str, Callable[[Modification], None]]:
    """The clauses that concern a Modification of this class."""
    if issubclass(kind, WeightModification):
        return _EVERY | _WEIGHTS
    if issubclass(kind, InputModification):
        return _INPUTS
    if issubclass(kind, FileModification):
        return _FILES
    return _EVERY


def _gives_a_network(modification: Modification) -> None:
    done = _run(modification)
    require(isinstance(done, Modified), "a Modified", type(done).__name__, "return one")
    for name, values in done.network.weights.items():
        require(np.isfinite(values).all(), f"finite weights of {name}", "NaN or infinity",
                "check them")  # fmt: skip
    for name, fact in done.facts.items():
        require(fact is None or isinstance(fact, bool | int | float | str),
                f"a number or a text as fact {name!r}", repr(fact), "convert it")  # fmt: skip


def _is_repeatable(modification: Modification) -> None:
    first, second = (_run(modification, seed=7).network.weights for _ in range(2))
    same = all(np.array_equal(first[name], second[name]) for name in first)
    require(same, "the same weights for the same generator", "others", "use only `rng`")


def _keeps_its_input(modification: Modification) -> None:
    plain, fresh = small_network(), small_network()
    modification.modify(plain, _bench(modification), _rng())
    same = all(np.array_equal(plain.weights[n], fresh.weights[n]) for n in fresh.weights)
    require(same, "an untouched network", "a changed one", "use `with_weights`")


def _changes_something(modification: Modification) -> None:
    done, plain = _run(modification), small_network()
    after = done.network.weights
    changed = {n for n in plain.weights if not np.array_equal(after[n], plain.weights[n])}
    require(changed or done.around, "a change", "none", "apply it, or refuse")
    aimed = set(_bench(modification).layers)
    require(not modification.aims or changed <= aimed, f"changes in {sorted(aimed)} only",
            sorted(changed), "change the layers aimed at, or do not declare `aims`")  # fmt: skip


def _keeps_its_promise(modification: Modification) -> None:
    if modification.preserves is None:
        return
    feeds = small_samples().read(np.arange(40)).feeds
    before = run(small_network(), feeds)["scores"]
    after = run(_run(modification).network, feeds)["scores"]
    difference = float(np.abs(after - before).max() / np.abs(before).max())
    require(difference <= modification.preserves, f"answers kept to {modification.preserves:g}",
            f"{difference:g}", "mend it, or promise less")  # fmt: skip


def weights(dtype: str = "float32") -> dict[str, Array]:
    """Read-only keyed Gaussian weights of a few layers, not in alphabetical order."""
    result: dict[str, Array] = {}
    for name, shape in _SHAPES.items():
        values = keystream.gaussian(bytes(32), name, int(np.prod(shape)))
        result[name] = (0.05 * values).reshape(shape).astype(dtype)
        result[name].flags.writeable = False
    return result


def _modified(modification: Modification, given: Weights) -> Weights:
    assert isinstance(modification, WeightModification)
    return modification.modify_weights(given, _rng())


def _keeps_names_and_shapes(modification: Modification) -> None:
    for dtype in ("float16", "float32", "float64"):
        given = weights(dtype)
        found = _modified(modification, given)
        require(list(found) == list(given), f"the layers {list(given)} in this order",
                list(found), "return every given layer, and no other")  # fmt: skip
        for name, values in found.items():
            require(values.shape == given[name].shape, f"shape {given[name].shape} of {name}",
                    values.shape, "keep the shape")  # fmt: skip
            require(np.issubdtype(values.dtype, np.floating), f"floating-point {name}",
                    values.dtype, "return floats; storing casts them")  # fmt: skip
            require(np.isfinite(values).all(), f"finite {name}", "NaN or infinity", "check it")


def _keeps_its_arrays(modification: Modification) -> None:
    given = weights()
    for values in given.values():
        values.flags.writeable = True
    kept = {name: values.copy() for name, values in given.items()}
    found = _modified(modification, given)
    same = all(np.array_equal(given[name], kept[name]) for name in kept)
    require(same, "untouched weights", "changed ones", "copy before changing")
    for name, values in found.items():
        if values.flags.writeable:
            values[...] = 0
        require(np.array_equal(given[name], kept[name]), f"a copy of {name}",
                "a view of the given array", "return new arrays")  # fmt: skip


def _accepts_nothing(modification: Modification) -> None:
    found = _modified(modification, {})
    require(dict(found) == {}, "no layers for no layers", found, "loop over what is given")


def _accepts_constant_layers(modification: Modification) -> None:
    given = {"zero": np.zeros((4, 5), np.float32), "one": np.ones((3, 2, 1, 1), np.float32)}
    found = _modified(modification, given)
    finite = all(np.isfinite(values).all() for values in found.values())
    require(finite, "finite weights from constant layers", "NaN", "guard the division")


def _grows_with_intensity(modification: Modification) -> None:
    parameter = modification.parameter
    if parameter is None or parameter.low is None or parameter.high is None:
        return
    low, high = (
        _change(dataclasses.replace(modification, **{parameter.option: value}))  # type: ignore[type-var]  # every plug-in is a dataclass
        for value in (parameter.low, parameter.high)
    )
    weak, strong = (low, high) if parameter.stronger == "up" else (high, low)
    require(weak < strong, f"more change towards {parameter.stronger} of {parameter.letter}",
            f"{weak:.3g} and {strong:.3g}", "correct Parameter.stronger or the range")  # fmt: skip


def _change(modification: Modification) -> float:
    given = weights("float64")
    found = _modified(modification, given)
    return float(sum(np.sum((found[n].astype(np.float64) - given[n]) ** 2) for n in given))


def _pictures() -> tuple[NDArray[np.float32], Scale]:
    values = keystream.uniform(bytes(32), "pictures", 6 * 3 * 16 * 16).reshape(6, 3, 16, 16)
    smooth = (values + np.roll(values, 1, -1) + np.roll(values, 1, -2)) / 3
    return ((smooth - 0.5) / 0.25).astype(np.float32), Scale((0.25,), (0.5,), "chw")


def _transformed(modification: Modification, pictures: Array, parts: list[slice]) -> Array:
    from nnw_onnx.kit.samples import ArraySamples

    scale = _pictures()[1]
    samples = ArraySamples({"x": pictures}, np.zeros(len(pictures), np.int64), scale=scale)
    bench: Bench = ArrayBench(samples=samples, run=run)
    done = modification.modify(small_network(), bench, _rng(3))
    require(len(done.around) == 1, "one wrapper around the network", len(done.around),
            "use InputModification.modify")  # fmt: skip

    def ask(feeds: Feeds) -> Feeds:
        return feeds

    return np.concatenate([done.around[0]({"x": pictures[p]}, ask)["x"] for p in parts])


def _transforms_samples(modification: Modification) -> None:
    pictures, _ = _pictures()
    whole = _transformed(modification, pictures, [slice(0, 6)])
    require(whole.shape == pictures.shape and whole.dtype == pictures.dtype,
            f"samples of shape {pictures.shape} and {pictures.dtype}",
            f"{whole.shape} and {whole.dtype}", "keep both")  # fmt: skip
    require(np.isfinite(whole).all(), "finite samples", "NaN or infinity", "check them")
    require(not np.array_equal(whole, pictures), "changed samples", "the same", "apply it")
    # In another order too: a generator that only goes on would give the same in the same order.
    parts = _transformed(modification, pictures, [slice(4, 6), slice(0, 1), slice(1, 4)])
    require(np.array_equal(np.roll(whole, 2, axis=0), parts),
            "the same samples however they are batched", "others",
            "look at one sample at a time, and use only `rng`")  # fmt: skip


def _keeps_its_samples(modification: Modification) -> None:
    pictures, _ = _pictures()
    kept = pictures.copy()
    _transformed(modification, pictures, [slice(0, 6)])
    require(np.array_equal(kept, pictures), "untouched samples", "changed ones", "copy first")


def _writes_a_file(modification: Modification) -> None:
    from nnw_onnx.testing.file_bench import feeds, file_bench, shipped_network

    bench, network = file_bench(), shipped_network()
    done = modification.modify(network, bench, _rng())
    require(done.network.digest != network.digest, "a changed network", "the same", "refuse it")
    again = modification.modify(shipped_network(), bench, _rng())
    require(again.network.digest == done.network.digest, "the same file for the same generator",
            "another", "use only `rng`")  # fmt: skip
    some = feeds(bench, 16)
    before, after = (next(iter(bench.run(n, some).values())) for n in (network, done.network))
    require(before.shape == after.shape and np.isfinite(after).all(),
            f"finite answers of shape {before.shape}", after.shape,
            "keep inputs and outputs")  # fmt: skip
    difference = float(np.abs(after - before).max() / np.abs(before).max())
    promised = modification.preserves
    require(promised is None or difference <= promised, f"answers kept to {promised}",
            f"{difference:g}", "mend it, or promise less")  # fmt: skip


def _leaves_its_source(modification: Modification) -> None:
    from nnw_onnx.testing.file_bench import file_bench, shipped_network

    assert isinstance(modification, FileModification)
    change = modification.modify_file
    bench, seen = file_bench(), []

    def watched(source: Path, target: Path) -> None:
        before = source.read_bytes()
        change(source, target, bench, _rng())
        seen.append(source.read_bytes() == before)

    bench.through_file(shipped_network(), watched)
    require(seen == [True], "an untouched source file", "a changed one", "write to `target` only")


_EVERY: dict[str, Callable[[Modification], None]] = {
    "gives a network of finite weights": _gives_a_network,
    "gives the same network for the same generator": _is_repeatable,
    "leaves its input untouched": _keeps_its_input,
    "changes what it is aimed at": _changes_something,
    "keeps its promise": _keeps_its_promise,
}
_WEIGHTS: dict[str, Callable[[Modification], None]] = {
    "returns the given layers": _keeps_names_and_shapes,
    "leaves the given arrays untouched": _keeps_its_arrays,
    "accepts an empty list of layers": _accepts_nothing,
    "accepts constant layers": _accepts_constant_layers,
    "changes more at a stronger intensity": _grows_with_intensity,
}
_INPUTS: dict[str, Callable[[Modification], None]] = {
    "transforms samples one by one": _transforms_samples,
    "leaves samples untouched": _keeps_its_samples,
}
_FILES: dict[str, Callable[[Modification], None]] = {
    "writes a network that runs": _writes_a_file,
    "leaves its source untouched": _leaves_its_source,
}
