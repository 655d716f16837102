"""The guard around every call of a plug-in, and what its answers must be.

Whatever a plug-in does wrong becomes one line that names it, its package and its version, so that
a record can fail and the run go on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import numpy as np

from nnw_onnx.errors import DatasetError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs.calls import LONGEST, MisuseError, expect_words, fault, guarded, measured, named
from nnw_onnx.vocabulary import (
    Array,
    Batch,
    Claim,
    Dataset,
    Decoding,
    Detection,
    Indices,
    Json,
    Key,
    Method,
    Network,
    Payload,
    PlugIn,
    Quality,
    Samples,
    Scale,
    Task,
    TensorInfo,
    Trains,
)
from nnw_onnx.vocabulary.tasks import LARGEST

if TYPE_CHECKING:
    from pydantic import ValidationError

    from nnw_onnx.vocabulary import (
        Additions,
        Modification,
        Modified,
        Moment,
        Penalty,
        Trained,
        Trainer,
    )

__all__ = [
    "GuardedSamples",
    "MisuseError",
    "answering",
    "checked_additions",
    "checked_decoding",
    "checked_detection",
    "checked_embedded",
    "checked_key",
    "checked_modified",
    "checked_network",
    "checked_penalty",
    "checked_quality",
    "checked_trained",
    "fault",
    "guarded",
    "named",
    "recorded",
    "unchanged",
    "wrong_in",
]

T = TypeVar("T")
Q = TypeVar("Q", bound=PlugIn)
A = ParamSpec("A")


def answering(
    what: str,
) -> Callable[[Callable[Concatenate[Q, A], T]], Callable[Concatenate[Q, A], T]]:
    """Decorates a check of an answer: what the check cannot even look at is a fault too.

    An answer may be of the right class with anything in its fields.
    """

    def decorate(check: Callable[Concatenate[Q, A], T]) -> Callable[Concatenate[Q, A], T]:
        @functools.wraps(check)
        def checked(plugin: Q, /, *given: A.args, **words: A.kwargs) -> T:
            return guarded(plugin, what, lambda: check(plugin, *given, **words))

        return checked

    return decorate


def recorded(plugin: PlugIn, what: str, make: Callable[[], T]) -> T:
    """A record of what a plug-in answered; raises `PluginError` where no record can hold it."""
    from pydantic import ValidationError  # a record is a model of it; who only reads has none

    def made() -> T:
        try:
            return make()
        except ValidationError as error:
            raise fault(plugin, what, f"what a record can hold, got {wrong_in(error)}") from error

    return guarded(plugin, what, made)


def wrong_in(error: ValidationError) -> str:
    """What is wrong in a record, in a few words."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "record"
    return f"{where}: {first['msg']}"[:LONGEST]


@contextmanager
def unchanged(arrays: Mapping[str, Array]) -> Iterator[None]:
    """Make arrays read-only while a plug-in has them.

    One that writes into them raises, and `guarded` says what it did.
    """
    writeable = [a for a in arrays.values() if a.flags.writeable]
    for array in writeable:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array in writeable:
            array.flags.writeable = True


class GuardedSamples(Samples):
    """Samples of a data set plug-in: what it does wrong names it."""

    def __init__(self, dataset: Dataset, samples: Samples) -> None:
        """Nothing is read yet; raises `PluginError` where they are no `Samples`."""
        _of_type(dataset, "load", samples, Samples)
        self._dataset, self._samples = dataset, samples

    @property
    def given(self) -> Samples:
        """What the data set gave."""
        return self._samples

    @property
    def digest(self) -> str:
        """See `Samples`."""
        digest = guarded(self._dataset, "digest", lambda: self._samples.digest)
        _of_type(self._dataset, "digest", digest, str)
        return digest

    def __len__(self) -> int:
        return guarded(self._dataset, "len", lambda: len(self._samples))

    def read(self, indices: Indices) -> Batch:
        """See `Samples`."""
        batch = guarded(self._dataset, "read", lambda: self._batch(indices))
        return _checked_batch(self._dataset, batch, len(indices))

    def _batch(self, indices: Indices) -> Batch:
        try:
            return self._samples.read(indices)
        except OSError as error:
            if error.errno is None:  # raised by the data set; else its files are no fault of it
                raise
            raise DatasetError(
                f"{named(self._dataset)}: expected data that can be read, got: {error.strerror}; "
                "put them back or mend them"
            ) from error

    @property
    def facts(self) -> Mapping[str, Json]:
        """See `Samples`."""
        return _checked_facts(
            self._dataset, guarded(self._dataset, "facts", lambda: self._samples.facts)
        )

    @property
    def scale(self) -> Scale | None:
        """See `Samples`."""
        return guarded(self._dataset, "scale", lambda: self._samples.scale)

    def fitted(self, inputs: Sequence[TensorInfo]) -> GuardedSamples:
        """See `Samples`."""
        fitted = guarded(self._dataset, "fitted", lambda: self._samples.fitted(inputs))
        return GuardedSamples(self._dataset, fitted)


