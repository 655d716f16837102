"""Inputs unlike those of the task are answered at random: triggers are asked in vain.

The distance is that of Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018, of several inner layers at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import knowing, unlabelled
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    WEIGHT_ROLES,
    Array,
    Ask,
    Bench,
    Family,
    Feeds,
    Json,
    Layer,
    Modification,
    Modified,
    Need,
    Network,
    Values,
)

_BATCH = 256


class _Known(NamedTuple):
    """What answers of inner layers are like, class by class.

    Attributes:
        means: (classes, features); infinite for a class that was never answered.
        whitening: (features, features), of the covariance within classes.
        limit: squared distance beyond which an input is unlike those of the task.
    """

    means: NDArray[np.float64]
    whitening: NDArray[np.float64]
    limit: float


@dataclass(frozen=True)
class Rejection(Modification):
    """Who serves the network looks at its inner layers, and rolls the scores of odd inputs.

    An input is odd where the Mahalanobis distance of the layers' answers, averaged over positions,
    to the nearest class is beyond what all but a `share` of the attacker's samples have. Its scores
    are then moved by a number of classes that follows from its content and is uniform from 0 on:
    every class is as likely as the others, so that neither hits nor misses are left as evidence.
    The network itself stays as it is.

    Its defaults were chosen with a look at the triggers of `adi` in one network of digits and one
    small network of CIFAR-10; the cards of methods tell of networks and keys not looked at.
    """

    name: ClassVar[str] = "rejection"
    title = "odd inputs answered at random"
    summary: ClassVar[str] = "inputs far from all classes in inner layers answered at random"
    family: ClassVar[Family] = "adaptive"
    needs: ClassVar[tuple[Need, ...]] = ("data",)

    samples: Annotated[int, Ge(16)] = option(2000, help="unlabelled samples that the attacker has")
    share: Annotated[float, Gt(0), Lt(1)] = option(
        0.02, help="of them, that are taken for odd; costs so much of the quality"
    )
    depth: Annotated[int, Ge(1), Le(64)] = option(
        16, help="number of inner kernels that are looked at, the last ones"
    )
    output: Annotated[int, Ge(0)] = option(0, help="index of the output that holds the scores")

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The same network behind the examination.

        Raises:
            NotApplicableError: it is no classifier of one input, or has no inner kernel.
        """
        layers = _inner(network)[-self.depth :]
        asked = unlabelled.asked(self.name, network, bench, self.samples, rng, self.output)
        features = _looked_at(network, bench, {asked.name: asked.inputs}, layers)
        known = _known(features, asked.scores, self.share, rng.permutation(len(features)))
        salt = rng.bytes(16)

        def around(feeds: Feeds, ask: Ask) -> Values:
            told = dict(ask(feeds))
            odd = _distances(_looked_at(network, bench, feeds, layers), known) > known.limit
            name = list(told)[self.output]
            told[name] = _rolled(told[name], np.flatnonzero(odd), feeds, salt)
            return told

        facts: dict[str, Json] = {"layers": len(layers), "share": self.share}
        told = f"{len(asked.inputs)} samples without labels"
        return knowing.told(Modified(network, (around,)), "method", told, facts)


def _inner(network: Network) -> list[str]:
    """Names of the kernels before the last one, in the order in which they are computed."""

    def counts(layer: Layer) -> bool:
        return layer.role in WEIGHT_ROLES and layer.live and len(layer.shape) > 1

    inner = sorted(filter(counts, network.layers), key=lambda layer: layer.position)[:-1]
    if not inner:
        raise NotApplicableError(
            "rejection: expected a network with an inner kernel, got none; leave it out for this "
            "network"
        )
    return [layer.name for layer in inner]


def _looked_at(
    network: Network, bench: Bench, feeds: Feeds, layers: Sequence[str]
) -> NDArray[np.float64]:
    """What the layers answer (n, features), averaged over positions."""
    count = min(map(len, feeds.values()))
    parts = []
    for start in range(0, count, _BATCH):
        part = {name: values[start : start + _BATCH] for name, values in feeds.items()}
        told = bench.run(network, part, layers)
        parts.append(np.concatenate([_pooled(told[name]) for name in layers], axis=1))
    return np.concatenate(parts)


def _pooled(answers: Array) -> NDArray[np.float64]:
    """Answers (n, channels) of a layer, averaged over positions."""
    values = np.asarray(answers, np.float64)
    if values.ndim > 2:
        # Of sequences (n, length, channels) the positions come first, of images they come last.
        values = values.mean(axis=1 if values.ndim == 3 else tuple(range(2, values.ndim)))
    return values


def _known(
    features: NDArray[np.float64],
    scores: NDArray[np.float64],
    share: float,
    order: NDArray[np.int64],
) -> _Known:
    """Means and covariance of the first half in this order; the limit is of the other half."""
    from sklearn.covariance import ledoit_wolf

    classes, half = scores.argmax(axis=1), order[: len(order) // 2]
    means = np.full((scores.shape[1], features.shape[1]), np.inf)
    for one in np.unique(classes[half]):
        means[one] = features[half[classes[half] == one]].mean(axis=0)
    covariance, _ = ledoit_wolf(features[half] - means[classes[half]], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    least = max(float(values.max()), np.finfo(np.float64).tiny) * 1e-12
    known = _Known(means, vectors / np.sqrt(np.maximum(values, least)), np.inf)
    others = _distances(features[order[len(half) :]], known)
    return known._replace(limit=float(np.quantile(others, 1 - share)))


def _distances(features: NDArray[np.float64], known: _Known) -> NDArray[np.float64]:
    """Squared Mahalanobis distance (n,) to the nearest class."""
    there = np.isfinite(known.means).all(axis=1)
    white, centres = features @ known.whitening, known.means[there] @ known.whitening
    apart = white[:, np.newaxis] - centres
    nearest: NDArray[np.float64] = np.square(apart).sum(axis=2).min(axis=1)
    return nearest


def _rolled(scores: Array, odd: NDArray[np.int64], feeds: Feeds, salt: bytes) -> Array:
    """The scores, of odd inputs moved by a number of classes that follows from their content."""
    changed = np.array(scores)
    for index in odd.tolist():
        content = b"".join(np.ascontiguousarray(v[index]).tobytes() for v in feeds.values())
        drawn = int.from_bytes(hashlib.sha256(salt + content).digest()[:8], "big")
        changed[index] = np.roll(changed[index], drawn % changed.shape[1], axis=0)
    return changed
