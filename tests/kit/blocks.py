"""Kernels as onnxruntime stores them in blocks of channels, by the definition of that order."""

from __future__ import annotations

import math

import numpy as np


def interleaved(kernel, block):
    """A kernel (out, in, h, w): (o, i) is in block (o / b, i / b), at place (i mod b, o mod b)."""
    shape = kernel.shape
    few = shape[1] < block
    up, across = (math.ceil(n / block) * block for n in shape[:2])
    across = shape[1] if few else across
    flat = np.zeros(up * across * math.prod(shape[2:]))
    depth = 1 if few else block
    grid = (up // block, across // depth, *shape[2:], depth, block)
    for o, i, y, x in np.ndindex(*shape):
        place = (o // block, i // depth, y, x, i % depth, o % block)
        flat[np.ravel_multi_index(place, grid)] = kernel[o, i, y, x]
    return flat.reshape(up, across, *shape[2:])


ODD = {"role": "other", "operator": "Conv"}
"""What the project knows of a layer of an operator that is none of the standard's."""
