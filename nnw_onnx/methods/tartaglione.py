"""Weights that hold the payload and do not move, in a network trained to be steep around them.

Tartaglione, Grangetto, Cavagnino, Botta, "Delving in the loss landscape to embed robust watermarks
into neural networks", ICPR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, injections, keystream, knowing, symbols
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Card,
    Decodes,
    Decoding,
    Injects,
    Key,
    Moment,
    Network,
    Payload,
    Penalty,
    Suspect,
    Trains,
    Weighted,
)

_PERMUTED = 1 << 16
"""Weights up to which all positions are permuted; beyond, positions are drawn."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tartaglione(Decodes, Injects, Trains):
    """A keyed weight, of any kernel, holds each Symbol: (2 v / (alphabet - 1) - 1) scale.

    v is the Symbol plus a keyed one, so that any network answers each Symbol with chance
    1/alphabet. The paper's payload is an image: its pixels are Symbols of an alphabet of 256. The
    marked weights are set before the training and stay.

    At each step of it, replicas of the network get noise on all other weights and one step of
    ascent on the task's loss; the term of the loss is strength / 2 times the mean of their squared
    norms, with the derivative of a replica by the weights taken as 1. That is the paper's update,
    which takes lambda times the mean replica from the weights, with strength = lambda / learning
    rate. Each replica costs a forward and a backward pass. Without training the substitution alone
    is made, and nothing makes up for it.
    """

    name = "tartaglione"
    summary = "fixed weights hold the payload, replicas shape the rest (Tartaglione 2020)"
    card: ClassVar[Card | None] = Card(
        paper="Tartaglione, Grangetto, Cavagnino, Botta, Delving in the loss landscape to embed "
        "robust watermarks into neural networks, ICPR 2020",
        blind=True,
        capacity="one Symbol a weight, of up to 256 values as the pixels of an image",
        key="nothing beside its secret",
        null="Bin(symbols, 1/alphabet), exact: keyed positions, and Symbols behind a uniform mask",
        dies_of=(
            "permuting filters or channels, which costs nothing: positions are counted (structure "
            "of the method)",
            "drawing anew the weights of equal size, which are the marked ones: 28 to 39 of 64 "
            "bits wrong, for -0.2 to 1.3 points (eleven CIFAR-10 networks and keys not looked at, "
            "computed by this project); clipping all layers at 3 deviations takes none, since "
            "signs stay, for 1.7 to 19.8 points (the same)",
        ),
        strength="scale",
    )
    adaptive = (
        (knowing.aimed("@all", "redrawn-repeats"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    alphabet: Annotated[int, Ge(2), Le(256)] = option(2, help="number of different Symbols")
    scale: Annotated[float, Gt(0), Le(1000)] = option(
        0.1, help="largest marked weight, as a number (published: 0.1)"
    )
    replicas: Annotated[int, Ge(0), Le(64)] = option(
        4, help="replicas of the network at each step of the training"
    )
    spread: Annotated[float, Ge(0), Le(100)] = option(
        0.01, help="standard deviation of the noise on a replica's weights"
    )
    ascent: Annotated[float, Ge(0), Le(1000)] = option(
        1.0, help="learning rate of a replica's step up the loss"
    )
    strength: Annotated[float, Ge(0), Le(1000)] = option(
        1e-5, help="weight of the replicas; published: lambda 1e-6 at a learning rate of 0.1"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of every kernel that is fit, or of the layers asked for.

        Raises:
            InjectionError: there are fewer weights than Symbols, or a layer is not fit.
        """
        carriers.check_size(size)
        asked = [carriers.named(network, name) for name in bench.layers]
        layers = asked or [x for x in carriers.kernels(network) if carriers.is_fit(network, x)]
        weights = sum(layer.size for layer in layers)
        if weights < size:
            got = f"{weights} in {len(layers)} layers" if layers else carriers.why_none(network)
            raise InjectionError(
                f"tartaglione: expected at least {size} weights in kernels, got {got}; use a "
                "shorter payload or other layers"
            )
        chosen = [carriers.take(network, layer, fills=False) for layer in layers]
        why = f"{size} of {weights} weights in {len(layers)} layers, chosen by the key"
        return carriers.key_for(self, chosen, network, size, secret, [why])

    def inject(self, network: Network, payload: Payload, key: Key, bench: Bench) -> Network:
        """The network with its marked weights set; raises `InjectionError`."""
        values = {name: c.values for name, c in _found(network, key).items()}
        result = network.with_weights(self._marked(values, payload, key))
        wrong = self.decode(injections.Own(result, bench), key).payload.errors(payload)
        if wrong:
            raise InjectionError(
                f"tartaglione: expected all {len(payload)} symbols to be read back, got {wrong} "
                "wrong ones as they are stored; use a larger scale or other layers"
            )
        return result

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """Where the training starts, the weights that it leaves alone, and the replicas.

        Raises:
            CarrierNotFoundError: the network lacks a carrier of the key.
            InjectionError: the payload does not fit the key.
        """
        values = {name: c.values for name, c in _found(network, key).items()}
        marked, places = self._marked(values, payload, key), _by_layer(key)
        fixed = {name: np.zeros(values[name].shape, np.bool_) for name in marked}
        for name, mask in fixed.items():
            mask.reshape(-1)[places[name][1]] = True
        if not self.replicas or not self.strength:
            return Additions(start=marked, fixed=fixed)
        return Additions(
            lambda now: self._penalty(now, key, fixed),
            carriers=key.layers,
            start=marked,
            fixed=fixed,
        )

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """The nearest value of each marked weight; raises `CarrierNotFoundError`.

        A weight in the middle between two values is a tie; which one it counts as is for the key's
        mask to say.
        """
        found, places = _found(suspect, key), _by_layer(key)
        weights, energy = np.zeros(key.size), 0.0
        for name, carrier in found.items():
            which, where = places[name]
            weights[which] = carrier.values.reshape(-1)[where]
            energy += float(np.sum(np.square(carrier.values)))
        top = self.alphabet - 1
        place = (weights / self.scale + 1) / 2 * top
        border = np.clip(np.floor(place), 0, top - 1) + 0.5
        values = np.clip(np.rint(place), 0, top).astype(np.int64)
        read = (values - self._mask(key)) % self.alphabet
        # In weights, and then in their root mean square: that of a weight at a random position.
        away = np.abs(place - border) * 2 * self.scale / top
        deviation = math.sqrt(energy / sum(c.values.size for c in found.values()))
        sure = away / deviation if deviation > 0 else np.zeros(key.size)
        return Decoding(
            Payload(tuple(read.tolist()), self.alphabet),
            tuple(sure.tolist()),
            ties=int(np.count_nonzero(place == border)),
            notes=tuple(note for c in found.values() for note in c.notes),
        )

    def _marked(
        self, values: Mapping[str, Floats], payload: Payload, key: Key
    ) -> dict[str, Floats]:
        """The layers that hold a Symbol, with their marked weights set."""
        held = (symbols.fitting(payload, key, self.alphabet) + self._mask(key)) % self.alphabet
        wanted = (2 * held / (self.alphabet - 1) - 1) * self.scale
        marked = {name: values[name].copy() for name in _by_layer(key)}
        for name, (which, where) in _by_layer(key).items():
            marked[name].reshape(-1)[where] = wanted[which]
        return marked

    def _mask(self, key: Key) -> NDArray[np.int64]:
        return keystream.integers(key.secret, "tartaglione/mask", key.size, self.alphabet)

    def _penalty(self, now: Moment, key: Key, fixed: Mapping[str, NDArray[np.bool_]]) -> Penalty:
        """Half the mean squared norm of the replicas, over the weights that may move."""
        total = {name: np.zeros(now.weights[name].shape) for name in key.layers}
        energy = 0.0
        for number in range(self.replicas):
            for name, values in self._replica(now, key, number, fixed).items():
                if name in fixed:
                    values[fixed[name]] = 0.0
                total[name] += values / self.replicas
                energy += float(np.sum(np.square(values))) / self.replicas
        slopes = {name: self.strength * values for name, values in total.items()}
        return Penalty(self.strength / 2 * energy, slopes)

    def _replica(
        self, now: Moment, key: Key, number: int, fixed: Mapping[str, NDArray[np.bool_]]
    ) -> dict[str, Floats]:
        """The weights with noise where they may move, after a step up the task's loss."""
        noisy = {}
        for name in key.layers:
            values = np.asarray(now.weights[name], np.float64)
            label = f"tartaglione/replica/{now.step}/{number}/{name}"
            noise = self.spread * keystream.gaussian(key.secret, label, values.size)
            noise = noise.reshape(values.shape)
            noisy[name] = values + (np.where(fixed[name], 0.0, noise) if name in fixed else noise)
        up = now.task_gradient(noisy)
        return {n: w + self.ascent * np.asarray(up[n], np.float64) for n, w in noisy.items()}


class _Places(NamedTuple):
    """Which Symbols (n,) a layer holds, and in which of its weights (n,), flat."""

    which: NDArray[np.int64]
    where: NDArray[np.int64]


def _by_layer(key: Key) -> dict[str, _Places]:
    """The places of each layer that holds a Symbol."""
    sizes = [math.prod(shape) for shape in key.shapes]
    drawn = _drawn(key.secret, key.size, sum(sizes))
    found = {}
    for name, size, end in zip(key.layers, sizes, np.cumsum(sizes), strict=True):
        which = np.flatnonzero((drawn >= end - size) & (drawn < end))
        if len(which):
            found[name] = _Places(which, drawn[which] - (end - size))
    return found


@lru_cache(maxsize=4)
def _drawn(secret: bytes, count: int, weights: int) -> NDArray[np.int64]:
    """Different positions (count,) among so many weights."""
    if count > weights:
        raise ConfigurationError(
            f"key: expected at most one symbol a weight, got {count} for {weights} weights; "
            "restore the key from a copy"
        )
    if weights <= max(_PERMUTED, 4 * count):
        return keystream.permutation(secret, "tartaglione/positions", weights, count)
    # More than are needed: a permutation of every weight would take 24 bytes a weight.
    many = keystream.integers(secret, "tartaglione/positions", 2 * count, weights)
    return many[np.sort(np.unique(many, return_index=True)[1])][:count]


def _found(network: Weighted, key: Key) -> dict[str, carriers.Carrier]:
    """The layers that hold a Symbol; raises `CarrierNotFoundError` where one is missing."""
    carriers.check_method(key, Tartaglione.name)
    holding = _by_layer(key)
    # Together they hold the Symbols: `find` would want each of them to be large enough alone.
    alone = replace(key, size=0)
    return {
        name: carriers.find(network, alone, Tartaglione.name, index)
        for index, name in enumerate(key.layers)
        if name in holding
    }