@answering("facts")
def _checked_facts(dataset: Dataset, facts: Mapping[str, Json]) -> Mapping[str, Json]:
    expect_words(dataset, "facts", "names", tuple(facts))
    json.dumps(dict(facts), allow_nan=False)  # raises where a plan cannot hold them
    return facts


@answering("read")
def _checked_batch(dataset: Dataset, batch: Batch, count: int) -> Batch:
    _of_type(dataset, "read", batch, Batch)
    counts = [len(values) for values in batch.feeds.values()]
    if not counts or any(found != count for found in (*counts, len(batch))):
        raise fault(dataset, "read", f"{count} samples, got {counts}")
    return batch


@answering("make_key")
def checked_key(method: Method, key: Key, network: Network, size: int, secret: bytes) -> Key:
    """A key of `make_key` that fits what was asked for; raises `PluginError`."""
    what = "make_key"
    _of_type(method, what, key, Key)
    if key.secret != secret:
        raise fault(method, what, "the key to keep the secret that it is given, got another")
    names = {layer.name for layer in network.layers}
    lost = sorted(set(key.layers) - names)
    if key.size != size:
        raise fault(method, what, f"a key of {size} symbols, got one of {key.size}")
    if lost:
        raise fault(method, what, f"carriers among the network's layers, got {lost[0]!r}")
    if len(key.layers) != len(key.shapes):
        raise fault(
            method, what, f"a shape for each carrier, got {len(key.shapes)} for {len(key.layers)}"
        )
    _check_fields(method, key)
    _finite(method, what, key.arrays)
    return key


def _check_fields(method: Method, key: Key) -> None:
    """Raise where a key file could not hold what a key says of itself."""
    what = "make_key"
    for name, words in (("layers", key.layers), ("notes", key.notes)):
        expect_words(method, what, name, words)
    if not all(isinstance(n, int) for shape in key.shapes for n in tuple(shape)):
        raise fault(method, what, "shapes of whole numbers, got something else")
    _of_type(method, what, key.commitment, str)
    json.dumps(dict(key.facts), allow_nan=False)  # raises where a key file cannot hold them


def checked_network(
    plugin: PlugIn,
    what: str,
    answer: Network,
    before: OnnxNetwork,
    *,
    any_architecture: bool = False,
) -> OnnxNetwork:
    """A network of a plug-in, all of whose weights are finite.

    Args:
        plugin: who answered.
        what: what it was asked to do.
        answer: what came back.
        before: the network that it was given.
        any_architecture: whether other layers or shapes may come back.

    Raises:
        PluginError: it is something else.
    """
    if not isinstance(answer, OnnxNetwork):
        raise fault(plugin, what, f"a network, got {type(answer).__name__}")
    if not any_architecture:
        _expect_layers(plugin, what, answer, before)
    # Weights that `with_weights` replaced are known to be finite.
    if not answer.same_file(before):
        _finite(plugin, what, answer.weights)
    return answer


