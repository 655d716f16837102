"""Blocks of weights that vouch for themselves: what methods of integrity share.

A block keeps a keyed hash of itself somewhere in its own weights. It is whole where all bits of the
hash are right; where anything in it was changed, about half of them are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, InjectionError
from nnw_onnx.kit import carriers, evidence, mantissas
from nnw_onnx.math import binomial
from nnw_onnx.vocabulary import (
    Array,
    Bench,
    Detection,
    Json,
    Key,
    Layer,
    Method,
    Network,
    Place,
    Suspect,
    Weights,
)

Block = tuple[int, int, Array]
"""First weight, end (exclusive), and the weights: a view."""
PlacesOf = Callable[[str, Array, int], Iterator[Place]]
"""The places of a layer of this name, with these weights, that is carrier number so and so."""


def count(size: int, length: int) -> int:
    """Number of blocks of a layer of `size` weights."""
    return max(1, size // length)


def blocks(flat: Array, length: int) -> Iterator[Block]:
    """Blocks of `length` weights; the last one takes what is left over."""
    number = count(flat.size, length)
    for k in range(number):
        start, stop = k * length, flat.size if k == number - 1 else (k + 1) * length
        yield start, stop, flat[start:stop]


def hash_bits(block: Array, secret: bytes, bits: int, *where: object) -> NDArray[np.uint8]:
    """Bits (bits,), at most 64, of the keyed hash of a block (n,) and of where it is."""
    words = mantissas.words(block)
    content = words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
    head = f"{where} {block.dtype} {len(block)};".encode()
    digest = hashlib.blake2b(head + content, key=secret, digest_size=8).digest()
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:bits]


def key_for(
    method: Method,
    network: Network,
    secret: bytes,
    bench: Bench,
    defect: Callable[[Layer, Array], str | None],
    needs: str,
    remedy: str,
    parts: str,
    facts: Mapping[str, Json] | None = None,
) -> Key:
    """Key of every kernel that can vouch for itself, or of the layers asked for.

    Args:
        method: whose key it is.
        network: before anything is put in.
        secret: 32 bytes.
        bench: its `layers` are those that the owner asks for, or ().
        defect: says why a layer with these weights cannot vouch for itself, or None.
        needs: what a layer has to be made of, for the message.
        remedy: what to do where none is fit.
        parts: what layers vouch for themselves in, for a note.
        facts: numbers and words of the key.

    Raises:
        InjectionError: no layer is fit, or one asked for is not.
    """
    asked = [carriers.named(network, name) for name in bench.layers]
    chosen = asked or carriers.kernels(network)
    defects = {x.name: defect(x, network.weights[x.name]) for x in chosen}
    fit = [layer for layer in chosen if defects[layer.name] is None]
    if not fit or (bench.layers and len(fit) < len(chosen)):
        unfit = [f"{name} with {words}" for name, words in defects.items() if words]
        raise InjectionError(
            f"{method.name}: expected layers of {needs}, got "
            f"{carriers.listed(unfit) or none(network)}; {remedy}"
        )
    left = [layer.name for layer in network.layers if layer not in fit]
    why = [f"{len(fit)} layers in {parts}"]
    why += [f"not vouched for: {carriers.listed(left)}"] * bool(left)
    taken = [carriers.take(network, layer, fills=False) for layer in fit]
    return carriers.key_for(method, taken, network, 0, secret, why, facts)


def place(layer: str, block: Block, right: int, bits: int) -> Place:
    """The evidence of a block of whose hash so many bits are right."""
    start, stop, _ = block
    return Place(layer, start, stop, right, binomial.tail(right, bits).log10_p)


def detected(
    suspect: Suspect,
    key: Key,
    method: str,
    bits: int,
    blocks_of: Callable[[int], int],
    places_of: PlacesOf,
) -> Detection:
    """The blocks that are whole, with every block as a place.

    Layers that are not in the suspect have only changed blocks, and are one place each. Weights
    that are not finite are a change like any other.

    Args:
        suspect: where to look.
        key: of the method.
        method: its name.
        bits: of the hash of a block.
        blocks_of: number of blocks of a layer of so many weights.
        places_of: reads a layer.

    Raises:
        CarrierNotFoundError: none of the layers is there.
    """
    places: list[Place] = []
    lost = 0
    refusals: list[CarrierNotFoundError] = []
    for index, name in enumerate(key.layers):
        try:
            found = carriers.find(suspect, key, method, index, finite=False).layer.name
            places += places_of(found, suspect.weights[found], index)
        except CarrierNotFoundError as error:
            refusals.append(error)
            # By arithmetic: shapes of a key are believed of a layer that is there only.
            size = math.prod(key.shapes[index])
            lost += blocks_of(size)
            places.append(Place(name, 0, size, 0, 0.0))
    if refusals and len(refusals) == len(key.layers):
        raise refusals[0]
    whole = sum(place.statistic == bits for place in places)
    total = len(places) - len(refusals) + lost
    told = evidence.counted(whole, total, Fraction(1, 1 << bits))
    hurt = sorted({place.layer for place in places if place.statistic < bits})
    notes = [f"{whole} of {total} blocks are whole"]
    notes += [f"changed: {carriers.listed(hurt)}"] * bool(hurt)
    return replace(told, places=tuple(places), notes=tuple(notes))


def stored(network: Network, marked: Weights) -> Network:
    """The network with these weights, bit by bit.

    Raises:
        InjectionError: a layer does not keep them as they are.
    """
    result = network.with_weights(marked)
    for name, wanted in marked.items():
        if not np.array_equal(result.weights[name], wanted):
            raise InjectionError(
                f"layer {name!r}: expected weights that keep a last bit, got others back, "
                "because what is stored is not what arrives; choose other layers"
            )
    return result


def none(network: Network) -> str:
    """In words what there is instead of kernels that keep a bit."""
    kernels = [layer for layer in network.layers if layer.role == "kernel"]
    coarse = [layer.name for layer in kernels if layer.quantization is not None]
    if coarse:
        return f"quantized ones, whose steps are larger ({carriers.listed(coarse)})"
    return carriers.why_none(network)
