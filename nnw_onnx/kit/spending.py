"""What work in another process took, for whoever measures it from here.

A method whose work is done elsewhere says what it took there; the time that waiting takes here, and
the memory of this process, would be those of something else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass
class Spent:
    """What calls in other processes took together.

    Attributes:
        calls: number of them.
        seconds: that they computed.
        peak_bytes: largest resident memory of one above what it held before, or None where the
            system does not tell.
        baseline_bytes: resident memory of that process before, likewise.
    """

    calls: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None
    baseline_bytes: int | None = None


_watcher: ContextVar[Spent | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watching() -> Iterator[Spent]:
    """What is spent elsewhere for the calls inside."""
    spent = Spent()
    token = _watcher.set(spent)
    try:
        yield spent
    finally:
        _watcher.reset(token)


def spend(told: Mapping[str, Any]) -> None:
    """Tell whoever watches what a call took: "seconds", and perhaps "peak_bytes" of its process.

    Args:
        told: by a process of which nothing is believed; what is no such number is left out.
    """
    watcher, seconds = _watcher.get(), told.get("seconds")
    if watcher is None or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return
    watcher.calls += 1
    watcher.seconds += seconds
    peak, baseline = told.get("peak_bytes"), told.get("baseline_bytes")
    if not isinstance(peak, int) or not isinstance(baseline, int) or min(peak, baseline) < 0:
        return
    if watcher.peak_bytes is None or peak > watcher.peak_bytes:
        watcher.peak_bytes, watcher.baseline_bytes = peak, baseline
