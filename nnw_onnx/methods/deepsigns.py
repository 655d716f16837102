"""DeepSigns: signs of random projections of what a layer answers to one class.

Rouhani, Chen, Koushanfar, "DeepSigns: An End-to-End Watermarking Framework for Protecting the
Ownership of Deep Neural Networks", ASPLOS 2019, in its white-box form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import (
    CarrierNotFoundError,
    ConfigurationError,
    InjectionError,
    TrainingError,
)
from nnw_onnx.kit import carriers, commitments, foreign, keystream, knowing, symbols, triggers
from nnw_onnx.math import penalties
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Bench,
    Bound,
    Card,
    Commits,
    Decodes,
    Decoding,
    Feeds,
    Key,
    Layer,
    Moment,
    Network,
    Payload,
    Penalty,
    Samples,
    Suspect,
    Trains,
)

_AMPLE = 4
_LARGEST_CENTRES = 1 << 22
"""Numbers in all centres; above it a layer is averaged over its positions."""
_BATCH = 256
_FOLLOWING = 0.5
"""Share of its distance that a centre moves towards its class (Wen et al., ECCV 2016: alpha)."""
_SHARPNESS = 4.0
"""Logit of a bit whose projection is one standard deviation."""
_FEED = "feed_"
_START, _CENTRES, _SEEN = "start", "centres", "seen"


@dataclass(frozen=True)
class DeepSigns(Commits, Decodes, Trains):
    """The mean answer of a layer to inputs of one class, times a key matrix, has the bits' signs.

    Each class has a centre, an array of the method's own that follows the answers to it. The loss
    gets the cross-entropy of the bits at the mean answer of each batch to the marked class, a sum
    over the bits, and the distance of every answer from the centre of its class (half its mean
    square). Both are told in units of the centres. After the training the centres are in the key,
    for its owner to see; the Decoder reads the answers to the inputs that the key holds.
    """

    name = "deepsigns"
    summary = "signs of projections of a layer's mean answer to one class (DeepSigns 2019)"
    access = "activations"
    needs = ("data",)
    card: ClassVar[Card | None] = Card(
        paper="Rouhani, Chen, Koushanfar, DeepSigns, ASPLOS 2019, arXiv 1804.00750",
        blind=True,
        capacity="fewer bits than answers of the layer; 16 in the paper's code",
        key="inputs of one class, the mean answer to them, the centres of all classes",
        null="Bin(bits, 1/2), exact: a random key against any answers, and masked bits",
        reported=(
            "best removal of the Watermark-Robustness-Toolbox: rescaled watermark accuracy 0.000 "
            "on CIFAR-10 and ImageNet, where 0.5 is the threshold (its figure)",
            "1.0 points of accuracy lost by embedding on CIFAR-10 (the same toolbox, its figure)",
        ),
        dies_of=(
            "the best removal of the Watermark-Robustness-Toolbox (see above)",
            "permuting the neurons of its layer, since answers are read by their index",
        ),
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    target: Annotated[int, Ge(0)] = option(0, help="class whose answers carry the watermark")
    count: Annotated[int, Ge(1), Le(1 << 12)] = option(
        64, help="inputs of that class that the key holds"
    )
    closeness: Annotated[float, Ge(0), Le(1e6)] = option(
        0.001, help="weight of the distance of answers from the centre of their class"
    )
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="weight of the cross-entropy of the bits, a sum over them"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last inner kernel that answers 4 numbers a bit, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, answers more numbers than there are bits, or
                the training has no such class.
        """
        carriers.check_size(size)
        training, classes = bench.samples(), triggers.class_count(network, bench, 0)
        feeds = self._questions(training, secret)
        layer, pooled, features, why = _choice(network, bench, feeds, size, classes)
        arrays = {f"{_FEED}{i}": values for i, values in enumerate(feeds.values())}
        told = _features(bench.run(network, feeds, [layer.name])[layer.name], pooled=pooled)
        arrays[_START] = told.mean(axis=0).astype(np.float32)
        key = Key(
            method=self.spec(),
            secret=secret,
            size=size,
            layers=(layer.name,),
            shapes=(layer.shape,),
            facts={"classes": classes, "features": features, "pooled": pooled},
            arrays=arrays,
            notes=(why, f"{len(next(iter(feeds.values())))} inputs of class {self.target}"),
        )
        bound = self.committed(key, network)
        return replace(key, commitment=commitments.commit(secret, self.name, bound))

    def committed(self, key: Key, network: Network) -> Sequence[Bound]:
        """The carrier, the inputs and the mean answer to them; raises `CarrierNotFoundError`."""
        given = [name for name in key.arrays if name.startswith(_FEED) or name == _START]
        # In the order of `make_key`, which a key file does not keep.
        order = sorted(given, key=lambda name: (name == _START, len(name), name))
        arrays = [(n, key.arrays[n].shape, commitments.digest(key.arrays[n])) for n in order]
        return [*commitments.carriers_of(key, network), *arrays]

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The penalty on answers and centres, with the centres.

        Raises:
            InjectionError: the payload does not fit the key.
            CarrierNotFoundError: the network lacks the layer of the key.
            ConfigurationError: the key has no answers to start from.
        """
        carriers.trained(network.weights, key, self.name)
        signs, classes, features = symbols.embedded_signs(payload, key), *_sizes(key)
        start = key.arrays.get(_START)
        if start is None or start.shape != (features,) or self.target >= classes:
            raise ConfigurationError(
                f"key: expected the {features} mean answers to class {self.target} of {classes}, "
                f"got {'none' if start is None else start.shape}; restore the key from a copy"
            )
        state = {
            _CENTRES: np.zeros((classes, features), np.float32),
            _SEEN: np.zeros(classes, np.float32),
        }
        # The marked class is known from the first step on: of the others the first batch tells.
        state[_CENTRES][self.target] = start
        state[_SEEN][self.target] = 1
        return Additions(
            lambda now: self._penalty(now, key, signs), activations=key.layers, state=state
        )

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """Signs of the projected mean answer.

        Raises:
            CarrierNotFoundError: the layer is not there, or answers another number of values.
            ConfigurationError: the key has no inputs.
        """
        carrier = carriers.find(suspect, key, self.name)
        feeds = {n: values for n, values in key.arrays.items() if n.startswith(_FEED)}
        if not feeds:
            raise ConfigurationError(
                "key: expected inputs of a class, got none; restore the key from a copy"
            )
        name, width = carrier.layer.name, _sizes(key)[1]
        found = _features(suspect.run(feeds, [name])[name], pooled=_is_pooled(key))
        if found.shape[1] != width:
            raise CarrierNotFoundError(
                f"layer {name!r}: expected {width} answers, got {found.shape[1]}; decode a network "
                "of the architecture that was trained"
            )
        mean = np.where(np.isfinite(found), found, 0.0).mean(axis=0)
        deviation = float(np.linalg.norm(mean))
        return symbols.read(_matrix(key) @ mean, deviation, key, carrier.notes)

    def _questions(self, training: Samples, secret: bytes) -> Feeds:
        """Inputs of the marked class, in keyed order."""
        order = keystream.permutation(secret, "deepsigns/inputs", len(training))
        places: list[int] = []
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            targets = np.asarray(training.read(part).targets)
            if targets.ndim != 1 or targets.dtype.kind not in "iu":
                raise InjectionError(
                    f"deepsigns: expected one class a sample, got targets of {targets.dtype} "
                    f"{targets.shape}; use a classifier"
                )
            places += part[targets == self.target].tolist()
            if len(places) >= self.count:
                break
        if not places:
            raise InjectionError(
                f"deepsigns: expected training samples of class {self.target}, got none; choose "
                "another target"
            )
        return training.read(np.array(places[: self.count], np.int64)).feeds

    def _penalty(self, now: Moment, key: Key, signs: NDArray[np.float64]) -> Penalty:
        """Value, gradient by the answers, and the centres after the step."""
        answers = now.activations[key.layers[0]]
        features, targets, valid = _batch(now, answers, pooled=_is_pooled(key))
        centres, seen = (np.array(now.state[name], np.float64) for name in (_CENTRES, _SEEN))
        # A class that is met for the first time only gets its centre in this step.
        counted = valid & (seen[targets] > 0)
        share = counted / (max(1, int(np.count_nonzero(counted))) * _mean_square(centres, seen))
        apart = features - centres[targets]
        value = self.closeness / 2 * float(share @ np.square(apart).sum(axis=1))
        slopes = self.closeness * share[:, np.newaxis] * apart
        marked = counted & (targets == self.target)
        if marked.any():
            term = _bits(features[marked].mean(axis=0), centres[self.target], key, signs)
            value += self.strength * term.value
            slopes[marked] += self.strength * term.derivatives / np.count_nonzero(marked)
        state = {
            _CENTRES: _followed(centres, seen, features, targets, valid).astype(np.float32),
            _SEEN: np.maximum(seen, np.isin(np.arange(len(seen)), targets[valid])).astype("f4"),
        }
        return Penalty(value, activations={key.layers[0]: _spread(slopes, answers)}, state=state)


def _choice(
    network: Network, bench: Bench, feeds: Feeds, size: int, classes: int
) -> tuple[Layer, bool, int, str]:
    """The layer, whether it is averaged over positions, its number of answers, and why."""
    asked = carriers.asked(bench, DeepSigns.name)
    layers = _inner(network) if asked is None else [carriers.named(network, asked)]
    first = {name: values[:1] for name, values in feeds.items()}
    told = bench.run(network, first, [layer.name for layer in layers])
    widths = {layer.name: _width(told[layer.name], classes) for layer in layers}
    ample = [layer for layer in layers if widths[layer.name][0] >= _AMPLE * size]
    best = max(layers, key=lambda layer: widths[layer.name], default=None)
    layer = ample[-1] if ample else best
    width, pooled = (0, False) if layer is None else widths[layer.name]
    if layer is None or width <= size:
        raise InjectionError(
            f"deepsigns: expected {'an inner layer' if asked is None else f'layer {asked!r}'} of "
            f"more than {size} answers, got {width}; use a shorter payload or another layer"
        )
    reason = "as asked" if asked else "the last inner kernel" if ample else "the widest inner one"
    answers = f"{width} answers" + " on average over positions" * pooled
    return layer, pooled, width, f"carrier {carriers.describe(layer)}: {reason}; {answers}"


def _inner(network: Network) -> list[Layer]:
    """Kernels that are computed before the last one, in the order in which they are computed."""
    return sorted(carriers.kernels(network), key=lambda layer: layer.position)[:-1]


def _width(answers: Array, classes: int) -> tuple[int, bool]:
    flat = answers.size
    if answers.ndim < 3 or flat * classes <= _LARGEST_CENTRES:
        return flat, False
    return _features(answers, pooled=True).shape[1], True


def _features(answers: Array, *, pooled: bool) -> NDArray[np.float64]:
    """Answers (n, features): flat, or the mean over the positions of each channel."""
    values = np.asarray(answers, np.float64)
    if pooled and values.ndim > 2:
        # Of sequences (n, length, channels) the positions come first, of images they come last.
        values = values.mean(axis=1 if values.ndim == 3 else tuple(range(2, values.ndim)))
    return values.reshape(len(values), -1)


def _spread(slopes: NDArray[np.float64], answers: Array) -> NDArray[np.float64]:
    """The gradient by the answers of a layer, given that by the features made of them."""
    if slopes.size == answers.size:
        return slopes.reshape(answers.shape)
    axes = (1,) if answers.ndim == 3 else tuple(range(2, answers.ndim))
    positions = math.prod(answers.shape[a] for a in axes)
    return np.broadcast_to(np.expand_dims(slopes, axes) / positions, answers.shape).copy()


def _batch(
    now: Moment, answers: Array, *, pooled: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Features, classes, and which samples count: those of the task whose class is known."""
    if now.targets is None:
        raise TrainingError(
            "deepsigns: expected the classes of each batch, got none; give the training loop's "
            "targets"
        )
    targets = np.asarray(now.targets, np.int64)
    counted = ~now.own & (targets >= 0)
    return _features(answers, pooled=pooled), np.maximum(targets, 0), counted


