"""Arrays worked through in blocks that stay in the cache, over threads, the same on any number.

A stretch is what one thread takes at a time and what has random bits of its own; a block is what is
computed at once inside it. Both are fixed numbers of elements, so neither the number of threads nor
their order can matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math.threads import threads
from nnw_onnx.vocabulary import Array

T = TypeVar("T")

STRETCH = 1 << 18
BLOCK = 1 << 15
_WORDS = 4


def flat(weights: Array) -> Array:
    """The weights in one axis, in C order; a copy only where they do not lie so."""
    return np.ascontiguousarray(weights).reshape(-1)


def computed_in(dtype: np.dtype) -> type[np.float32] | type[np.float64]:
    """The type that represents all values of a floating-point type: float32 up to 32 bits."""
    return np.float64 if dtype.itemsize > 4 else np.float32


def stretches(size: int) -> list[slice]:
    """Slices of STRETCH elements that cover `size` of them."""
    return [slice(at, min(at + STRETCH, size)) for at in range(0, size, STRETCH)]


def within(stretch: slice) -> Iterator[slice]:
    """Slices of BLOCK elements that cover a stretch."""
    for at in range(stretch.start, stretch.stop, BLOCK):
        yield slice(at, min(at + BLOCK, stretch.stop))


def over(size: int, work: Callable[[slice], T]) -> list[T]:
    """What `work` gives for each stretch, in their order.

    Args:
        size: elements of the array.
        work: called from several threads; it writes only where its stretch is.
    """
    parts = stretches(size)
    workers = min(threads(), len(parts))
    if workers < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))


def streams(rng: np.random.Generator) -> Callable[[slice], np.random.Generator]:
    """A generator for each stretch, which follows from one draw and the stretch's place.

    SFC64 is the fastest of numpy's; `SeedSequence` keeps the streams of neighbours apart.
    """
    root = rng.integers(1 << 32, size=_WORDS, dtype=np.uint32).tolist()

    def stream(stretch: slice) -> np.random.Generator:
        seed = np.random.SeedSequence([*root, stretch.start // STRETCH])
        return np.random.Generator(np.random.SFC64(seed))

    return stream


def bits(stream: np.random.Generator, count: int, kind: type[T]) -> NDArray[T]:  # type: ignore[type-var]
    """So many uniform numbers of an unsigned type, the same on machines of any byte order."""
    size = np.dtype(kind).itemsize
    raw = stream.bit_generator.random_raw(-(-count * size // 8))
    return raw.astype("<u8", copy=False).view(f"<u{size}")[:count]


def clipped(weights: Array, low: float, high: float) -> Array:
    """The weights moved into [low, high], both rounded to their dtype, which is kept.

    Rounding keeps the order, so that this is the same as clipping exactly and rounding then.
    """
    values = flat(weights)
    result = np.empty_like(values)
    with np.errstate(over="ignore"):
        least, most = values.dtype.type(low), values.dtype.type(high)

    def work(stretch: slice) -> None:
        np.clip(values[stretch], least, most, out=result[stretch])

    over(values.size, work)
    return result.reshape(weights.shape)
