"""One injection of a run: put in, read back, kept in the run folder, recorded."""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import InjectionError, NnwError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import evidence
from nnw_onnx.records import InjectionRecord, TrainingRecord
from nnw_onnx.runs import mishaps
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.context import Context, marked_file, network_of
from nnw_onnx.runs.elsewhere import MarkedFile, claim_of_file, network_of_file
from nnw_onnx.runs.inject import Injected, inject, symbol_errors, train_twin
from nnw_onnx.runs.keys import save_key
from nnw_onnx.runs.modify import change_of
from nnw_onnx.runs.plan import InjectionTask
from nnw_onnx.runs.recording import unrecordable
from nnw_onnx.runs.references import beside
from nnw_onnx.runs.seeds import generator, secret
from nnw_onnx.runs.traces import traces_of, twin_traces
from nnw_onnx.runs.training import recorded
from nnw_onnx.runs.verify import Verdict, verify
from nnw_onnx.vocabulary import Claim, Method, Payload


def run_injection(context: Context, task: InjectionTask) -> InjectionRecord:
    """Inject, read back, and keep the network and the key in the run folder.

    Whatever a plug-in does wrong is a record that failed, with the reason.

    Raises:
        UnavailableError: what the run needs is gone, which is no fault of this injection.
    """
    try:
        network = network_of(context, task.network)
        bench = bench_for(context, task, network)
        record = _made(context, task, bench)
    except NnwError as error:
        mishaps.expect_available(context, error)
        return failed(task, str(error))
    except ValidationError as error:
        return failed(task, unrecordable(error))
    for name in bench.checkpoints:
        context.store.checkpoint(name).discard()
    return record


def _made(context: Context, task: InjectionTask, bench: RunBench) -> InjectionRecord:
    if task.twin:
        return _twin(context, task, bench)
    return (_elsewhere if task.elsewhere else _injection)(context, task, bench)


def failed(task: InjectionTask, reason: str) -> InjectionRecord:
    """The record of an injection that did not come about."""
    return InjectionRecord(
        identity=task.identity,
        status="failed",
        reason=reason,
        network=task.network,
        technology=task.technology,
        payload_index=task.payload_index,
        twin=task.twin,
    )


def payload_of(seed: int, size: int, index: int) -> Payload:
    """A payload of `size` bits: the same for every network and method of one evaluation."""
    rng = generator(purpose="payload", seed=seed, size=size, index=index)
    return Payload.random(size, rng)


def bench_for(context: Context, task: InjectionTask, network: OnnxNetwork) -> RunBench:
    """The bench of an injection into a network, which is the one before any watermark."""
    technology = context.technologies[task.technology]
    method = plugins.create(Method, technology.method)
    what = "twin of" if task.twin else f"{method.title or method.name} in"
    place = Place(
        name=task.identity,
        title=f"{what} {network.path.name}",
        draw=task.identity,
        technology=technology,
        layers=technology.layers,
        original=network,
    )
    return RunBench(context, network, place)


def put_in(context: Context, task: InjectionTask, payload: Payload, bench: RunBench) -> Injected:
    """The network of a bench with a payload in it; the key goes into the run folder."""
    network, technology = bench.original, context.technologies[task.technology]
    if technology.recipe is None and context.references:
        network = beside(network, context.references[task.network])
    fresh = secret(context.seed, injection=task.identity)
    made = inject(technology, network, payload, fresh, bench)
    save_key(made.claim, context.store.key_path(task.identity))
    return made


def _injection(context: Context, task: InjectionTask, bench: RunBench) -> InjectionRecord:
    size = context.technologies[task.technology].size
    payload = payload_of(context.seed, size, task.payload_index)
    made = put_in(context, task, payload, bench)
    errors = symbol_errors(made.claim, bench.suspect_of(made.network))
    training = None if made.trained is None else recorded(made.trained)
    return _kept(context, task, made.network, made.claim, errors, training)


def _elsewhere(context: Context, task: InjectionTask, bench: RunBench) -> InjectionRecord:
    """What others have put in, read back.

    Raises:
        InjectionError: the Detector says No: the key is not that of the network.
    """
    mark = marked_file(context, task.identity)
    if mark is None:
        raise RunError("networks: expected a marked file of this plan, got none; start a new run")
    network, claim = network_of_file(mark), claim_of_file(mark)
    suspect_of = bench.suspect_of(network)
    verdict = next(verify(suspect_of, [claim], context.false_positive_rate))
    found = verdict.detection
    if verdict.status != "done" or (found is not None and found.detected is False):
        raise _not_there(mark, verdict, context.false_positive_rate)
    save_key(claim, context.store.key_path(task.identity))
    return _kept(context, task, network, claim, verdict.errors, None)


def _not_there(mark: MarkedFile, verdict: Verdict, level: float) -> InjectionError:
    """Why a mark from elsewhere is none of this key."""
    found = verdict.detection
    short = None if found is None else evidence.too_short(found.null, level)
    size = verdict.claim.key.size
    got = verdict.reason or short or (
        f"{verdict.errors} of {size} symbols wrong" if verdict.errors is not None else "no mark"
    )  # fmt: skip
    return InjectionError(
        f"{mark.file.name}: expected the mark of {mark.key.name}, got: {got}; give the network and "
        "the key that belong together, with the payload that was put in"
    )


def _twin(context: Context, task: InjectionTask, bench: RunBench) -> InjectionRecord:
    trained = train_twin(context.technologies[task.technology], bench.original, bench)
    if not isinstance(trained.network, OnnxNetwork):
        raise TypeError("twin: expected a network that the guard has seen")
    return _kept(context, task, trained.network, None, None, recorded(trained))


def _kept(
    context: Context,
    task: InjectionTask,
    made: OnnxNetwork,
    claim: Claim | None,
    errors: int | None,
    training: TrainingRecord | None,
) -> InjectionRecord:
    network = network_of(context, task.network)
    context.store.save_network(task.identity, made, network)
    key = None if claim is None else claim.key
    return InjectionRecord(
        identity=task.identity,
        status="done",
        network=task.network,
        technology=task.technology,
        payload_index=task.payload_index,
        layers=key.layers if key else (),
        notes=key.notes if key else (),
        change=change_of(network, made, key.layers if key else ()),
        changed_weights=_changed_weights(network, made),
        commitment=key.commitment if key else None,
        twin=task.twin,
        symbols=key.size if key else None,
        errors=errors,
        training=training,
        traces=traces_of(network, made, key.layers) if key else twin_traces(network, made),
    )


def _changed_weights(before: OnnxNetwork, after: OnnxNetwork) -> int | None:
    """Number of weights that differ; None where the layers are others."""
    shapes = {layer.name: layer.shape for layer in before.layers}
    if shapes != {layer.name: layer.shape for layer in after.layers}:
        return None
    same_file = before.sha256 == after.sha256
    names = after.replaced if same_file else shapes
    old, new = before.weights, after.weights
    return sum(int(np.count_nonzero(old[name] != new[name])) for name in names)
