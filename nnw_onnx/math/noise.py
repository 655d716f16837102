"""Noise added to weights (MPAI-NNT, Modification 0)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.math import kernels
from nnw_onnx.math.moments import mean_and_deviation
from nnw_onnx.vocabulary import Array


def add_gaussian(weights: Array, ratio: float, rng: np.random.Generator) -> Array:
    """Weights + N(0, (ratio sigma)^2), sigma being their population standard deviation.

    The dtype is kept; what is too large for it becomes infinite. Computed in float32, weights of
    64 bits in float64. The noise follows from one draw of `rng`, whatever the number of threads.
    """
    values = kernels.flat(weights)
    wide = kernels.computed_in(values.dtype)
    scale = wide(ratio * mean_and_deviation(values)[1])
    result, stream = np.empty_like(values), kernels.streams(rng)

    def work(stretch: slice) -> None:
        mine, room = stream(stretch), np.empty((3, kernels.BLOCK // 2), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in kernels.within(stretch):
                noise = normal(mine, block.stop - block.start, wide, room)
                noise *= scale
                noise += values[block]
                result[block] = noise

    kernels.over(values.size, work)
    return result.reshape(weights.shape)


def normal(
    stream: np.random.Generator,
    count: int,
    kind: type[np.float32] | type[np.float64],
    room: NDArray[np.float32],
) -> NDArray[np.float32] | NDArray[np.float64]:
    """So many numbers of N(0, 1), at most `kernels.BLOCK`; those of float32 lie in the room.

    Those of float32 by Box and Muller (1958), which whole arrays go through, at a third of the time
    of numpy's rejection; up to 6.7 in size. Weights of 64 bits need noise in all of their bits. The
    room, three rows of half a block, is there because new memory takes as long as the arithmetic.
    """
    if kind is np.float64:
        return stream.standard_normal(count)
    half = (count + 1) // 2
    words = kernels.bits(stream, 2 * half, np.uint32)
    radius, pairs = room[0, :half], room[1:].reshape(-1)[: 2 * half].reshape(2, half)
    radius[:] = words[:half]
    radius += np.float32(0.5)  # no logarithm of 0
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle = pairs[1]
    angle[:] = words[half:].view(np.int32)
    angle *= np.float32(np.pi / 2**31)
    np.cos(angle, out=pairs[0])
    np.sin(angle, out=angle)
    pairs *= radius
    return pairs.reshape(-1)[:count]