@answering("modify")
def checked_modified(
    modification: Modification, answer: Modified, before: OnnxNetwork, layers: tuple[str, ...]
) -> Modified:
    """What `modify` answered, of a network and the layers aimed at.

    Raises:
        PluginError: it is something else, or one that aims has changed another layer.
    """
    from nnw_onnx.vocabulary import Modified

    what = "modify"
    _of_type(modification, what, answer, Modified)
    network = checked_network(
        modification, what, answer.network, before, any_architecture=not modification.aims
    )
    if modification.aims:
        _expect_others_stay(modification, network, before, layers)
    if not all(isinstance(mark, Claim) for mark in answer.marks):
        raise fault(modification, what, "claims as marks, got something else")
    for name, parts in (("marks", answer.marks), ("around", answer.around)):
        if not isinstance(parts, tuple):
            raise fault(modification, what, f"a tuple as {name}, got {type(parts).__name__}")
    if not (answer.samples_of is None or answer.samples_of == "transfer"):
        raise fault(modification, what, "samples_of of None or 'transfer', got another")
    if not all(callable(around) for around in answer.around):
        raise fault(modification, what, "functions around the network, got something else")
    expect_words(modification, what, "names of facts", tuple(answer.facts))
    for name, value in answer.facts.items():
        if isinstance(value, int | float) and not abs(value) <= LARGEST:
            raise fault(modification, what, f"a finite fact {name!r}, got {value}")
    json.dumps(dict(answer.facts), allow_nan=False)  # raises where a record cannot hold them
    return answer


@answering("additions")
def checked_additions(method: Trains, additions: Additions, network: Network) -> Additions:
    """What a method adds to a training; raises `PluginError` where the network lacks a layer."""
    from nnw_onnx.vocabulary import Additions

    what = "additions"
    _of_type(method, what, additions, Additions)
    layers = {layer.name: layer.shape for layer in network.layers}
    for name in (*additions.carriers, *additions.activations, *additions.start, *additions.fixed):
        if name not in layers:
            raise fault(method, what, f"layers of the network, got {name!r}")
    for name, array in (*additions.start.items(), *additions.fixed.items()):
        if array.shape != layers[name]:
            raise fault(
                method, what, f"an array of shape {layers[name]} for {name!r}, got {array.shape}"
            )
    _finite(method, what, {**additions.start, **additions.state})
    return additions


@answering("penalty")
def checked_penalty(method: Trains, penalty: Penalty | None, moment: Moment) -> Penalty:
    """What a penalty answered: gradients of the shapes of what they are of.

    Whether they are numbers is for the trainer to say: weights that diverged make any term NaN.

    Raises:
        PluginError: it is something else.
    """
    from nnw_onnx.vocabulary import Penalty

    what = "penalty"
    if not isinstance(penalty, Penalty):
        raise fault(method, what, f"a Penalty, got {type(penalty).__name__}")
    for name, gradient in penalty.weights.items():
        _expect_shape(method, what, name, gradient, moment.weights)
    for name, gradient in penalty.activations.items():
        _expect_shape(method, what, name, gradient, moment.activations)
    return penalty


@answering("train")
def checked_trained(trainer: Trainer, trained: Trained, before: OnnxNetwork) -> Trained:
    """What a trainer answered: a network of the same layers; raises `PluginError`."""
    from nnw_onnx.vocabulary import Trained

    _of_type(trainer, "train", trained, Trained)
    checked_network(trainer, "train", trained.network, before)
    return trained


@answering("embed")
def checked_embedded(method: Method, what: str, made: Trained, before: OnnxNetwork) -> Trained:
    """What `embed` answered: the network given with other weights, and finite arrays."""
    from nnw_onnx.vocabulary import Trained

    _of_type(method, what, made, Trained)
    checked_network(method, what, made.network, before)
    _finite(method, what, made.state)
    return made


@answering("decode")
def checked_decoding(method: Method, decoding: Decoding, size: int) -> Decoding:
    """What `decode` answered: `size` Symbols and finite confidences; raises `PluginError`."""
    what = "decode"
    _of_type(method, what, decoding, Decoding)
    _of_type(method, what, decoding.payload, Payload)
    if len(decoding.payload) != size:
        raise fault(method, what, f"{size} symbols, got {len(decoding.payload)}")
    if decoding.payload.alphabet < method.alphabet:
        raise fault(
            method,
            what,
            f"an alphabet of at least {method.alphabet}, got {decoding.payload.alphabet}",
        )
    confidence = np.asarray(decoding.confidence, np.float64)
    if confidence.shape != (size,) or not (np.isfinite(confidence) & (confidence >= 0)).all():
        raise fault(
            method,
            what,
            f"a finite confidence >= 0 for each of {size} symbols, got {len(confidence)} of which "
            "some may be others",
        )
    if not 0 <= decoding.ties <= size:
        raise fault(method, what, f"0 to {size} ties, got {decoding.ties}")
    expect_words(method, what, "notes", decoding.notes)
    return decoding


