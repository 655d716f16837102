"""One small evaluation, carried out on the engine `serial`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from .clusters import TEXT, evaluated

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"


@pytest.fixture(scope="session")
def configuration(tmp_path_factory) -> Path:
    """An evaluation of a network and data of its own, each in a file."""
    folder = tmp_path_factory.mktemp("engines")
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1)[:200].astype(np.float32) / 16
    np.savez(folder / "digits.npz", inputs=images, labels=labels[:200])
    shutil.copy(MODEL, folder / "digits.onnx")
    path = folder / "small.toml"
    path.write_text(TEXT.format(network="digits.onnx", data="digits.npz"))
    return path


@pytest.fixture(scope="session")
def serial(configuration, tmp_path_factory) -> Path:
    """The run folder of that evaluation."""
    return evaluated(configuration, tmp_path_factory.mktemp("serial") / "run", "serial")


@pytest.fixture(scope="session")
def dask_address(tmp_path_factory) -> Iterator[str]:
    """A scheduler with two workers, each a process that can start others."""
    distributed = pytest.importorskip("distributed", reason="needs the package distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=str(tmp_path_factory.mktemp("dask")),
        silence_logs=50,
        env={"NNW_CACHE": str(tmp_path_factory.mktemp("cache"))},
    ) as cluster:
        yield cluster.scheduler_address
