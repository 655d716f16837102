"""Engine `serial`: one task after another, in one worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from nnw_onnx.inference import IsolatedPool, run_isolated
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Engine, Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Serial(Engine):
    """One task after another; a task that crashes or hangs costs itself only."""

    name = "serial"
    summary = "one task after another, in one worker process"

    fresh_processes: bool = option(False, help="start a new process for every task")

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items."""
        if self.fresh_processes:
            for item in items:
                yield run_isolated(call, item, timeout=timeout, memory_bytes=memory_limit)
            return
        with IsolatedPool(workers=1, timeout=timeout, memory_bytes=memory_limit) as pool:
            yield from pool.map(call, items)
