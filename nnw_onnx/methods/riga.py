"""RIGA: a trained extractor reads the filter mean, and a detector keeps the mark inconspicuous.

Wang and Kerschbaum, "RIGA: Covert and Robust White-Box Watermarking of Deep Neural Networks", The
Web Conference (WWW) 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, extractors, keystream, knowing, symbols
from nnw_onnx.math import penalties, projection, small_nets
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

_HIDDEN = 100
_LONGEST = 20_000
"""Weights of a filter: both nets with Adam's moments then take 48 MB of a key file's 64 MiB."""
_DETECTOR_RATE = 1e-3
_DETECTOR_DECAYS = (0.5, 0.999)
_DETECTOR_LIMIT = 0.01
_UNMARKED = "unmarked"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Riga(Decodes, Detects, Trains):
    """The extractor, a net of 100 sigmoids, answers the filter mean with the bits of the payload.

    It is trained with the network: to read the embedded bits from the filter mean as it is now, and
    other keyed bits from that of the unmarked network. The detector, a net of the same form, is
    trained to tell the sorted filter means of the two apart, and the network to be taken for
    unmarked: its cross-entropy is added. Filter means are told in root mean squares of the unmarked
    one; cross-entropies of the extractor are sums over the bits. The extractor learns at a rate of
    1e-3 by default, where the paper has 1e-4 (option `rate`).

    After the training both nets are in the key, so that it can go on; the Decoder uses the
    extractor only. The extractor is fitted to the payload: what it reads has no null distribution,
    the commitment of the key is older than it, and networks without the mark must decide.
    """

    name = "riga"
    summary = "a trained extractor reads the filter mean, a detector hides it (RIGA 2021)"
    card: ClassVar[Card | None] = Card(
        paper="Wang, Kerschbaum, RIGA: Covert and Robust White-Box Watermarking of Deep Neural "
        "Networks, WWW 2021",
        blind=True,
        capacity="not more bits than weights a filter; 256 in a published setting",
        key="the trained extractor, the detector, and the filter mean of the unmarked network",
        null="none known: the extractor is fitted to the payload, and some networks that were "
        "never trained read all of it (measured by this project); null networks decide",
        dies_of=(
            "permuted inputs of the carrier, flipped signs of filters, a replaced filter mean: as "
            "any mark of the filter mean",
        ),
    )
    adaptive = (
        (knowing.aimed("@last", "filter-mean"),),
        (knowing.step("sign-flips"),),
        knowing.REORDERED,
        knowing.DISGUISED,
    )

    strength: Annotated[float, Gt(0), Le(1e6)] = option(
        0.01, help="weight of the extractor's cross-entropy, a sum over the bits"
    )
    covertness: Annotated[float, Ge(0), Le(1e6)] = option(
        0.1, help="weight of the term that makes the detector take the layer for unmarked"
    )
    rate: Annotated[float, Gt(0), Le(1)] = option(
        1e-3, help="learning rate of the extractor (Adam)"
    )

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        """Key of the last Conv kernel with as many weights a filter, or of the one asked for.

        Raises:
            InjectionError: no layer, or not this one, can hold the payload.
        """
        carriers.check_size(size)
        asked = carriers.asked(bench, self.name)
        if asked is None:
            order = carriers.preferred(network, lambda found: _preference(found, size))
            carrier = carriers.first_fit(network, order, _refusal(network, size))
        else:
            carrier = carriers.take(network, carriers.named(network, asked))
            _check(carrier.layer, size)
        reason = "as asked" if asked else "the last kernel of enough weights a filter"
        why = [f"carrier {carriers.describe(carrier.layer)}: {reason}"]
        key = carriers.key_for(self, [carrier], network, size, secret, why)
        unmarked = projection.filter_mean(carrier.values).astype(np.float32)
        if not unmarked.any():
            raise InjectionError(
                f"riga: expected a filter mean that is not zero in layer {carrier.layer.name!r}, "
                "got zero; use a trained network or another layer"
            )
        begun = _extractor(key).begin(secret, self.name)
        return replace(key, arrays={_UNMARKED: unmarked, **begun})

    def additions(self, network: Network, payload: Payload, key: Key) -> Additions:
        """The terms of extractor and detector, whose nets are the method's own arrays.

        Raises:
            CarrierNotFoundError: the network lacks the carrier of the key.
            InjectionError: the payload does not fit the key.
            ConfigurationError: the key lacks its arrays.
        """
        carriers.trained(network.weights, key, self.name)
        _extractor(key).net(key.arrays)
        _unmarked(key)
        signs = symbols.embedded_signs(payload, key)
        extractor = _extractor(key)
        held = {n: key.arrays[n] for n in key.arrays if n.startswith(f"{extractor.name}.")}
        state = {**held, **_detector(key).begin(key.secret, self.name)}
        return Additions(
            lambda now: self._penalty(now, key, signs), carriers=key.layers, state=state
        )

    def decode(self, suspect: Suspect, key: Key) -> Decoding:
        """What the extractor answers to the filter mean; raises `CarrierNotFoundError`.

        The confidence of a bit is its logit, in root mean squares of all logits.

        Raises:
            ConfigurationError: the key lacks its arrays.
        """
        carrier = carriers.find(suspect, key, self.name)
        net, unmarked = _extractor(key).net(key.arrays), _unmarked(key)
        mean = projection.filter_mean(carrier.values) / _scale(unmarked)
        logits = small_nets.forward(net, mean[np.newaxis]).logits[0]
        deviation = float(np.sqrt(np.mean(np.square(logits))))
        return symbols.read(logits, deviation, key, carrier.notes)

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        """The number of bits that match, without a p-value; raises `CarrierNotFoundError`."""
        return extractors.matched(self.decode(suspect, key).payload, claim)

    def _penalty(self, now: Moment, key: Key, signs: Floats) -> Penalty:
        """Both terms with the nets of the step before, and the nets after a step of their own."""
        weights = carriers.trained(now.weights, key, self.name)
        unmarked = _unmarked(key)
        scale = _scale(unmarked)
        means = np.stack([projection.filter_mean(weights), unmarked]) / scale
        bits = np.stack([signs, _others(key)])
        read, by_read, extractor = self._extracted(now.state, key, means, bits)
        taken, by_taken, detector = self._hidden(now.state, key, means)
        value = self.strength * read + self.covertness * taken
        by_mean = (self.strength * by_read + self.covertness * by_taken) / (scale * len(weights))
        slopes = np.broadcast_to(by_mean.reshape(weights.shape[1:]), weights.shape).copy()
        return Penalty(value, {key.layers[0]: slopes}, state={**extractor, **detector})

    def _extracted(
        self, state: Mapping[str, Array], key: Key, means: Floats, bits: Floats
    ) -> tuple[float, Floats, dict[str, Array]]:
        """Cross-entropy of both rows, its slope by the marked mean, the extractor afterwards."""
        form = _extractor(key)
        net = form.net(state)
        done = small_nets.forward(net, means)
        term = penalties.cross_entropy(done.logits, bits)
        slopes = small_nets.backward(net, done, term.derivatives)
        return term.value, slopes.inputs[0], form.step(state, slopes.net, self.rate)

    def _hidden(
        self, state: Mapping[str, Array], key: Key, means: Floats
    ) -> tuple[float, Floats, dict[str, Array]]:
        """-log P(unmarked | marked mean), its slope by that, the detector afterwards.

        The gradient goes through the sort: each sorted value is one of the mean's.
        """
        form = _detector(key)
        net, order = form.net(state), np.argsort(means[0], kind="stable")
        done = small_nets.forward(net, np.sort(means, axis=1))
        own = penalties.cross_entropy(done.logits, np.array([[-1.0], [1.0]]))
        learnt = small_nets.backward(net, done, own.derivatives).net
        taken = penalties.cross_entropy(done.logits[:1], np.ones((1, 1)))
        by_logits = np.concatenate([taken.derivatives, np.zeros((1, 1))])
        by_mean = np.empty(means.shape[1])
        by_mean[order] = small_nets.backward(net, done, by_logits).inputs[0]
        after = form.step(state, learnt, _DETECTOR_RATE, _DETECTOR_DECAYS, _DETECTOR_LIMIT)
        return taken.value, by_mean, after


def _extractor(key: Key) -> extractors.Extractor:
    return extractors.Extractor("extractor", _inputs(key), _HIDDEN, key.size)


def _detector(key: Key) -> extractors.Extractor:
    return extractors.Extractor("detector", _inputs(key), _HIDDEN, 1)


def _inputs(key: Key) -> int:
    return int(np.prod(key.shapes[0][1:], dtype=np.int64))


def _others(key: Key) -> Floats:
    """Signs (size,) of the bits that the extractor reads from the unmarked network."""
    return keystream.signs(key.secret, "riga/unmarked", key.size).astype(np.float64)


def _unmarked(key: Key) -> Array:
    """The filter mean (M,) of the unmarked network; raises `ConfigurationError` without it."""
    found = key.arrays.get(_UNMARKED)
    if found is None or found.shape != (_inputs(key),) or not found.any():
        raise ConfigurationError(
            f"key: expected a filter mean of {_inputs(key)} weights, not all zero, among its "
            f"arrays, got {'none' if found is None else found.shape}; restore the key from a copy"
        )
    return found


def _scale(unmarked: Array) -> float:
    """Root mean square of the unmarked filter mean."""
    return float(np.sqrt(np.mean(np.square(unmarked, dtype=np.float64))))


def _preference(layers: Iterable[Layer], size: int) -> Iterator[Layer]:
    """Layers whose filters hold `size` bits: the last Conv first, then the last of the others."""
    last_first = [layer for layer in layers if _defect(layer, size) is None][::-1]
    yield from sorted(last_first, key=lambda layer: layer.operator != "Conv")


def _defect(layer: Layer, size: int) -> str | None:
    inputs = carriers.inputs_per_filter(layer)
    if layer.axes is None or len(layer.shape) < 2:
        return f"an operator {layer.operator} of shape {layer.shape} whose filters are unknown"
    return None if size <= inputs <= _LONGEST else f"{inputs}"


def _refusal(network: Weighted, size: int) -> str:
    """Why no layer of the network holds `size` Symbols."""
    possible = list(carriers.preferred(network, list))
    longest = max((carriers.inputs_per_filter(layer) for layer in possible), default=0)
    got = f"at most {longest}" if possible else carriers.why_none(network)
    return _wanted("a kernel", size, got)


def _check(layer: Layer, size: int) -> None:
    defect = _defect(layer, size)
    if defect:
        raise InjectionError(_wanted(f"layer {layer.name!r}", size, defect))


def _wanted(what: str, size: int, got: str) -> str:
    return (
        f"riga: {what}: expected from {size} to {_LONGEST} weights a filter, got {got}; use a "
        "shorter payload or another layer"
    )
