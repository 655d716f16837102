"""Keras' own ONNX export, called so that it works, is quiet and changes nothing."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from nnw_onnx.errors import ConfigurationError, ModelFileError
from nnw_onnx.vocabulary import Array

_LONGEST = 200
_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def write(model: Any, path: Path, inputs: Sequence[Array]) -> None:
    """Write the model; the batch is free if the exporter can, otherwise that of the inputs.

    Raises:
        ModelFileError: the exporter fails.
        ConfigurationError: a package that it needs is not installed.
    """
    backend = str(keras.backend.backend())
    model(_packed(list(inputs)), training=False)
    with _quiet(backend), _modes_kept(model):
        try:
            _export(model, path, inputs, None)
        except _failures(backend) as error:
            if backend != "torch":
                raise _refused(model, error) from error
            try:
                _export(model, path, inputs, len(inputs[0]))
            except _failures(backend):
                raise _refused(model, error) from error


def _export(model: Any, path: Path, inputs: Sequence[Array], batch: int | None) -> None:
    specs = [
        keras.InputSpec(dtype=x.dtype.name, shape=(batch, *x.shape[1:]), name=_name(model, k))
        for k, x in enumerate(inputs)
    ]
    try:
        model.export(
            str(path), format="onnx", verbose=False, input_signature=[_packed(list(specs))]
        )
    except ImportError as error:
        backend = str(keras.backend.backend())
        raise ConfigurationError(
            f"export: expected the packages that Keras exports with, got: {_line(error)}; install "
            f"nnw-onnx[{backend}]"
        ) from error


def _name(model: Any, index: int) -> str:
    """The name of an input of the model where it has one that ONNX tools like."""
    try:
        return str(keras.tree.flatten(model.inputs)[index].name)
    except (AttributeError, IndexError, ValueError):
        return f"input_{index}"


def _packed(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _failures(backend: str) -> tuple[type[Exception], ...]:
    if backend != "tensorflow":
        return _FAILURES
    import tensorflow as tf

    return (*_FAILURES, tf.errors.OpError)


def _refused(model: Any, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"export: expected a model that Keras can write as ONNX, got {model.name!r} with: "
        f"{_line(error)}; replace the layer that fails, or use another backend"
    )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


@contextlib.contextmanager
def _quiet(backend: str) -> Iterator[None]:
    """Without what exporters print and log; torch prints its whole graph when it fails."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            _no_graphs() if backend == "torch" else contextlib.nullcontext(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _no_graphs() -> Iterator[None]:
    import torch

    name = "_jit_onnx_log"
    original = vars(torch._C).get(name)
    if original is None:
        yield
        return
    # It is native code, which writes past sys.stdout.
    setattr(torch._C, name, lambda *words: None)
    try:
        yield
    finally:
        setattr(torch._C, name, original)


@contextlib.contextmanager
def _modes_kept(model: Any) -> Iterator[None]:
    """On torch the export puts every module in evaluation mode."""
    import keras

    # Only there is a Keras model a module of torch, which has modes.
    on_torch = keras.backend.backend() == "torch"
    modes = [(m, m.training) for m in model.modules()] if on_torch else []
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
