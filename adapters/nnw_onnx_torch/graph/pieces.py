"""LayerNormalization and GELU as exporters write them in pieces, for operator sets without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn import functional

from nnw_onnx_torch.graph.chains import Chain, Graph, both
from nnw_onnx_torch.graph.operators._table import Value, numbers

_CUBE = 0.044715
"""Factor of the cube in the form of GELU by a hyperbolic tangent (Hendrycks and Gimpel, 2016)."""


_MOST_PRODUCTS = 8
"""Looked through in a row: a graph may have thousands, and those of GELU are at most 4."""


@dataclass(frozen=True)
class _Norm:
    """(x - mean) / sqrt(variance + epsilon) over the last axes, scaled and moved.

    Attributes:
        slots: of x, of scale and bias where they are, of epsilon, of the exponent if the square is
            a power, and of the axes of either mean where they are inputs.
        affine: how many of scale and bias there are.
        squared: whether the square is a product.
        axes: of both means, where they are attributes.
    """

    slots: tuple[int, ...]
    affine: int
    squared: bool
    axes: tuple[int, ...] | None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Slots of what is known without computing."""
        return self.slots[1 + self.affine :]

    def __call__(self, *inputs: Value) -> torch.Tensor | None:
        tensors = [v for v in inputs if isinstance(v, torch.Tensor)]
        if len(tensors) < len(inputs):
            return None
        x, *rest = tensors
        learned, told = rest[: self.affine], rest[self.affine :]
        epsilon = _number(told.pop(0))
        power = 2.0 if self.squared else _number(told.pop(0))
        kept = self._kept(x, told)
        if epsilon is None or power != 2.0 or not kept or not x.is_floating_point():
            return None
        if any(t.shape != kept or t.dtype != x.dtype or t.device != x.device for t in learned):
            return None
        weight, bias = (*learned, None, None)[:2]
        return functional.layer_norm(x, kept, weight, bias, epsilon)

    def _kept(self, x: torch.Tensor, told: Sequence[torch.Tensor]) -> torch.Size:
        """Sizes of the axes that are averaged over, if they are the last ones; else none."""
        every = [self.axes] if self.axes is not None else []
        every += [tuple(numbers(t)) for t in told if t.device.type == "cpu"]
        found = {tuple(sorted(axis % x.dim() for axis in axes)) for axes in every if x.dim()}
        count = len(every[0]) if every else 0
        last = tuple(range(x.dim() - count, x.dim()))
        known = len(every) == (len(told) or 1)
        return x.shape[x.dim() - count :] if known and count and found == {last} else torch.Size()


def layer_norm(graph: Graph, place: int) -> Chain | None:
    """The sum of a scaled norm and a bias."""
    for scaled, bias in _sides(graph, place, "Add"):
        inner = graph.made_by(scaled, "Mul")
        found = None if inner is None else _scaled(graph, inner, (bias,))
        if found is not None:
            return _longer(found, place)
    return None


def scaled_norm(graph: Graph, place: int) -> Chain | None:
    """A norm times a scale."""
    return _scaled(graph, place, ())


def plain_norm(graph: Graph, place: int) -> Chain | None:
    """A norm alone."""
    return _norm(graph, place, ())


def _scaled(graph: Graph, place: int, bias: tuple[int, ...]) -> Chain | None:
    for normed, scale in _sides(graph, place, "Mul"):
        inner = graph.made_by(normed, "Div", "Mul")
        found = None if inner is None else _norm(graph, inner, (scale, *bias))
        if found is not None:
            return _longer(found, place)
    return None


def _longer(chain: Chain, place: int) -> Chain:
    return Chain((*chain.places, place), chain.function)


