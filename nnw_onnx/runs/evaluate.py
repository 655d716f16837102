"""Carry out an evaluation: plan, injections, trials, costs, each stage ending in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.errors import RunError
from nnw_onnx.inference import (
    runtime_description,
)
from nnw_onnx.measures.environment import describe_environment
from nnw_onnx.records import (
    CostRecord,
    Environment,
    InjectionRecord,
    Plan,
    TrialRecord,
)
from nnw_onnx.runs import cost, plan, work
from nnw_onnx.runs.engines.serial import Serial
from nnw_onnx.runs.evaluation import Evaluation
from nnw_onnx.runs.prepare import Prepared
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.stage import Stage
from nnw_onnx.runs.store import Store

Tell = Callable[[str], None]


def default_folder(evaluation: Evaluation) -> Path:
    """`nnw-runs/<title>-<digest of the configuration>` below the current folder."""
    described = evaluation.model_dump(mode="json", exclude={"engine"})
    words = re.sub("[^a-z0-9]+", "-", evaluation.title.lower()).strip("-")[:40] or "evaluation"
    return Path("nnw-runs") / f"{words}-{identity(**described)[:8]}"


def run(prepared: Prepared, *, resume: bool, progress: bool, tell: Tell) -> None:
    """Do what is not done yet in the run folder.

    Raises:
        RunError: the folder holds another evaluation, or this one unfinished without `resume`.
    """
    store = Store(prepared.context.folder)
    with store.locked():
        _begin(store, prepared.plan, resume=resume, tell=tell)
        injections = _injections(store, prepared, progress)
        _trials(store, prepared, injections, progress, tell)
        _costs(store, prepared, injections, progress)


def check_measured(folder: Path) -> None:
    """Raise `RunError` where a finished run measured nothing, with the first reason."""
    trials = Store(folder).records(TrialRecord)
    if trials and all(trial.status == "failed" for trial in trials):
        raise RunError(
            f"{folder}: expected trials that can be measured, got {len(trials)} that failed: "
            f"{trials[0].reason}; mend it and start a new run"
        )


def _begin(store: Store, made: Plan, *, resume: bool, tell: Tell) -> None:
    if not store.exists:
        store.create()
        store.write(made)
        return
    if store.read(Plan).evaluation_sha256 != made.evaluation_sha256:
        raise RunError(
            f"{store.folder}: expected a run of this evaluation, got one of another "
            "(configuration, networks or data differ); choose another with --run-folder"
        )
    if store.read_if_there(Environment):
        tell(
            f"{store.folder}: this evaluation is finished already, its report is written again; "
            "choose another --run-folder to measure again"
        )
    elif not resume:
        raise RunError(
            f"{store.folder}: expected a new run folder, got an unfinished one of this very "
            "evaluation; add --resume to finish it, or choose another with --run-folder"
        )
    store.drop_torn_lines()


def _injections(store: Store, prepared: Prepared, progress: bool) -> list[InjectionRecord]:
    evaluation = prepared.evaluation
    digests = [n.sha256 for n in prepared.plan.networks]
    training = prepared.context.training
    tasks = plan.plan_injections(
        evaluation, prepared.plan.groups, digests, training.fingerprint if training else ""
    )

    def failed(task: plan.InjectionTask, reason: str) -> InjectionRecord:
        return InjectionRecord(
            identity=task.identity,
            status="failed",
            reason=reason,
            network=task.network,
            group=task.group,
            payload_index=task.payload_index,
            twin=task.twin,
        )

    stage = Stage(store, InjectionRecord, "injections", progress)
    engine = plugins.create("engines", evaluation.engine.spec)
    return stage.run(engine, work.inject, prepared.context, tasks, failed, evaluation)


def _trials(
    store: Store,
    prepared: Prepared,
    injections: Sequence[InjectionRecord],
    progress: bool,
    tell: Tell,
) -> list[TrialRecord]:
    evaluation = prepared.evaluation
    for record in injections:
        if record.status == "failed":
            tell(f"injection failed: {record.reason}")
    trials = plan.plan_trials(
        evaluation,
        prepared.networks,
        injections,
        prepared.plan.evaluation_sha256,
        prepared.plan.groups,
    )

    def failed(trial: plan.Trial, reason: str) -> TrialRecord:
        return TrialRecord(**work.trial_fields(trial), status="failed", reason=reason)

    stage = Stage(store, TrialRecord, "trials", progress, _chance_watch(prepared, tell))
    engine = plugins.create("engines", evaluation.engine.spec)
    records = stage.run(engine, work.run_trial, prepared.context, trials, failed, evaluation)
    reasons = [record.reason for record in records if record.status == "failed"]
    if reasons:
        tell(f"{len(reasons)} of {len(records)} trials failed, the first because: {reasons[0]}")
    return records


def _costs(
    store: Store, prepared: Prepared, injections: Sequence[InjectionRecord], progress: bool
) -> None:
    """One at a time, each in a fresh process, whatever the engine of the other stages."""
    table = prepared.evaluation.cost
    batch = prepared.samples.inputs[: table.batch]
    tasks = cost.plan_costs(
        injections,
        table.cells,
        table.repetitions,
        table.warmups,
        batch,
        table.training_batches,
    )

    def failed(task: cost.CostTask, reason: str) -> CostRecord:
        return CostRecord(
            identity=task.identity,
            status="failed",
            reason=reason,
            operation=task.operation,
            network=task.network,
            group=task.group,
            payload_index=task.payload_index,
        )

    stage = Stage(store, CostRecord, "costs", progress)
    engine = Serial(fresh_processes=True)
    stage.run(engine, cost.run_cost, prepared.context, tasks, failed, prepared.evaluation)
    settings = prepared.plan.session
    store.write(describe_environment(settings, runtime_description()))


def _chance_watch(prepared: Prepared, tell: Tell) -> Callable[[TrialRecord], None]:
    """Say loudly, as soon as it is known, that a network does no better than guessing."""
    from nnw_onnx.tasks.image_classification import chance_check

    entries = int(prepared.plan.dataset["entries"])

    def watch(record: TrialRecord) -> None:
        if record.injection or record.modification or not record.headline or not record.chance:
            return
        accuracy = record.quality[record.headline]
        if message := chance_check(accuracy, record.chance, entries):
            tell(f"{prepared.plan.networks[record.network].name}: {message}")

    return watch


def with_engine(evaluation: Evaluation, name: str) -> Evaluation:
    """The same evaluation on another engine (with that engine's defaults)."""
    table = evaluation.engine.__class__(name=name)
    changed = evaluation.model_copy(update={"engine": table})
    changed.check_plugins()
    return changed
