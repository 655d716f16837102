"""Cost trials: one operation on one watermarked network, in a process of its own."""

from __future__ import annotations

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
)
from nnw_onnx.records import CostRecord, InjectionRecord
from nnw_onnx.runs.keys import load_key
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.work import Context, input_shape
from nnw_onnx.vocabulary import Key, Payload, Spec

Operation = Literal["injection", "detection", "decoding", "inference"]
OPERATIONS: tuple[Operation, ...] = ("injection", "detection", "decoding", "inference")


@dataclass(frozen=True)
class CostTask:
    """One operation to be measured on one watermarked network.

    Attributes:
        samples: one batch of the data set before preprocessing, for inference; it comes with the
            task, so that a measuring process need not read the data set.
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


def plan_costs(
    injections: Sequence[InjectionRecord],
    cells: int | None,
    repetitions: int,
    warmups: int,
    samples: NDArray[Any],
) -> list[CostTask]:
    """Tasks for the first `cells` watermarked networks of each group (None: all of them).

    Networks come before payloads, so a few cells still spread over the networks.
    """
    tasks = []
    for group in sorted({i.group for i in injections}):
        done = [i for i in injections if i.group == group and i.status == "done"]
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
    method = plugins.create("methods", Spec(key.method, dict(key.options)))
    network = open_network(context.networks[task.network])
    if task.operation == "injection":

        def inject() -> OnnxNetwork:
            fresh = method.make_key(network, len(payload), key.secret)
            marked: OnnxNetwork = method.inject(network, payload, fresh)
            return marked

        return inject
    marked = network.with_weights(Store(context.folder).load_weights(task.injection))
    if task.operation == "detection":
        return lambda: method.detect(marked, payload, key, context.false_positive_rate)
    return lambda: method.decode(marked, key)


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
