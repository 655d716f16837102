"""Engine `dask`: the same records as serial, whatever becomes of its workers."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from nnw_onnx import plugins
from nnw_onnx.engines import _worker
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.vocabulary import Engine, Outcome, Portable, Spec

from .clusters import evaluated, expect_same

pytest.importorskip("distributed", reason="needs the package distributed")
pytestmark = pytest.mark.xdist_group("dask")


def engine(address: str, **options) -> Engine:
    return plugins.create(Engine, Spec("dask", {"address": address, **options}))


def mapped(made: Engine, call, items, timeout=60.0) -> list[Outcome]:
    return list(made.map(call, items, timeout=timeout, memory_limit=None))


def test_records_are_those_of_serial(configuration, serial, dask_address, tmp_path):
    short = dask_address.replace("tcp://", "dask://")
    expect_same(evaluated(configuration, tmp_path / "run", short), serial)


def test_files_that_are_nowhere_are_sent_once_a_host(configuration, serial, dask_address, tmp_path):
    table = {"name": "dask", "address": dask_address, "shared_files": False}
    expect_same(evaluated(configuration, tmp_path / "run", table), serial)


def test_outcomes_come_in_order(dask_address):
    assert mapped(engine(dask_address), abs, range(-20, 0)) == [Outcome(20 - i) for i in range(20)]


def test_a_crash_and_a_hang_cost_their_task_only(dask_address):
    died = mapped(engine(dask_address), signal.raise_signal, [signal.SIGSEGV, signal.SIGFPE])
    assert [o.error for o in died] == [
        "killed by signal 11 (SIGSEGV)",
        "killed by signal 8 (SIGFPE)",
    ]
    slow, fast = mapped(engine(dask_address), time.sleep, [60, 0], timeout=3.0)
    assert slow == Outcome(error="took longer than 3 s")
    assert fast == Outcome(None)


def test_a_bug_is_raised_as_it_is_on_any_engine(dask_address):
    with pytest.raises(ValueError, match="invalid literal"):
        mapped(engine(dask_address), int, ["1", "x"])


def test_a_worker_that_is_killed_costs_nothing_but_time(dask_address, tmp_path):
    killed = tmp_path / "killed"
    outcomes = mapped(engine(dask_address), _kill_once, [(str(killed), i) for i in range(8)])
    assert [o.value for o in outcomes] == list(range(8))
    assert killed.exists()


def _kill_once(item: tuple[str, int]) -> int:
    """Kill the worker that this process belongs to, the first time that it is called."""
    path, value = item
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return value
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
    return -1


def test_no_scheduler_is_one_line():
    with pytest.raises(ConfigurationError) as caught:
        mapped(engine("dask://127.0.0.1:9", patience=0.5), abs, [1])
    message = str(caught.value)
    assert message.startswith("engine dask: expected a scheduler at dask://127.0.0.1:9, got: ")
    assert message.endswith(
        "; start one with 'dask scheduler', or use another engine, which goes on with the same run"
    )


def test_no_worker_is_one_line():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        address = cluster.scheduler_address
        with pytest.raises(ConfigurationError) as caught:
            mapped(engine(address, patience=0.5), abs, [1])
    assert str(caught.value) == (
        f"engine dask: expected a worker at {address}, got none; start one with "
        f"'dask worker {address}'"
    )


class OnGpu(Portable):
    """A call that wants a GPU, reads nothing and leaves nothing."""

    gpu = True

    def __call__(self, item):
        return -item

    def common(self):
        return ()

    def files(self, item):
        return ()

    def secrets(self, item):
        return {}

    def at(self, places, folder):
        return self

    def keep(self, left, gone):
        assert not left


def test_a_gpu_is_a_resource_of_workers(dask_address):
    from distributed import LocalCluster

    with pytest.raises(ConfigurationError) as caught:
        mapped(engine(dask_address), OnGpu(), [1])
    assert str(caught.value) == (
        f"engine dask: expected a worker with a GPU at {dask_address}, got none; start one with "
        f"'dask worker --resources 'GPU=1' {dask_address}'"
    )
    with LocalCluster(
        n_workers=1, processes=False, resources={"GPU": 1}, dashboard_address=None
    ) as cluster:
        assert mapped(engine(cluster.scheduler_address), OnGpu(), [1, 2]) == [
            Outcome(-1), Outcome(-2),
        ]  # fmt: skip


def test_other_versions_are_refused(dask_address, monkeypatch):
    there = {**_worker.versions(), "numpy": "1.0"}
    monkeypatch.setattr(_worker, "versions", lambda: there)
    with pytest.raises(ConfigurationError) as caught:
        mapped(engine(dask_address), abs, [1])
    words = r"expected numpy 1\.0, got [\d.]+; install the same versions on every host"
    assert re.fullmatch(rf"worker tcp://\S+: {words}", str(caught.value))


def test_an_address_is_needed():
    with pytest.raises(ConfigurationError, match="option address: expected a value, got none"):
        plugins.create(Engine, Spec("dask"))


def test_what_the_cluster_gives_up_can_be_resumed():
    from distributed import CancelledError

    from nnw_onnx.engines.dask import _lost

    error = _lost(CancelledError())
    assert isinstance(error, RunError)
    assert str(error) == (
        "engine dask: expected the cluster to finish every task, got: CancelledError; start the "
        "run again, with this or another engine, which resumes it"
    )
