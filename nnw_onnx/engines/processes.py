"""Engine `processes`: tasks on all cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from annotated_types import Ge

from nnw_onnx.inference import IsolatedPool
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Engine, Outcome

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes(Engine):
    """Tasks on several worker processes, one thread each; the records are the same as serial."""

    name = "processes"
    summary = "tasks on all cores of this machine, one worker process a core"

    workers: Annotated[int, Ge(0)] = option(0, help="number of worker processes; 0 = one a core")

    @property
    def at_once(self) -> int:
        """Number of worker processes."""
        return self.workers or os.cpu_count() or 1

    def map(
        self,
        call: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Result]]:
        """Outcomes in the order of the items."""
        with IsolatedPool(workers=self.at_once, timeout=timeout, memory_bytes=memory_limit) as pool:
            yield from pool.map(call, items)
