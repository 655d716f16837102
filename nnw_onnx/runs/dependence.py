"""Whether answers of a network depend on some of its weights, found by running it.

That a graph leads from weights to an output does not mean that an answer depends on them: a branch
may never be taken, a product may be with a number that is all but zero. So the weights are
exchanged for others of the same sizes, and the answers compared. That other weights move them shows
that the inputs were such that these could have, too.

A network can be made to tell drawn inputs from real ones. Inputs of its own kind are better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import InferenceError, ModelFileError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import RunnableGraph, Session, SessionSettings, memory_for, run_isolated
from nnw_onnx.runs.seeds import generator
from nnw_onnx.vocabulary import WEIGHT_ROLES, Array, Feeds, Found, TensorInfo, Use, Values

LEAST = 1e-4
"""Smallest change of an answer, over the largest answer of that output, that counts as one."""
_LARGEST = 1 << 29
"""Bytes of weights of a network that is run to see this; it is held several times."""
_OTHERS = 8
_SIZES = (8, 32, 64, 224, 1)
"""Sizes that free axes get, one after the other, until the network runs."""
_MOST_NUMBERS = 1 << 24
TIMEOUT = 120.0
"""Seconds that a run of two networks may take; there are two runs at most."""


@dataclass(frozen=True)
class Dependence:
    """What running has shown of some weights.

    Attributes:
        use: "live" where running has not shown anything.
        change: largest change of an answer over the largest answer, or None where it was not run.
        note: in words.
    """

    use: Use
    change: float | None
    note: str


def probe(
    network: OnnxNetwork, inputs: Feeds | None = None, timeout: float = TIMEOUT
) -> Callable[[tuple[Found, ...]], tuple[Found, ...]]:
    """What `verify.Search` asks whether answers depend on what was read.

    Args:
        network: it is run in a process of its own, with limits.
        inputs: samples of its own kind; some are drawn where there are none.
        timeout: seconds that a run of two networks may take; there are two at most.
    """

    def ask(found: tuple[Found, ...]) -> tuple[Found, ...]:
        if not found:
            return found
        told = dependence(network, [f.layer for f in found], inputs, timeout)
        return tuple(replace(f, use=told.use, note=told.note) for f in found)

    return ask


def dependence(
    network: OnnxNetwork,
    layers: Sequence[str],
    inputs: Feeds | None = None,
    timeout: float = TIMEOUT,
) -> Dependence:
    """Whether answers depend on the weights of these layers; see `probe`."""
    names = set(layers)
    hindrance = _hindrance(network, names)
    if hindrance is not None:
        return _not_run(hindrance)
    try:
        questions = [inputs] if inputs else list(_drawn(network))
        if not questions:
            return _not_run("its inputs are too large")
        own, runs = _change_by(network, sorted(names), questions, LEAST, timeout)
        # Large networks take long to be given other weights: that is done where it tells something.
        moved = own >= LEAST
        others, _ = (0.0, 0) if moved else _change_by(
            network, _biggest_but(network, names), questions, math.inf, timeout
        )  # fmt: skip
    except (ModelFileError, InferenceError) as error:
        return _not_run(str(error))
    return _judged(own, others, runs, kind="given" if inputs else "drawn")


def _change_by(
    network: OnnxNetwork, names: list[str], questions: list[Feeds], enough: float, timeout: float
) -> tuple[float, int]:
    """See `_compared`, of the network and of one in which these layers have other weights."""
    variants = network.runnable(), _exchanged(network, names).runnable()
    memory = memory_for(len(variants) * 4 * network.parameters, _size(questions[0]))
    outcome = run_isolated(
        _compared, variants, questions, enough, timeout=timeout, memory_bytes=memory
    )
    if outcome.value is None:
        raise InferenceError(outcome.error or "it did not answer")
    return outcome.value


def _size(feeds: Feeds) -> int:
    return sum(values.nbytes for values in feeds.values())


def _hindrance(network: OnnxNetwork, names: set[str]) -> str | None:
    """Why a network is not run, in words."""
    if 4 * network.parameters > _LARGEST:
        return f"it has more than {_LARGEST >> 20} MiB of weights"
    fixed = next((x for x in network.layers if x.name in names and not x.replaceable), None)
    return None if fixed is None else f"{fixed.name} takes no others, because {fixed.obstacle}"


def _judged(own: float, others: float, runs: int, kind: str) -> Dependence:
    """What changes of answers by these weights, and by others, mean."""
    if own >= LEAST:
        return Dependence("answers depend", own, f"they move by up to {own:.2g} of their size")
    if others < LEAST:
        return Dependence("live", own, f"no answer to {kind} inputs moves, whatever is exchanged")
    return Dependence(
        "answers do not depend",
        own,
        f"on {runs} sets of {kind} inputs none moves by {LEAST:g} of its size or more when these "
        f"weights are exchanged, and some by {others:.2g} when others are",
    )


def _not_run(reason: str) -> Dependence:
    return Dependence("live", None, f"it was not tried whether answers depend on it: {reason}")


def _biggest_but(network: OnnxNetwork, names: set[str]) -> list[str]:
    """Other layers whose weights may move answers, a few of the largest."""
    others = [
        x for x in network.layers
        if x.name not in names and x.live and x.replaceable and x.role in WEIGHT_ROLES
    ]  # fmt: skip
    return [x.name for x in sorted(others, key=lambda x: x.size, reverse=True)[:_OTHERS]]


def _exchanged(network: OnnxNetwork, names: Sequence[str]) -> OnnxNetwork:
    """The network with the weights of these layers shuffled and of the other sign."""
    rng = generator(purpose="dependence", network=network.sha256)
    return network.with_weights({name: _shuffled(network.weights[name], rng) for name in names})


def _shuffled(values: Array, rng: np.random.Generator) -> NDArray[np.float64]:
    flat = np.array(values, np.float64).reshape(-1)
    rng.shuffle(flat)
    return -flat.reshape(values.shape)


def _drawn(network: OnnxNetwork) -> Iterator[Feeds]:
    """Inputs of several kinds, for one size of the free axes after the other."""
    rng = generator(purpose="inputs", network=network.sha256)
    sizes = _SIZES if any(_is_free(info) for info in network.inputs) else _SIZES[:1]
    for size in sizes:
        shapes = {info.name: _shape(info, size) for info in network.inputs}
        if sum(math.prod(shape) for shape in shapes.values()) <= _MOST_NUMBERS:
            for kind in ("normal", "unit", "bytes"):
                yield {i.name: _values(i, shapes[i.name], kind, rng) for i in network.inputs}


def _is_free(info: TensorInfo) -> bool:
    return any(not isinstance(n, int) or n < 1 for n in info.shape[1:])


def _shape(info: TensorInfo, size: int) -> tuple[int, ...]:
    """The shape of an input with this size on its free axes; one sample where the first is free."""
    return tuple(
        n if isinstance(n, int) and n > 0 else (size if axis else 1)
        for axis, n in enumerate(info.shape)
    )


def _values(info: TensorInfo, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    try:
        dtype = np.dtype(info.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise InferenceError(f"input {info.name} takes {info.dtype or 'no tensor'}")
    if dtype.kind != "f":
        # Few are wrong everywhere: words of a vocabulary, masks, switches.
        return rng.integers(0, 2, shape).astype(dtype)
    drawn = rng.standard_normal(shape) if kind == "normal" else rng.random(shape)
    return (255 * drawn if kind == "bytes" else drawn).astype(dtype)


def _compared(
    variants: tuple[RunnableGraph, RunnableGraph], questions: Sequence[Feeds], enough: float
) -> tuple[float, int]:
    """Largest change of an answer from one network to the other, and questions that were answered.

    No more are asked once a change is as large as `enough`.

    Raises:
        InferenceError: the network answers none of the questions.
    """
    plain, other = (Session(variant, SessionSettings(optimization="basic")) for variant in variants)
    answered: list[Feeds] = []
    change, failure = 0.0, InferenceError("it answers nothing")
    for feeds in questions:
        if answered and not _alike(feeds, answered[0]):
            break
        try:
            told = _told(plain, feeds)
        except InferenceError as error:
            failure = error
            continue
        answered.append(feeds)
        change = max(change, _moved(told, _told(other, feeds)))
        if change >= enough:
            break
    if not answered:
        raise failure
    return change, len(answered)


def _told(session: Session, feeds: Feeds) -> Values:
    names = [output.name for output in session.outputs]
    return dict(zip(names, session.run(feeds), strict=True))


def _alike(one: Feeds, other: Feeds) -> bool:
    return [values.shape for values in one.values()] == [v.shape for v in other.values()]


def _moved(before: Values, after: Values) -> float:
    """Largest change of an answer over the largest answer of its output."""
    return max((_change(before[name], after[name]) for name in before), default=0.0)


def _change(before: Array, after: Array) -> float:
    if before.shape != after.shape or before.dtype.kind not in "fiub":
        return float(before.shape != after.shape)
    one, other = (np.asarray(x, np.float64) for x in (before, after))
    known = np.isfinite(one) & np.isfinite(other)
    if (np.isfinite(one) != np.isfinite(other)).any():
        return 1.0
    largest = float(np.abs(one[known]).max(initial=0.0))
    return float(np.abs(one - other)[known].max(initial=0.0)) / max(largest, 1e-30)