def _norm(graph: Graph, place: int, learned: tuple[int, ...]) -> Chain | None:
    """A difference over the root of its mean square, which is that of the mean if so."""
    for difference, root in _quotient(graph, place):
        spread = _root(graph, root)
        if spread is None:
            continue
        (mean, epsilon), places = spread
        square = graph.made_by(graph.steps[mean].inputs[0], "Pow", "Mul")
        if square is None or graph.steps[square].inputs[0] != difference:
            continue
        squared = graph.name(square) == "Mul"
        if squared and graph.steps[square].inputs[1] != difference:
            continue
        centre = graph.made_by(difference, "Sub", readers=3 if squared else 2)
        first = None if centre is None else graph.made_by(graph.steps[centre].inputs[1], _MEAN)
        if centre is None or first is None:
            continue
        x = graph.steps[centre].inputs[0]
        axes = _axes(graph, first, mean)
        if graph.steps[first].inputs[0] != x or axes is None:
            continue
        power = () if squared else (graph.steps[square].inputs[1],)
        told = (epsilon, *power, *axes[1])
        function = _Norm((x, *learned, *told), len(learned), squared, axes[0])
        return Chain((first, centre, square, mean, *places, place), function)
    return None


_MEAN = "ReduceMean"


def _quotient(graph: Graph, place: int) -> Sequence[tuple[int, ...]]:
    """What is divided, and the root by which: by a division, or a product with a reciprocal."""
    step = graph.steps[place]
    if not step.calls or graph.name(place) not in ("Div", "Mul"):
        return ()
    if graph.name(place) == "Div":
        return ((step.inputs[0], step.inputs[1]),)
    return [pair for pair in both(step) if graph.made_by(pair[1], "Reciprocal") is not None]


def _root(graph: Graph, slot: int) -> tuple[tuple[int, int], tuple[int, ...]] | None:
    """The place of a mean and the slot of epsilon, whose sum's root this is; and the places."""
    inverse = graph.made_by(slot, "Reciprocal")
    slot = slot if inverse is None else graph.steps[inverse].inputs[0]
    root = graph.made_by(slot, "Sqrt")
    moved = None if root is None else graph.made_by(graph.steps[root].inputs[0], "Add")
    if root is None or moved is None:
        return None
    for one, epsilon in both(graph.steps[moved]):
        mean = graph.made_by(one, _MEAN)
        if mean is not None and graph.is_number(epsilon):
            more = () if inverse is None else (inverse,)
            return (mean, epsilon), (moved, root, *more)
    return None


def _axes(graph: Graph, *places: int) -> tuple[tuple[int, ...] | None, tuple[int, ...]] | None:
    """Axes of both means: those that are attributes, and slots of those that are inputs."""
    steps = [graph.steps[place] for place in places]
    if any(step.calls[0].get("keepdims", 1) != 1 for step in steps):
        return None
    slots = tuple(step.inputs[1] for step in steps if len(step.inputs) > 1)
    found = [step.calls[0].get("axes") for step in steps]
    if len(slots) == len(steps):
        return (None, slots) if all(graph.is_number(slot) for slot in slots) else None
    alike = not slots and found[0] and found[0] == found[1]
    return (tuple(found[0]), ()) if alike else None


