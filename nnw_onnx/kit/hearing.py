"""Sounds as networks take them: of one length, as a wave or in mel bands, in any order of axes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit.preprocessing import shape_words
from nnw_onnx.kit.samples import Kept, fingerprint, picked
from nnw_onnx.kit.sounds import LogMel, Signal
from nnw_onnx.kit.sources import check_size
from nnw_onnx.vocabulary import (
    Array,
    Batch,
    Indices,
    Json,
    Samples,
    Scale,
    Targets,
    TensorInfo,
)

Layout = Literal["auto", "bands-first", "frames-first"]
Stand = Literal["start", "end"]
Normalise = Literal["none", "sound", "bands"]

_WAVES = ("nt", "n1t", "nt1")
_BANDS_FIRST = ("nbt", "n1bt", "nbt1")
_FRAMES_FIRST = ("ntb", "n1tb", "ntb1")


class SoundSamples(Samples):
    """Sounds (n, t), or their log-mel energies, cut or filled up with silence to one length.

    The length is that of the network where it is fixed, else `seconds`, else that of the longest
    sound, so that no answer depends on what else is in a batch. A network that has an input of
    integers beside is told how much of each is sound: samples, or frames of mel bands.
    """

    def __init__(
        self,
        sounds: Signal,
        starts: Indices,
        targets: Targets,
        *,
        rate: int,
        peak: float = 1.0,
        stand: Stand = "start",
        facts: Mapping[str, Json] | None = None,
        seconds: float | None = None,
        features: LogMel | None = None,
        normalise: Normalise = "none",
        layout: Layout = "auto",
        names: Sequence[str] = ("sound", "lengths"),
    ) -> None:
        """Keep the sounds (they are not copied).

        Args:
            sounds: (total,) one behind the other, -1 to 1.
            starts: (n + 1,) where each begins, with the total.
            targets: n of them.
            rate: samples a second.
            peak: value that full loudness has for the network, such as 32768 for 16 bits.
            stand: where in that length shorter sounds stand, and which part of longer ones is kept.
            facts: see `Samples.facts`.
            seconds: length where the network takes any; None: that of the longest sound.
            features: mel bands instead of the wave.
            normalise: "sound": mean 0 and deviation 1 of each sound; "bands": of each band of it.
            layout: of mel bands, where the shape of the input does not tell.
            names: of the inputs for sounds and for their lengths.

        Raises:
            ConfigurationError: "bands" of a wave.
        """
        if normalise == "bands" and features is None:
            raise ConfigurationError(
                "sounds: expected a table features for normalise = 'bands', got none; add it"
            )
        self._sounds, self._starts, self._targets = sounds, starts, targets
        self._rate, self._facts, self._features = rate, dict(facts or {}), features
        self._peak, self._stand = np.float32(peak), stand
        self._normalise, self._layout, self._names = normalise, layout, tuple(names)
        longest = int(np.diff(starts).max(initial=1))
        wanted = longest if seconds is None else max(1, round(seconds * rate))
        self._length = wanted if features is None else max(wanted, features.samples(1), 1)
        self._ports: tuple[TensorInfo, TensorInfo | None] | None = None
        self._order, self._digest = "nt" if features is None else "nbt", ""
        self._kept: Kept | None = None

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of sounds, rate and targets."""
        if not self._digest:
            targets = self._targets if isinstance(self._targets, Sequence) else [self._targets]
            rate = np.array(self._rate)
            self._digest = fingerprint(self._sounds, self._starts, rate, *targets)
        return self._digest

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples.facts`."""
        return self._facts

    @property
    def scale(self) -> Scale | None:
        """The way back to a signal, of a wave as it is."""
        if self._features is not None or self._normalise != "none":
            return None
        return Scale((float(0.5 / self._peak),), (0.5,), "t") if self._order[-1] == "t" else None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def read(self, indices: Indices) -> Batch:
        """The sounds at these places."""
        values = self._made(indices) if self._kept is None else self._kept.read(indices, self._made)
        port, other = self._ports or (TensorInfo(self._names[0], (), "float32"), None)
        feeds = {port.name: _arranged(values, self._order)}
        if other is not None:
            lengths = self._valid(np.diff(self._starts)[indices])
            feeds[other.name] = lengths.reshape(-1, *[1] * (len(other.shape) - 1))
        return Batch(feeds, picked(self._targets, indices))

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same sounds for a network with these inputs.

        Raises:
            ConfigurationError: they cannot be made to fit, or would be larger than the limit.
        """
        made = copy.copy(self)
        made._digest, made._ports = self.digest, self._matched(inputs)
        port = made._ports[0]
        made._order, time = self._ordered(port)
        if time is not None:
            made._length = time if self._features is None else max(1, self._features.samples(time))
        first = made._made(np.arange(1))
        check_size("sounds", (len(self), *first.shape[1:]), 4)
        if self._features is not None:
            how = f"{self._normalise} {made._length} {self._peak} {self._stand}"
            how = f"{self._features} {how}"
            made._kept = Kept(len(self), first, f"{self.digest} {how}")
        return made

    def _matched(self, inputs: Sequence[TensorInfo]) -> tuple[TensorInfo, TensorInfo | None]:
        """The inputs for sounds and for lengths: by name, else by what they hold."""
        named = {port.name: port for port in inputs}
        floats = [port for port in inputs if port.dtype.startswith("float")]
        sound = named.get(self._names[0]) or next(iter(floats), None)
        rest = [port for port in inputs if port is not sound]
        if sound is None or len(rest) > 1 or (rest and len(rest[0].shape) > 2):
            words = ", ".join(f"{p.name} {p.dtype} {shape_words(p.shape)}" for p in inputs)
            raise ConfigurationError(
                "sounds: expected a network of one input of floats, and perhaps one of lengths, "
                f"got {words or 'none'}; set the option inputs, or add networks before it"
            )
        return sound, rest[0] if rest else None

    def _ordered(self, port: TensorInfo) -> tuple[str, int | None]:
        """Order of the axes of an input, n samples of 1 channel, b bands and t times; its time."""
        orders = _WAVES if self._features is None else (*_BANDS_FIRST, *_FRAMES_FIRST)
        if self._features is not None and self._layout != "auto":
            orders = _BANDS_FIRST if self._layout == "bands-first" else _FRAMES_FIRST
        fits = {order: fit for order in orders if (fit := self._fit(order, port)) is not None}
        if not fits:
            what = "(n, t)" if self._features is None else f"(n, {self._features.bands}, t)"
            raise ConfigurationError(
                f"sounds: expected an input that takes {what}, got {port.name} "
                f"{shape_words(port.shape)}; correct the options features and layout"
            )
        best = max(fits, key=lambda order: fits[order])  # the first of equals
        axes = best if len(best) == len(port.shape) else best[1:]
        time = port.shape[axes.index("t")]
        return best, time if isinstance(time, int) else None

    def _fit(self, order: str, port: TensorInfo) -> tuple[bool, int] | None:
        """How well an input fits this order; None where it cannot be.

        An input with an axis for samples fits better than one without, and then one that says more
        of its sizes. An axis of size 1 at the end must say so: it would be mistaken for times.
        """
        axes = next((a for a in (order, order[1:]) if len(a) == len(port.shape)), None)
        if axes is None or (axes[-1] == "1" and port.shape[-1] != 1):
            return None
        bands = self._features.bands if self._features else 0
        wanted = [{"1": 1, "b": bands}.get(axis) for axis in axes]
        pairs = [(w, h) for w, h in zip(wanted, port.shape, strict=True) if w is not None]
        if any(isinstance(have, int) and have != want for want, have in pairs):
            return None
        return axes == order, sum(isinstance(have, int) for _, have in pairs)

    def _valid(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """How much of each is sound: samples, or frames."""
        cut = np.minimum(lengths, self._length)
        if self._features is None:
            return cut
        return np.array([max(1, self._features.frames(int(n))) for n in cut], np.int64)

    def _made(self, indices: Indices) -> NDArray[np.float32]:
        """Waves (n, t), or bands (n, bands, frames)."""
        waves = np.zeros((len(indices), self._length), np.float32)
        for row, index in zip(waves, indices, strict=True):
            sound = self._sounds[self._starts[index] : self._starts[index + 1]]
            kept = sound[self._part(len(row))]
            levelled = _level(kept) if self._normalise == "sound" else kept
            row[self._part(len(kept))] = self._peak * levelled
        if self._features is None:
            return waves
        bands = self._features.apply(waves, self._rate)
        if self._normalise == "bands":
            for values, valid in zip(bands, self._lengths_of(indices), strict=True):
                levelled = _level(values[:, self._part(valid)])
                values[:] = 0
                values[:, self._part(valid)] = levelled
        return bands

    def _part(self, length: int) -> slice:
        """So much of something longer, at the side where sounds stand."""
        return slice(length) if self._stand == "start" else slice(-length, None)

    def _lengths_of(self, indices: Indices) -> NDArray[np.int64]:
        return self._valid(np.diff(self._starts)[indices])


def _level(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0 and deviation 1 along the last axis; nothing but 0 where all are equal."""
    mean = values.mean(axis=-1, keepdims=True)
    deviation = values.std(axis=-1, keepdims=True)
    levelled: NDArray[np.float32] = (values - mean) / np.where(deviation > 0, deviation, 1)
    return levelled


def _arranged(values: Array, order: str) -> Array:
    """Waves (n, t) or bands (n, b, t) with their axes in this order."""
    if values.ndim == 3 and order.index("b") > order.index("t"):
        values = values.swapaxes(1, 2)
    for axis, sign in enumerate(order):
        if sign == "1":
            values = np.expand_dims(values, axis)
    return np.ascontiguousarray(values)
