"""Fixtures that several rooms share."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


_FIRST: dict[tuple[str, str], Any] = {}
"""State of each generator of a module as it was imported: the same on every worker."""


def _begin_anew(module: ModuleType | None) -> None:
    """Set torch's generator and those of a module of tests to where they began.

    Which tests ran before on the same worker is not the same in any two runs.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
    for name, value in vars(module).items() if module is not None else ():
        place = (module.__name__, name)
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = _FIRST.setdefault(place, value.bit_generator.state)
        elif torch is not None and isinstance(value, torch.Generator):
            value.set_state(_FIRST.setdefault(place, value.get_state()))


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> None:
    """What a fixture draws does not depend on what was drawn before."""
    _begin_anew(getattr(request.node.getparent(pytest.Module), "obj", None))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Nor does what a test draws."""
    _begin_anew(getattr(item.getparent(pytest.Module), "obj", None))


@pytest.fixture(scope="session", autouse=True)
def machine_asked_once() -> Iterator[None]:
    """What works on this machine is asked in a process of its own, which takes seconds.

    Every evaluation asks; here the first on each worker does. What does not work is asked again.
    """
    from nnw_onnx.runs import prepare

    asked, works = prepare.run_isolated, {}

    def remembered(question: Callable[..., None], *about: object, **limits: Any) -> Any:
        outcome = works.get((question, repr(about))) or asked(question, *about, **limits)
        if outcome.error is None:
            works[question, repr(about)] = outcome
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "run_isolated", remembered)
        yield


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
