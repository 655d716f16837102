"""EmMark: bits as single steps of quantized weights.

Zhang, Koushanfar, "EmMark: Robust Watermarks for IP Protection of Embedded Quantized Large Language
Models", DAC 2024, arXiv 2402.17938. Positions are scored by the size of the integers alone: the
paper adds the scale of the activations of each input channel, which belongs to another layer's
answers. It marks every layer, this one the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, commitments, injections, keystream, knowing, steps, symbols
from nnw_onnx.math import normal
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Bench,
    Bound,
    Card,
    Commits,
    Decodes,
    Decoding,
    Detection,
    Detects,
    Injects,
    Key,
    Layer,
    Network,
    Null,
    Payload,
    Suspect,
    Weighted,
)

_TOP = 127
"""Largest number of the 8-bit grid that a layer of floating-point weights is given."""
_FAR = 8
"""Steps: a weight further away was replaced (pruned, say), and would drown all the others."""
_ARRAYS = ("places", "original", "below", "above")
_F64 = NDArray[np.float64]


class _Read(NamedTuple):
    """Steps times keyed signs (size, repeat), and how the carrier was found."""

    agreement: _F64
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EmMark(Commits, Decodes, Detects, Injects):
    """Each bit moves `repeat` weights of large integers by one step, up or down by keyed signs.

    The key holds the weights as they were. With d the steps from there to the suspect and b the
    signs that were embedded, the statistic is sum b d / sqrt(sum d^2), of the weights that are at
    most 8 steps away. The signs are fair coins whatever d is, so that its tail has the bound
    `math.normal.log10_signs_tail`; a weight that is where it was carries no evidence. Integers of
    the largest absolute value are taken, zeros and the ends of the grid are not. Weights of a
    floating-point layer are stepped by what 8 bits with a scale for each filter would be.
    """

    name = "emmark"
    summary = "bits are single steps of quantized weights, read against the original (EmMark 2024)"
    card: ClassVar[Card | None] = Card(
        paper="Zhang, Koushanfar, EmMark: Robust Watermarks for IP Protection of Embedded "
        "Quantized Large Language Models, DAC 2024, arXiv 2402.17938",
        blind=False,
        capacity="one bit for every 1 / repeat of the weights that are neither zero nor at an end",
        key="positions, and the weights there before and after one step",
        null="fair keyed signs of the steps that the suspect differs by; a bound for any steps",
        reported=("100 % of the bits extracted from quantized OPT and LLaMA-2 (abstract)",),
        dies_of=(
            "quantizing to 4 bits, of which one step is 18 of the mark's (measured on networks of "
            "digits: all evidence gone)",
            "Gaussian noise of a tenth of a layer's deviation (likewise: statistic 2.1 to 2.6 of "
            "11.3)",
            "noise uniform from -j to j steps on the whole pool: the statistic of n weights falls "
            "to sqrt(n / (1 + j (j + 1) / 3)), of 100 weights to 3.0 at j = 5, and to 0 from j = 9 "
            "on (closed form); at j = 10 statistic -1.7 to 1.4 of 16, 26 to 38 of 64 bits wrong, "
            "for -0.2 to 0.2 points (eleven CIFAR-10 networks and keys not looked at, computed by "
            "this project)",
            "permuting hidden units: positions are counted (structure of the method)",
        ),
    )
    adaptive = (
        knowing.REORDERED,
        knowing.DISGUISED,
        (knowing.aimed("@largest", "grid-noise", steps=10),),
    )

    pool: Annotated[int, Ge(1), Le(1 << 16)] = option(
        50, help="candidates for each weight that is moved, of which the key chooses one"
    )
    repeat: Annotated[int, Ge(1), Le(1 << 12)] = option(
        4, help="weights that are moved for each bit; the paper has one in each of many layers"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the largest quantized kernel, of another one without, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, has a weight to move for each bit.
        """
        carriers.check_size(size)
        layer, reason = _chosen(network, bench, self.name)
        carrier = carriers.take(network, layer, fills=False)
        needed = size * self.repeat
        below, above, units = _around(network, layer)
        free = np.flatnonzero((units > 0) & (below < carrier.values) & (above > carrier.values))
        if len(free) < needed:
            raise InjectionError(
                f"layer {layer.name!r}: expected {needed} weights that are neither zero nor at an "
                f"end of a grid of at most 8 bits, got {len(free)}; use a shorter payload or "
                "another layer"
            )
        largest = free[np.argsort(-units.reshape(-1)[free], kind="stable")][: self.pool * needed]
        places = largest[keystream.permutation(secret, "emmark/places", len(largest), needed)]
        values = [places, *(x.reshape(-1)[places] for x in (carrier.values, below, above))]
        grid = layer.quantization or f"steps of 1/{_TOP} of the largest weight of a filter"
        why = f"carrier {carriers.describe(layer)}: {reason}; {needed} weights on {grid}"
        key = carriers.key_for(self, [carrier], network, size, secret, [why])
        key = replace(key, arrays=dict(zip(_ARRAYS, values, strict=True)))
        bound = self.committed(key, network)
        return replace(key, commitment=commitments.commit(secret, self.name, bound))

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The carrier and the arrays of the key; raises `CarrierNotFoundError`."""
        places, *values = _arrays(key, self.repeat)
        named = zip(_ARRAYS, (places, *values), strict=True)
        arrays = [(name, x.shape, commitments.digest(x)) for name, x in named]
        return [*commitments.carriers_of(key, network), *arrays]

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network whose chosen weights are one step away; raises `InjectionError`."""
        carrier = carriers.find(network, key, self.name)
        places, _, below, above = _arrays(key, self.repeat)
        wanted = (_chips(key, self.repeat) * symbols.embedded_signs(payload, key)[:, None]) > 0
        marked = carrier.values.copy()
        marked.reshape(-1)[places] = np.where(wanted.reshape(-1), above, below)
        return injections.stored(self, network, carrier, marked, payload, key, bench)

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the sums of steps; raises `CarrierNotFoundError`, `ConfigurationError`."""
        found = self._read(suspect, key)
        deviation = float(np.linalg.norm(found.agreement)) / math.sqrt(key.size)
        return symbols.read(found.agreement.sum(axis=1), deviation, key, found.notes)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The correlation of the claimed signs and the steps.

        Raises:
            CarrierNotFoundError: the carrier does not exist in this network.
            ConfigurationError: the claim has another size than the key, or the key is not whole.
        """
        if len(claim) != key.size or claim.alphabet > 2:
            raise ConfigurationError(
                f"payload: expected {key.size} symbols of an alphabet of at most 2, got "
                f"{len(claim)} of {claim.alphabet}; use the key it was injected with"
            )
        found = self._read(suspect, key)
        signs = symbols.embedded_signs(claim, key)
        norm = float(np.linalg.norm(found.agreement))
        statistic = float(signs @ found.agreement.sum(axis=1)) / norm if norm > 0 else 0.0
        moved = int(np.count_nonzero(found.agreement))
        whole = found.agreement.size
        return Detection(
            statistic=statistic,
            log10_p=normal.log10_signs_tail(statistic),
            null=Null(
                f"random signs of {whole} steps",
                log10_least=normal.log10_signs_tail(math.sqrt(whole)),
            ),
            log10_inverted=normal.log10_signs_tail(-statistic),
            notes=(*found.notes, f"{moved} of {whole} weights have moved by at most {_FAR} steps"),
        )

    def _read(self, suspect: Weighted, key: Key) -> _Read:
        carrier = carriers.find(suspect, key, self.name)
        places, original, below, above = _arrays(key, self.repeat)
        steps_away = 2 * (carrier.values.reshape(-1)[places] - original) / (above - below)
        near = np.where(np.abs(steps_away) <= _FAR, steps_away, 0.0)
        chips = _chips(key, self.repeat)
        return _Read(chips * near.reshape(chips.shape), carrier.notes)


