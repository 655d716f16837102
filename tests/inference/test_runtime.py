"""What is told of the installed onnxruntime."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import onnxruntime
import pytest

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import runtime, runtime_description


def _installed(monkeypatch, versions):
    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(runtime, "version", version)


def test_description_names_version_distribution_and_providers(monkeypatch):
    _installed(monkeypatch, {"onnxruntime-gpu": "1.31.1"})
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    told = runtime_description()
    assert told["version"] == onnxruntime.__version__
    assert told["distributions"] == ["onnxruntime-gpu 1.31.1"]
    assert "CPUExecutionProvider" in told["available_providers"]
    assert "OMP_NUM_THREADS=3" in told["threads"]
    assert told["conflict"] == ""


def test_two_distributions_are_a_conflict_with_its_cure(monkeypatch):
    _installed(monkeypatch, {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"})
    assert runtime_description()["conflict"] == (
        "onnxruntime: expected one distribution, got onnxruntime and onnxruntime-gpu, which "
        "overwrite each other; run 'pip uninstall -y onnxruntime onnxruntime-gpu' and install one"
    )


def test_a_missing_runtime_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InferenceError, match=r"onnxruntime: expected it to be importable, got: "):
        runtime_description()


def test_an_empty_folder_that_is_left_over_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(InferenceError, match=r"expected a whole package, got an empty folder; un"):
        runtime_description()


def test_one_line_is_short_and_has_no_breaks():
    assert runtime.one_line("a\n  b") == "a b"
    assert runtime.one_line("x" * 500, 10) == "xxxxxxx..."
