"""Samples that data sets give and methods add: arrays, images, a draw of other samples.

All of them are read when asked for. `fitted` is what makes samples those of one network; it is
cheap. What costs time to preprocess is kept from network to network where it is small.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import cache
from nnw_onnx.kit.preprocessing import Preprocessing, fits_shape, shape_words
from nnw_onnx.vocabulary import (
    Array,
    Batch,
    Feeds,
    Indices,
    Json,
    Samples,
    Scale,
    Targets,
    TensorInfo,
)

CACHED_BYTES = 1 << 30
"""Preprocessed samples that are not larger are kept where it costs time to make them again."""

_KEPT_SHAPES = 2
_HASHED_ROWS = 256
_IMAGE = "image"


class Rows(Protocol):
    """Entries along a first axis, read when asked for; every numpy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes, the number of entries first."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...

    def __getitem__(self, indices: Indices, /) -> Array:
        """The entries at these places."""
        ...


class ArraySamples(Samples):
    """Arrays as they are, one for each input: token ids with their mask, features, signals.

    Feeds are matched with the inputs of a network by name (those that it has no input for are left
    out), or by their place where no name fits.
    """

    def __init__(
        self,
        feeds: Mapping[str, Array],
        targets: Targets,
        facts: Mapping[str, Json] | None = None,
        *,
        scale: Scale | None = None,
        digest: str | None = None,
    ) -> None:
        """Keep the arrays (they are not copied).

        Args:
            feeds: input -> values (n, ...).
            targets: n of them.
            facts: see `Samples.facts`.
            scale: the way back from the first feed to a signal, where it is one.
            digest: SHA-256 of the data; None: that of names, feeds and targets.

        Raises:
            ConfigurationError: no feed, or feeds and targets of different lengths.
        """
        lengths = {name: len(values) for name, values in feeds.items()}
        if not feeds or set(lengths.values()) != {len(targets)}:
            raise ConfigurationError(
                f"samples: expected {len(targets)} values of at least one input, as there are "
                f"targets, got {lengths}; give arrays of one length"
            )
        self._feeds, self._targets, self._facts = dict(feeds), targets, dict(facts or {})
        self._scale, self._digest = scale, digest

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of feeds and targets."""
        if self._digest is None:
            plain = fingerprint(*self._feeds.values(), *_arrays(self._targets))
            self._digest = hashlib.sha256(f"{list(self._feeds)} {plain}".encode()).hexdigest()
        return self._digest

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples.facts`."""
        return self._facts

    @property
    def scale(self) -> Scale | None:
        """The way back from the first feed to a signal, where it is one."""
        return self._scale

    def __len__(self) -> int:
        return len(self._targets)

    def read(self, indices: Indices) -> Batch:
        """The samples at these places."""
        feeds = {name: values[indices] for name, values in self._feeds.items()}
        return Batch(feeds, picked(self._targets, indices))

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same arrays under the names and in the integer or float types of the inputs.

        Raises:
            ConfigurationError: an input has no array, or one of another shape.
        """
        by_name = any(port.name in self._feeds for port in inputs)
        names = [port.name for port in inputs] if by_name else list(self._feeds)
        ports = dict(zip(names, inputs, strict=False))
        missing = list(inputs[len(names) :])
        missing += [port for name, port in ports.items() if name not in self._feeds]
        if missing:
            raise ConfigurationError(
                f"samples: expected values for the input {missing[0].name!r} "
                f"{shape_words(missing[0].shape)} of the network, got those of "
                f"{', '.join(self._feeds)}; choose data made for this network"
            )
        made = copy.copy(self)
        made._digest = self.digest
        # In the order of the feeds: the scale is that of the first one, wherever it is taken.
        made._feeds = {
            ports[n].name: _typed(ports[n], v) for n, v in self._feeds.items() if n in ports
        }
        made._scale = self._scale if next(iter(self._feeds)) in ports else None
        return made


class ImageSamples(Samples):
    """Images, or plain features, with the preprocessing that belongs to them.

    Before `fitted` the samples are read as they are stored, under the name "image"; after it as
    the input of the network, preprocessed.
    """

    def __init__(
        self,
        images: Rows,
        targets: Targets | Rows,
        preprocessing: Preprocessing | None = None,
        facts: Mapping[str, Json] | None = None,
        *,
        digest: str | None = None,
    ) -> None:
        """Keep images and targets (they are not copied).

        Args:
            images: (n, height, width, channels) of uint8, or of floats that `preprocessing.scale`
                brings to [0, 1]; or (n, ...) of what is no image.
            targets: n of them.
            preprocessing: how a sample becomes an input; None: scaled by 1/255 where it is uint8.
            facts: see `Samples.facts`.
            digest: SHA-256 of the data; None: `fingerprint` of images and targets.
        """
        self._images, self._targets = images, targets
        self._preprocessing, self._facts = preprocessing or Preprocessing(), dict(facts or {})
        self._digest = digest
        self._port: TensorInfo | None = None
        self._scale = self._preprocessing.scale_of(images.shape, images.dtype, None)
        # Shared by all that are fitted from these: shape of an input -> what was preprocessed.
        self._kept: dict[tuple[int | str | None, ...], Kept] = {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of images and targets, before preprocessing."""
        if self._digest is None:
            targets = picked(self._targets, np.arange(len(self)))
            self._digest = fingerprint(self._images, *_arrays(targets))
        return self._digest

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples.facts`."""
        return self._facts

    @property
    def scale(self) -> Scale | None:
        """The way back to an image in [0, 1]; None where the samples are none."""
        return self._scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all samples, as they are stored."""
        return tuple(self._images.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the samples, as they are stored."""
        return self._images.dtype

    @property
    def preprocessing(self) -> Preprocessing:
        """How a sample becomes an input."""
        return self._preprocessing

    def __len__(self) -> int:
        return self._images.shape[0]

    def read(self, indices: Indices) -> Batch:
        """The samples at these places."""
        targets = picked(self._targets, indices)
        if self._port is None:
            return Batch({_IMAGE: self._images[indices]}, targets)
        return Batch({self._port.name: self._inputs(self._port, indices)}, targets)

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same samples, preprocessed for the only input of a network.

        Raises:
            ConfigurationError: the network takes no or several inputs, or they cannot be made to
                fit.
        """
        if len(inputs) != 1:
            raise ConfigurationError(
                f"samples: expected a network of one input for one kind of data, got {len(inputs)} "
                f"({', '.join(port.name for port in inputs)}); use data for all its inputs"
            )
        made = copy.copy(self)
        made._digest, made._port = self.digest, inputs[0]
        made._inputs(inputs[0], np.arange(1))  # what cannot fit is said here, not in the first read
        made._scale = self._preprocessing.scale_of(
            self._images.shape, self._images.dtype, inputs[0].shape
        )
        return made

    def preprocessed(self, preprocessing: Preprocessing) -> Self:
        """The same samples with another preprocessing."""
        made = copy.copy(self)
        made._preprocessing, made._kept, made._port = preprocessing, {}, None
        made._scale = preprocessing.scale_of(self._images.shape, self._images.dtype, None)
        return made

    def _inputs(self, port: TensorInfo, indices: Indices) -> Array:
        shape = (None, *port.shape[1:])

        def made(wanted: Indices) -> Array:
            return self._preprocessing.apply(self._images[wanted], shape)

        if self._preprocessing.light and isinstance(self._images, np.ndarray):
            return made(indices)
        if shape not in self._kept:
            while len(self._kept) >= _KEPT_SHAPES:
                del self._kept[next(iter(self._kept))]
            what = f"{self.digest} {self._preprocessing} {shape}"
            self._kept[shape] = Kept(len(self), made(np.arange(1)), what)
        return self._kept[shape].read(indices, made)


class ImagePairs(Samples):
    """Images whose targets are images: for networks that restore, enlarge or translate them.

    Targets are laid out as the input of the network, in gray where it takes one channel.
    """

    def __init__(
        self,
        images: Rows,
        wanted: Rows,
        preprocessing: Preprocessing | None = None,
        facts: Mapping[str, Json] | None = None,
        *,
        target_preprocessing: Preprocessing | None = None,
        digest: str | None = None,
    ) -> None:
        """Keep images and targets (they are not copied).

        Args:
            images: see `ImageSamples`.
            wanted: n images of any one size.
            preprocessing: of the images, and of the targets but for its resize.
            facts: see `Samples.facts`.
            target_preprocessing: scale, mean and std of the targets where the network answers in
                other numbers than it is fed; the fact "target_scale" then tells them.
            digest: SHA-256 of the data; None: `fingerprint` of images and targets.

        Raises:
            ConfigurationError: another number of targets than of images, or no images.
        """
        if len(images.shape) != 4 or len(wanted.shape) != 4 or images.shape[0] != wanted.shape[0]:
            raise ConfigurationError(
                "samples: expected as many target images (n, height, width, channels) as images, "
                f"got {shape_words(wanted.shape)} and {shape_words(images.shape)}; give one for "
                "each"
            )
        self._preprocessing, self._own = preprocessing or Preprocessing(), target_preprocessing
        self._facts, self._digest = dict(facts or {}), digest
        nothing = np.zeros(images.shape[0], np.int8)
        self._images = ImageSamples(images, nothing, self._preprocessing, digest="")
        self._wanted = ImageSamples(wanted, nothing, digest="")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of images and targets, before preprocessing."""
        if self._digest is None:
            batch = self.read(np.arange(len(self)))
            self._digest = fingerprint(*batch.feeds.values(), *_arrays(batch.targets))
        return self._digest

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples.facts`."""
        return self._facts

    @property
    def scale(self) -> Scale | None:
        """The way back from the input to an image in [0, 1]."""
        return self._images.scale

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Indices) -> Batch:
        """The pairs at these places."""
        wanted = only_feed(self._wanted.read(indices).feeds)
        return Batch(self._images.read(indices).feeds, wanted)

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same pairs, preprocessed for the only input of a network.

        Raises:
            ConfigurationError: see `ImageSamples.fitted`.
        """
        made = copy.copy(self)
        made._digest, made._images = self.digest, self._images.fitted(inputs)
        first, scale = only_feed(made._images.read(np.arange(1)).feeds), made.scale
        assert scale is not None  # images have one
        port, layout, channels = _answering(scale, first.shape)
        wanted = dataclasses.replace(self._own or self._preprocessing, resize=None, layout=layout)
        if wanted.channels == "auto" and channels == 1:
            wanted = dataclasses.replace(wanted, channels="gray")
        made._wanted = self._wanted.preprocessed(wanted).fitted([port])
        if self._own and (own := made._wanted.scale):
            told = {"factor": list(own.factor), "offset": list(own.offset)}
            made._facts = {**self._facts, "target_scale": told}
        return made


