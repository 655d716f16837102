"""Engines of this machine: limits hold for each task, and a crash costs one."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Engine, Outcome, Spec

ENGINES = [
    Spec("serial"),
    Spec("serial", {"fresh_processes": True}),
    Spec("processes", {"workers": 2}),
]


def mapped(spec: Spec, call, items, timeout=60.0, memory=None) -> list[Outcome]:
    engine = plugins.create(Engine, spec)
    return list(engine.map(call, items, timeout=timeout, memory_limit=memory))


@pytest.mark.parametrize("spec", ENGINES, ids=str)
def test_a_crash_costs_its_task_only(spec):
    died = [mapped(spec, signal.raise_signal, [signal.SIGSEGV]), mapped(spec, os._exit, [3])]
    assert [outcome.error for (outcome,) in died] == [
        "killed by signal 11 (SIGSEGV)",
        "ended its process with exit code 3",
    ]


def test_a_crash_and_a_hang_leave_the_others():
    found = mapped(ENGINES[-1], _unlike, [0, 1, 2, 3, 4], timeout=4.0)
    assert [outcome.value for outcome in found] == [0, None, 2, None, 4]
    assert found[1].error is not None
    assert found[1].error.startswith("killed by signal 9 (SIGKILL)")
    assert found[3].error == "took longer than 4 s"


def _unlike(item: int) -> int:
    """One task kills its process, one does not end."""
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 3:
        time.sleep(60)
    return item


@pytest.mark.parametrize("spec", ENGINES, ids=str)
def test_processes_live_from_call_to_call_where_that_is_asked(spec):
    with plugins.create(Engine, spec).kept() as engine:
        found = [
            outcome.value
            for _ in range(3)
            for outcome in engine.map(_process, [0], timeout=60.0, memory_limit=None)
        ]
        assert (len({*found}) == 3) == ("fresh_processes" in spec.options)
        other = next(engine.map(_process, [0], timeout=61.0, memory_limit=None))
        assert other.value not in found
    assert not any(map(psutil.pid_exists, filter(None, (*found, other.value))))


def _process(item: int) -> int:
    return os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit exists on Linux only")
def test_memory_is_limited_for_each_task():
    found = mapped(ENGINES[-1], bytearray, [1 << 30, 8], memory=1 << 29)
    assert [outcome.error for outcome in found] == ["ran out of memory", None]
