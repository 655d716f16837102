"""What is installed: the dependencies, and the same without a runtime for GPUs."""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())


def test_the_group_for_a_cpu_differs_in_the_runtime_only():
    wanted = PROJECT["project"]["dependencies"]
    group = PROJECT["dependency-groups"]["cpu"]
    assert [d for d in wanted if not d.startswith("onnxruntime")] == [
        d for d in group if not d.startswith("onnxruntime")
    ]
    (runtime,) = [d for d in group if d.startswith("onnxruntime")]
    assert ";" not in runtime
    assert any(d.startswith(f"{runtime};") for d in wanted)
