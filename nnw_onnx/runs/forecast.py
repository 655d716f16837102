"""What an evaluation would do, in numbers, and about how long: a few steps are timed."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from nnw_onnx import plugins
from nnw_onnx.engines.serial import Serial
from nnw_onnx.inference import unwrap
from nnw_onnx.measures.clock import Stopwatch
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import cost, injections, trial
from nnw_onnx.runs.context import Context
from nnw_onnx.runs.plan import InjectionTask, plan_injections
from nnw_onnx.runs.prepare import Prepared
from nnw_onnx.runs.progress import duration
from nnw_onnx.vocabulary import Engine, Trial

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: "injections", "trials" or "costs".
        count: tasks of it.
        seconds: about how long they take, those that are timed; on one process.
        untimed: so many were not timed: they train, or need a watermark that training puts in.
    """

    name: str
    count: int
    seconds: float
    untimed: int


@dataclass(frozen=True)
class Forecast:
    """What an evaluation would do.

    Attributes:
        networks: M.
        technologies: number of them.
        payloads: D.
        samples: that quality is measured on.
        by_setting: label of each setting, or "unmodified" -> trials of it.
        stages: in the order in which they are carried out.
        at_once: tasks that the engine works on at the same time, but for costs.
    """

    networks: int
    technologies: int
    payloads: int
    samples: int
    by_setting: Mapping[str, int]
    stages: tuple[Stage, ...]
    at_once: int

    @property
    def seconds(self) -> float:
        """About how long all that was timed takes with the engine of the evaluation."""
        return sum(
            stage.seconds / (1 if stage.name == "costs" else self.at_once) for stage in self.stages
        )

    def lines(self) -> tuple[str, ...]:
        """All of it in words."""
        counted = [f"{s.name}: {s.count:,}{_lasting(s)}" for s in self.stages]
        settings = [f"  {label}: {count:,} trials" for label, count in self.by_setting.items()]
        at_once = f", {self.at_once} at once" if self.at_once > 1 else ""
        return (
            f"{self.networks} networks x {self.technologies} technologies x {self.payloads} "
            f"payloads, quality on {self.samples:,} samples",
            *counted,
            *settings,
            f"in all about {duration(self.seconds)}{at_once}, by a few timed steps"
            + (", without what was not timed" if any(s.untimed for s in self.stages) else ""),
        )


def _lasting(stage: Stage) -> str:
    timed = f", about {duration(stage.seconds)} one after the other"
    untimed = f"{stage.untimed:,} not timed: they train, or need what training puts in"
    if not stage.untimed:
        return timed if stage.count else ""
    return f"; {untimed}" if stage.untimed == stage.count else f"{timed}; {untimed}"


def forecast(prepared: Prepared) -> Forecast:
    """Count everything, and time one step of each kind in a folder that is deleted again.

    What trains is counted and not timed: it would take as long as the run.

    Raises:
        NnwError: a step cannot be carried out, which then holds for the run too.
    """
    with tempfile.TemporaryDirectory(prefix="nnw-") as folder:
        inside = replace(prepared.context, folder=Path(folder) / "run")
        inside.store.create()
        return _forecast(replace(prepared, context=inside))


def _forecast(prepared: Prepared) -> Forecast:
    evaluation, context = prepared.evaluation, prepared.context
    timer = _Timer(context, evaluation.session.timeout, evaluation.session.memory_limit)
    tasks = plan_injections(
        context.seed,
        evaluation.payloads,
        context.technologies,
        context.sha256,
        context.sources,
        context.marked,
        context.references,
    )
    samples = [task for task in tasks if not _is_trained(context, task)]
    injected = timer.stage("injections", tasks, samples, injections.run_injection, _kind_of_mark)
    made = [mark for mark in timer.told if isinstance(mark, InjectionRecord)]
    supposed = [_supposed(task, made) for task in tasks]
    plan, settings = prepared.planner.trials, prepared.plan.settings
    trials = plan(supposed)
    untrained = [t for t in plan(made) if t.setting is None or not settings[t.setting].trains]
    tried = timer.stage("trials", trials, untrained, trial.run_trial, _kind)
    costs = timer.stage(
        "costs",
        cost.plan_costs(context, supposed, evaluation.cost),
        cost.plan_costs(context, made, evaluation.cost),
        cost.run_cost,
        lambda task: (task.technology, task.operation),
    )
    labels = Counter(
        "unmodified" if t.setting is None else settings[t.setting].label for t in trials
    )
    return Forecast(
        networks=len(prepared.networks),
        technologies=len(context.technologies),
        payloads=evaluation.payloads,
        samples=prepared.plan.dataset.entries,
        by_setting=labels,
        stages=(injected, tried, costs),
        at_once=plugins.create(Engine, evaluation.engine.spec).at_once,
    )


def _kind_of_mark(task: InjectionTask) -> Hashable:
    return task.technology, task.twin


def _kind(task: Trial) -> Hashable:
    """Trials that take about as long: of one setting, with a watermark or without."""
    return task.setting, bool(task.parents), task.technology


def _is_trained(context: Context, task: InjectionTask) -> bool:
    return task.twin or context.technologies[task.technology].recipe is not None


def _supposed(task: InjectionTask, made: Sequence[InjectionRecord]) -> InjectionRecord:
    """The record that an injection would have, with the carrier of one that was made."""
    layers = next((m.layers for m in made if m.technology == task.technology), ())
    return InjectionRecord(
        identity=task.identity,
        status="done",
        network=task.network,
        technology=task.technology,
        payload_index=task.payload_index,
        twin=task.twin,
        layers=() if task.twin else layers,
    )


class _Timer:
    """Carries out one task of each kind and keeps what it told."""

    def __init__(self, context: Context, timeout: float, memory_limit: int | None) -> None:
        self.told: list[object] = []
        self._context, self._timeout, self._memory_limit = context, timeout, memory_limit

    def stage(
        self,
        name: str,
        tasks: Sequence[Item],
        samples: Iterable[Item],
        function: Callable[[Context, Item], Result],
        kind: Callable[[Item], Hashable],
    ) -> Stage:
        """Time the first sample of each kind that there is among the tasks.

        Args:
            name: of the stage.
            tasks: all of it.
            samples: those of them that can be carried out here and now.
            function: carries one out.
            kind: tasks of one kind take about as long.
        """
        firsts: dict[Hashable, Item] = {}
        for sample in samples:
            firsts.setdefault(kind(sample), sample)
        took = dict(zip(firsts, self._times(list(firsts.values()), function, name), strict=True))
        counts = Counter(map(kind, tasks))
        seconds = sum(took[k] * count for k, count in counts.items() if k in took)
        untimed = sum(count for k, count in counts.items() if k not in took)
        return Stage(name, len(tasks), seconds, untimed)

    def _times(
        self, tasks: Sequence[Item], function: Callable[[Context, Item], Result], name: str
    ) -> list[float]:
        """Seconds of each; a first call that nobody times starts the worker and loads the data."""
        if not tasks:
            return []
        engine = Serial(fresh_processes=name == "costs")
        warm = tasks[:1] if name == "trials" else ()
        outcomes = engine.map(
            partial(function, self._context),
            [*warm, *tasks],
            timeout=self._timeout,
            memory_limit=self._memory_limit,
        )
        watch = Stopwatch()
        for outcome in outcomes:
            watch.lap()
            self.told.append(unwrap(outcome))
        return watch.laps[len(warm) :]
