"""Engine `processes`: tasks on all cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from nnw_onnx.inference import IsolatedPool, Outcome
from nnw_onnx.plugins import option


@dataclass(frozen=True)
class Processes:
    """Tasks on several worker processes, one thread each; the records are the same as serial."""

    name: ClassVar[str] = "processes"
    summary: ClassVar[str] = "tasks on all cores of this machine, one worker process a core"

    workers: Annotated[int, Ge(0)] = option(0, help="number of worker processes; 0 = one a core")

    def __call__(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Any]]:
        """Outcomes in the order of the items."""
        workers = self.workers or os.cpu_count() or 1
        with IsolatedPool(workers=workers, timeout=timeout, memory_bytes=memory_limit) as pool:
            yield from pool.map(function, items)
