"""Execution providers by name: short forms, numbers of devices, and which of them ran a node."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Device: TypeAlias = tuple[str, int]
"""Kind of memory, as onnxruntime names it, and number of the device."""

CPU = "CPUExecutionProvider"
SHORT: Mapping[str, str] = {
    "cann": "CANNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "dml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
"""Short name -> the name in full."""
_NUMBERED = frozenset(SHORT[n] for n in ("cann", "cuda", "dml", "migraphx", "rocm", "tensorrt"))
_BOUND: Mapping[str, str] = {SHORT["cuda"]: "cuda", SHORT["tensorrt"]: "cuda"}
"""Providers -> the memory that inputs are bound in."""


def full_name(name: str) -> str:
    """The name of a provider in full: "cuda" or "CUDA" is CUDAExecutionProvider.

    A number after a colon, that of the device, stays: "cuda:1". What is no short form stays too.
    """
    short, colon, number = name.strip().partition(":")
    return SHORT.get(short.strip().lower(), short.strip()) + colon + number.strip()


def provider_of(name: str) -> str:
    """The provider of a name, without the number of a device."""
    return full_name(name).partition(":")[0]


def is_numbered(name: str) -> bool:
    """Whether a name says a device, or none, as its provider takes it."""
    provider, colon, number = full_name(name).partition(":")
    return not colon or (provider in _NUMBERED and number.isascii() and number.isdigit())


def with_options(names: Sequence[str]) -> list[str | tuple[str, dict[str, str]]]:
    """The names as `onnxruntime.InferenceSession` takes them."""
    found: list[str | tuple[str, dict[str, str]]] = []
    for name in names:
        provider, colon, number = full_name(name).partition(":")
        found.append((provider, {"device_id": str(int(number))}) if colon else provider)
    return found


def bound_device(names: Sequence[str]) -> Device | None:
    """Where inputs are bound, or None where they are given from the memory of the CPU."""
    provider, _, number = full_name(names[0]).partition(":") if names else ("", "", "")
    kind = _BOUND.get(provider)
    return None if kind is None else (kind, int(number or 0))


def nodes_by_provider(
    runtime: Any,
    model: bytes,
    options: Any,
    names: Sequence[str],
    feeds: Mapping[str, Any],
) -> Counter[str]:
    """How many nodes each provider ran, by onnxruntime's profile of one run.

    Args:
        runtime: the module onnxruntime.
        model: serialised.
        options: of the session, which this changes.
        names: of providers, in order of preference.
        feeds: of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = runtime.InferenceSession(model, options, providers=with_options(names))
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {
        event["name"]: event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return Counter(ran.values())