def _chosen(network: Network, bench: Bench, method: str) -> tuple[Layer, str]:
    """The layer to mark, and in words why."""
    name = carriers.asked(bench, method)
    if name is not None:
        return carriers.named(network, name), "as asked"
    found = list(carriers.preferred(network, list))
    order = sorted(found, key=lambda x: (x.quantization is None, -x.size))
    refusal = (
        f"emmark: expected a kernel that can carry a watermark, got {carriers.why_none(network)}; "
        "use another network"
    )
    layer = carriers.first_fit(network, order, refusal).layer
    kind = "quantized kernel" if layer.quantization is not None else "kernel; none is quantized"
    return layer, f"the largest {kind}"


def _around(network: Network, layer: Layer) -> tuple[_F64, _F64, _F64]:
    """The next smaller and larger values of each weight, and its size in steps; 0 where none."""
    values = np.asarray(network.weights[layer.name], np.float64)
    if layer.quantization is not None:
        below, above = steps.neighbours(network, layer)
    else:
        rows = np.abs(values).reshape(len(values), -1).max(axis=1) / _TOP
        step = rows.reshape(-1, *[1] * (values.ndim - 1))
        inside = (np.abs(values) >= step / 2) & (np.abs(values) < (_TOP - 0.5) * step)
        below, above = (np.where(inside, values + sign * step, values) for sign in (-1, 1))
    width = above - below
    units = np.divide(2 * np.abs(values), width, out=np.zeros_like(values), where=width > 0)
    return below, above, units


def _arrays(key: Key, repeat: int) -> tuple[NDArray[np.int64], _F64, _F64, _F64]:
    """Places, and the values there before, one step below and one above.

    Raises:
        ConfigurationError: the key lacks them, or they do not fit it.
    """
    found = [key.arrays.get(name) for name in _ARRAYS]
    size = math.prod(key.shapes[0]) if key.shapes else 0
    places, *values = (np.zeros(0) if x is None else x for x in found)
    whole = all(x.shape == (key.size * repeat,) for x in (places, *values))
    if whole and places.dtype.kind == "i":
        whole = bool((places >= 0).all() and (places < size).all())
        whole &= all(bool(np.isfinite(x).all()) for x in values)
        whole &= bool((values[1] < values[2]).all())
    if not whole or places.dtype.kind != "i":
        raise ConfigurationError(
            f"key: expected {key.size * repeat} places in its layer with their values, got others; "
            "restore the key from a copy"
        )
    original, below, above = (np.asarray(x, np.float64) for x in values)
    return places.astype(np.int64), original, below, above


def _chips(key: Key, repeat: int) -> _F64:
    drawn = keystream.signs(key.secret, "emmark/signs", key.size * repeat)
    return drawn.reshape(key.size, repeat).astype(np.float64)
