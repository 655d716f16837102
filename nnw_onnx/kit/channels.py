"""Channels of hidden axes: what each of them consists of, another order, other scales or sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError, ModelFileError
from nnw_onnx.kit import carriers
from nnw_onnx.vocabulary import (
    Array,
    HiddenAxis,
    Json,
    Network,
    Strand,
    Weighted,
    Weights,
)


def by_channel(weights: Array, strand: Strand, size: int) -> Array:
    """The weights of each channel in a strand, (size, repeat, block, *other axes); a copy.

    Raises:
        ModelFileError: the weights are not of the layer of the strand.
    """
    moved = np.moveaxis(weights, strand.axis, 0) if weights.ndim > strand.axis else weights[:0]
    count = strand.repeat * size * strand.block
    part = moved[strand.start : strand.start + count]
    if len(part) != count:
        raise ModelFileError(
            f"layer {strand.layer!r}: expected {strand.start + count} entries along axis "
            f"{strand.axis}, got weights of shape {weights.shape}; use a network that has this axis"
        )
    parted = part.reshape(strand.repeat, size, strand.block, *moved.shape[1:])
    return np.array(np.moveaxis(parted, 1, 0))


def with_channels(weights: Array, strand: Strand, values: Array) -> Array:
    """A copy of the weights with other ones of each channel, in the form of `by_channel`."""
    changed = np.array(weights)
    moved = np.moveaxis(changed, strand.axis, 0)
    back = np.moveaxis(values, 0, 1)
    count = strand.repeat * len(values) * strand.block
    moved[strand.start : strand.start + count] = back.reshape(count, *moved.shape[1:])
    return changed


def permuted(weights: Weights, axis: HiddenAxis, order: Sequence[int]) -> dict[str, Array]:
    """The layers of an axis with their channels in another order, for `Network.with_weights`.

    Args:
        weights: of the network as it is; give the result of one axis with them for the next.
        axis: one of `Network.hidden_axes`.
        order: (size,) permutation; channel i becomes what channel order[i] was.
    """
    index = np.asarray(order, np.int64)
    changed: dict[str, Array] = {}
    for strand in axis.strands:
        now = changed.get(strand.layer, weights[strand.layer])
        parts = by_channel(now, strand, axis.size)
        changed[strand.layer] = with_channels(now, strand, parts[index])
    return changed


def scaled(
    weights: Weights, axis: HiddenAxis, factors: NDArray[np.float64], scaling: int = 0
) -> dict[str, Array]:
    """The layers of an axis with their channels scaled, for `Network.with_weights`; float64.

    Args:
        weights: of the network as it is.
        axis: one of `Network.hidden_axes` that has this scaling.
        factors: (size,) numbers > 0. Powers of two leave the outputs bit by bit, but for weights
            that become too small or too large for their type.
        scaling: which of the scalings of the axis.
    """
    changed: dict[str, Array] = {}
    for strand, power in zip(axis.strands, axis.scalings[scaling], strict=True):
        if power:
            now = np.asarray(changed.get(strand.layer, weights[strand.layer]), np.float64)
            parts = by_channel(now, strand, axis.size)
            shape = (axis.size, *[1] * (parts.ndim - 1))
            values = parts * (np.asarray(factors, np.float64) ** power).reshape(shape)
            changed[strand.layer] = with_channels(now, strand, values)
    return changed


def flipped(
    weights: Weights, axis: HiddenAxis, signs: Sequence[int], which: int = 0
) -> dict[str, Array]:
    """The layers of an axis with the signs of some channels changed, for `Network.with_weights`.

    Args:
        weights: of the network as it is.
        axis: one of `Network.hidden_axes` that has these signs.
        signs: (size,) numbers 1 and -1.
        which: which of the signs of the axis.
    """
    changed: dict[str, Array] = {}
    for strand, flips in zip(axis.strands, axis.signs[which], strict=True):
        if flips:
            now = changed.get(strand.layer, weights[strand.layer])
            parts = by_channel(now, strand, axis.size)
            factors = np.asarray(signs, parts.dtype).reshape(axis.size, *[1] * (parts.ndim - 1))
            changed[strand.layer] = with_channels(now, strand, parts * factors)
    return changed


def mixed(weights: Weights, axis: HiddenAxis, matrix: NDArray[np.float64]) -> dict[str, Array]:
    """The layers of an axis with its channels mixed, for `Network.with_weights`; float64.

    Args:
        weights: of the network as it is.
        axis: one of `Network.hidden_axes` that has mixings.
        matrix: (size, size) invertible; channel i becomes the sum of matrix[i, j] channel j. What
            its condition is, rounding errors grow by.
    """
    inverse = np.linalg.inv(matrix).T
    changed: dict[str, Array] = {}
    for strand, power in zip(axis.strands, axis.mixings, strict=True):
        if power:
            now = np.asarray(changed.get(strand.layer, weights[strand.layer]), np.float64)
            parts = by_channel(now, strand, axis.size)
            values = np.tensordot(matrix if power > 0 else inverse, parts, axes=1)
            changed[strand.layer] = with_channels(now, strand, values)
    return changed


def resized(
    weights: Weights,
    axis: HiddenAxis,
    chosen: Sequence[int],
    factors: NDArray[np.float64] | None = None,
    made: Callable[[Array], Array] | None = None,
) -> dict[str, Array]:
    """The layers of an axis with other channels, for `Network.with_resized`; float64 if scaled.

    Channels that are left out are lost. Those that are repeated count as often, so outputs stay
    where the factors of all copies of each channel add up to 1.

    Args:
        weights: of the network as it is.
        axis: one of `Network.hidden_axes` that is resizable.
        chosen: (m,) indices, in any order and number; channel i becomes what chosen[i] was.
        factors: (m,) by which the weights are multiplied that take the channel in; None for 1.
        made: what becomes of the weights that make the channels, (m, repeat, block, *other axes),
            where those of channels with factor 0 may be any.
    """
    index = np.asarray(chosen, np.int64)
    changed: dict[str, Array] = {}
    # Behind a strand others begin elsewhere then.
    for strand in sorted(axis.strands, key=lambda s: -s.start):
        now = changed.get(strand.layer, weights[strand.layer])
        parts = by_channel(now, strand, axis.size)[index]
        if factors is not None and strand.direction == "in":
            shape = (len(index), *[1] * (parts.ndim - 1))
            parts = parts * np.asarray(factors, np.float64).reshape(shape)
        if made is not None and strand.direction == "out":
            parts = made(parts)
        changed[strand.layer] = _put(now, strand, axis.size, parts)
    return changed


def _put(weights: Array, strand: Strand, size: int, values: Array) -> Array:
    """The weights with so many channels of a strand replaced by others, in whatever number."""
    moved = np.moveaxis(weights, strand.axis, 0)
    stop = strand.start + strand.repeat * size * strand.block
    flat = np.moveaxis(values, 0, 1).reshape(-1, *moved.shape[1:])
    return np.moveaxis(np.concatenate([moved[: strand.start], flat, moved[stop:]]), 0, strand.axis)


def balanced(weights: Weights, axes: Sequence[HiddenAxis], sweeps: int = 12) -> dict[str, Array]:
    """The layers of some axes, scaled to the least sum of squares that the scalings allow; float64.

    Networks that differ by scalings alone become the same one: the sum is convex in the logarithms
    of the factors. Each sweep sets the factors of one scaling after the other, f^4 being the energy
    of what is divided by f over that of what is multiplied; a channel without one of the two, or
    with other powers than 1 and -1, keeps its scale.

    Args:
        weights: of the network.
        axes: whose layers are balanced.
        sweeps: over all axes; what is left halves with each or so.
    """
    names = dict.fromkeys(name for axis in axes for name in axis.layers)
    now: dict[str, Array] = {name: np.asarray(weights[name], np.float64) for name in names}
    for _ in range(sweeps):
        for axis in axes:
            for scaling, powers in enumerate(axis.scalings):
                up, down = (_energy(now, axis, powers, sign) for sign in (1, -1))
                fit = (up > 0) & (down > 0) & (set(powers) <= {-1, 0, 1})
                factors = np.divide(down, up, out=np.ones(axis.size), where=fit) ** 0.25
                now |= scaled(now, axis, factors, scaling)
    return now


def _energy(
    weights: Weights, axis: HiddenAxis, powers: Sequence[int], sign: int
) -> NDArray[np.float64]:
    """Sum of squares of each channel over the strands of this power."""
    total = np.zeros(axis.size)
    for strand, power in zip(axis.strands, powers, strict=True):
        if power == sign:
            parts = by_channel(weights[strand.layer], strand, axis.size)
            total += np.square(parts).reshape(axis.size, -1).sum(axis=1)
    return total


def shape_free(weights: Array, strand: Strand, size: int, points: int) -> NDArray[np.float64]:
    """What each channel is like whatever the order of the channels on the other side, (size, m).

    The weights of a channel are sorted along the other of the first two axes, and `points` of them
    at even distances are kept, for each place of a kernel and each entry of a block; then they are
    divided by their norm, so that no positive factor of the channel matters. A channel without
    weights is all 0.
    """
    parts = np.asarray(by_channel(weights, strand, size), np.float64)
    rest = parts.reshape(*parts.shape[:3], parts.shape[3] if parts.ndim > 3 else 1, -1)
    ordered = np.sort(rest, axis=3)
    count = ordered.shape[3]
    kept = min(points, count)
    places = ((np.arange(kept) + 0.5) * count / kept).astype(np.int64)
    flat = ordered[:, :, :, places].reshape(size, -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norms > 0, norms, 1.0)


_FACTS = ("size", "strands", "scalings")
"""What a key tells of an axis: where channels lie, and how they may be scaled."""


def to_facts(axes: Iterable[HiddenAxis]) -> Json:
    """Where the channels of axes lie and how they may be scaled, as JSON values for a key."""
    given = [dataclasses.asdict(axis) for axis in axes]
    told: Json = json.loads(json.dumps([{name: one[name] for name in _FACTS} for one in given]))
    return told


def from_facts(facts: Json) -> tuple[HiddenAxis, ...]:
    """The axes that `to_facts` has told.

    Raises:
        ConfigurationError: the facts are not those of axes.
    """
    from pydantic import TypeAdapter, ValidationError  # only where a key is read: it takes 50 ms

    try:
        axes: tuple[HiddenAxis, ...] = TypeAdapter(tuple[HiddenAxis, ...]).validate_python(facts)
    except ValidationError as error:
        raise ConfigurationError(
            "key: expected facts that tell hidden axes, got others; restore the key from a copy"
        ) from error
    return axes


def usable(network: Network) -> list[HiddenAxis]:
    """Hidden axes of layers that are live and finite, the one with most channels first."""
    layers = {layer.name: layer for layer in network.layers}
    return sorted(
        (
            axis
            for axis in network.hidden_axes
            if all(layers[n].live and np.isfinite(network.weights[n]).all() for n in axis.layers)
        ),
        key=lambda axis: -axis.size,
    )


def chosen(network: Network, asked: Sequence[str], method: str) -> list[HiddenAxis]:
    """The usable hidden axes, or those that begin in the layers asked for, in their order.

    Raises:
        InjectionError: there is none, no layer has such a name, or no axis begins in it.
    """
    found = usable(network)
    by_name = {axis.name: axis for axis in found}
    for name in asked:
        carriers.named(network, name)
        if name not in by_name:
            raise InjectionError(
                f"layer {name!r}: expected one that makes channels which may change places, got "
                f"one that does not; take {carriers.listed(list(by_name)) or 'another network'}"
            )
    if not found:
        raise InjectionError(
            f"{method}: expected hidden channels that may change places, got none that the graph "
            "proves; use another network or method"
        )
    return [by_name[name] for name in asked] if asked else found


def taken(network: Weighted, axes: Iterable[HiddenAxis]) -> list[carriers.Carrier]:
    """The layers of some axes as carriers of a key, each once, in the order of the axes."""
    layers = {layer.name: layer for layer in network.layers}
    names = dict.fromkeys(name for axis in axes for name in axis.layers)
    return [
        carriers.Carrier(layers[name], np.asarray(network.weights[name], np.float64))
        for name in names
    ]
