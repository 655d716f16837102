"""Marks put in by plain numpy, as other tools do it, so that this project only reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import nnw_onnx as nnw

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
LAYER = "conv3.weight"
MEAN = 288
"""Weights of a filter of that layer."""


def bits(size: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size)


def gaussian(size: int, seed: int = 7) -> np.ndarray:
    """A matrix (size, 288) as MPAI's testbed draws it."""
    return np.random.default_rng(seed).standard_normal((size, MEAN))


def marked(matrix: np.ndarray, payload: np.ndarray, name: str = "cnn-0.onnx", keras: bool = False):
    """The network whose mean filter has these projections, found by least squares.

    Args:
        matrix: (bits, 288), of the mean over the filters, flat.
        payload: (bits,) 0 or 1.
        name: of the network.
        keras: whether the mean is flat as (height, width, in).
    """
    network = nnw.open(MODELS / name)
    weights = np.asarray(network.weights[LAYER], np.float64)
    mean = weights.mean(axis=0)
    flat = (np.moveaxis(mean, 0, -1) if keras else mean).reshape(-1)
    wanted = np.where(payload == 1, 1.0, -1.0) * np.abs(matrix @ flat).mean()
    change = np.linalg.lstsq(matrix, wanted - matrix @ flat, rcond=None)[0]
    if keras:
        change = np.moveaxis(change.reshape(*mean.shape[1:], mean.shape[0]), -1, 0)
    return network.with_weights({LAYER: weights + change.reshape(mean.shape)})