def _answering(
    scale: Scale, shape: tuple[int, ...]
) -> tuple[TensorInfo, Literal["auto", "NCHW", "NHWC"], int]:
    """An image of any size as an answer that is laid out as the input, and its channels."""
    if scale.layout == "chw":
        return TensorInfo("target", (None, shape[1], None, None), "float32"), "NCHW", shape[1]
    if scale.layout == "hwc":
        return TensorInfo("target", (None, None, None, shape[3]), "float32"), "NHWC", shape[3]
    if scale.layout == "hw":
        return TensorInfo("target", (None, None, None), "float32"), "auto", 1
    return TensorInfo("target", (None, None), "float32"), "auto", scale.shape[0]


class Drawn(Samples):
    """Some of other samples, in any order and with repetitions, or the same with other targets."""

    def __init__(self, whole: Samples, indices: Indices, targets: Targets | None = None) -> None:
        """Keep the places.

        Args:
            whole: what is drawn from.
            indices: (n,) places in it.
            targets: n others instead of its own, such as the answers of a teacher.

        Raises:
            ConfigurationError: targets of another number.
        """
        if targets is not None and len(targets) != len(indices):
            raise ConfigurationError(
                f"samples: expected {len(indices)} targets, one for each sample drawn, got "
                f"{len(targets)}; give one for each"
            )
        self._whole, self._indices, self._targets = whole, np.asarray(indices, np.int64), targets

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the whole, the places and other targets."""
        own = fingerprint(self._indices, *_arrays(() if self._targets is None else self._targets))
        return hashlib.sha256(f"{self._whole.digest} {own}".encode()).hexdigest()

    @property
    def facts(self) -> Mapping[str, Json]:
        """Those of the whole."""
        return self._whole.facts

    @property
    def scale(self) -> Scale | None:
        """That of the whole."""
        return self._whole.scale

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: Indices) -> Batch:
        """The samples at these places of the draw."""
        batch = self._whole.read(self._indices[indices])
        return (
            batch if self._targets is None else Batch(batch.feeds, picked(self._targets, indices))
        )

    def fitted(self, inputs: Sequence[TensorInfo]) -> Self:
        """The same draw of the whole as a network takes it."""
        made = copy.copy(self)
        made._whole = self._whole.fitted(inputs)
        return made


class Kept:
    """Preprocessed samples, computed where they are asked for and kept where all are small.

    Once all of them are there, they go to a file that other processes map instead.
    """

    def __init__(self, total: int, first: Array, what: str) -> None:
        """Look for all of them.

        Args:
            total: number of samples.
            first: one of them (1, ...).
            what: everything that they follow from, see `cache.kept`.
        """
        small = first.nbytes * total <= CACHED_BYTES
        self._what = what
        self._whole = cache.found(what, (total, *first.shape[1:]), first.dtype) if small else None
        # Pages of an empty array that nobody wrote to cost no memory.
        self._values = np.empty((total, *first.shape[1:]), first.dtype) if small else None
        self._there = np.zeros(total, np.bool_)

    def read(self, indices: Indices, make: Callable[[Indices], Array]) -> Array:
        """The samples at these places; `make` makes those that are not there."""
        if self._whole is not None:
            return self._whole[indices]
        if self._values is None:
            return make(indices)
        missing = np.unique(indices[~self._there[indices]])
        if len(missing):
            self._values[missing] = make(missing)
            self._there[missing] = True
            if self._there.all():
                self._whole, self._values = cache.stored(self._what, self._values), None
                return self._whole[indices]
        return self._values[indices]


def limited(samples: Samples, count: int | None) -> Samples:
    """So many samples, evenly spaced over all of them; None or a larger number: all of them."""
    if count is None or count >= len(samples):
        return samples
    return Drawn(samples, evenly(len(samples), count))


def evenly(total: int, count: int | None) -> Indices:
    """Places of `count` evenly spaced entries of `total`, or of all of them."""
    wanted = total if count is None else min(count, total)
    return np.arange(wanted, dtype=np.int64) * total // max(wanted, 1)


def batches(samples: Samples, size: int) -> Iterator[Batch]:
    """Consecutive batches of at most `size` samples, in order."""
    for start in range(0, len(samples), size):
        yield samples.read(np.arange(start, min(start + size, len(samples)), dtype=np.int64))


def picked(targets: Targets | Rows, indices: Indices) -> Targets:
    """The targets at these places: an array, or a list where they are no array."""
    if isinstance(targets, Sequence):
        return [targets[i] for i in indices]
    return targets[indices]


def only_feed(feeds: Feeds) -> Array:
    """The values of the first input."""
    return next(iter(feeds.values()))


def fingerprint(*arrays: Rows) -> str:
    """SHA-256 (hex) of shapes, element types and values, little-endian."""
    digest = hashlib.sha256()
    for array in arrays:
        dtype = array.dtype.newbyteorder("<")
        digest.update(f"{dtype.str} {tuple(array.shape)};".encode())
        for part in _parts(array):
            digest.update(np.ascontiguousarray(part.astype(dtype, copy=False)).data)
    return digest.hexdigest()


def _parts(rows: Rows) -> Iterator[Array]:
    """Consecutive entries, few enough to be held at once where they are not yet in memory."""
    if isinstance(rows, np.ndarray):
        yield rows
        return
    for start in range(0, rows.shape[0], _HASHED_ROWS):
        yield rows[np.arange(start, min(start + _HASHED_ROWS, rows.shape[0]))]


def _arrays(targets: Targets) -> Sequence[Array]:
    return [targets] if isinstance(targets, np.ndarray) else list(targets)


def _typed(port: TensorInfo, values: Array) -> Array:
    """The values in the type of the input where both are integers or both are floats."""
    if not fits_shape(port.shape[1:], values.shape[1:]):
        raise ConfigurationError(
            f"samples: expected values of shape {shape_words(port.shape)} for the input "
            f"{port.name!r}, got {shape_words(values.shape)}; choose data made for this network"
        )
    kinds = {"i": "iu", "u": "iu", "f": "f"}
    try:
        wanted = np.dtype(port.dtype)
    except TypeError:
        return values  # a type that numpy has no name for; the session says what to do
    same = values.dtype.kind in kinds.get(wanted.kind, "")
    return values.astype(wanted, copy=False) if same else values
