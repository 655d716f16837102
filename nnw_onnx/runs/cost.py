"""Cost trials: one operation on one watermarked network, in a process of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import NnwError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.measures.cost import (
    InferenceCost,
    OperationCost,
    measure_inference,
    measure_operation,
    measure_training,
)
from nnw_onnx.records import CostRecord, InjectionRecord
from nnw_onnx.runs import context as contexts
from nnw_onnx.runs import training
from nnw_onnx.runs.context import Context, Technology, input_shape
from nnw_onnx.runs.keys import load_key
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Job, Key, Mark, Payload, Trained

Operation = Literal["injection", "detection", "decoding", "inference"]
OPERATIONS: tuple[Operation, ...] = ("injection", "detection", "decoding", "inference")


@dataclass(frozen=True)
class CostTask:
    """One operation to be measured on one watermarked network.

    Attributes:
        samples: one batch of the data set before preprocessing, for inference; it comes with the
            task, so that a measuring process need not read the data set.
        training_batches: batches of an epoch that are timed where a training puts the watermark in;
            None for all of them.
    """

    identity: str
    operation: Operation
    injection: str
    network: int
    group: int
    payload_index: int
    repetitions: int
    warmups: int
    samples: NDArray[Any]
    training_batches: int | None = None


def plan_costs(
    injections: Sequence[InjectionRecord],
    cells: int | None,
    repetitions: int,
    warmups: int,
    samples: NDArray[Any],
    training_batches: int | None = None,
) -> list[CostTask]:
    """Tasks for the first `cells` watermarked networks of each group (None: all of them).

    Networks come before payloads, so a few cells still spread over the networks.
    """
    tasks = []
    for group in sorted({i.group for i in injections if not i.twin}):
        done = [i for i in injections if i.group == group and i.status == "done" and not i.twin]
        for mark in sorted(done, key=lambda i: (i.payload_index, i.network))[:cells]:
            tasks += [
                CostTask(
                    identity=identity(purpose="cost", injection=mark.identity, operation=operation),
                    operation=operation,
                    injection=mark.identity,
                    network=mark.network,
                    group=mark.group,
                    payload_index=mark.payload_index,
                    repetitions=repetitions,
                    warmups=warmups,
                    samples=samples,
                    training_batches=training_batches,
                )
                for operation in OPERATIONS
            ]
    return tasks


def run_cost(context: Context, task: CostTask) -> CostRecord:
    """Measure one operation; called in a fresh process."""
    base: dict[str, Any] = {
        "identity": task.identity,
        "operation": task.operation,
        "network": task.network,
        "group": task.group,
        "payload_index": task.payload_index,
    }
    try:
        if task.operation == "inference":
            return CostRecord(**base, status="done", **_inference(context, task))
        technology = context.technologies[task.group] if context.technologies else None
        if task.operation == "injection" and technology and technology.recipe:
            return CostRecord(**base, status="done", **_training(context, task, technology))
        cost = measure_operation(_operation(context, task), task.repetitions)
    except NnwError as error:
        return CostRecord(**base, status="failed", reason=str(error))
    return CostRecord(**base, status="done", **_fields(cost))


def _fields(cost: OperationCost) -> dict[str, Any]:
    return {
        "seconds": cost.seconds,
        "minimum": cost.minimum,
        "repetitions": cost.repetitions,
        "peak_bytes": cost.peak_bytes,
        "baseline_bytes": cost.baseline_bytes,
    }


def _operation(context: Context, task: CostTask) -> Callable[[], Any]:
    """The operation as a function; what it needs is loaded before, so that it is the baseline."""
    key = load_key(Store(context.folder).key_path(task.injection))
    payload = _payload(key)
    method = plugins.method_of(key)
    network = open_network(context.networks[task.network])
    if task.operation == "injection":

        def inject() -> OnnxNetwork:
            fresh = method.make_key(network, len(payload), key.secret)
            marked: OnnxNetwork = method.inject(network, payload, fresh)
            return marked

        return inject
    marked = network.with_weights(Store(context.folder).load_weights(task.injection))
    subject = contexts.subject_of(context, marked, method)
    if task.operation == "detection":
        return lambda: method.detect(subject, payload, key, context.false_positive_rate)
    return lambda: method.decode(subject, key)


def _training(context: Context, task: CostTask, technology: Technology) -> dict[str, Any]:
    """Time of a batch and memory of the training that puts the watermark in, beside its twin's.

    The same batches are run with and without the watermark in turn.
    """
    key = load_key(Store(context.folder).key_path(task.injection))
    network = open_network(context.networks[task.network])
    method = plugins.create("methods", technology.method)
    recipe = technology.recipe
    if recipe is None:
        raise RunError("training: expected a recipe, got none; start a new run")
    data = contexts.training_data(context, network)
    if task.training_batches is not None:
        data = training.few(data, task.training_batches, recipe.batch_size)
    recipe = dataclasses.replace(recipe, epochs=1.0)
    trainer = plugins.create("trainers", contexts.training_of(context).trainer)
    plain = Job(data, recipe, 0, output=contexts.training_of(context).output)
    marked = dataclasses.replace(plain, mark=Mark(method, _payload(key), key))
    peaks: list[Trained[Any]] = []

    def run(job: Job) -> Callable[[Callable[[], None]], None]:
        return lambda lap: peaks.append(trainer.train(network, job, on_batch=lap))

    cost = measure_training(run(marked), run(plain))
    device_peaks = [p.device_peak_bytes for p in peaks if p.device_peak_bytes is not None]
    return {
        "seconds": cost.seconds,
        "minimum": min(cost.watermarked),
        "repetitions": len(cost.watermarked),
        "peak_bytes": cost.peak_bytes,
        "baseline_bytes": cost.baseline_bytes,
        "baseline_seconds": float(np.median(cost.original)),
        "ratio": cost.seconds / float(np.median(cost.original)),
        "batch": recipe.batch_size,
        "device": peaks[0].device,
        "device_peak_bytes": max(device_peaks, default=None),
    }


def _inference(context: Context, task: CostTask) -> dict[str, Any]:
    original = open_network(context.networks[task.network])
    marked = original.with_weights(Store(context.folder).load_weights(task.injection))
    inputs = context.preprocessing.apply(task.samples, input_shape(original))
    batch = len(inputs)

    def loader(network: OnnxNetwork) -> Callable[[], Callable[[], Any]]:
        def load() -> Callable[[], Any]:
            session = Session(network.runnable(), context.settings)
            return lambda: session.predict(inputs, batch)

        return load

    cost: InferenceCost = measure_inference(
        loader(marked), loader(original), task.repetitions, task.warmups
    )
    return {
        "seconds": cost.seconds,
        "minimum": min(cost.watermarked),
        "repetitions": len(cost.watermarked),
        "peak_bytes": cost.peak_bytes,
        "baseline_bytes": cost.baseline_bytes,
        "baseline_seconds": float(np.median(cost.original)),
        "ratio": cost.ratio,
        "batch": batch,
    }


def _payload(key: Key) -> Payload:
    if key.payload is None:
        raise RunError("key: expected its payload, got none; start a new run")
    return key.payload
