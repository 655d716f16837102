"""Carry out an evaluation: plan, injections, trials, costs, each stage ending in a file."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.engines.serial import Serial
from nnw_onnx.errors import RunError
from nnw_onnx.inference import runtime_description
from nnw_onnx.kit.meters import chance_check
from nnw_onnx.measures.environment import describe_environment
from nnw_onnx.measures.scores import unpacked
from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs import calls, cost, first_look, injections, mishaps, trial
from nnw_onnx.runs.plan import plan_injections
from nnw_onnx.runs.prepare import Prepared
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.stage import Stage
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.vocabulary import Engine, Quality, Task

Tell = Callable[[str], None]
_log = logging.getLogger(__name__)


def default_folder(evaluation: Evaluation) -> Path:
    """`nnw-runs/<title>-<digest of the configuration>` below the current folder."""
    # Without presets, and with quality, it is what it was before these keys were.
    apart = {"engine", "preview"} | ({"presets"} if not evaluation.presets else set())
    apart |= {"quality"} if evaluation.quality else set()
    described = evaluation.model_dump(mode="json", exclude=apart)
    words = re.sub("[^a-z0-9]+", "-", evaluation.title.lower()).strip("-")[:40] or "evaluation"
    return Path("nnw-runs") / f"{words}-{identity(**described)[:8]}"


def run(prepared: Prepared, *, progress: bool, tell: Tell, retry_failed: bool = False) -> None:
    """Do what is not done yet in the run folder: all of it, or the rest of an unfinished run.

    Args:
        prepared: the evaluation.
        progress: show progress bars on a terminal.
        tell: is told what a person should know, one line each.
        retry_failed: whether what failed is not done either.

    Raises:
        ConfigurationError: a first look at the networks says that measuring them is no use.
        RunError: the folder holds another evaluation, or one by other versions of plug-ins.
        UnavailableError: what the run needs is gone, such as space or data; it can go on later.
    """
    store = prepared.context.store
    with ExitStack() as workers:
        engine = workers.enter_context(_engine(prepared).kept())
        asked = prepared.evaluation
        if not store.exists and asked.quality and asked.preview.samples:
            first_look.look(prepared, tell, engine)
        with mishaps.stopping(store.folder), store.locked():
            _begin(store, prepared.plan, tell, retry_failed=retry_failed)
            injected = _injections(store, prepared, engine, progress, tell)
            _trials(store, prepared, injected, engine, progress, tell)
            # Costs are measured on a machine that has nothing else to do and to hold.
            workers.close()
            _costs(store, prepared, injected, progress)


def check_measured(folder: Path) -> None:
    """Raise `RunError` where a finished run measured nothing, with the first reason."""
    first, count = None, 0
    for found in Store(folder).each(TrialRecord):
        if found.status != "failed":
            return
        first, count = first or found, count + 1
    if first is not None:
        raise RunError(
            f"{folder}: expected trials that can be measured, got {count} that failed: "
            f"{first.reason}; mend it and give the same command with --retry-failed"
        )


def _begin(store: Store, made: Plan, tell: Tell, *, retry_failed: bool) -> None:
    if not store.exists:
        store.create()
        store.write(made)
        return
    planned = store.read(Plan)
    _check_same_plugins(planned, made)
    if planned.evaluation_sha256 != made.evaluation_sha256:
        raise RunError(
            f"{store.folder}: expected a run of this evaluation, got one of another "
            "(configuration, networks or data differ); choose another with --run-folder"
        )
    store.drop_torn_lines()
    if retry_failed:
        store.forget_failed()
    if store.read_if_there(Environment):
        tell(
            f"{store.folder}: this evaluation is finished already, its report is written again; "
            "choose another --run-folder to measure again"
        )
    else:
        _log.info("%s: an unfinished run of this evaluation; the rest is done now", store.folder)


def _check_same_plugins(planned: Plan, made: Plan) -> None:
    """Records of one version are never mixed with those of another."""
    for name, version in planned.plugins.items():
        if name in made.plugins and made.plugins[name] != version:
            raise RunError(
                f"plugin {name}: expected {version}, got {made.plugins[name]}; install that "
                "version again, or start a new run with another --run-folder"
            )


def _engine(prepared: Prepared) -> Engine:
    return plugins.create(Engine, prepared.evaluation.engine.spec)


def _injections(
    store: Store, prepared: Prepared, engine: Engine, progress: bool, tell: Tell
) -> list[InjectionRecord]:
    context, evaluation = prepared.context, prepared.evaluation
    tasks = plan_injections(
        context.seed,
        evaluation.payloads,
        context.technologies,
        context.sha256,
        context.sources,
        context.marked,
        context.references,
    )

    def watch(record: InjectionRecord) -> None:
        if record.status == "failed":
            tell(f"injection failed: {record.reason}")

    stage = Stage(store, InjectionRecord, "injections", progress, watch)
    records = stage.run(
        engine, injections.run_injection, context, tasks, injections.failed, evaluation
    )
    found = {record.identity: record for record in records}
    return [found[task.identity] for task in tasks]


def _trials(
    store: Store,
    prepared: Prepared,
    injected: Sequence[InjectionRecord],
    engine: Engine,
    progress: bool,
    tell: Tell,
) -> None:
    trials = prepared.planner.trials(injected)
    stage = Stage(store, TrialRecord, "trials", progress, _chance_watch(prepared, tell))
    records = stage.run(
        engine, trial.run_trial, prepared.context, trials, trial.failed, prepared.evaluation
    )
    reasons = [record.reason for record in records if record.status == "failed"]
    if reasons:
        tell(f"{len(reasons)} of {len(trials)} trials failed, the first because: {reasons[0]}")


def _costs(
    store: Store, prepared: Prepared, injected: Sequence[InjectionRecord], progress: bool
) -> None:
    """One at a time, each in a fresh process, whatever the engine of the other stages."""
    tasks = cost.plan_costs(prepared.context, injected, prepared.evaluation.cost)
    stage = Stage(store, CostRecord, "costs", progress)
    records = stage.run(
        Serial(fresh_processes=True), cost.run_cost, prepared.context, tasks, cost.failed,
        prepared.evaluation,
    )  # fmt: skip
    for _ in records:  # each is in its file
        pass
    store.finished().clear()
    settings = prepared.plan.session
    store.write(describe_environment(settings, runtime_description()))


def _chance_watch(prepared: Prepared, tell: Tell) -> Callable[[TrialRecord], None]:
    """Say loudly, as soon as it is known, that a network does no better than guessing."""
    headline = calls.measured(plugins.create(Task, prepared.context.task))[0]

    def watch(record: TrialRecord) -> None:
        if not record.quality or record.injection or record.setting is not None:
            return
        if message := chance_check(_quality_in(record), headline):
            tell(f"{prepared.plan.networks[record.network].name}: {message}")

    return watch


def _quality_in(record: TrialRecord) -> Quality:
    kept = unpacked(record.scores)
    if kept is None:
        return Quality(record.quality, chance=record.chance)
    return Quality(record.quality, kept.scores, kept.weights, record.chance)
