"""The two things a worker does: inject one watermark, run one trial.

A worker gets a `Context` (where files are and how networks are run) and a small task. It rebuilds
plug-ins by name and keeps what it opened for the next task.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays.commitments import bind_payload
from nnw_onnx.errors import CarrierNotFoundError, NnwError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session
from nnw_onnx.records import (
    DecodingRecord,
    InjectionRecord,
    NewMark,
    PluginSpec,
    TrainingRecord,
    TrialRecord,
)
from nnw_onnx.runs import context as contexts
from nnw_onnx.runs import training
from nnw_onnx.runs.context import Context
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.runs.plan import InjectionTask, Trial
from nnw_onnx.runs.seeds import generator, secret
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.workshop import RunWorkshop
from nnw_onnx.vocabulary import Key, Payload, Quality, Samples, TrainingOutcome, Weights

NO_CARRIER = "the watermark lies in no layer of its own, so none can be aimed at"


def inject(context: Context, task: InjectionTask) -> InjectionRecord:
    """Inject, read back, and keep the replaced weights and the key in the run folder."""
    base: dict[str, Any] = {
        "identity": task.identity,
        "network": task.network,
        "group": task.group,
        "payload_index": task.payload_index,
        "twin": task.twin,
    }
    try:
        network = contexts.network_of(context, task.network)
        made = _injected(context, task, network)
    except NnwError as error:
        return InjectionRecord(**base, status="failed", reason=str(error))
    store = Store(context.folder)
    new = {name: made.network.weights[name] for name in sorted(made.network.replaced)}
    old = {name: network.weights[name] for name in new}
    store.save_weights(task.identity, new)
    if made.key is not None:
        save_key(made.key, store.key_path(task.identity))
    store.checkpoint(task.identity).discard()
    return InjectionRecord(
        **base,
        status="done",
        layers=made.key.layers if made.key else (),
        notes=made.key.notes if made.key else (),
        change=_change_of(made, network, old, new),
        changed_weights=sum(int(np.count_nonzero(old[n] != new[n])) for n in new),
        commitment=made.key.commitment if made.key else None,
        errors=made.errors,
        training=made.training,
    )


@dataclass(frozen=True)
class _Injected:
    """What became of an injection task: a network, and its key unless it is a twin."""

    network: OnnxNetwork
    key: Key | None
    errors: int | None
    training: TrainingRecord | None = None


def _injected(context: Context, task: InjectionTask, network: OnnxNetwork) -> _Injected:
    technology = context.technologies[task.group] if context.technologies else None
    if technology is None or technology.recipe is None:
        method = plugins.create("methods", task.method)
        payload = payload_of(task)
        key = method.make_key(network, len(payload), secret(task.seed, injection=task.identity))
        marked = method.inject(network, payload, key)
        return _Injected(marked, bind_payload(key, payload), 0)
    if task.twin:
        twin = training.train_twin(context, technology, network, task.identity, task.seed)
        return _Injected(twin.network, None, None, training.recorded(twin))
    fresh = secret(task.seed, injection=task.identity)
    mark = training.make_mark(context, technology, network, payload_of(task), fresh)
    trained, errors = training.put_in(context, technology, network, mark, task.identity, task.seed)
    return _Injected(trained.network, mark.key, errors, training.recorded(trained))


def _change_of(made: _Injected, network: OnnxNetwork, old: Weights, new: Weights) -> float:
    """Relative change of the carriers, or of all kernels where there is no carrier."""
    names = set(made.key.layers if made.key else ())
    names = names or {layer.name for layer in network.layers if layer.role == "kernel"}
    return relative_change(
        {n: w for n, w in old.items() if n in names}, {n: w for n, w in new.items() if n in names}
    )


def payload_of(task: InjectionTask) -> Payload:
    """The payload of a task: the same for every network and method of one evaluation."""
    rng = generator(
        purpose="payload", seed=task.seed, size=task.payload_size, index=task.payload_index
    )
    return Payload.random(task.payload_size, rng)


def run_trial(context: Context, trial: Trial) -> TrialRecord:
    """Modify the network, measure its quality, decode and detect with each key."""
    base = trial_fields(trial)
    if trial.aim == "carrier" and not trial.layers:
        return TrialRecord(**base, status="skipped", reason=NO_CARRIER)
    try:
        modified = _modified(context, trial)
        quality = _quality(context, modified)
        decodings = tuple(_decode(context, modified.network, key) for key in trial.keys)
    except NnwError as error:
        return TrialRecord(**base, status="failed", reason=str(error))
    for name in modified.checkpoints:
        Store(context.folder).checkpoint(name).discard()
    return TrialRecord(
        **base,
        status="done",
        quality=dict(quality.measures),
        headline=quality.headline,
        chance=quality.chance,
        correct=None if trial.modification else _packed(quality.correct),
        change=modified.change,
        decodings=decodings,
        new_marks=tuple(NewMark(symbols=n, errors=e) for n, e in modified.new_marks),
        facts=dict(modified.facts),
        quality_of=modified.classes_of,
    )


def trial_fields(trial: Trial) -> dict[str, Any]:
    """The fields of a trial's record that are known before it runs."""
    modification = trial.modification
    return {
        "identity": trial.identity,
        "network": trial.network,
        "injection": trial.injection,
        "modification": modification
        and PluginSpec(name=modification.name, options=dict(modification.options)),
        "aim": trial.aim,
        "layers": trial.layers,
        "repetition": trial.repetition,
        "outside_standard_range": outside_standard_range(trial),
        "group": trial.group,
    }


