"""The two things a worker does: inject one watermark, run one trial.

A worker gets a `Context` (where files are and how networks are run) and a small task. It rebuilds
plug-ins by name and keeps what it opened for the next task.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays.commitments import bind_payload
from nnw_onnx.arrays.preprocessing import Preprocessing
from nnw_onnx.errors import CarrierNotFoundError, NnwError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.records import DecodingRecord, InjectionRecord, PluginSpec, TrialRecord
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.runs.plan import InjectionTask, Trial
from nnw_onnx.runs.seeds import generator, secret
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Payload, Quality, Samples, Spec, Weights

CACHED_BYTES = 1 << 30
"""A data set whose inputs are not larger is kept by each worker from trial to trial."""


@dataclass(frozen=True)
class Context:
    """What every task of a run has in common.

    Attributes:
        folder: the run folder.
        networks: files of the unwatermarked networks.
        sha256: their digests, checked when a worker opens them.
        fingerprint: of the data set, checked likewise.
    """

    folder: Path
    networks: tuple[Path, ...]
    sha256: tuple[str, ...]
    dataset: Spec
    split: str
    preprocessing: Preprocessing
    task: Spec
    fingerprint: str
    batch_size: int
    false_positive_rate: float
    settings: SessionSettings = field(default_factory=SessionSettings)


def inject(context: Context, task: InjectionTask) -> InjectionRecord:
    """Inject, read back, and keep the replaced weights and the key in the run folder."""
    base: dict[str, Any] = {
        "identity": task.identity,
        "network": task.network,
        "group": task.group,
        "payload_index": task.payload_index,
    }
    try:
        network = _network(context, task.network)
        method = plugins.create("methods", task.method)
        payload = payload_of(task)
        key = method.make_key(network, len(payload), secret(task.seed, injection=task.identity))
        marked = method.inject(network, payload, key)
        key = bind_payload(key, payload)
    except NnwError as error:
        return InjectionRecord(**base, status="failed", reason=str(error))
    store = Store(context.folder)
    new = {name: marked.weights[name] for name in sorted(marked.replaced)}
    old = {name: network.weights[name] for name in new}
    store.save_weights(task.identity, new)
    save_key(key, store.key_path(task.identity))
    return InjectionRecord(
        **base,
        status="done",
        layers=key.layers,
        notes=key.notes,
        change=relative_change(old, new),
        changed_weights=sum(int(np.count_nonzero(old[n] != new[n])) for n in new),
        commitment=key.commitment,
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
    try:
        network, change = _modified(context, trial)
        quality = _quality(context, network)
        decodings = tuple(_decode(context, network, key) for key in trial.keys)
    except NnwError as error:
        return TrialRecord(**base, status="failed", reason=str(error))
    return TrialRecord(
        **base,
        status="done",
        quality=dict(quality.measures),
        headline=quality.headline,
        chance=quality.chance,
        correct=None if trial.modification else _packed(quality.correct),
        change=change,
        decodings=decodings,
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
    return _network(context, index).with_weights(replaced)


def _modified(context: Context, trial: Trial) -> tuple[OnnxNetwork, float | None]:
    if trial.injection is None:
        network = _network(context, trial.network)
    else:
        network = load_injected(context, trial.network, trial.injection)
    if trial.modification is None:
        return network, None
    made = plugins.create("modifications", trial.modification)
    rng = generator(purpose="modification", trial=trial.identity)
    return modify(network, made, trial.layers, rng)


def _quality(context: Context, network: OnnxNetwork) -> Quality:
    samples = _samples(context)
    session = Session(network.runnable(), context.settings)
    parts = [session.predict(x, context.batch_size) for x in _portions(context, network)]
    outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
    task = plugins.create("tasks", context.task)
    quality: Quality = task.quality(outputs, samples.labels, len(samples.classes))
    return quality


def _portions(context: Context, network: OnnxNetwork) -> Iterator[NDArray[np.float32]]:
    """The data set as inputs of a network: at once where that is small, else in portions."""
    samples, shape = _samples(context), input_shape(network)
    first = context.preprocessing.apply(samples.inputs[:1], shape)
    if first.nbytes * len(samples) <= CACHED_BYTES:
        yield _inputs(context, shape)
        return
    step = max(context.batch_size, CACHED_BYTES // first.nbytes // 16)
    for start in range(0, len(samples), step):
        yield context.preprocessing.apply(samples.inputs[start : start + step], shape)


def _decode(context: Context, network: OnnxNetwork, injection: str) -> DecodingRecord:
    key = load_key(Store(context.folder).key_path(injection))
    if key.payload is None:
        raise RunError(f"key {injection[:12]}: expected its payload, got none; start a new run")
    base: dict[str, Any] = {"injection": injection, "symbols": len(key.payload)}
    method = plugins.create("methods", Spec(key.method, dict(key.options)))
    try:
        decoding = method.decode(network, key)
        detection = method.detect(network, key.payload, key, context.false_positive_rate)
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


@lru_cache(maxsize=8)
def _network(context: Context, index: int) -> OnnxNetwork:
    path = context.networks[index]
    network = open_network(path)
    if network.sha256 != context.sha256[index]:
        raise RunError(
            f"{path.name}: expected the network that the plan was made for, got another; "
            "start a new run"
        )
    return network


@lru_cache(maxsize=1)
def _samples(context: Context) -> Samples:
    samples: Samples = plugins.create("datasets", context.dataset).load(context.split)
    if samples.fingerprint != context.fingerprint:
        raise RunError(
            f"{context.dataset.name}: expected the data that the plan was made for, got other "
            "data; start a new run"
        )
    return samples


@lru_cache(maxsize=2)
def _inputs(context: Context, shape: tuple[int | str | None, ...]) -> NDArray[np.float32]:
    return context.preprocessing.apply(_samples(context).inputs, shape)


def input_shape(network: OnnxNetwork) -> tuple[int | str | None, ...]:
    """Shape of the network's first input as the graph gives it."""
    return tuple(network.inputs[0].shape) if network.inputs else ()


def _f64(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _packed(correct: NDArray[np.bool_]) -> str:
    return base64.b64encode(np.packbits(correct).tobytes()).decode()
