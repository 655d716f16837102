"""pytest plug-in: the marker `nnw_plugins` and the argument `nnw_check`.

It is loaded at the start of every pytest run of an environment that has nnw-onnx, so it imports
nothing before a test asks for it.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def nnw_check() -> None:
    """Replaced by a check in a test that has the marker `nnw_plugins`."""
    pytest.fail("nnw_check: expected the marker nnw_plugins(...) on this test, got none; add it")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "nnw_plugins(*plugins): run nnw-onnx's checks on these methods and Modifications, "
        "one test for each check, through the argument nnw_check",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each check of each plug-in named in the marker."""
    marker = metafunc.definition.get_closest_marker("nnw_plugins")
    if marker is None or "nnw_check" not in metafunc.fixturenames:
        return
    from nnw_onnx.testing.checks import check_plugin

    checks = [check for plugin in marker.args for check in check_plugin(plugin)]
    metafunc.parametrize("nnw_check", checks, ids=str)
