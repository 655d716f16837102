"""Peak memory of this process on an accelerator, as NVIDIA's driver tells it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

INTERVAL = 0.005
"""Seconds between two looks: a peak that is shorter is not seen."""


class DeviceMemory(NamedTuple):
    """What was found.

    Attributes:
        peak: bytes of this process at most, or None where it was not measured.
        reason: why it was not, or empty.
    """

    peak: int | None
    reason: str = ""


def device_peak(function: Callable[[], object], device: int = 0) -> DeviceMemory:
    """Peak memory of this process on a device of NVIDIA's while a function runs.

    Memory that a library holds back for later counts, since nobody else can use it.

    Args:
        function: is called once, also where nothing can be measured.
        device: its number for the driver.
    """
    try:
        import pynvml as nvml
    except ImportError:
        function()
        return DeviceMemory(None, "not measured: pip install 'nnw-onnx[cuda]'")
    try:
        nvml.nvmlInit()
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(device)
            return _sampled(function, lambda: _used(nvml, handle))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        function()
        return DeviceMemory(None, f"not measured: {error}")


def _sampled(function: Callable[[], object], used: Callable[[], int | None]) -> DeviceMemory:
    found = [used()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            found.append(used())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    known = [value for value in (*found, used()) if value is not None]
    if not known:
        return DeviceMemory(None, "not measured: the driver does not tell of this process")
    return DeviceMemory(max(known))


def _used(nvml: Any, handle: Any) -> int | None:
    """Bytes of this process; None where the driver does not know it, as in a container."""
    for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
        if process.pid == os.getpid() and process.usedGpuMemory is not None:
            return int(process.usedGpuMemory)
    return None
