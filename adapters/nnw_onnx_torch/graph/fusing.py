"""Chains of nodes that torch has one function for: attention, norms, GELU, a product with its bias.

A chain is looked at again when it runs: where shapes, types or places are others than those that
the function is for, its nodes run one after the other. Results are the function's, which adds up
in another order: they differ by rounding (1e-5 of their size in float32).
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.chains import Chain, Graph, both, perm
from nnw_onnx_torch.graph.operators._table import Value, numbers
from nnw_onnx_torch.graph.pieces import gelu, layer_norm, plain_norm, scaled_norm

if TYPE_CHECKING:
    from nnw_onnx_torch.graph.program import Step


def fused(steps: Sequence[Step], wanted: Set[int], apart: Set[object]) -> list[Step]:
    """The steps, with one in place of each chain.

    Args:
        steps: in order.
        wanted: slots that must be there afterwards.
        apart: addresses of steps whose results somebody looks at.
    """
    graph = Graph(steps, wanted, apart)
    found: dict[int, Step] = {}
    gone: set[int] = set()
    # Attention first: the sum of its scores and a mask looks like a product with its bias. Of norms
    # the longest first, which holds the others.
    looks = (_attention, layer_norm, scaled_norm, plain_norm, gelu, _linear, _picked)
    for look in looks:
        for k in range(len(steps)):
            chain = look(graph, k)
            if chain is not None and not gone.intersection(chain.places):
                found[k] = chain.step(graph)
                gone.update(chain.places)
    return [found.get(k, step) for k, step in enumerate(steps) if k in found or k not in gone]


@dataclass(frozen=True)
class _Linear:
    """x @ w + b, or x @ w.T + b where the weights are turned in the graph."""

    slots: tuple[int, ...]
    turned: bool
    numbers: tuple[int, ...] = ()

    def __call__(self, *inputs: Value) -> torch.Tensor | None:
        tensors = [v for v in inputs if isinstance(v, torch.Tensor)]
        if len(tensors) < len(inputs):
            return None
        x, weight, bias = tensors
        rows = weight if self.turned else weight.t() if weight.dim() == 2 else weight
        if x.dim() < 2 or rows.dim() != 2 or bias.shape != rows.shape[:1]:
            return None
        fits = x.shape[-1] == rows.shape[1]
        alike = x.is_floating_point() and x.dtype == rows.dtype == bias.dtype
        if not fits or not alike or x.device != bias.device:
            return None
        return functional.linear(x, rows, bias)


def _linear(graph: Graph, place: int) -> Chain | None:
    """An Add of a product and something that no step computes."""
    if graph.name(place) != "Add" or not graph.steps[place].calls:
        return None
    for product, bias in both(graph.steps[place]):
        inner = graph.made_by(product, "MatMul")
        if inner is None or not graph.is_number(bias) or bias == product:
            continue
        x, weight = graph.steps[inner].inputs
        turn = graph.made_by(weight, "Transpose")
        if turn is not None and perm(graph.steps[turn]) == [1, 0]:
            (weight,) = graph.steps[turn].inputs
            return Chain((turn, inner, place), _Linear((x, weight, bias), True))
        return Chain((inner, place), _Linear((x, weight, bias), False))
    return None


@dataclass(frozen=True)
class _Picked:
    """One slice of an axis, without the axis.

    Attributes:
        slots: of the tensor, then of start, end, axis and the axis that goes.
    """

    slots: tuple[int, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Slots of the numbers."""
        return self.slots[1:]

    def __call__(self, *inputs: Value) -> torch.Tensor | None:
        x, *told = inputs
        given = [v for v in told if isinstance(v, torch.Tensor) and v.device.type == "cpu"]
        if not isinstance(x, torch.Tensor) or len(given) < len(told):
            return None
        found = [numbers(tensor) for tensor in given]
        if any(len(each) != 1 for each in found):
            return None
        (start,), (end,), (axis,), (gone,) = found
        fits = end == start + 1 and start >= 0 and axis % x.dim() == gone % x.dim()
        return x.select(axis, start) if fits and start < x.shape[axis] else None


def _picked(graph: Graph, place: int) -> Chain | None:
    """A Squeeze of a Slice."""
    step = graph.steps[place]
    if graph.name(place) != "Squeeze" or not step.calls or len(step.inputs) != 2 or step.hosted:
        return None
    inner = graph.made_by(step.inputs[0], "Slice")
    if inner is None or len(graph.steps[inner].inputs) != 4:
        return None
    return Chain((inner, place), _Picked((*graph.steps[inner].inputs, step.inputs[1])))


