"""The head of a graph, run once for all networks that differ only in what comes after it.

Its answers are kept beside what was fed, and given again where the very same is fed. A network that
is run so answers as it does in one piece, to the last bit, or is not run so: for every shape of
feeds the two are compared once, and a head that ever makes a difference is not used any more. So it
is nothing that a record could depend on.
"""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from nnw_onnx.inference.sessions import RunnableGraph, Session
from nnw_onnx.inference.settings import SessionSettings
from nnw_onnx.vocabulary import Array, TensorInfo

KEPT_BYTES = 1 << 30
"""Answers of one head, and what they answer, that are kept at most."""
_LABELLED = 1024
"""Values of an array by which it is looked for."""
_ALIGNED = 64
"""Bytes at a multiple of which arrays begin."""


class Head:
    """The first part of a graph, and what it has answered.

    Attributes:
        session: runs it.
        given: what it gives to the rest.
        proved: shapes of feeds for which the parts answer as the whole.
        refuted: whether they once did not.
    """

    def __init__(self, head: RunnableGraph, settings: SessionSettings) -> None:
        """Make the session; raises `InferenceError` as `Session` does."""
        self.session = Session(head, settings)
        self.given: tuple[TensorInfo, ...] = self.session.outputs
        self.proved: set[tuple[object, ...]] = set()
        # Of anything but plain numbers with a shape the rest could not be told the type.
        self.refuted = not all(info.shape and _is_plain(info.dtype) for info in self.given)
        self._kept = _Kept()

    @property
    def nbytes(self) -> int:
        """Size of the answers that are kept."""
        return self._kept.nbytes

    def answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The values between the parts, kept or made now."""
        fed = {info.name: feeds[info.name] for info in self.session.inputs}
        told = self._kept.found(list(fed.values()))
        if told is None:
            told = self.session.run(fed)
            self._kept.keep(list(fed.values()), told)
        return dict(zip((info.name for info in self.given), told, strict=True))


class SharedSession(Session):
    """A network in two parts, of which the first is shared."""

    def __init__(
        self,
        head: Head,
        tail: RunnableGraph,
        whole: Callable[[], RunnableGraph],
        inputs: Sequence[str],
        settings: SessionSettings,
    ) -> None:
        """Make the session of the second part.

        Args:
            head: the first part.
            tail: the second, fed with what the first gives.
            whole: the network in one piece, made where it is needed.
            inputs: names of its inputs, in their order.
            settings: how it is run.

        Raises:
            InferenceError: as `Session`.
        """
        super().__init__(tail, settings)
        between = {info.name for info in head.given}
        rest = [info for info in self.inputs if info.name not in between]
        known = {info.name: info for info in (*head.session.inputs, *rest)}
        self._rest = [info.name for info in rest]
        self._head, self._whole, self._settings = head, whole, settings
        self.inputs = tuple(known[name] for name in inputs)
        self._one: Session | None = None

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """See `Session.run`."""
        if self._head.refuted:
            return self._in_one().run(feeds, outputs)
        shapes = tuple((name, values.shape) for name, values in sorted(feeds.items()))
        rest = {name: feeds[name] for name in self._rest}
        told = super().run({**self._head.answers(feeds), **rest}, outputs)
        if shapes in self._head.proved:
            return told
        wanted = self._in_one().run(feeds, outputs)
        if all(map(_same_bits, told, wanted)):
            self._head.proved.add(shapes)
        else:
            self._head.refuted = True
        return wanted

    def _in_one(self) -> Session:
        if self._one is None:
            self._one = Session(self._whole(), self._settings)
        return self._one


class _Kept:
    """Answers in a file without a name, mapped when they are asked for; it ends with the process.

    Questions lie beside them: to compare them all takes a tenth of the time of a digest of them.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._most = KEPT_BYTES
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._places: dict[int, list[tuple[list[_Place], list[_Place]]]] = {}

    def found(self, asked: Sequence[Array]) -> list[Array] | None:
        """The answers to a question, or None."""
        for question, answers in self._places.get(_label(asked), ()):
            if all(map(_same_bits, asked, map(self._mapped, question))):
                return list(map(self._mapped, answers))
        return None

    def keep(self, asked: Sequence[Array], answers: Sequence[Array]) -> None:
        """Keep answers where there is room; without any they are made again."""
        every = (*asked, *answers)
        size = sum(values.nbytes + _ALIGNED for values in every)
        if self.nbytes + size > self._most or not all(values.size for values in every):
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as this
            if shutil.disk_usage(tempfile.gettempdir()).free < self._most + size:
                raise OSError("too little space")
            places = [self._written(values) for values in every]
        except OSError:
            self._most = 0  # it will not be otherwise soon
            return
        entry = places[: len(asked)], places[len(asked) :]
        self._places.setdefault(_label(asked), []).append(entry)

    def _mapped(self, place: _Place) -> Array:
        # One map for all: to make one takes as long as a small network needs for a sample.
        if self._map is None or place.end > len(self._map):
            assert self._file is not None
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(self._map, place.dtype, math.prod(place.shape), place.start)
        return flat.reshape(place.shape)

    def _written(self, values: Array) -> _Place:
        assert self._file is not None
        start = -(-self.nbytes // _ALIGNED) * _ALIGNED
        self._file.seek(start)
        left = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        while left:
            left = left[self._file.write(left) :]
        self.nbytes = start + values.nbytes
        return _Place(start, self.nbytes, values.dtype, values.shape)


class _Place(NamedTuple):
    """Where an array lies in the file."""

    start: int
    end: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _is_plain(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False


def _same_bits(one: Array, other: Array) -> bool:
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and bool(np.array_equal(_bits(one), _bits(other)))


def _bits(values: Array) -> Array:
    """The values as integers, of the largest size that fits: they are compared fastest."""
    plain = np.ascontiguousarray(values).reshape(-1)
    return plain.view(np.uint64 if plain.nbytes % 8 == 0 and plain.size else np.uint8)


def _label(arrays: Sequence[Array]) -> int:
    """A number from a few of the values, that differs for most arrays that do."""
    found = []
    for values in arrays:
        plain = values.reshape(-1)
        some = plain[:: max(1, plain.size // _LABELLED)].tobytes()
        found.append((values.dtype.str, values.shape, some))
    return hash(tuple(found))