@dataclass(frozen=True)
class _Gelu:
    """x / 2 * (1 + erf(x / sqrt(2))), or its approximation by a hyperbolic tangent.

    Attributes:
        slots: of x, then of numbers.
        powers: 1 or -1 for each number, in groups.
        wanted: what the product of each group must be.
    """

    slots: tuple[int, ...]
    powers: tuple[tuple[int, ...], ...]
    wanted: tuple[float, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Slots of the numbers."""
        return self.slots[1:]

    def __call__(self, *inputs: Value) -> torch.Tensor | None:
        x, *told = inputs
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            return None
        close = 4 * torch.finfo(x.dtype).eps
        for powers, wanted in zip(self.powers, self.wanted, strict=True):
            found, told = _multiplied(told[: len(powers)], powers), told[len(powers) :]
            if found is None or abs(found - wanted) > close * wanted:
                return None
        return functional.gelu(x, approximate="tanh" if _CUBE in self.wanted else "none")


_Factors: TypeAlias = list[tuple[int, int]]
"""Slots, each with its power in a product: 1 or -1."""
_Group: TypeAlias = tuple[_Factors, float]
"""Numbers, and what their product must be."""


def gelu(graph: Graph, place: int) -> Chain | None:
    """A product of x, a half, and one more than a function of x that goes from -1 to 1."""
    if graph.name(place) != "Mul" or not graph.steps[place].calls:
        return None
    places: list[int] = []
    outer = [f for slot in graph.steps[place].inputs for f in _factors(graph, slot, places)]
    for total, _ in outer:
        add = graph.made_by(total, "Add")
        for inner, one in () if add is None else both(graph.steps[add]):
            turned = graph.made_by(inner, "Erf", "Tanh")
            if add is None or turned is None:
                continue
            rest = [f for f in outer if f[0] != total]
            found = _bounded(graph, turned, rest)
            half = [] if found is None else [f for f in rest if f[0] != found[0]]
            if found is not None and half:
                x, groups, more = found
                function = _gelu_of(x, [(half, 0.5), ([(one, 1)], 1.0), *groups])
                return Chain((*more, turned, add, *places, place), function)
    return None


def _gelu_of(x: int, groups: Sequence[_Group]) -> _Gelu:
    slots = [slot for factors, _ in groups for slot, _ in factors]
    powers = tuple(tuple(power for _, power in factors) for factors, _ in groups)
    return _Gelu((x, *slots), powers, tuple(wanted for _, wanted in groups))


def _bounded(
    graph: Graph, place: int, outer: _Factors
) -> tuple[int, list[_Group], list[int]] | None:
    """What an error function or hyperbolic tangent is of, the numbers in it, and the places."""
    places: list[int] = []
    argument = _factors(graph, graph.steps[place].inputs[0], places)
    if graph.name(place) == "Erf":
        for x, power in outer:
            if power == 1 and argument.count((x, 1)) == 1:
                rest = [f for f in argument if f[0] != x]
                return x, [(rest, math.sqrt(0.5))], places
        return None
    for slot, power in argument:
        add = graph.made_by(slot, "Add")
        for x, product in () if add is None or power != 1 else both(graph.steps[add]):
            more: list[int] = []
            cube = _cube(graph, x, _factors(graph, product, more), more)
            if add is not None and (x, 1) in outer and cube is not None:
                rest = [f for f in argument if f[0] != slot]
                return x, [(rest, math.sqrt(2 / math.pi)), *cube], [*places, *more, add]
    return None


def _cube(graph: Graph, x: int, factors: _Factors, places: list[int]) -> list[_Group] | None:
    """The numbers beside the cube of x in a product, and its exponent where it is a power."""
    rest = [f for f in factors if f != (x, 1)]
    if len(factors) - len(rest) == 3:
        return [(rest, _CUBE)]
    for slot, power in rest:
        cube = graph.made_by(slot, "Pow")
        if cube is not None and power == 1 and graph.steps[cube].inputs[0] == x:
            places.append(cube)
            exponent = graph.steps[cube].inputs[1]
            return [([f for f in rest if f[0] != slot], _CUBE), ([(exponent, 1)], 3.0)]
    return None


def _factors(graph: Graph, slot: int, places: list[int]) -> _Factors:
    """Factors of a slot through a few products and quotients, whose places are entered."""
    found: _Factors = []
    waiting = [slot]
    while waiting:
        slot = waiting.pop()
        place = graph.made_by(slot, "Mul", "Div") if len(places) < _MOST_PRODUCTS else None
        if place is None:
            found.append((slot, 1))
            continue
        places.append(place)
        one, other = graph.steps[place].inputs
        waiting.append(one)
        if graph.name(place) == "Div":
            found.append((other, -1))
        else:
            waiting.append(other)
    return found


def _multiplied(told: Sequence[Value], powers: Sequence[int]) -> float | None:
    """The product of numbers with their powers; None where one is not known."""
    known = [_number(value) for value in told]
    found = 1.0
    for value, power in zip(known, powers, strict=True):
        if not value:
            return None
        found *= value**power
    return found


def _sides(graph: Graph, place: int, name: str) -> Sequence[tuple[int, ...]]:
    """Both orders of a step's inputs, the second a slot that no step computes."""
    step = graph.steps[place]
    if not step.calls or graph.name(place) != name:
        return ()
    return [pair for pair in both(step) if graph.is_number(pair[1])]


def _number(value: Value) -> float | None:
    """A number that is known without waiting for a device, or None."""
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        return None
    if value.device.type != "cpu" or value.requires_grad:
        return None
    found = float(value)
    return found if math.isfinite(found) else None
