"""Public common checks: what every method and Modification must do, ready to run in pytest.

A third party writes two lines::

    @pytest.mark.nnw_plugins(MyMethod, MyModification)
    def test_contract(nnw_check): nnw_check()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "ArrayNetwork": "array_network",
    "Check": "checks",
    "check_method": "checks",
    "check_modification": "checks",
    "check_plugin": "checks",
}

if TYPE_CHECKING:
    from nnw_onnx.testing.array_network import ArrayNetwork as ArrayNetwork
    from nnw_onnx.testing.checks import Check as Check
    from nnw_onnx.testing.checks import check_method as check_method
    from nnw_onnx.testing.checks import check_modification as check_modification
    from nnw_onnx.testing.checks import check_plugin as check_plugin

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - the names of the table above


def __getattr__(name: str) -> Any:
    # pytest imports this package at every start, also for other projects: load nothing before use.
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nnw_onnx.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nnw_onnx.testing.{_PUBLIC[name]}"), name)
