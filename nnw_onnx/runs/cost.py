"""Cost trials: one operation on one watermarked network, in a process of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import NnwError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import bound_device, device_peak
from nnw_onnx.kit.samples import Drawn
from nnw_onnx.measures import clock
from nnw_onnx.measures.cost import (
    Train,
    measure_inference,
    measure_operation,
    measure_training,
    measure_training_elsewhere,
)
from nnw_onnx.records import CostRecord, InjectionRecord
from nnw_onnx.runs import guard, mishaps
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.context import (
    Context,
    claim_of,
    injected_network,
    marked_file,
    network_of,
    samples_for,
)
from nnw_onnx.runs.inject import inject, training_method, watch_of
from nnw_onnx.runs.injections import payload_of
from nnw_onnx.runs.recording import unrecordable
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.tables import CostTable
from nnw_onnx.runs.training import Added, trainings_of, widened
from nnw_onnx.runs.verify import read, verify
from nnw_onnx.vocabulary import (
    Array,
    Claim,
    Feeds,
    Job,
    Method,
    Payload,
    Recipe,
    Technology,
    Trained,
    Trainer,
    Values,
)

Operation = Literal["injection", "detection", "decoding", "inference"]
Fields = dict[str, float | int | str | None]


@dataclass(frozen=True)
class CostTask:
    """One operation to be measured on one watermarked network.

    Attributes:
        session: 0, 1, ...; see `records.CostRecord`.
        feeds: one batch as the network takes it, for inference; it comes with the task, so that a
            measuring process need not read the data set.
        training_batches: batches of an epoch that are timed where a training puts the watermark in;
            None for all of them.
    """

    identity: str
    operation: Operation
    injection: str
    network: int
    technology: int
    payload_index: int
    session: int
    repetitions: int
    warmups: int
    feeds: dict[str, Array]
    training_batches: int | None = None


def plan_costs(
    context: Context, injections: Sequence[InjectionRecord], table: CostTable
) -> list[CostTask]:
    """Tasks for the first watermarked networks of each technology, as many as the table says.

    Networks come before payloads, so a few cells still spread over the networks. All tasks of a
    session come before those of the next, so that the same is measured again much later.
    """
    once = _session(context, injections, table)
    return [
        task
        if session == 0
        else dataclasses.replace(
            task, session=session, identity=identity(purpose="cost", again=task.identity, n=session)
        )
        for session in range(table.sessions)
        for task in once
    ]


def _session(
    context: Context, injections: Sequence[InjectionRecord], table: CostTable
) -> list[CostTask]:
    tasks = []
    for index, technology in enumerate(context.technologies):
        done = [
            i for i in injections if i.technology == index and i.status == "done" and not i.twin
        ]
        for mark in sorted(done, key=lambda i: (i.payload_index, i.network))[: table.cells]:
            feeds = _batch(context, mark.network, table.batch)
            tasks += [
                CostTask(
                    identity=identity(purpose="cost", injection=mark.identity, operation=operation),
                    operation=operation,
                    injection=mark.identity,
                    network=mark.network,
                    technology=index,
                    payload_index=mark.payload_index,
                    session=0,
                    repetitions=table.repetitions,
                    warmups=table.warmups,
                    feeds=feeds if operation == "inference" else {},
                    training_batches=table.training_batches,
                )
                for operation in operations_of(technology)
            ]
    return tasks


def operations_of(technology: Technology) -> tuple[Operation, ...]:
    """What of a technology costs something: a method that reads no Symbols has no decoding."""
    decodes = plugins.decodes(plugins.create(Method, technology.method)) is not None
    return tuple(name for name in get_args(Operation) if decodes or name != "decoding")


def run_cost(context: Context, task: CostTask, marked: OnnxNetwork | None = None) -> CostRecord:
    """Measure one operation; called in a fresh process.

    Args:
        context: of the run.
        task: what is measured.
        marked: the watermarked network; None for that of the run folder.

    Raises:
        UnavailableError: what the run needs is gone, which is no fault of this operation.
    """
    load = clock.load_average()
    if task.operation == "injection" and marked_file(context, task.injection) is not None:
        return _left_out(task)
    try:
        fields = _measured(context, task, marked)
        return CostRecord.model_validate({**_known(task), "status": "done", "load": load, **fields})
    except NnwError as error:
        mishaps.expect_available(context, error)
        return failed(task, str(error))
    except ValidationError as error:
        return failed(task, unrecordable(error))


def failed(task: CostTask, reason: str) -> CostRecord:
    """The record of a measurement that did not come about."""
    return CostRecord.model_validate({**_known(task), "status": "failed", "reason": reason})


def _left_out(task: CostTask) -> CostRecord:
    reason = "not measured: marked elsewhere"
    return CostRecord.model_validate({**_known(task), "status": "not-applicable", "reason": reason})


def _known(task: CostTask) -> Fields:
    return {
        "identity": task.identity,
        "operation": task.operation,
        "network": task.network,
        "technology": task.technology,
        "payload_index": task.payload_index,
        "session": task.session,
    }


def _batch(context: Context, network: int, size: int) -> dict[str, Array]:
    samples = samples_for(context, network_of(context, network))
    return dict(samples.read(np.arange(min(size, len(samples)))).feeds)


def _measured(context: Context, task: CostTask, marked: OnnxNetwork | None) -> Fields:
    technology = context.technologies[task.technology]
    if task.operation == "inference":
        return _inference(context, task, marked)
    if task.operation == "injection" and technology.recipe is not None:
        return _training(context, task, technology, technology.recipe)
    operation = _operation(context, task, technology, marked)
    cost = measure_operation(operation, task.repetitions)
    return {
        **_on_device(context, operation),
        "seconds": cost.seconds,
        "minimum": cost.minimum,
        "repetitions": cost.repetitions,
        **dataclasses.asdict(cost.memory),
    }


def _operation(
    context: Context, task: CostTask, technology: Technology, marked: OnnxNetwork | None
) -> Callable[[], object]:
    """The operation as a function; what it needs is loaded before, so that it is the baseline."""
    claim = claim_of(context, task.injection)
    network = network_of(context, task.network)
    if task.operation == "injection":
        payload = payload_of(context.seed, technology.size, task.payload_index)
        bench = _bench(context, network, technology)
        return lambda: inject(technology, network, payload, claim.key.secret, bench)
    marked = marked or injected_network(context, task.network, task.injection)
    run = Running(marked, context.settings, context.batch_size)
    # A new suspect each time: one that is kept answers equal questions without running anything.
    if task.operation == "detection":
        level = context.false_positive_rate
        return lambda: list(verify(suspects(marked, run), [claim], level))
    return lambda: read(suspects(marked, run), claim.key)


def _bench(context: Context, network: OnnxNetwork, technology: Technology) -> RunBench:
    place = Place(
        name="cost", title="cost", technology=technology, layers=technology.layers, original=network
    )
    return RunBench(context, network, place)


def _training(context: Context, task: CostTask, technology: Technology, recipe: Recipe) -> Fields:
    """Time of a batch and memory of the training that puts the watermark in, beside its twin's.

    The same batches are run with and without the watermark in turn. The time is that of an epoch
    divided by its batches, with what is done at its end: there the watermark is read, as while it
    was put in.
    """
    claim = claim_of(context, task.injection)
    network = network_of(context, task.network)
    common = trainings_of(context)
    trainer = plugins.create(Trainer, common.trainer)
    bench = _bench(context, network, technology)
    whole = bench.samples()
    count = len(whole)
    if task.training_batches is not None:
        count = max(1, min(count, task.training_batches * recipe.batch_size))
    once = dataclasses.replace(recipe, epochs=1.0)
    plain = Job(Drawn(whole, np.arange(count)), once, bench.loss, 0, output=common.output)
    peaks: list[Trained] = []

    def run(start: OnnxNetwork, job: Callable[[], Job]) -> Train:
        return lambda lap, end: peaks.append(
            guard.guarded(
                trainer,
                "train",
                lambda: trainer.train(start, job(), on_batch=lap, on_epoch=lambda _: end()),
            )
        )

    method = plugins.create(Method, technology.method)
    alone, original = plugins.embeds(method), run(network, lambda: plain)
    if alone is None:
        start = widened(method, network, claim.key, bench.through_file)
        watermarked = run(start, lambda: _with_watermark(plain, method, start, claim, bench))
        cost = measure_training(watermarked, original)
    else:
        fresh, symbols = dataclasses.replace(claim.key, arrays={}), claim.payload or Payload()

        def embed() -> Trained:
            return guard.guarded(
                method, "train", lambda: alone.embed(network, symbols, fresh, plain)
            )

        cost = measure_training_elsewhere(embed, original, -(-count // recipe.batch_size))
    device_peaks = [p.device_peak_bytes for p in peaks if p.device_peak_bytes is not None]
    batches = -(-len(whole) // recipe.batch_size)
    seconds, baseline = cost.seconds(batches), cost.baseline(batches)
    return {
        "seconds": seconds,
        "minimum": cost.minimum,
        "repetitions": cost.repetitions,
        **dataclasses.asdict(cost.memory),
        "baseline_seconds": baseline,
        "ratio": seconds / baseline,
        "batch": recipe.batch_size,
        "device": peaks[0].device,
        "device_peak_bytes": max(device_peaks, default=None),
    }


def _with_watermark(
    plain: Job, method: Method, network: OnnxNetwork, claim: Claim, bench: RunBench
) -> Job:
    """The same training with what the method adds, its own arrays as they begin."""
    added = Added(training_method(method), network, claim)
    watch = watch_of(method, network, bench, added)
    return dataclasses.replace(plain, additions=added.additions, watch=watch)


def _inference(context: Context, task: CostTask, marked: OnnxNetwork | None) -> Fields:
    original = network_of(context, task.network)
    marked = marked or injected_network(context, task.network, task.injection)
    batch = min(map(len, task.feeds.values()))
    if not batch:
        raise RunError("inference: expected at least one sample, got none; add data")

    def loader(network: OnnxNetwork) -> Callable[[], Callable[[], Values]]:
        def load() -> Callable[[], Values]:
            run, feeds = Running(network, context.settings, batch), _renamed(network, task.feeds)
            return lambda: run(feeds)

        return load

    def loaded_and_run() -> None:
        loader(marked)()()

    cost = measure_inference(loader(marked), loader(original), task.repetitions, task.warmups)
    return {
        **_on_device(context, loaded_and_run),
        "seconds": cost.seconds,
        "minimum": min(cost.watermarked),
        "repetitions": len(cost.watermarked),
        **dataclasses.asdict(cost.memory),
        "baseline_seconds": float(np.median(cost.original)),
        "ratio": cost.ratio,
        "batch": batch,
    }


def _on_device(context: Context, operation: Callable[[], object]) -> Fields:
    """The device that networks run on, and the memory that an operation takes there."""
    device = bound_device(context.settings.providers)
    if device is None:
        return {}
    found, name = device_peak(operation, device[1]), ":".join(map(str, device))
    label = f"{name} (device memory {found.reason})" if found.reason else name
    return {"device": label[:200], "device_peak_bytes": found.peak}


def _renamed(network: OnnxNetwork, feeds: dict[str, Array]) -> Feeds:
    """The feeds under the names of this network's inputs: an injection may have renamed them."""
    return dict(zip((info.name for info in network.inputs), feeds.values(), strict=True))
