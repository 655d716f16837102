"""Engine `processes`: tasks on all cores of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from nnw_onnx.engines._local import Local
from nnw_onnx.plugins import option


@dataclass(frozen=True)
class Processes(Local):
    """Tasks on several worker processes, one thread each; the records are the same as serial."""

    name = "processes"
    summary = "tasks on all cores of this machine, one worker process a core"

    workers: Annotated[int, Ge(0)] = option(0, help="number of worker processes; 0 = one a core")

    @property
    def at_once(self) -> int:
        """Number of worker processes."""
        return self.workers or os.cpu_count() or 1
