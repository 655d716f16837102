"""Public common checks: what every plug-in must do, ready to run in pytest.

A third party writes two lines::

    @pytest.mark.nnw_plugins(MyMethod, MyModification, MyCode, MyDataset, TaskCase(MyTask(), ...))
    def test_contract(nnw_check): nnw_check()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_PUBLIC = {
    "ArrayBench": "array_bench",
    "ArrayNetwork": "array_network",
    "ArraySuspect": "array_suspect",
    "ArrayTrainer": "array_training",
    "Check": "checks",
    "TaskCase": "checks",
    "check_code": "checks",
    "check_dataset": "checks",
    "check_method": "checks",
    "check_modification": "checks",
    "check_plugin": "checks",
    "check_task": "checks",
    "run": "array_training",
    "small_network": "array_training",
    "small_samples": "array_training",
}

if TYPE_CHECKING:
    from nnw_onnx.testing.array_bench import ArrayBench as ArrayBench
    from nnw_onnx.testing.array_network import ArrayNetwork as ArrayNetwork
    from nnw_onnx.testing.array_suspect import ArraySuspect as ArraySuspect
    from nnw_onnx.testing.array_training import ArrayTrainer as ArrayTrainer
    from nnw_onnx.testing.array_training import run as run
    from nnw_onnx.testing.array_training import small_network as small_network
    from nnw_onnx.testing.array_training import small_samples as small_samples
    from nnw_onnx.testing.checks import Check as Check
    from nnw_onnx.testing.checks import TaskCase as TaskCase
    from nnw_onnx.testing.checks import check_code as check_code
    from nnw_onnx.testing.checks import check_dataset as check_dataset
    from nnw_onnx.testing.checks import check_method as check_method
    from nnw_onnx.testing.checks import check_modification as check_modification
    from nnw_onnx.testing.checks import check_plugin as check_plugin
    from nnw_onnx.testing.checks import check_task as check_task

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - the names of the table above


def __getattr__(name: str) -> object:
    # pytest imports this package at every start, also for other projects: load nothing before use.
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nnw_onnx.testing' has no attribute {name!r}")
    return vars(importlib.import_module(f"nnw_onnx.testing.{_PUBLIC[name]}"))[name]
