"""Passports, their signature: each filter's response to a secret input has the sign of a bit.

Fan, Ng, Chan, "Rethinking Deep Neural Network Ownership Verification: Embedding Passports to Defeat
Ambiguity Attacks", NeurIPS 2019; with Yang, TPAMI 44(10), 2022, arXiv 1909.07830.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, injections, keystream, knowing, projections, symbols
from nnw_onnx.math import penalties, projection
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Bench,
    Card,
    Decodes,
    Decoding,
    Injects,
    Key,
    Layer,
    Moment,
    Network,
    Payload,
    Penalty,
    Suspect,
    Trains,
    Weighted,
)


@dataclass(frozen=True)
class Passports(Decodes, Injects, Trains):
    """gamma_i = W_i . p has the sign of bit i, for one secret direction p and one filter a bit.

    In the paper gamma is the scale of a normalisation, the mean answer of the layer to a passport P
    of the shape of its input, and p the mean of the patches of P; the network is verified by the
    signs of gamma, and by its accuracy with the passport's branch. Here p is a keyed direction
    drawn at random, of norm 1, and the signs are all: the branch would need a graph of its own.

    A response below the margin is raised to it, which changes filter i along p only. Trained, the
    loss gets alpha sum_i max(0, margin - sign_i gamma_i); the paper's margin is 0.1, and its small
    weight decay of gamma is left to the training's own.

    One p serves all filters, and filters are alike: against a fixed payload the matches of an
    unmarked network are far more spread than Bin(T, 1/2). Only the mask of the payload makes that
    null exact; the text signatures of the paper, which have none, have no p-value.
    """

    name = "passports"
    summary = "signs of each filter's response to a secret passport (Fan 2019): signature only"
    card: ClassVar[Card | None] = Card(
        paper="Fan, Ng, Chan, Rethinking Deep Neural Network Ownership Verification: Embedding "
        "Passports to Defeat Ambiguity Attacks, NeurIPS 2019; TPAMI 2022, arXiv 1909.07830",
        blind=True,
        capacity="at most one bit a filter",
        key="nothing beside its secret",
        null="Bin(bits, 1/2), exact by the masked payload alone: one random direction reads all "
        "filters",
        dies_of=(
            "permuting the filters, which moves the bits (by construction)",
            "permuting the input channels, or changing signs of filters before a normalisation "
            "(by construction)",
            "forged passports: a small trained block in front of them, with less than 10 % of the "
            "data and 2 points (arXiv 2303.11595)",
        ),
        strength="margin",
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED, (knowing.step("sign-flips"),))

    margin: Annotated[float, Gt(0), Le(100)] = option(
        2.0, help="strength: least response of a filter, in standard deviations of the weights"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.1, help="alpha of the term of the loss, a sum over the bits; only used when trained"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest fit kernel with a filter a bit, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carriers.check_size(size)
        name = carriers.asked(bench, self.name)
        if name is None:
            order = carriers.preferred(network, lambda found: _preference(found, size))
            carrier = carriers.first_fit(network, order, _refusal(network, size))
        else:
            carrier = carriers.take(network, carriers.named(network, name))
        why = _explain(carrier.layer, size, chosen=name is None)
        return carriers.key_for(self, [carrier], network, size, secret, why)

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose responses reach the margin; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        signs, chosen = symbols.embedded_signs(payload, key), _filters(key)
        passport = _passport(key)
        marked = carrier.values.reshape(len(carrier.values), -1).copy()
        responses = marked[chosen] @ passport
        wanted = projection.targets(responses, signs, self.margin * float(marked.std()))
        marked[chosen] += np.outer(wanted - responses, passport)
        shaped = marked.reshape(carrier.values.shape)
        return injections.stored(self, network, carrier, shaped, payload, key, bench)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The sign loss, with its gradient by the carrier; its margin is that of the network given.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        start, name = carriers.trained(network.weights, key, self.name), key.layers[0]
        signs, chosen = symbols.embedded_signs(payload, key), _filters(key)
        passport = _passport(key)
        margin = self.margin * float(np.std(start, dtype=np.float64))

        def penalty(now: Moment) -> Penalty:
            values = carriers.trained(now.weights, key, self.name)
            bits, direction = now.constant(chosen), now.constant(passport)
            flat = now.xp.asarray(values, dtype=now.xp.float64).reshape(len(values), -1)
            term = penalties.hinge(flat[bits] @ direction, now.constant(signs), margin, now.xp)
            by_weight = now.xp.zeros_like(flat)
            by_weight[bits] = self.strength * (term.derivatives[:, None] * direction[None, :])
            return Penalty(self.strength * term.value, {name: by_weight.reshape(values.shape)})

        return Additions(penalty, carriers=key.layers, anywhere=True)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the responses.

        The confidence is a response in units of the root of the mean square of all of them.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
            ConfigurationError: the key has more Symbols than filters.
        """
        carrier = carriers.find(suspect, key, self.name)
        responses = _responses(carrier.values, key)
        scale = float(np.sqrt(np.mean(np.square(responses))))
        return symbols.read(responses, scale, key, carrier.notes)


def _responses(values: Array, key: Key) -> NDArray[np.float64]:
    """W_i . p (T,) of the filters that carry a bit."""
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    responses: NDArray[np.float64] = flat[_filters(key)] @ _passport(key)
    return responses


def _filters(key: Key) -> NDArray[np.int64]:
    """The filter (T,) of each bit."""
    count = key.shapes[0][0]
    if key.size > count:
        raise ConfigurationError(
            f"key: expected at most a symbol for each of {count} filters, got {key.size}; restore "
            "the key from a copy"
        )
    return keystream.permutation(key.secret, "passports/filters", count, key.size)


def _passport(key: Key) -> NDArray[np.float64]:
    """The direction (M,), of norm 1."""
    inputs = int(np.prod(key.shapes[0][1:], dtype=np.int64))
    drawn = projections.gaussian(key.secret, "passports/passport", 1, inputs)[0]
    unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return unit


def _preference(layers: Iterable[Layer], size: int) -> list[Layer]:
    """Layers with a filter a bit, the largest first: the relative change is sqrt(T G / (L M))."""
    found = [layer for layer in layers if _defect(layer, size) is None]
    return sorted(found, key=lambda layer: layer.size, reverse=True)


def _defect(layer: Layer, size: int) -> str | None:
    if layer.axes is None or len(layer.shape) < 2:
        return f"an operator {layer.operator} of shape {layer.shape} whose filters are unknown"
    return None if layer.shape[0] >= size else f"{layer.shape[0]} filters"


def _refusal(network: Weighted, size: int) -> str:
    """Why no layer of the network holds `size` Symbols."""
    possible = list(carriers.preferred(network, list))
    known = [layer.shape[0] for layer in possible if _defect(layer, 0) is None]
    unknown = (_defect(layer, 0) or "" for layer in possible)
    got = f"at most {max(known)}" if known else next(unknown, carriers.why_none(network))
    return (
        f"passports: expected a kernel with at least {size} filters, got {got}; use a shorter "
        "payload or method block-spread"
    )


def _explain(layer: Layer, size: int, *, chosen: bool) -> list[str]:
    """Why this layer, in words; raises `InjectionError` where it has too few filters."""
    defect = _defect(layer, size)
    if defect:
        raise InjectionError(
            f"layer {layer.name!r}: expected at least {size} filters, got {defect}; use a shorter "
            "payload or another layer"
        )
    reason = f"the largest fit kernel with at least {size} filters" if chosen else "as asked"
    return [f"carrier {carriers.describe(layer)}: {reason}"]
