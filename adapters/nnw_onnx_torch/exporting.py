"""Export to ONNX with every weight under its own name and with its own value.

The default of `torch.onnx.export` folds BatchNormalization into kernels that keep their names, so
a watermark would be looked for in other weights than those that carry it. Here nothing that
belongs to the model is folded; a runtime does that when it loads the file.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import nnw_onnx
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session
from nnw_onnx.vocabulary import Array
from nnw_onnx_torch import reading_back
from nnw_onnx_torch.graph import tracing
from nnw_onnx_torch.graph.dtypes import to_numpy
from nnw_onnx_torch.graph.modules import plain_forward, unwrapped
from nnw_onnx_torch.graph.torch_network import evaluating, tensors_in

TOLERANCE = 1e-4
_EPSILONS = 4

Examples = torch.Tensor | Sequence[object] | Mapping[str, object]


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        network: of the file.
        max_difference: largest difference between the runtime and the model on the examples,
            relative to the largest value of the output.
        kept: names of the floating-point parameters and buffers that the file has under their
            names, bit by bit.
        changed: name of each other one -> what became of it.
    """

    network: OnnxNetwork
    max_difference: float
    kept: tuple[str, ...]
    changed: Mapping[str, str]


def export(
    model: nn.Module, example_inputs: Examples, path: str | Path, *, dynamic_batch: bool = True
) -> Exported:
    """Write a model as it answers in evaluation mode; all of it or nothing.

    Export the object on which the mark was made; whether it holds it, and the file too, is read
    back, with a warning where it does not.

    The model is left in its mode, with its statistics, and with what mixed precision and
    compilation have put around it. The file is compared with the model on the examples, with the
    runtime; where the batch is free, on the first sample alone too.

    Args:
        model: the module; wrappers of DataParallel, torch.compile, AveragedModel and accelerate are
            taken off.
        example_inputs: a tensor, positional arguments, or arguments by name; batches (n, ...).
        path: the file.
        dynamic_batch: whether the size of the first axis of every input stays free.

    Raises:
        ConfigurationError: no path was given.
        ModelFileError: torch cannot export the model, the place cannot be written, or the runtime
            does not answer as the model does (1e-4 relative; four roundings of a half type).
        InferenceError: the runtime refuses the file.
    """
    if not isinstance(path, str | Path):
        raise ConfigurationError(
            f"export: expected the path of a file, got {type(path).__name__}; call export(model, "
            "example_inputs, path)"
        )
    target, inside = Path(path), unwrapped(model)
    examples = tracing.arguments(example_inputs)
    state = {name: to_numpy(t) for name, t in inside.state_dict(keep_vars=True).items()
             if t.is_floating_point()}  # fmt: skip
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.onnx")
    with _removed(temporary), evaluating(inside), plain_forward(inside), torch.no_grad():
        tracing.write(inside, examples, temporary, dynamic_batch=dynamic_batch)
        difference = _difference(inside, examples, temporary, dynamic_batch=dynamic_batch)
        stored = tracing.stored_tensors(temporary)
        try:
            temporary.replace(target)
        except OSError as error:
            raise tracing.unwritable(target, error) from error
    changed = {n: reason for n, v in state.items() if (reason := _change(n, v, stored, inside))}
    kept = tuple(name for name in state if name not in changed)
    network = nnw_onnx.open(target)
    reading_back.check(inside, network)
    return Exported(network, difference, kept, changed)


def _difference(
    model: nn.Module, examples: tracing.Arguments, path: Path, *, dynamic_batch: bool
) -> float:
    """Largest relative difference of any output; raises `NotExportedError` above the tolerance."""
    network = nnw_onnx.open(path)
    session = Session(network.runnable())
    batches = [examples, examples.first()] if dynamic_batch else [examples]
    worst = 0.0
    for batch in batches:
        expected = tensors_in(model(*batch.positional, **batch.named))
        given = [to_numpy(t) for t in batch.tensors()]
        feeds = _feeds(session, given)
        answers = session.run(feeds)
        if len(answers) != len(expected):
            raise tracing.NotExportedError(
                f"export: expected {len(expected)} outputs, got {len(answers)} in the file; "
                "return tensors from forward"
            )
        for name, answer, wanted in zip(network.outputs, answers, expected, strict=True):
            found = _relative(answer, to_numpy(wanted))
            if not found <= _tolerance(wanted.dtype):
                raise tracing.NotExportedError(
                    f"export: expected output {name.name!r} as the model gives it, got one that "
                    f"differs by {found:.2g} of its largest value; see that forward does not "
                    "depend on chance, and that the examples are typical"
                )
            worst = max(worst, found)
    return worst


def _feeds(session: Session, given: Sequence[Array]) -> dict[str, Array]:
    if len(session.inputs) != len(given):
        raise tracing.NotExportedError(
            f"export: expected a file with {len(given)} inputs, got {len(session.inputs)}; give "
            "only the inputs that forward uses"
        )
    return {info.name: array for info, array in zip(session.inputs, given, strict=True)}


def _relative(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        return np.inf
    if not wanted.size:
        return 0.0
    first, second = found.astype(np.float64), wanted.astype(np.float64)
    scale = float(np.abs(second).max()) or 1.0
    return float(np.abs(first - second).max()) / scale


def _tolerance(dtype: torch.dtype) -> float:
    rounding = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return max(TOLERANCE, _EPSILONS * rounding)


def _change(name: str, values: Array, stored: Mapping[str, Array], model: nn.Module) -> str | None:
    """What became of a weight, or None where the file has it as it is."""
    found = stored.get(name)
    if found is not None:
        same = found.shape == values.shape and found.tobytes() == values.tobytes()
        return None if same else "changed"
    state = model.state_dict(keep_vars=True)
    for other, tensor in state.items():
        if other != name and other in stored and tensor is state[name]:
            return f"shared: stored as {other}"
    for other, array in stored.items():
        if array.shape == values.shape and array.tobytes() == values.tobytes():
            return f"renamed: stored as {other}"
    return "not in the file: nothing that is computed needs it"


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    """Whatever happens, no file is left at this path."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
