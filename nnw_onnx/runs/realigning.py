"""A network put back into the order, and the graph, of a reference: from two networks, a third.

Where normalisations of the reference are folded in the other network, both are compared folded;
then what was folded is taken out again, with the factors of the reference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.graph import Folded, OnnxNetwork, fold_normalisations, open_network
from nnw_onnx.kit.alignment import Alignment, Likeness, aligned
from nnw_onnx.kit.scales import gains_of
from nnw_onnx.vocabulary import WEIGHT_ROLES, Array, Found, Layer, TensorInfo, Weights

_NORMALISATION = "BatchNormalization"
_TAKES_PART = (*WEIGHT_ROLES, "bias", "norm")


@dataclass(frozen=True)
class Realigned:
    """A network in the order of a reference.

    Attributes:
        network: the graph of the reference with the weights of the other network; that itself
            where nothing of it could be put in order.
        alignment: how it was found.
        given: layers of the reference whose weights were found.
        missing: layers that take part in its answers and were not found.
        folded: normalisations whose factors were taken out of the weights.
    """

    network: OnnxNetwork
    alignment: Alignment
    given: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    folded: tuple[Folded, ...] = ()

    @property
    def recovered(self) -> bool:
        """Whether channels could be told apart, so that `network` is in order."""
        return self.alignment.recovered

    @cached_property
    def _kernels(self) -> Mapping[str, str]:
        """Name of a kernel -> the same where normalisations are folded."""
        return {one.kernel: one.folded for one in self.folded}

    def likeness(self, name: str) -> Likeness | None:
        """How like a layer is to that of the reference; None where that cannot be said."""
        return self.alignment.likeness.get(self._kernels.get(name, name))

    def found(self, one: Found) -> Found:
        """Where a carrier that was read in order lies in the network that was given."""
        place = self.alignment.places.get(self._kernels.get(one.layer, one.layer))
        if not self.recovered or place is None:
            return one
        like = self.likeness(one.layer)
        part = ", ".join(filter(None, (place.part, one.part)))
        return Found(
            one.carrier, place.layer.name, part, place.way, one.candidates, one.use, one.note,
            None if like is None else like.cosine, None if like is None else like.margin,
        )  # fmt: skip


def realigned(
    network: OnnxNetwork, reference: OnnxNetwork, unread: Collection[str] = ()
) -> Realigned:
    """The network in the order of a reference.

    Args:
        network: of unknown order.
        reference: a network that it may have been made from.
        unread: layers of the reference whose weights must not decide anything.

    Raises:
        ModelFileError: weights cannot be read, or the reference does not take them.
    """
    if _normalisations(network) >= _normalisations(reference):
        found = aligned(reference, network, unread)
        return _put(network, reference, found, _plain(found), ())
    plain, folds = _without_normalisations(reference)
    names = {one.kernel: one.folded for one in folds}
    other, _ = _folded(network)
    found = aligned(plain, other, [names.get(name, name) for name in unread])
    return _put(network, reference, found, _unfolded(found, reference, folds, unread), folds)


def _put(
    network: OnnxNetwork,
    reference: OnnxNetwork,
    found: Alignment,
    weights: Weights,
    folds: tuple[Folded, ...],
) -> Realigned:
    if not found.recovered:
        return Realigned(network, found)
    layers = {layer.name: layer for layer in reference.layers}
    fit = {name: values for name, values in weights.items() if _fits(layers.get(name), values)}
    taken = frozenset(fit)
    missing = tuple(
        x.name for x in reference.layers
        if x.live and x.role in _TAKES_PART and x.name not in taken
    )  # fmt: skip
    return Realigned(reference.with_weights(fit), found, taken, missing, folds)


def _fits(layer: Layer | None, values: Array) -> bool:
    return (
        layer is not None
        and layer.replaceable
        and layer.shape == values.shape
        and bool(np.isfinite(values).all())
    )


def _plain(found: Alignment) -> dict[str, Array]:
    return {name: found.weights(name) for name in found.values if found.whole(name)}


def _unfolded(
    found: Alignment, reference: OnnxNetwork, folds: tuple[Folded, ...], unread: Collection[str]
) -> dict[str, Array]:
    """Weights for the reference as it is, whose normalisations compute what the folded ones do."""
    now = _plain(found)
    parts = {one.kernel: one for one in folds}
    gone = {one.folded for one in folds} | {one.bias for one in folds}
    weights = {name: values for name, values in now.items() if name not in gone}
    for one in parts.values():
        if one.folded in now:
            weights |= _apart(one, now, reference, read=one.kernel not in unread)
    return weights


def _apart(one: Folded, now: Weights, reference: OnnxNetwork, *, read: bool) -> dict[str, Array]:
    """Kernel and normalisation of a folded kernel and its bias.

    The kernel is divided by the factors s / sqrt(v + e) of the reference, and by what is left of
    factors of its own. Scale and shift are such that mean and variance may stay.
    """
    scale, mean, variance = (
        np.asarray(reference.weights[name], np.float64)
        for name in (one.scale, one.mean, one.variance)
    )
    deviation = np.sqrt(variance + one.epsilon)
    factors, kernel = scale / deviation, np.asarray(now[one.folded], np.float64)
    if len(kernel) != len(factors):
        return {}
    weights = kernel / _column(np.where(factors == 0, np.inf, factors), kernel.ndim)
    if read:
        gains = gains_of(np.asarray(reference.weights[one.kernel]), weights)
        factors, weights = factors * gains, weights / _column(gains, kernel.ndim)
    told: dict[str, Array] = {one.kernel: weights, one.scale: factors * deviation}
    told |= {one.mean: mean, one.variance: variance}
    if one.bias in now:
        told[one.shift] = np.ravel(now[one.bias]) + factors * (mean - _bias(one, reference))
    return told


def _column(values: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    return values.reshape(-1, *[1] * (rank - 1))


def _bias(one: Folded, reference: OnnxNetwork) -> NDArray[np.float64] | float:
    """The bias that the kernel has before its normalisation, which stays that of the reference."""
    kernel = next(x for x in reference.layers if x.name == one.kernel)
    own = next(
        (x for x in reference.layers if x.role == "bias" and x.node and x.node == kernel.node), None
    )
    return 0.0 if own is None else np.ravel(np.asarray(reference.weights[own.name], np.float64))


def _normalisations(network: OnnxNetwork) -> int:
    return sum(x.live and x.operator == _NORMALISATION and x.role == "norm" for x in network.layers)


@lru_cache(maxsize=4)
def _without_normalisations(network: OnnxNetwork) -> tuple[OnnxNetwork, tuple[Folded, ...]]:
    """A reference with its normalisations folded, which is asked for again and again."""
    return _folded(network)


@dataclass(frozen=True)
class _Folder:
    """A temporary folder that lives as long as the network that was read from it."""

    folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="nnw-")
    )


def _folded(network: OnnxNetwork) -> tuple[OnnxNetwork, tuple[Folded, ...]]:
    if not _normalisations(network):
        return network, ()
    kept = _Folder()
    source, target = (Path(kept.folder.name) / name for name in ("as-it-is.onnx", "folded.onnx"))
    network.save(source)
    done = fold_normalisations(source, target)
    return open_network(target, keep=kept), done


@dataclass(frozen=True)
class InOrder:
    """What was put in order, as a network that is read: only layers that were found are there."""

    realigned: Realigned

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """See `vocabulary.Weighted`."""
        known = self.realigned.given
        return tuple(x for x in self.realigned.network.layers if x.name in known)

    @property
    def weights(self) -> Weights:
        """See `vocabulary.Weighted`."""
        return _Given(self.realigned.network.weights, [x.name for x in self.layers])

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """See `vocabulary.Suspect`."""
        return self.realigned.network.inputs


class _Given(Mapping[str, Array]):
    def __init__(self, weights: Weights, names: list[str]) -> None:
        self._weights, self._names = weights, names

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
