"""Engine `ray`: the same records as serial, whatever becomes of its workers."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.vocabulary import Engine, Outcome, Spec

from .clusters import evaluated, expect_same

ray = pytest.importorskip("ray", reason="needs the package ray: pip install 'nnw-onnx[ray]'")
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory) -> Iterator[None]:
    """Two workers on this machine, which the engine finds as those of its caller."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("NNW_CACHE", str(tmp_path_factory.mktemp("cache")))
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
        yield
        ray.shutdown()


def mapped(call, items, timeout=60.0) -> list[Outcome]:
    engine = plugins.create(Engine, Spec("ray"))
    return list(engine.map(call, items, timeout=timeout, memory_limit=None))


def test_records_are_those_of_serial(configuration, serial, tmp_path):
    expect_same(evaluated(configuration, tmp_path / "run", "ray"), serial)


def test_files_that_are_nowhere_are_sent_once_a_host(configuration, serial, tmp_path):
    table = {"name": "ray", "shared_files": False}
    expect_same(evaluated(configuration, tmp_path / "run", table), serial)


def test_a_crash_and_a_hang_cost_their_task_only():
    died = mapped(signal.raise_signal, [signal.SIGSEGV, signal.SIGFPE])
    assert [o.error for o in died] == [
        "killed by signal 11 (SIGSEGV)",
        "killed by signal 8 (SIGFPE)",
    ]
    slow, fast = mapped(time.sleep, [60, 0], timeout=3.0)
    assert slow == Outcome(error="took longer than 3 s")
    assert fast == Outcome(None)


def test_a_bug_is_raised_as_it_is_on_any_engine():
    with pytest.raises(ValueError, match="invalid literal"):
        mapped(int, ["1", "x"])


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path):
    killed = tmp_path / "killed"
    assert [o.value for o in mapped(_kill_once, [(str(killed), i) for i in range(8)])] == [
        *range(8)
    ]
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


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_no_cluster_is_one_line(address):
    engine = plugins.create(Engine, Spec("ray", {"address": address}))
    with pytest.raises(ConfigurationError) as caught:
        list(engine.map(abs, [1], timeout=5.0, memory_limit=None))
    assert str(caught.value) == (
        f"engine ray: expected a cluster at {address}, got: [Errno 111] Connection refused; start "
        "one with 'ray start --head', or use another engine, which goes on with the same run"
    )


def test_no_gpu_is_one_line():
    from nnw_onnx.vocabulary import Portable

    class OnGpu(Portable):
        gpu = True
        __call__ = common = files = secrets = at = keep = abs

    with pytest.raises(ConfigurationError) as caught:
        mapped(OnGpu(), [1])
    assert str(caught.value) == (
        "engine ray: expected a GPU among the resources of the cluster, got none; add a node with "
        "'ray start --num-gpus=1'"
    )
