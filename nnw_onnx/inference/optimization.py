"""What is done to a graph on its way to a device: onnxruntime's optimizer, onnxslim and onnxsim."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.inference.isolation import sheltered
from nnw_onnx.inference.quantization import as_one_line, quiet
from nnw_onnx.inference.runtime import load_runtime
from nnw_onnx.inference.sessions import runtime_errors

Level = Literal["basic", "extended", "all"]
Simplifier = Literal["onnxslim", "onnxsim"]

_FOLDS_ONLY = (
    "graph_fusion", "dead_node_elimination", "subexpression_elimination", "weight_tying",
)  # fmt: skip
"""What onnxslim leaves out where it shall fold constants and do nothing else."""


def optimize(source: Path, target: Path, level: Level) -> None:
    """Write the graph as onnxruntime's optimizer leaves it for a CPU.

    "basic" folds constants and joins standard operators; "extended" joins them into operators that
    onnxruntime alone knows; "all" stores kernels in blocks of channels for this processor too.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the optimized one is written.
        level: how far it goes.

    Raises:
        InferenceError: the runtime does not take the model.
    """
    sheltered(_optimize, source, source, target, level)


def _optimize(source: Path, target: Path, level: Level) -> None:
    runtime = load_runtime()
    settings = runtime.SessionOptions()
    levels = runtime.GraphOptimizationLevel
    settings.graph_optimization_level = {
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[level]
    settings.optimized_model_filepath = str(target)
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    with as_one_line("optimizer"), quiet():
        runtime.InferenceSession(str(source), settings, providers=["CPUExecutionProvider"])


def simplify(source: Path, target: Path, tool: Simplifier) -> None:
    """Write the graph as a simplifier leaves it.

    Args:
        source: an ONNX file, which stays as it is.
        target: where the simplified one is written.
        tool: which one.

    Raises:
        ConfigurationError: it is not installed.
        InferenceError: it fails.
    """
    _installed(tool)
    if tool == "onnxslim":
        sheltered(_slim, source, source, target, ())
    else:
        sheltered(_simplify, source, source, target)


def _simplify(source: Path, target: Path) -> None:
    onnxsim = _installed("onnxsim")
    with as_one_line("onnxsim"), quiet(), _nothing_printed():
        onnxsim.simplify(str(source), output_path=str(target))


def fold_constants(source: Path, target: Path) -> None:
    """Write the graph with what its nodes compute from constants alone as constants, by onnxslim.

    Raises:
        ConfigurationError: it is not installed.
        InferenceError: it fails.
    """
    _installed("onnxslim")
    sheltered(_slim, source, source, target, _FOLDS_ONLY)


@functools.cache
def newest_opset(newest: int, model_of: Callable[[int], bytes]) -> int:
    """The newest standard operator set that the runtime takes.

    Args:
        newest: where to begin.
        model_of: a model with operators of that set.

    Raises:
        InferenceError: the runtime takes none.
    """
    runtime = load_runtime()
    for opset in range(newest, 0, -1):
        with contextlib.suppress(*runtime_errors()):
            runtime.InferenceSession(model_of(opset), providers=["CPUExecutionProvider"])
            return opset
    raise InferenceError(
        f"onnxruntime: expected one that takes an operator set up to {newest}, got one that takes "
        "none; install another version"
    )


def _slim(source: Path, target: Path, skipped: tuple[str, ...]) -> None:
    onnxslim = _installed("onnxslim")
    settings = {"skip_optimizations": list(skipped)} if skipped else {}
    with as_one_line("onnxslim"), quiet(), _nothing_printed():
        onnxslim.slim(str(source), str(target), **settings)


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"{name}: expected it to be installed, got: {error}; "
            "pip install 'nnw-onnx[deployment]', or leave it out"
        ) from error


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """The tools print tables of what they did."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
