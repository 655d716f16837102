"""Which onnxruntime is installed, and whether it is whole."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nnw_onnx.errors import InferenceError
from nnw_onnx.math.threads import THREAD_VARIABLES

DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)
"""Distributions that all own the same importable folder `onnxruntime`."""

_FATAL_ONLY = 4


def load_runtime() -> Any:
    """The module onnxruntime, silenced: its errors arrive as exceptions, not on stderr.

    Raises:
        InferenceError: it is not installed, or only its empty folder is left.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InferenceError(
            f"onnxruntime: expected it to be importable, got: {one_line(error)}; install "
            "onnxruntime-gpu or onnxruntime, not both"
        ) from error
    if "InferenceSession" not in vars(onnxruntime):
        raise InferenceError(
            "onnxruntime: expected a whole package, got an empty folder; uninstall every "
            "distribution of it and install one again"
        )
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    return onnxruntime


def runtime_description() -> dict[str, str | list[str]]:
    """What runs the networks, for the report's Testing Environment.

    Returns:
        "version"; "distributions", each with its version; "available_providers" (compiled in, not
        proven to work); "conflict", empty unless several distributions overwrite each other, then
        with the cure; "threads", the environment variables that bound threads and the cores.

    Raises:
        InferenceError: onnxruntime cannot be imported.
    """
    runtime = load_runtime()
    found = _installed()
    return {
        "version": str(runtime.__version__),
        "distributions": [f"{name} {number}" for name, number in found.items()],
        "available_providers": list(runtime.get_available_providers()),
        "conflict": conflict(list(found)),
        "threads": [f"cores={os.cpu_count()}"]
        + [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ],
    }


def conflict(distributions: list[str]) -> str:
    """One line on several distributions of onnxruntime with the cure, or an empty string."""
    if len(distributions) < 2:
        return ""
    return (
        f"onnxruntime: expected one distribution, got {' and '.join(distributions)}, which "
        f"overwrite each other; run 'pip uninstall -y {' '.join(distributions)}' and install one"
    )


def one_line(error: object, limit: int = 300) -> str:
    """The text of an error without line breaks, at most `limit` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _installed() -> dict[str, str]:
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