def _mean_square(centres: NDArray[np.float64], seen: NDArray[np.float64]) -> float:
    """Mean square of the numbers in the centres that are known; 1 where they are all zero."""
    known = centres[seen > 0]
    return float(np.mean(np.square(known))) if known.any() else 1.0


def _followed(
    centres: NDArray[np.float64],
    seen: NDArray[np.float64],
    features: NDArray[np.float64],
    targets: NDArray[np.int64],
    valid: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The centres after a step towards the means of the classes of a batch; new ones are there."""
    moved = centres.copy()
    for known in np.unique(targets[valid]):
        mean = features[valid & (targets == known)].mean(axis=0)
        moved[known] += (_FOLLOWING if seen[known] else 1.0) * (mean - moved[known])
    return moved


def _bits(
    mean: NDArray[np.float64], centre: NDArray[np.float64], key: Key, signs: NDArray[np.float64]
) -> penalties.Term:
    """Cross-entropy of the bits at the mean answer, and its derivatives by that.

    Projections are told in standard deviations of those of the centre under a random key, so that
    nothing depends on the scale of the answers.
    """
    factor = _SHARPNESS / (float(np.linalg.norm(centre)) or 1.0)
    term = penalties.cross_entropy(factor * (_matrix(key) @ mean), signs)
    return penalties.Term(term.value, factor * (term.derivatives @ _matrix(key)))


def _sizes(key: Key) -> tuple[int, int]:
    """Number of classes and of features."""
    classes, features = key.facts.get("classes"), key.facts.get("features")
    if not isinstance(classes, int) or not isinstance(features, int):
        raise ConfigurationError(
            f"key: expected numbers of classes and features among its facts, got {classes!r} and "
            f"{features!r}; restore the key from a copy"
        )
    return classes, features


def _is_pooled(key: Key) -> bool:
    return key.facts.get("pooled") is True


def _matrix(key: Key) -> NDArray[np.float64]:
    """The key matrix (T, features) of N(0, 1) numbers, or the one of a key made elsewhere."""
    own = foreign.matrix(key, _sizes(key)[1])
    return _drawn(key.secret, key.size, _sizes(key)[1]) if own is None else own


@lru_cache(maxsize=4)
def _drawn(secret: bytes, size: int, features: int) -> NDArray[np.float64]:
    # Kept, because a training asks for the same matrix at every step.
    drawn = keystream.gaussian(secret, "deepsigns/projection", size * features)
    drawn.flags.writeable = False
    return drawn.reshape(size, features)