@dataclass(frozen=True)
class _Attention:
    """softmax(scale * q @ k.T + mask) @ v.

    Attributes:
        slots: of q, k, v, of the mask if there is one, of the shapes that keys are turned through
            if they are, and of factors of the scale.
        turned: whether k comes as (..., d, t).
        through: whether k is turned by way of three axes.
        masked: whether there is a mask.
        powers: of each factor, 1 or -1.
        axis: of the softmax.
    """

    slots: tuple[int, ...]
    turned: bool
    through: bool
    masked: bool
    powers: tuple[int, ...]
    axis: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """Slots of shapes and factors."""
        return self.slots[3 + self.masked :]

    def __call__(self, *inputs: Value) -> torch.Tensor | None:
        tensors = [v for v in inputs if isinstance(v, torch.Tensor)]
        if len(tensors) < len(inputs):
            return None
        q, k, v = tensors[:3]
        rest = tensors[3:]
        mask = rest.pop(0) if self.masked else None
        if self.through and not _swaps(k, rest.pop(0), rest.pop(0)):
            return None
        scale = _product(rest, self.powers)
        if scale is None or not self._fits(q, k, v):
            return None
        if mask is not None and (mask.dtype != q.dtype or mask.dim() > q.dim()):
            return None
        k = k.transpose(-1, -2) if self.turned else k
        if mask is not None and mask.dim() < 2:
            mask = mask.reshape(1, -1)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    def _fits(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
        alike = q.dtype == k.dtype == v.dtype and q.is_floating_point()
        shapes = q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.dim() == v.dim()
        last = self.axis in (-1, q.dim() - 1)
        keys, width = (k.shape[-1], k.shape[-2]) if self.turned else k.shape[-2:]
        products = keys == v.shape[-2] and width == q.shape[-1] and 0 not in (*q.shape, *v.shape)
        return alike and shapes and last and q.dim() in (3, 4) and products


def _swaps(k: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> bool:
    """Whether reshaping to the first shape, turning and reshaping to the last swaps two axes."""
    if first.device.type != "cpu" or last.device.type != "cpu" or k.dim() != 4:
        return False
    wanted = [*k.shape[:-2], k.shape[-1], k.shape[-2]]
    return numbers(first)[1:] == list(k.shape[-2:]) and numbers(last) == wanted


def _product(factors: Sequence[torch.Tensor], powers: Sequence[int]) -> float | None:
    """The product of numbers that are known without waiting for a device, or None."""
    found = 1.0
    for factor, power in zip(factors, powers, strict=True):
        if factor.numel() != 1 or factor.device.type != "cpu" or factor.requires_grad:
            return None
        value = float(factor)
        if not math.isfinite(value) or not value:
            return None
        found *= value**power
    return found


def _attention(graph: Graph, place: int) -> Chain | None:
    """The product of a softmax over scores with values."""
    if graph.name(place) != "MatMul" or not graph.steps[place].calls:
        return None
    shares, v = graph.steps[place].inputs
    softmax = graph.made_by(shares, "Softmax")
    if softmax is None or graph.steps[softmax].calls[0].opset < 13:
        return None
    axis = graph.steps[softmax].calls[0].get("axis", -1)
    found = _scores(graph, graph.steps[softmax].inputs[0])
    if found is None:
        return None
    scores, mask, factors, places = found
    q, k = graph.steps[scores].inputs
    q = _scaled(graph, q, factors, places)
    k = _scaled(graph, k, factors, places)
    k, turned, shapes = _keys(graph, k, places)
    slots = (q, k, v, *(() if mask is None else (mask,)), *shapes, *(slot for slot, _ in factors))
    powers = tuple(power for _, power in factors)
    function = _Attention(slots, turned, bool(shapes), mask is not None, powers, axis)
    return Chain((*places, scores, softmax, place), function)


def _keys(graph: Graph, k: int, places: list[int]) -> tuple[int, bool, tuple[int, ...]]:
    """Keys, whether they are still turned, and slots of shapes that they are turned through."""
    turn = graph.made_by(k, "Transpose")
    if turn is not None and perm(graph.steps[turn]) in ([0, 1, 3, 2], [0, 2, 1]):
        places.append(turn)
        return graph.steps[turn].inputs[0], False, ()
    last = graph.made_by(k, "Reshape")
    middle = None if last is None else graph.made_by(graph.steps[last].inputs[0], "Transpose")
    first = None if middle is None else graph.made_by(graph.steps[middle].inputs[0], "Reshape")
    if last is None or middle is None or first is None:
        return k, True, ()
    if perm(graph.steps[middle]) != [0, 2, 1]:
        return k, True, ()
    places += [first, middle, last]
    k, before = graph.steps[first].inputs
    return k, False, (before, graph.steps[last].inputs[1])


_Factors = list[tuple[int, int]]


def _scores(graph: Graph, slot: int) -> tuple[int, int | None, _Factors, list[int]] | None:
    """The product that scores are made of, the mask, factors, and the places in between."""
    mask: int | None = None
    places: list[int] = []
    factors: _Factors = []
    add = graph.made_by(slot, "Add")
    if add is not None:
        for one, other in both(graph.steps[add]):
            if graph.made_by(one, "MatMul", "Mul", "Div") is not None:
                slot, mask = one, other
                break
        else:
            return None
        places.append(add)
    slot = _scaled(graph, slot, factors, places)
    product = graph.made_by(slot, "MatMul")
    return None if product is None else (product, mask, factors, places)


def _scaled(graph: Graph, slot: int, factors: _Factors, places: list[int]) -> int:
    """What a slot is a multiple of; the factor and its place are entered."""
    place = graph.made_by(slot, "Mul", "Div")
    if place is None:
        return slot
    step = graph.steps[place]
    pairs = both(step) if graph.name(place) == "Mul" else (step.inputs,)
    for value, number in pairs:
        if graph.is_number(number) and not graph.is_number(value):
            factors.append((number, 1 if graph.name(place) == "Mul" else -1))
            places.append(place)
            return value
    return slot
