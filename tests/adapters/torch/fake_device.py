"""A device that is none: values lie in the memory of the CPU, but torch takes them as elsewhere.

Operators mix its tensors with the CPU's as little as an accelerator's, and whatever would make the
CPU wait for an accelerator is counted. Needs no hardware; autograd works through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "apart"
aten = torch.ops.aten
WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal",
    "unique_consecutive", "is_nonzero", "unique_dim_consecutive", "repeat_interleave",
}  # fmt: skip
"""Operators of which the CPU must know the values, or the size of the result."""
MIXED = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "set_",
         "_unsafe_index"}  # fmt: skip
"""Operators that take tensors of several devices: copies, and indices that they move."""
NEEDS_ALL = {"cat", "stack", "where", "linear", "addmm", "index_select", "gather", "scatter",
             "embedding"}  # fmt: skip
"""Operators that do not even take a number of the CPU, which others do."""


class Apart(torch.Tensor):
    """A tensor on the device, held by the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Apart:
        """The values as those of the device."""
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.held = held
        return made

    def tolist(self) -> Any:
        """The values as numbers, which torch does not give of a subclass."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Run where nobody counts."""
        return _run(func, args, kwargs or {}, Counter())


class Counting(TorchDispatchMode):
    """Runs everything, and counts by operator what an accelerator would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operator."""
        return _run(func, args, kwargs or {}, self.waits)


class _Making(TorchFunctionMode):
    """Makes `torch.tensor` of numbers, which torch moves to a device without asking a mode."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call a function of torch."""
        named = dict(kwargs or {})
        if func is torch.tensor and torch.device(named.get("device") or "cpu").type == NAME:
            return func(*args, **{**named, "device": "cpu"}).to(named["device"])
        return func(*args, **named)


@cache
def device() -> torch.device:
    """The device, made known to torch once in a process."""
    _setup_privateuseone_for_python_backend(NAME)
    return torch.device(NAME, 0)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """What the device would have been waited for, by operator; the device works inside."""
    device()
    with _Making(), Counting() as mode:
        yield mode.waits


def moved(value: torch.Tensor) -> torch.Tensor:
    """A copy on the device."""
    device()
    return Apart(value.detach().clone())


def _run(func, args, kwargs, waits):
    flat = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
    apart = any(isinstance(v, Apart) for v in flat)
    name = func.__name__.partition(".")[0]
    target = kwargs.get("device")
    if not apart and (target is None or torch.device(target).type != NAME):
        return func(*args, **kwargs)
    _check(name, flat, apart)
    _count(name, flat, args, kwargs, waits)
    inner, named = pytree.tree_map_only(Apart, lambda t: t.held, (args, kwargs))
    if target is not None:
        named["device"] = torch.device("cpu")
    made = func(*inner, **named)
    to_host = target is not None and torch.device(target).type == "cpu"
    if func._schema.is_mutable and name.endswith("_"):
        return args[0] if func._schema.returns else None
    if func._schema.is_mutable or to_host:
        return made
    return pytree.tree_map_only(torch.Tensor, Apart, made)


def _check(name: str, flat: list[torch.Tensor], apart: bool) -> None:
    strangers = [v for v in flat if not isinstance(v, Apart)]
    if name in MIXED or not apart:
        return
    if any(v.dim() or name in NEEDS_ALL for v in strangers):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, got several")


def _count(name: str, flat: list[torch.Tensor], args: Any, kwargs: Any, waits: Counter) -> None:
    if name in WAITS:
        waits[name] += 1
    if name in ("index", "index_put", "index_put_"):
        found = [v for v in args[1] if v is not None]
        waits[f"{name} by a mask"] += sum(v.dtype == torch.bool for v in found)
        waits[f"{name} by the CPU"] += sum(not isinstance(v, Apart) for v in found)
    if name in ("_to_copy", "copy_"):
        kinds = {isinstance(v, Apart) for v in flat}
        target = kwargs.get("device")
        if target is not None:
            kinds.add(torch.device(target).type == NAME)
        waiting = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
        waits["copy between devices"] += len(kinds) == 2 and waiting
    waits += Counter()
