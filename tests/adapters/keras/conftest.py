"""The backend of Keras: TensorFlow where it is installed, otherwise torch; small models."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

_BACKENDS = [name for name in ("tensorflow", "torch") if importlib.util.find_spec(name)]

if importlib.util.find_spec("keras") is None or not _BACKENDS:
    collect_ignore_glob = ["test_*.py"]
else:
    os.environ.setdefault("KERAS_BACKEND", _BACKENDS[0])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small models train fastest on one thread, and disturb nobody."""
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)


@pytest.fixture(scope="session")
def digits():
    """Images (n, 8, 8, 1) and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int64)


@pytest.fixture
def classifier():
    """A function that makes a compiled classifier of digits, always the same one."""
    import keras

    def make(
        *,
        norm: bool = False,
        jit: bool = False,
        one_hot: bool = False,
        hidden: int = 0,
        seed: int = 0,
    ):
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        wide = [layers.Dense(hidden, "relu", name="hidden")] if hidden else []
        after = [layers.BatchNormalization(name="norm")] if norm else []
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(16, 3, padding="same", activation="relu", name="first"),
                layers.Conv2D(24, 3, padding="same", use_bias=not norm, name="second"),
                *after,
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Flatten(),
                *wide,
                layers.Dense(10, name="head"),
            ],
            name="net",
        )
        kind = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
        model.compile(
            keras.optimizers.Adam(3e-3),
            getattr(keras.losses, kind)(from_logits=True),
            metrics=["accuracy"],
            jit_compile=jit,
        )
        return model

    return make
