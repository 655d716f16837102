"""An engine that starts no process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nnw_onnx.vocabulary import Engine, Outcome


@dataclass(frozen=True)
class Here(Engine):
    """Tasks in this process."""

    name = "here"

    def map(
        self,
        call: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        timeout: float,
        memory_limit: int | None,
    ) -> Iterator[Outcome[Any]]:
        for item in items:
            yield Outcome(call(item))
