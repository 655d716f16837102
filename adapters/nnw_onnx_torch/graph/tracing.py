"""From a module to an ONNX file: torch's exporter, and folding that spares the weights."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnw_onnx.errors import ModelFileError
from nnw_onnx.vocabulary import Array

if TYPE_CHECKING:
    import onnx_ir as ir

_FEW = 8
_LARGEST_CONSTANT = 1 << 16
_LARGEST_INPUT = 1 << 30
_LARGEST_FILE = 2**31 - 2**20


class NotExportedError(ModelFileError):
    """A model that torch does not export, or exports as one that answers otherwise."""


@dataclass(frozen=True)
class Arguments:
    """What forward is called with."""

    positional: tuple[object, ...]
    named: Mapping[str, object]

    def tensors(self) -> list[torch.Tensor]:
        """All tensors, in order."""
        values = (*self.positional, *self.named.values())
        return [value for value in values if isinstance(value, torch.Tensor)]

    def first(self) -> Arguments:
        """The same with the first sample alone."""
        return self._each(lambda tensor: tensor[:1])

    def at_least_two(self) -> Arguments:
        """The same with single samples doubled: the exporter takes a size of one for a constant."""
        return self._each(lambda t: torch.cat([t, t]) if t.ndim and len(t) == 1 else t)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Arguments:
        def changed(value: object) -> object:
            return change(value) if isinstance(value, torch.Tensor) and value.ndim else value

        named = {name: changed(value) for name, value in self.named.items()}
        return Arguments(tuple(map(changed, self.positional)), named)


def arguments(given: torch.Tensor | Sequence[object] | Mapping[str, object]) -> Arguments:
    """Example inputs as arguments of forward."""
    if isinstance(given, torch.Tensor):
        return Arguments((given,), {})
    if isinstance(given, Mapping):
        return Arguments((), dict(given))
    return Arguments(tuple(given), {})


def write(model: nn.Module, examples: Arguments, path: Path, *, dynamic_batch: bool) -> None:
    """Export and fold constants.

    Raises:
        NotExportedError: torch cannot export the model.
        ModelFileError: a library is missing, the file is too large, or its place not writable.
    """
    _check_libraries()
    import onnx_ir as ir
    from onnxscript import optimizer

    traced = examples.at_least_two() if dynamic_batch else examples
    made = _exported(model, traced, dynamic_batch=dynamic_batch)
    spared = {
        value
        for value in made.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.dtype.is_floating_point()
        and (value.const_value.size >= _FEW or value.name in model.state_dict())
    }

    def may_fold(node: ir.Node) -> bool | None:
        if node.op_type in {"Shape", "Size"}:
            return None
        return False if any(value in spared for value in node.inputs) else None

    optimizer.fold_constants(
        made,
        input_size_limit=_LARGEST_INPUT,
        output_size_limit=_LARGEST_CONSTANT,
        should_fold=may_fold,
    )
    optimizer.remove_unused_nodes(made)
    size = sum(v.const_value.nbytes for v in made.graph.initializers.values() if v.const_value)
    if size > _LARGEST_FILE:
        raise ModelFileError(
            f"export: expected less than 2 GiB of weights, got {size} bytes; export a smaller "
            "model, or in half precision"
        )
    try:
        ir.save(made, path)
    except OSError as error:
        raise unwritable(path, error) from error


def stored_tensors(path: Path) -> dict[str, Array]:
    """Every initializer of the main graph of a file, by name."""
    import onnx_ir as ir

    values = ir.load(path).graph.initializers.values()
    return {str(v.name): v.const_value.numpy() for v in values if v.const_value is not None}


def unwritable(path: Path, error: OSError) -> ModelFileError:
    """The error for a place where no file can be written."""
    return ModelFileError(
        f"export: expected a folder where a file can be written, got {str(path.parent)!r}: "
        f"{error.strerror}; choose another path"
    )


def _exported(model: nn.Module, examples: Arguments, *, dynamic_batch: bool) -> ir.Model:
    # The axes of arguments by name must be named, those of positional ones must not.
    axes: Any = tuple(map(_free, examples.positional)) or {
        n: _free(v) for n, v in examples.named.items()
    }
    if _takes_any_number(model):
        axes = (axes,)
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                examples.positional,
                kwargs=dict(examples.named),
                dynamo=True,
                optimize=False,
                external_data=False,
                verbose=False,
                dynamic_shapes=axes if dynamic_batch else None,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        cause = error.__cause__ or error
        words = " ".join(str(cause).split())[:200] or type(cause).__name__
        cure = ", or fix the size of the batch with dynamic_batch=False" if dynamic_batch else ""
        raise NotExportedError(
            f"export: expected a model that torch exports, got: {words}; change what it computes"
            f"{cure}"
        ) from error
    if program is None:
        raise NotExportedError(
            "export: expected a program of torch's exporter, got none; see torch.onnx.export"
        )
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _takes_any_number(model: nn.Module) -> bool:
    """Whether forward has one parameter for all positional arguments, as that of OnnxModule."""
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return kinds[:1] == [inspect.Parameter.VAR_POSITIONAL]


def _free(value: object) -> dict[int, object] | None:
    """The first axis of a tensor as one of free size."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return None
    return {0: torch.export.Dim("batch")}


def _check_libraries() -> None:
    try:
        import onnx_ir  # noqa: F401 - to see whether it is there
        import onnxscript.optimizer  # noqa: F401 - likewise
    except ImportError as error:
        raise ModelFileError(
            f"export: expected onnxscript, got: {error}; pip install 'nnw-onnx[torch]'"
        ) from error
