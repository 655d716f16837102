"""Engine `serial`: one task after another, in one worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from nnw_onnx.engines._local import Local
from nnw_onnx.inference import run_isolated
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Engine, Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Serial(Local):
    """One task after another; a task that crashes or hangs costs itself only."""

    name = "serial"
    summary = "one task after another, in one worker process"

    fresh_processes: bool = option(False, help="start a new process for every task")

    @contextmanager
    def kept(self) -> Iterator[Engine]:
        """This engine; where not each task has its own, the process lives until the block ends."""
        if self.fresh_processes:
            yield self
            return
        with super().kept() as engine:
            yield engine

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items."""
        if not self.fresh_processes:
            yield from super().map(call, items, timeout=timeout, memory_limit=memory_limit)
            return
        for item in items:
            yield run_isolated(call, item, timeout=timeout, memory_bytes=memory_limit)
