"""Engines of this machine: tasks in a pool of processes, which several calls can share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nnw_onnx.inference import IsolatedPool
from nnw_onnx.vocabulary import Engine, Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")


class Local(Engine):
    """An engine whose tasks run in `at_once` processes of this machine."""

    @contextmanager
    def kept(self) -> Iterator[Engine]:
        """This engine with processes that go on living until the block ends."""
        engine = _Kept(self.at_once)
        try:
            yield engine
        finally:
            engine.stop()

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items."""
        with self.kept() as engine:
            yield from engine.map(call, items, timeout=timeout, memory_limit=memory_limit)


class _Kept(Engine):
    """A pool for one call after the other."""

    name = "kept"

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: IsolatedPool | None = None
        self._limits: tuple[float, int | None] | None = None

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items; the processes are others where the limits are."""
        if self._pool is None or self._limits != (timeout, memory_limit):
            self.stop()
            self._limits = timeout, memory_limit
            self._pool = IsolatedPool(self._workers, timeout, memory_limit)
        yield from self._pool.map(call, items)

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None
