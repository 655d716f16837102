"""Engine `serial`: one task after another, in one worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from nnw_onnx.inference import IsolatedPool, Outcome, run_isolated
from nnw_onnx.plugins import option


@dataclass(frozen=True)
class Serial:
    """One task after another; a task that crashes or hangs costs itself only."""

    name: ClassVar[str] = "serial"
    summary: ClassVar[str] = "one task after another, in one worker process"

    fresh_processes: bool = option(False, help="start a new process for every task")

    def __call__(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Any]]:
        """Outcomes in the order of the items."""
        if self.fresh_processes:
            for item in items:
                yield run_isolated(function, item, timeout=timeout, memory_bytes=memory_limit)
            return
        with IsolatedPool(workers=1, timeout=timeout, memory_bytes=memory_limit) as pool:
            yield from pool.map(function, items)