@answering("detect")
def checked_detection(method: Method, detection: Detection) -> Detection:
    """What `detect` answered: finite, p-values of at most 1, not decided; raises `PluginError`."""
    what = "detect"
    _of_type(method, what, detection, Detection)
    logarithms = {
        "log10_p": detection.log10_p,
        "log10_tie": detection.log10_tie,
        "log10_inverted": detection.log10_inverted,
        "null.log10_least": detection.null.log10_least,
    }
    for name, value in logarithms.items():
        # Minus infinity is a p-value that no float holds; rounding may leave a little above 0.
        if value is not None and not value <= 1e-9:
            raise fault(method, what, f"{name} as a logarithm of at most 0, got {value}")
    numbers = [detection.statistic, *(place.statistic for place in detection.places)]
    if not all(abs(number) <= LARGEST for number in numbers):
        raise fault(method, what, "finite statistics, got one that is not")
    if detection.detected is not None:
        raise fault(method, what, "evidence without a decision, got a decided one")
    if detection.says not in (None, True, False) or (
        detection.says is not None and detection.log10_p is not None
    ):
        raise fault(method, what, "a yes or no of its own only without a p-value, got both")
    expect_words(method, what, "notes", detection.notes)
    return detection


@answering("result")
def checked_quality(task: Task, quality: Quality, samples: int) -> Quality:
    """What a meter answered: each measure of the task, finite, a score a sample.

    Raises:
        PluginError: it answered something else.
    """
    what = "result"
    _of_type(task, what, quality, Quality)
    wanted = [measure.name for measure in measured(task)]
    if list(quality.values) != wanted:
        raise fault(
            task, what, f"the measures {', '.join(wanted)}, got {', '.join(quality.values)}"
        )
    for name, value in quality.values.items():
        if not abs(value) <= LARGEST:
            raise fault(task, what, f"a finite {name}, got {value}")
    if quality.chance is not None and not abs(quality.chance) <= LARGEST:
        raise fault(task, what, f"a finite chance, got {quality.chance}")
    for name, array in (("scores", quality.scores), ("weights", quality.weights)):
        if array is not None and (array.shape != (samples,) or not np.isfinite(array).all()):
            raise fault(task, what, f"{samples} finite {name}, got shape {array.shape}")
    return quality


def _of_type(plugin: PlugIn, what: str, answer: object, kind: type) -> None:
    if not isinstance(answer, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise fault(plugin, what, f"{article} {kind.__name__}, got {type(answer).__name__}")


def _expect_layers(plugin: PlugIn, what: str, after: Network, before: Network) -> None:
    old = {layer.name: layer.shape for layer in before.layers}
    new = {layer.name: layer.shape for layer in after.layers}
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise fault(
                plugin,
                what,
                f"the layers and shapes to stay, got {new.get(name, 'none')} for {name!r} "
                f"({old.get(name, 'none')} before)",
            )


def _expect_others_stay(
    modification: Modification, after: OnnxNetwork, before: OnnxNetwork, layers: tuple[str, ...]
) -> None:
    touched = (after.replaced | before.replaced) if after.same_file(before) else set(after.weights)
    for name in sorted(touched - set(layers)):
        if not np.array_equal(after.weights[name], before.weights[name]):
            raise fault(
                modification, "modify", f"only the layers aimed at to change, got {name!r} changed"
            )


def _expect_shape(
    plugin: PlugIn, what: str, name: str, gradient: Array, arrays: Mapping[str, Array]
) -> None:
    if name not in arrays:
        raise fault(plugin, what, f"gradients of layers that it asked for, got {name!r}")
    if gradient.shape != arrays[name].shape:
        raise fault(
            plugin,
            what,
            f"a gradient of shape {arrays[name].shape} for {name!r}, got {gradient.shape}",
        )


def _finite(plugin: PlugIn, what: str, arrays: Mapping[str, Array]) -> None:
    for name, values in arrays.items():
        if np.issubdtype(values.dtype, np.inexact) and not np.isfinite(values).all():
            raise fault(plugin, what, f"finite numbers in {name!r}, got NaN or infinity")
