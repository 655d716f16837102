"""The table of operators: a name and a small function of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, overload

import torch

Attribute: TypeAlias = Any
"""An attribute: an operator knows from the standard what type those that it reads have."""

Value: TypeAlias = object
"""What flows along a graph: a tensor, an array of text, a list of them, or None if empty."""

Operator = Callable[..., Value]
"""(call, *inputs) -> tensor, or a tuple of tensors for several outputs; an input left out is None.

A sequence is a list of tensors (as an output inside a tuple), an empty optional is None.
"""

_NUMBERS = "_nnw_numbers"

OPERATORS: dict[tuple[str, str], Operator] = {}
"""(domain, operator) -> function; the standard domain is ""."""

Function = TypeVar("Function", bound=Operator)
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """What a node gives its operator beside the inputs.

    Attributes:
        attributes: name -> int, float, str, list of those, tensor, or a subgraph: a callable of
            its inputs that returns the list of its outputs and sees the values around it.
        outputs: which outputs are wanted, in order; an output without a name is not.
        opset: version of the operator's domain in the model.
        training: whether the module is in training mode.
        batch_statistics: whether BatchNormalization uses and updates statistics of the batch.
        types: ONNX data type of each input that the file stores, else 0: torch holds integers below
            a byte in bytes, and does not tell them from bytes.
    """

    attributes: Mapping[str, Attribute]
    outputs: tuple[bool, ...]
    opset: int
    training: bool
    batch_statistics: bool
    types: tuple[int, ...] = ()

    @overload
    def get(self, name: str) -> Attribute: ...
    @overload
    def get(self, name: str, default: T) -> T: ...
    def get(self, name: str, default: object = None) -> object:
        """The attribute of that name, or the default."""
        return self.attributes.get(name, default)

    def type_of(self, index: int) -> int:
        """ONNX data type of an input that is stored or fed, or 0 where it is not known."""
        return self.types[index] if index < len(self.types) else 0


def operator(*names: str, domain: str = "") -> Callable[[Function], Function]:
    """Enter a function into the table under each of these names."""

    def enter(function: Function) -> Function:
        for name in names:
            OPERATORS[domain, name] = function
        return function

    return enter


def numbers(tensor: torch.Tensor) -> list[int]:
    """The integers of a tensor that holds a shape, axes or sizes."""
    if type(tensor) is not torch.Tensor or tensor.device.type != "cpu":
        return _read(tensor)
    # Shapes are asked for at every run, and nothing writes into them.
    known: list[int] | None = tensor.__dict__.get(_NUMBERS)
    if known is None:
        known = _read(tensor)
        tensor.__dict__[_NUMBERS] = known
    return list(known)


def _read(tensor: torch.Tensor) -> list[int]:
    # Of a constant that is reshaped torch's exporter no longer knows the values.
    flat = tensor if tensor.ndim == 1 else tensor.reshape(-1)
    return [int(value) for value in flat.tolist()]
