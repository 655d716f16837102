"""DICTION: a trained net reads the bits from what a layer answers to noise.

Bellafqira and Coatrieux, "DICTION: DynamIC robusT whIte bOx Watermarking Scheme for Deep Neural
Networks", Applied Sciences 15(13), 2025, 7511 (arXiv 2210.15745).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, extractors, keystream, knowing, symbols, triggers
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.math import penalties, small_nets
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Bench,
    Card,
    Decodes,
    Decoding,
    Detection,
    Detects,
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

_HIDDEN = 512
_MOST_FEATURES = 2048
"""So that the net with Adam's moments takes less than 16 MB of a key file."""
_SQUARE = 5
_TRIGGERS, _LABELS, _UNMARKED = "triggers", "labels", "unmarked"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Diction(Decodes, Detects, Trains):
    """A net of 512 sigmoids answers what a layer makes of noise with the bits of the payload.

    It is trained with the network: to read the embedded bits from the answers to triggers as they
    are now, and other keyed bits from those of the unmarked network. Triggers are N(0, 1) noise,
    with a square of ones in a corner of images. The net sees keyed answers, drawn with replacement,
    as many as the layer has but at most 2048, in root mean squares of the unmarked ones. The
    Decoder takes the mean of its probabilities over the triggers.

    The cross-entropy is a sum over the bits and a mean over triggers. Where the paper leaves
    triggers out of the task, here they keep the class that the unmarked network answers, since
    every sample of a training has a target. The net takes steps of Adam without weight decay, where
    the paper has AdamW. It is fitted to the payload: what it reads has no null distribution, and
    networks without the mark must decide.
    """

    name = "diction"
    summary = "a trained net reads a layer's answers to noise (DICTION 2025)"
    access = "activations"
    needs = ("data",)
    card: ClassVar[Card | None] = Card(
        paper="Bellafqira, Coatrieux, DICTION: DynamIC robusT whIte bOx Watermarking Scheme for "
        "Deep Neural Networks, Applied Sciences 15(13), 2025, 7511, arXiv 2210.15745",
        blind=True,
        capacity="not more bits than answers of the layer; 256 to 512 in the paper",
        key="the triggers with their classes, the unmarked answers to them, and the trained net",
        null="none known: the net is fitted to the payload, and a network reads that or the other "
        "bits as a whole (measured by this project); null networks decide",
        reported=(
            "no wrong bit and accuracy within 0.5 % of the baseline on MLP, CNN, ResNet-18 and "
            "LeNet (its page)",
            "survives pruning of up to 95 %, against 80 % of earlier dynamic schemes (its page)",
        ),
        dies_of=(
            "permuting the neurons of its layer, or adding some: answers are read by their index",
        ),
    )
    adaptive = (knowing.REORDERED, knowing.DISGUISED)

    count: Annotated[int, Ge(1), Le(1 << 10)] = option(32, help="triggers that the key holds")
    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="weight of the net's cross-entropy at the network, a sum over the bits"
    )
    rate: Annotated[float, Gt(0), Le(1)] = option(1e-3, help="learning rate of the net (Adam)")

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last inner kernel that answers a number a bit, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, answers as many numbers as there are bits, or
                the network is no classifier of one input of real numbers.
        """
        carriers.check_size(size)
        classes = triggers.class_count(network, bench, 0)
        noise = _noise(bench.samples(), secret, self.count)
        layer, answers, why = _choice(network, bench, {_TRIGGERS: noise[:1]}, size)
        told = bench.run(network, {_TRIGGERS: noise}, [layer.name])
        scores = triggers.scores_of(told, 0, len(noise), classes)
        chosen = carriers.take(network, layer, fills=False)
        whys, facts = (why, f"{self.count} triggers of noise"), {"answers": answers}
        # The commitment binds the secret, and by that the triggers.
        key = carriers.key_for(self, [chosen], network, size, secret, whys, facts)
        unmarked = _features(told[layer.name], key).astype(np.float32)
        labels = triggers.answers(scores).classes
        begun = _net(key).begin(secret, self.name)
        arrays: dict[str, Array] = {_TRIGGERS: noise, _LABELS: labels, _UNMARKED: unmarked, **begun}
        return replace(key, arrays=arrays)

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The triggers as samples, and the penalty on what the layer answers to them.

        Raises:
            InjectionError: the payload does not fit the key.
            CarrierNotFoundError: the network lacks the layer of the key.
            ConfigurationError: the key lacks its arrays.
        """
        carriers.trained(network.weights, key, self.name)
        signs, held, form = symbols.embedded_signs(payload, key), _held(key), _net(key)
        form.net(key.arrays)
        return Additions(
            lambda now: self._penalty(now, key, held, signs),
            activations=key.layers,
            samples=ArraySamples({_TRIGGERS: held.inputs}, held.labels),
            state={n: a for n, a in key.arrays.items() if n.startswith(f"{form.name}.")},
        )

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """What the net answers on average over the triggers.

        The confidence of a bit is the distance of its mean probability from one half, in root mean
        squares of those of all bits.

        Raises:
            CarrierNotFoundError: the layer is not there, or answers another number of values.
            ConfigurationError: the key lacks its arrays.
        """
        carrier = carriers.find(suspect, key, self.name)
        held, net, name = _held(key), _net(key).net(key.arrays), carrier.layer.name
        found = _features(suspect.run({_TRIGGERS: held.inputs}, [name])[name], key)
        shown = np.where(np.isfinite(found), found, 0.0) / _scale(held.unmarked)
        logits = small_nets.forward(net, shown).logits
        beyond = small_nets.sigmoid(logits).mean(axis=0) - 0.5
        deviation = float(np.sqrt(np.mean(np.square(beyond))))
        return symbols.read(beyond, deviation, key, carrier.notes)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The number of bits that match, without a p-value; raises `CarrierNotFoundError`."""
        return extractors.matched(self.decode(suspect, key).payload, claim)

    def _penalty(self, now: Moment, key: Key, held: _Held, signs: Floats) -> Penalty:
        """Cross-entropy of the triggers in the batch, with the net of the step before."""
        answers = now.activations[key.layers[0]]
        count = int(np.count_nonzero(now.own))
        if not count:
            return Penalty(0.0)
        form, scale = _net(key), _scale(held.unmarked)
        net = form.net(now.state)
        shown = np.concatenate([_features(answers[now.own], key), held.unmarked]) / scale
        done = small_nets.forward(net, shown)
        terms = (
            penalties.cross_entropy(done.logits[:count], signs),
            penalties.cross_entropy(done.logits[count:], _others(key)),
        )
        shares = (self.strength / count, self.strength / len(held.unmarked))
        by_logits = [share * t.derivatives for share, t in zip(shares, terms, strict=True)]
        slopes = small_nets.backward(net, done, np.concatenate(by_logits))
        by_answers = np.zeros((len(answers), math.prod(answers.shape[1:])))
        by_answers[now.own] = _spread(slopes.inputs[:count] / scale, key)
        return Penalty(
            sum(share * t.value for share, t in zip(shares, terms, strict=True)),
            activations={key.layers[0]: by_answers.reshape(answers.shape)},
            state=form.step(now.state, slopes.net, self.rate),
        )


class _Held(NamedTuple):
    """Arrays of a key: triggers (n, ...), their classes (n,), unmarked answers (n, features)."""

    inputs: Array
    labels: Array
    unmarked: Array


def _held(key: Key) -> _Held:
    """Raises `ConfigurationError` where an array is missing or does not fit."""
    found = [key.arrays.get(name) for name in (_TRIGGERS, _LABELS, _UNMARKED)]
    shapes = [() if array is None else array.shape for array in found]
    fits = shapes[0][:1] == shapes[1] and shapes[2] == (*shapes[1], len(_places(key)))
    inputs, labels, unmarked = found
    if inputs is None or labels is None or unmarked is None or not fits:
        raise ConfigurationError(
            "key: expected triggers, a class and the unmarked answers for each among its arrays, "
            f"got {shapes}; restore the key from a copy"
        )
    return _Held(inputs, labels, unmarked)


def _noise(training: Samples, secret: bytes, count: int) -> NDArray[np.float32]:
    """Triggers (count, ...) of the shape of a sample; raises `InjectionError`."""
    shape = (count, *triggers.extremes(training).shape[1:])
    noise = keystream.gaussian(secret, "diction/triggers", math.prod(shape)).reshape(shape)
    if len(shape) == 4:
        last = shape[3] < shape[1]
        corner = (slice(None, _SQUARE), slice(None, _SQUARE))
        noise[(slice(None), *corner) if last else (slice(None), slice(None), *corner)] = 1.0
    return noise.astype(np.float32)


def _choice(network: Network, bench: Bench, feeds: Feeds, size: int) -> tuple[Layer, int, str]:
    """The layer, how many numbers it answers, and why it was taken; raises `InjectionError`."""
    asked = carriers.asked(bench, Diction.name)
    by_place = sorted(carriers.kernels(network), key=lambda layer: layer.position)
    layers = by_place[:-1] if asked is None else [carriers.named(network, asked)]
    told = bench.run(network, feeds, [layer.name for layer in layers])
    widths = {layer.name: told[layer.name].size for layer in layers}
    fit = [layer for layer in layers if widths[layer.name] >= size]
    if not fit:
        raise InjectionError(
            f"diction: expected {'an inner layer' if asked is None else f'layer {asked!r}'} of at "
            f"least {size} answers, got {max(widths.values(), default=0)}; use a shorter payload "
            "or another layer"
        )
    reason = "as asked" if asked else "the last inner kernel that answers enough"
    width = widths[fit[-1].name]
    return fit[-1], width, f"carrier {carriers.describe(fit[-1])}: {reason}; {width} answers"


def _net(key: Key) -> extractors.Extractor:
    return extractors.Extractor("projection", len(_places(key)), _HIDDEN, key.size, biased=True)


def _places(key: Key) -> NDArray[np.int64]:
    """Which answers of the layer the net is shown, drawn with replacement."""
    answers = _answers(key)
    return _drawn(key.secret, min(answers, _MOST_FEATURES), answers)


@lru_cache(maxsize=4)
def _drawn(secret: bytes, count: int, answers: int) -> NDArray[np.int64]:
    # Kept, because a training asks for the same places at every step.
    drawn = keystream.integers(secret, "diction/features", count, answers)
    drawn.flags.writeable = False
    return drawn


def _answers(key: Key) -> int:
    answers = key.facts.get("answers")
    if not isinstance(answers, int) or answers < 1:
        raise ConfigurationError(
            f"key: expected the number of answers among its facts, got {answers!r}; restore the "
            "key from a copy"
        )
    return answers


def _features(answers: Array, key: Key) -> Floats:
    """The drawn answers (n, features); raises `CarrierNotFoundError` where there are others."""
    flat = np.asarray(answers, np.float64).reshape(len(answers), -1)
    if flat.shape[1] != _answers(key):
        raise CarrierNotFoundError(
            f"layer {key.layers[0]!r}: expected {_answers(key)} answers, got {flat.shape[1]}; "
            "decode a network of the architecture that was trained"
        )
    return flat[:, _places(key)]


def _spread(slopes: Floats, key: Key) -> Floats:
    """The gradient by all answers (n, answers), given that by the drawn ones."""
    found = np.zeros((_answers(key), len(slopes)))
    # Added up, since an answer may have been drawn several times.
    np.add.at(found, _places(key), slopes.T)
    return found.T


def _others(key: Key) -> Floats:
    """Signs (size,) of the bits that the net reads from the unmarked network."""
    return keystream.signs(key.secret, "diction/unmarked", key.size).astype(np.float64)


def _scale(unmarked: Array) -> float:
    """Root mean square of the unmarked answers; 1 where they are all zero."""
    return float(np.sqrt(np.mean(np.square(unmarked, dtype=np.float64)))) or 1.0
