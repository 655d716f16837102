"""One stage of a run: tasks in, records appended in the order of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from nnw_onnx.records import (
    CostRecord,
    InjectionRecord,
    TrialRecord,
)
from nnw_onnx.runs.checks import trains
from nnw_onnx.runs.context import Context
from nnw_onnx.runs.evaluation import Evaluation
from nnw_onnx.runs.progress import shown_progress
from nnw_onnx.runs.recipes import TrainingTable
from nnw_onnx.runs.store import Store

Record = TypeVar("Record", InjectionRecord, TrialRecord, CostRecord)


class Stage(Generic[Record]):
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
        function: Callable[[Context, Any], Record],
        context: Context,
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
            timeout=_timeout(evaluation),
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
        with shown_progress(self._store, bar):
            yield from bar


def _timeout(evaluation: Evaluation) -> float:
    """Seconds that one item may take."""
    if not trains(evaluation):
        return evaluation.session.timeout
    training = evaluation.training or TrainingTable()
    return max(evaluation.session.timeout, training.timeout)


@dataclass(frozen=True)
class _Call:
    """A function of context and task as a function of the task, that can be sent to a worker."""

    function: Callable[[Context, Any], Any]
    context: Context

    def __call__(self, task: Any) -> Any:
        return self.function(self.context, task)
