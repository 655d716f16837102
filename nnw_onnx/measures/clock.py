"""The only reader of a clock, of process memory and of the load of the machine.

Peak memory is the high-water mark of the resident set of this process (VmHWM on Linux, which can
be reset; `ru_maxrss` of a child also counts its parent). It does not see what fits into memory that
the allocator holds already, so allocations are counted beside it. Times come from a monotonic
clock.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

RESOLUTION = 64 * 4096
"""Bytes below which a resident set is not known: the kernel counts 64 pages of each thread late."""
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def seconds() -> float:
    """A monotonic time in seconds; only differences mean something."""
    return time.perf_counter()


def time_of(function: Callable[[], object]) -> float:
    """Wall time in seconds of one call."""
    start = seconds()
    function()
    return seconds() - start


class Stopwatch:
    """Wall times in seconds between one call of `lap` and the next, the first from its making."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        self._last = seconds()

    def lap(self) -> None:
        """Note the time since the last lap."""
        now = seconds()
        self.laps.append(now - self._last)
        self._last = now


def resident_bytes() -> int:
    """Resident memory of this process now, in bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def give_back_memory() -> None:
    """Return freed memory to the system, so that a call after it shows what it needs."""
    gc.collect()
    if sys.platform == "linux":
        # Only glibc has it; other C libraries give freed memory back on their own terms.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def peak_of(function: Callable[[], object]) -> tuple[int, int]:
    """Peak resident memory of one call above what was resident before, and that baseline.

    Returns:
        (peak above the baseline, baseline), both in bytes, both >= 0. On Linux the kernel's
        high-water mark is reset and read; elsewhere the resident set is sampled every millisecond.
    """
    baseline = resident_bytes()
    peak = _kernel_peak(function) if _can_reset() else _sampled_peak(function)
    return max(0, peak - baseline), baseline


def allocated_by(function: Callable[[], object]) -> int:
    """Most bytes that Python and numpy held at once for one call; other libraries are not seen.

    The call is slower than usual.
    """
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        function()
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


def load_average() -> float | None:
    """Processes that wanted a CPU over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        # Windows has none.
        return None


def _can_reset() -> bool:
    """Ask the kernel to forget the high-water mark; False where it does not know how."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return sys.platform == "linux"


def _kernel_peak(function: Callable[[], object]) -> int:
    function()
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _sampled_peak(function: Callable[[], object]) -> int:
    peak = resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(peak, resident_bytes())
