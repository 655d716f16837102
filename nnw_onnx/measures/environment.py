"""The Testing Environment of a measurement, described as it is and classed as the standard does.

The standard's classes are informative: Medium has one GPU of 16 GB with 6,144 CUDA cores and 8 CPU
cores at 2.6 GHz; Large has two GPUs, together 32 GB and 12,288 CUDA cores, and 16 cores at 3.4 GHz.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnw_onnx.records import Environment

PACKAGES = ("nnw-onnx", "numpy", "onnx", "scikit-learn", "scipy")
MEDIUM = {"gpus": 1, "gpu_bytes": 15e9, "cores": 8, "ghz": 2.6}
LARGE = {"gpus": 2, "gpu_bytes": 30e9, "cores": 16, "ghz": 3.4}


def describe_environment(settings: dict[str, Any], runtime: dict[str, Any]) -> Environment:
    """The machine and its software.

    Args:
        settings: threads, optimisation level, providers asked for and got.
        runtime: what the inference room tells of onnxruntime.
    """
    import psutil

    gpus = _gpus()
    frequency = psutil.cpu_freq()
    cpu = {
        "model": _cpu_model(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(logical=True),
        "ghz": round(frequency.max / 1000 or frequency.current / 1000, 2) if frequency else None,
    }
    return Environment(
        environment_class=environment_class(cpu, gpus),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        cpu=cpu,
        gpus=gpus,
        memory_bytes=psutil.virtual_memory().total,
        versions={p: _version(p) for p in PACKAGES} | {"BLAS of numpy": _blas()},
        settings={**settings, "runtime": runtime},
    )


def environment_class(
    cpu: dict[str, Any], gpus: tuple[dict[str, Any], ...]
) -> Literal["Medium", "Large", "other"]:
    """The largest class of the standard that this machine reaches, or "other"."""
    cores, ghz = cpu.get("physical_cores") or 0, cpu.get("ghz") or 0.0
    memory = sum(int(gpu["memory_bytes"]) for gpu in gpus)
    for name, needs in (("Large", LARGE), ("Medium", MEDIUM)):
        enough_gpu = len(gpus) >= needs["gpus"] and memory >= needs["gpu_bytes"]
        if enough_gpu and cores >= needs["cores"] and ghz >= needs["ghz"]:
            return "Large" if name == "Large" else "Medium"
    return "other"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> tuple[dict[str, Any], ...]:
    """NVIDIA devices as the driver's own tool lists them; empty where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ()
    rows = [line.rsplit(",", 1) for line in text.splitlines() if "," in line]
    return tuple({"name": n.strip(), "memory_bytes": int(m) * 1024**2} for n, m in rows)


def _blas() -> str:
    """Name and version of the library that numpy multiplies matrices with."""
    built = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
