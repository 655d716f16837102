"""Carry out an evaluation: plan, injections, trials, costs, each stage ending in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from nnw_onnx import __version__, plugins
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import (
    SessionSettings,
    check_providers,
    run_isolated,
    runtime_description,
)
from nnw_onnx.measures.environment import describe_environment
from nnw_onnx.records import (
    CostRecord,
    DatasetFacts,
    Environment,
    InjectionRecord,
    NetworkRecord,
    Plan,
    TrialRecord,
)
from nnw_onnx.runs import cost, plan, work
from nnw_onnx.runs.engines.serial import Serial
from nnw_onnx.runs.evaluation import Evaluation, network_paths
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Samples

Record = TypeVar("Record", InjectionRecord, TrialRecord, CostRecord)
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """An evaluation whose networks and data were opened and checked."""

    evaluation: Evaluation
    networks: tuple[OnnxNetwork, ...]
    plan: Plan
    context: work.Context
    samples: Samples


def prepare(evaluation: Evaluation, folder: Path) -> Prepared:
    """Open everything the evaluation names and make its plan; nothing is written.

    Raises:
        ConfigurationError, ModelFileError, DatasetError, InferenceError: something named is
            missing or unfit.
    """
    paths = tuple(network_paths(evaluation))
    networks = tuple(open_network(path) for path in paths)
    for path, network in zip(paths, networks, strict=True):
        if not plan.modifiable_layers(network):
            reason = network.no_weights_reason or "its weights are quantized"
            raise ConfigurationError(
                f"{path.name}: expected a network with weights that can be replaced, got none: "
                f"{reason}"
            )
    digests = [network.sha256 for network in networks]
    for path, digest in zip(paths, digests, strict=True):
        if digests.count(digest) > 1:
            raise ConfigurationError(
                f"networks: expected networks that differ, got {path.name} under two names; "
                "leave one out"
            )
    samples: Samples = plugins.create("datasets", evaluation.dataset.spec).load(
        evaluation.dataset.split
    )
    # In a process of its own: asking a GPU would make this one hold it.
    session = evaluation.session
    run_isolated(check_providers, session.providers, timeout=session.timeout).unwrap()
    context = _context(evaluation, folder, paths, networks, samples)
    made = _plan(evaluation, networks, samples)
    return Prepared(evaluation, networks, made, context, samples)


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
    tasks = plan.plan_injections(evaluation, prepared.plan.groups, digests)

    def failed(task: plan.InjectionTask, reason: str) -> InjectionRecord:
        return InjectionRecord(
            identity=task.identity,
            status="failed",
            reason=reason,
            network=task.network,
            group=task.group,
            payload_index=task.payload_index,
        )

    stage = _Stage(store, InjectionRecord, "injections", progress)
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
        evaluation, prepared.networks, injections, prepared.plan.evaluation_sha256
    )

    def failed(trial: plan.Trial, reason: str) -> TrialRecord:
        return TrialRecord(**work.trial_fields(trial), status="failed", reason=reason)

    stage = _Stage(store, TrialRecord, "trials", progress, _chance_watch(prepared, tell))
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
    tasks = cost.plan_costs(injections, table.cells, table.repetitions, table.warmups, batch)

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

    stage = _Stage(store, CostRecord, "costs", progress)
    engine = Serial(fresh_processes=True)
    stage.run(engine, cost.run_cost, prepared.context, tasks, failed, prepared.evaluation)
    settings = prepared.plan.session
    store.write(describe_environment(settings, runtime_description()))


class _Stage(Generic[Record]):
    """One stage of a run: tasks in, records appended in the order of the plan."""

    def __init__(
        self,
        store: Store,
        model: type[Record],
        title: str,
        progress: bool,
        watch: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._store, self._title, self._progress = store, title, progress
        self._model: type[Record] = model
        self._watch: Callable[[Record], None] = watch

    def run(
        self,
        engine: Any,
        function: Callable[[work.Context, Any], Record],
        context: work.Context,
        tasks: Sequence[Any],
        failed: Callable[[Any, str], Record],
        evaluation: Evaluation,
    ) -> list[Record]:
        """Run the tasks that have no record yet; returns the records of all."""
        known = {r.identity: r for r in self._store.records(self._model)}
        todo = [task for task in tasks if task.identity not in known]
        outcomes = engine(
            _Call(function, context),
            todo,
            timeout=evaluation.session.timeout,
            memory_limit=evaluation.session.memory_limit,
        )
        for task, outcome in self._bar(zip(todo, outcomes, strict=True), len(known), len(tasks)):
            record = failed(task, outcome.error) if outcome.error else outcome.value
            self._store.append(record)
            self._watch(record)
            known[task.identity] = record
        return [known[task.identity] for task in tasks]

    def _bar(self, items: Iterable[Any], initial: int, total: int) -> Iterator[Any]:
        bar = tqdm(
            items,
            desc=self._title,
            initial=initial,
            total=total,
            disable=None if self._progress else True,
        )
        yield from bar


@dataclass(frozen=True)
class _Call:
    """A function of context and task as a function of the task, that can be sent to a worker."""

    function: Callable[[work.Context, Any], Any]
    context: work.Context

    def __call__(self, task: Any) -> Any:
        return self.function(self.context, task)


def _context(
    evaluation: Evaluation,
    folder: Path,
    paths: tuple[Path, ...],
    networks: Sequence[OnnxNetwork],
    samples: Samples,
) -> work.Context:
    session = evaluation.session
    return work.Context(
        folder=folder.resolve(),
        networks=tuple(path.resolve() for path in paths),
        sha256=tuple(network.sha256 for network in networks),
        dataset=evaluation.dataset.spec,
        split=evaluation.dataset.split,
        preprocessing=evaluation.dataset.preprocessing,
        task=evaluation.task.spec,
        fingerprint=samples.fingerprint,
        batch_size=session.batch_size,
        false_positive_rate=evaluation.false_positive_rate,
        settings=SessionSettings(
            providers=session.providers,
            threads=session.threads,
            optimization=session.optimization,
        ),
    )


def _plan(evaluation: Evaluation, networks: Sequence[OnnxNetwork], samples: Samples) -> Plan:
    """The plan; it names files without their folders and leaves out what changes no record."""
    described = evaluation.model_dump(mode="json", exclude={"networks", "engine"})
    described["dataset"].pop("path", None)
    described["networks"] = [n.path.name for n in networks]
    data: DatasetFacts = {
        "name": evaluation.dataset.name,
        "split": evaluation.dataset.split,
        "entries": len(samples),
        "classes": list(samples.classes),
        "shape": list(samples.inputs.shape[1:]),
        "fingerprint": samples.fingerprint,
    }
    depends_on = {k: v for k, v in described.items() if k not in {"title", "summary", "cost"}}
    depends_on["session"] = {
        k: v for k, v in described["session"].items() if k not in {"timeout", "memory_limit"}
    }
    return Plan(
        package_version=__version__,
        evaluation=described,
        evaluation_sha256=identity(
            **depends_on, digests=[n.sha256 for n in networks], data=samples.fingerprint
        ),
        title=evaluation.title,
        profile=evaluation.profile,
        seed=evaluation.seed,
        networks=tuple(_network_record(i, n) for i, n in enumerate(networks)),
        payloads=evaluation.payloads,
        groups=plan.groups_of(evaluation),
        false_positive_rate=evaluation.false_positive_rate,
        margin=evaluation.margin,
        repetitions=evaluation.repetitions,
        dataset=data,
        session=described["session"],
    )


def _network_record(index: int, network: OnnxNetwork) -> NetworkRecord:
    return NetworkRecord(
        index=index,
        name=network.path.name,
        sha256=network.sha256,
        weights=network.weight_count,
        parameters=network.parameters,
    )


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
