"""Fixtures that several rooms share."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """What tests decode is kept apart from what the user keeps; all workers share it."""
    if "NNW_CACHE" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="nnw-cache-")
        os.environ["NNW_CACHE"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a long preparation run on one worker, and first: the rest fills the gaps."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets and models, which is not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NNW_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip("the folder of shared data is absent; set NNW_SHARED_DATA to run this test")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of fixed seed."""
    return np.random.Generator(np.random.Philox(0))


@pytest.fixture(scope="session")
def oracles(shared_data):
    """Oracle id -> value: the reference values that lie beside the shared data."""
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())["oracles"]
    entries = content.values() if isinstance(content, dict) else content
    return {entry["id"]: entry["value"] for entry in entries if "value" in entry}
