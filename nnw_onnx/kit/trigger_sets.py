"""Trigger inputs with a class each, for methods that only say that they are there.

`kit.triggers` is for triggers that carry Symbols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InjectionError
from nnw_onnx.kit import carriers, commitments, keystream, triggers
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import (
    Additions,
    Batch,
    Bound,
    Detection,
    Json,
    Key,
    Method,
    Network,
    Null,
    Samples,
    Suspect,
)

FEED = "triggers"  # no input has to have this name: feeds are then matched by their place
_LABELS = "labels"
_CLASSES = "classes"
_BATCH = 256


class TriggerSet(NamedTuple):
    """Inputs (n, ...), the class (n,) that answers each, and the number of classes."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int


def key_for(
    method: Method,
    chosen: TriggerSet,
    network: Network,
    secret: bytes,
    output: int,
    why: Sequence[str],
    facts: Mapping[str, Json] | None = None,
) -> Key:
    """The key of a set, committed to it and the network; its size is 0.

    Raises:
        InjectionError: inputs that are not finite or not all different, or no class for each.
    """
    inputs, labels = np.array(chosen.inputs, np.float32), np.array(chosen.labels, np.int64)
    different = len({trigger.tobytes() for trigger in inputs})
    if different < len(inputs) or not np.isfinite(inputs).all():
        raise InjectionError(
            f"{method.name}: expected {len(inputs)} different triggers of finite numbers, got "
            f"{different} or others; give other data"
        )
    if ((labels < 0) | (labels >= chosen.classes)).any():
        raise InjectionError(
            f"{method.name}: expected classes from 0 to {chosen.classes - 1}, got another; "
            "choose one of those"
        )
    for values in (inputs, labels):
        values.flags.writeable = False
    bound = _bound(TriggerSet(inputs, labels, chosen.classes), network, output)
    return Key(
        method=method.spec(),
        secret=secret,
        size=0,
        facts={_CLASSES: chosen.classes, **(facts or {})},
        arrays={FEED: inputs, _LABELS: labels},
        commitment=commitments.commit(secret, method.name, bound),
        notes=tuple(why),
    )


def opened(key: Key, method: str) -> TriggerSet:
    """What a key asks a network.

    Raises:
        ConfigurationError: it is of another method, or has no such set.
    """
    carriers.check_method(key, method)
    inputs, labels = key.arrays.get(FEED), key.arrays.get(_LABELS)
    classes = key.facts.get(_CLASSES)
    if inputs is not None and labels is not None and isinstance(classes, int):
        fit = inputs.ndim > 1 and inputs.dtype == np.float32 and labels.shape == inputs.shape[:1]
        known = labels.dtype.kind in "iu" and classes > 1
        if fit and known and len(labels) and bool(((labels >= 0) & (labels < classes)).all()):
            return TriggerSet(inputs, labels.astype(np.int64), classes)
    raise ConfigurationError(
        "key: expected triggers of float32 with a class for each, got others or none; restore "
        "the key from a copy"
    )


def committed(key: Key, method: str, network: Network, output: int) -> list[Bound]:
    """What the commitment of such a key binds; raises `ConfigurationError` as `opened`."""
    return _bound(opened(key, method), network, output)


def additions(key: Key, method: str) -> Additions:
    """The set, as samples of the method's own; raises `ConfigurationError` as `opened`."""
    asked = opened(key, method)
    return Additions(samples=ArraySamples({FEED: asked.inputs}, asked.labels))


def right(suspect: Suspect, key: Key, method: str, output: int) -> tuple[int, int]:
    """How many triggers a network answers with their class, and of how many; undecided are wrong.

    Raises:
        CarrierNotFoundError: the network takes other inputs or tells other classes.
        ConfigurationError: see `opened`.
    """
    asked = opened(key, method)
    values = suspect.run({FEED: asked.inputs})
    n = len(asked.labels)
    told = triggers.answers(triggers.scores_of(values, output, n, asked.classes))
    return int(np.count_nonzero((told.classes == asked.labels) & ~told.undecided)), n


def measured(hits: int, n: int, null: str, notes: Sequence[str] = ()) -> Detection:
    """Evidence without a null of its own: what unmarked networks reach has to be measured."""
    return Detection(
        statistic=hits,
        log10_p=None,
        null=Null(f"{null}, to be measured on unmarked networks", symbols=n),
        notes=tuple(notes),
    )


def sources(
    training: Samples,
    secret: bytes,
    label: str,
    n: int,
    *,
    of: int | None = None,
    but: int | None = None,
) -> Batch:
    """Keyed choice of n training samples, with their targets.

    Args:
        training: samples of the task.
        secret: of the key.
        label: of the choice.
        n: how many.
        of: the class of all of them; None for any.
        but: a class of which none is taken.

    Raises:
        InjectionError: there are too few, or targets that are no classes.
    """
    order = keystream.permutation(secret, label, len(training))
    places: list[int] = []
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        classes = classes_of(training.read(part))
        places += part[(classes != but) & ((of is None) | (classes == of))].tolist()
        if len(places) >= n:
            return training.read(np.array(places[:n], np.int64))
    kind = f" of class {of}" if of is not None else f" not of class {but}" * (but is not None)
    raise InjectionError(
        f"triggers: expected at least {n} training samples{kind}, got {len(places)}; use fewer "
        "triggers or more data"
    )


def classes_of(batch: Batch) -> NDArray[np.int64]:
    """The classes (n,) of samples; raises `InjectionError` where their targets are none."""
    targets = np.asarray(batch.targets)
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise InjectionError(
            f"triggers: expected one class a sample, got targets of {targets.dtype} "
            f"{targets.shape}; use a classifier"
        )
    return targets.astype(np.int64)


def _bound(asked: TriggerSet, network: Network, output: int) -> list[Bound]:
    return [
        (FEED, asked.inputs.shape, commitments.digest(asked.inputs)),
        (_LABELS, asked.labels.shape, commitments.digest(asked.labels)),
        (_CLASSES, (asked.classes, output), network.digest),
    ]
