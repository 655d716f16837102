"""One stage of a run: tasks in, records appended in the order of the plan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from tqdm import tqdm

from nnw_onnx.errors import InferenceError, RunError
from nnw_onnx.records import CostRecord, InjectionRecord, TrialRecord
from nnw_onnx.runs import mishaps
from nnw_onnx.runs.checks import trains
from nnw_onnx.runs.context import Context
from nnw_onnx.runs.finished import Finished
from nnw_onnx.runs.progress import Count, shown_progress
from nnw_onnx.runs.recipes import TrainingTable
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.runs.work import Work
from nnw_onnx.vocabulary import Engine, Outcome

_log = logging.getLogger(__name__)


class Task(Protocol):
    """What is carried out: a small value with an identity."""

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of everything that it follows from."""
        ...


T = TypeVar("T", bound=Task)
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
        engine: Engine,
        function: Callable[[Context, T], Record],
        context: Context,
        tasks: Sequence[T],
        failed: Callable[[T, str], Record],
        evaluation: Evaluation,
    ) -> Iterator[Record]:
        """Run the tasks that have no record yet; gives the records of all, those there are first.

        They are given one after the other because not all of them need fit into memory.

        Raises:
            UnavailableError: what the run needs is gone; what is done is kept.
        """
        order = [task.identity for task in tasks]
        written, left = [], set(order)
        for known in self._store.each(self._model):
            written.append(known.identity)
            if known.identity in left:
                left.remove(known.identity)
                yield known
        todo = [task for task in tasks if task.identity in left]
        finished = self._store.finished()
        waiting = self._waiting(finished, left)
        outcomes = engine.map(
            Work(function, context, finished=finished.plan),
            [task for task in todo if task.identity not in waiting],
            timeout=timeout_of(evaluation),
            memory_limit=evaluation.session.memory_limit,
        )
        outcomes = _in_order(todo, waiting, outcomes)
        done = len(tasks) - len(todo)
        for task, outcome in self._shown(todo, outcomes, done, len(tasks)):
            record = self._record(context, task, outcome, failed)
            self._store.append(record)
            finished.forget(task.identity)
            self._watch(record)
            written.append(task.identity)
            yield record
        if written != order:
            self._put_in_order(order, len(written) - len(order))

    def _waiting(self, finished: Finished, left: set[str]) -> dict[str, Record]:
        """What was finished when the run was ended, and is not recorded."""
        found = ((i, finished.record(i, self._model)) for i in finished.identities() & left)
        return {identity: record for identity, record in found if record is not None}

    def _put_in_order(self, order: Sequence[str], strange: int) -> None:
        """What failed and was tried again comes last, and may have had other tasks after it."""
        if strange:
            words = "%s: %s records of tasks that this run no longer has are left out"
            _log.warning(words, self._title, strange)
        known = {record.identity: record for record in self._store.records(self._model)}
        self._store.rewrite(self._model, [known[identity] for identity in order])

    def _record(
        self,
        context: Context,
        task: T,
        outcome: Outcome[Record],
        failed: Callable[[T, str], Record],
    ) -> Record:
        if outcome.error is not None:
            mishaps.expect_available(context, InferenceError(outcome.error))
            return failed(task, outcome.error)
        if outcome.value is None:
            raise RunError(
                f"{self._title}: expected a record of each task, got none; use another engine"
            )
        return outcome.value

    def _shown(
        self, todo: Sequence[T], outcomes: Iterator[Outcome[Record]], initial: int, total: int
    ) -> Iterator[tuple[T, Outcome[Record]]]:
        bar = tqdm(
            zip(todo, outcomes, strict=True),
            desc=self._title,
            initial=initial,
            total=total,
            disable=None if self._progress else True,
        )
        count = Count(self._title, initial, total)
        with shown_progress(self._store, bar, count):
            for done in bar:
                yield done
                count.done += 1


def _in_order(
    todo: Sequence[T], waiting: dict[str, Record], outcomes: Iterator[Outcome[Record]]
) -> Iterator[Outcome[Record]]:
    """Outcomes of all tasks: of those that wait what is there, of the others what comes."""
    for task in todo:
        known = waiting.pop(task.identity, None)
        yield next(outcomes, Outcome()) if known is None else Outcome(known)
    # To its end, where an engine stops its workers.
    yield from outcomes


def timeout_of(evaluation: Evaluation) -> float:
    """Seconds that one item may take."""
    if not trains(evaluation):
        return evaluation.session.timeout
    training = evaluation.training or TrainingTable()
    return max(evaluation.session.timeout, training.timeout)