def outside_standard_range(trial: Trial) -> bool:
    """Whether the Intensity of a trial is outside the standard's table."""
    if trial.modification is None:
        return False
    made = plugins.create("modifications", trial.modification)
    single = trial.aim != "all" and len(trial.layers) == 1
    return bool(made.parameter.outside_standard_range(made.intensity, single_layer=single))


def relative_change(old: Weights, new: Weights) -> float:
    """RMS change over the layers / their pooled population standard deviation (both >= 0)."""
    count = sum(w.size for w in old.values())
    energy = sum(float(np.sum((_f64(new[n]) - _f64(w)) ** 2)) for n, w in old.items())
    spread = sum(float(np.var(_f64(w))) * w.size for w in old.values())
    if count == 0 or spread == 0:
        return 0.0
    return math.sqrt(energy / spread)


def modify(
    network: OnnxNetwork, modification: Any, layers: tuple[str, ...], rng: np.random.Generator
) -> tuple[OnnxNetwork, float]:
    """The network with its layers modified, and the relative change."""
    old = {name: network.weights[name] for name in layers}
    new = modification.modify_weights(old, rng)
    return network.with_weights(new), relative_change(old, new)


def load_injected(context: Context, index: int, injection: str) -> OnnxNetwork:
    """A watermarked network of the run."""
    replaced = Store(context.folder).load_weights(injection)
    return contexts.network_of(context, index).with_weights(replaced)


@dataclass(frozen=True)
class _Modified:
    """A network after the Modification of a trial, and what that said of itself."""

    network: OnnxNetwork
    change: float | None = None
    new_marks: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)
    classes_of: str | None = None
    checkpoints: tuple[str, ...] = ()


def _modified(context: Context, trial: Trial) -> _Modified:
    if trial.injection is None:
        network = contexts.network_of(context, trial.network)
    else:
        network = load_injected(context, trial.network, trial.injection)
    if trial.modification is None:
        return _Modified(network)
    made = plugins.create("modifications", trial.modification)
    rng = generator(purpose="modification", trial=trial.identity)
    if not hasattr(made, "modify_by_training"):
        return _Modified(*modify(network, made, trial.layers, rng))
    technology = None if trial.group is None else context.technologies[trial.group]
    title = f"{made.name} {made.intensity:g} of {network.path.name}"
    workshop = RunWorkshop(context, network, trial.identity, title, technology)
    outcome: TrainingOutcome = made.modify_by_training(network, workshop, rng)
    return _Modified(
        outcome.network,
        change_by_training(network, outcome.network, trial.layers),
        outcome.new_marks,
        outcome.facts,
        outcome.classes_of,
        tuple(workshop.checkpoints),
    )


def change_by_training(
    before: OnnxNetwork, after: OnnxNetwork, layers: tuple[str, ...]
) -> float | None:
    """Relative change of the kernels, or None where the network is of another architecture."""
    old = {name: before.weights[name] for name in layers}
    new = {name: after.weights[name] for name in layers if name in after.weights}
    if any(name not in new or new[name].shape != w.shape for name, w in old.items()):
        return None
    return relative_change(old, new)


def _quality(context: Context, modified: _Modified) -> Quality:
    samples = contexts.samples_of(context)
    if modified.classes_of is not None:
        _, samples = contexts.transfer_samples(context, context.split)
    return quality_on(context, modified.network, samples)


def quality_on(context: Context, network: OnnxNetwork, samples: Samples) -> Quality:
    """Quality of a network on some samples."""
    session = Session(network.runnable(), context.settings)
    pieces = contexts.portions(context, samples, network)
    parts = [session.predict(x, context.batch_size) for x in pieces]
    outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
    task = plugins.create("tasks", context.task)
    quality: Quality = task.quality(outputs, samples.labels, len(samples.classes))
    return quality


def _decode(context: Context, network: OnnxNetwork, injection: str) -> DecodingRecord:
    key = load_key(Store(context.folder).key_path(injection))
    if key.payload is None:
        raise RunError(f"key {injection[:12]}: expected its payload, got none; start a new run")
    base: dict[str, Any] = {"injection": injection, "symbols": len(key.payload)}
    method = plugins.method_of(key)
    try:
        subject = contexts.subject_of(context, network, method)
        decoding = method.decode(subject, key)
        detection = method.detect(subject, key.payload, key, context.false_positive_rate)
    except CarrierNotFoundError as error:
        return DecodingRecord(**base, status="not-applicable", reason=str(error))
    return DecodingRecord(
        **base,
        status="done",
        errors=key.payload.errors(decoding.payload),
        p_value=detection.p_value,
        log10_p=detection.log10_p,
        log10_p_inverted=detection.log10_p_inverted,
        detected=detection.detected,
        ties=decoding.ties,
        min_confidence=float(min(decoding.confidence)),
        mean_confidence=float(np.mean(decoding.confidence)),
    )


def _f64(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _packed(correct: NDArray[np.bool_]) -> str:
    return base64.b64encode(np.packbits(correct).tobytes()).decode()
