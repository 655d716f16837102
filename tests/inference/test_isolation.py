"""Isolation: crashes, hangs and lack of memory cost one item only."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.inference import IsolatedPool, isolation, run_isolated, unwrap
from nnw_onnx.inference._bare_processes import BareContext
from nnw_onnx.kit import scratch
from nnw_onnx.math.threads import THREAD_VARIABLES
from nnw_onnx.vocabulary import Outcome, Payload

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a memory limit exists on Linux only")


@pytest.fixture
def graphs(tmp_path: Path, monkeypatch) -> ModuleType:
    """The module of graphs under a name that worker processes can import."""
    import importlib

    shutil.copy(Path(__file__).with_name("graphs.py"), tmp_path / "worker_graphs.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "worker_graphs", raising=False)
    return importlib.import_module("worker_graphs")


def test_outcomes_come_in_order():
    with IsolatedPool(2) as pool:
        outcomes = list(pool.map(abs, range(-20, 0)))
    assert outcomes == [Outcome(i) for i in range(20, 0, -1)]


def test_a_pool_maps_more_than_once_and_stops_where_its_consumer_stops():
    with IsolatedPool(1, timeout=30) as pool:
        for outcome in pool.map(abs, [-1, -2, -3]):
            assert outcome.value == 1
            break
        assert [o.value for o in pool.map(abs, [-4])] == [4]


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    with IsolatedPool(1) as pool:
        next(pool.map(abs, items()))
    assert len(taken) <= 3


def test_a_signal_costs_its_item_only():
    numbers = [signal.SIGFPE, signal.SIGSEGV, signal.SIGKILL]
    with IsolatedPool(1) as pool:
        died = list(pool.map(signal.raise_signal, numbers))
        alive = list(pool.map(abs, [-1]))
    assert [o.error for o in died] == [
        "killed by signal 8 (SIGFPE)",
        "killed by signal 11 (SIGSEGV)",
        "killed by signal 9 (SIGKILL), perhaps by the system for lack of memory; it was the second "
        "time, and nothing ran beside it",
    ]
    assert alive == [Outcome(1)]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_whose_worker_was_killed_is_done_once_more(tmp_path, graphs, caplog, workers):
    items = [(str(tmp_path / str(n // 2)), n) for n in range(4)]  # every other one kills
    with IsolatedPool(workers) as pool, caplog.at_level(logging.INFO, "nnw_onnx"):
        outcomes = list(pool.map(graphs.die_once, items))
    assert outcomes == [Outcome(n) for n in range(4)]
    assert caplog.messages[0] == (
        "a worker was killed by signal 9 (SIGKILL), perhaps by the system for lack of memory; what "
        "it did is done once more, alone"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
def test_workers_killed_while_idle_are_started_again():
    with IsolatedPool(1) as pool:
        (first,) = pool.map(isolation._spread, [(os.getpid, ())])
        os.kill(first.value, signal.SIGKILL)
        while pool._pool.active:
            time.sleep(0.05)
        assert list(pool.map(abs, [-1, -2])) == [Outcome(1), Outcome(2)]


def test_an_exit_costs_its_item_only():
    with IsolatedPool(1) as pool:
        assert next(pool.map(os._exit, [3])) == Outcome(error="ended its process with exit code 3")
        assert next(pool.map(abs, [-1])).value == 1


def test_a_hang_takes_no_longer_than_allowed():
    with IsolatedPool(2, timeout=1) as pool:
        start = time.monotonic()
        slow, fast = pool.map(time.sleep, [60, 0])
        assert time.monotonic() - start < 40
    assert slow == Outcome(error="took longer than 1 s")
    assert fast == Outcome(None)


def test_an_endless_model_takes_no_longer_than_allowed(graphs):
    with IsolatedPool(1, timeout=2) as pool:
        start = time.monotonic()
        endless, short = pool.map(graphs.predicted_sum, [graphs.endless(), graphs.endless(5)])
        assert time.monotonic() - start < 40
    assert endless.error == "took longer than 2 s"
    assert short.value == 12


@LINUX
def test_an_enormous_model_is_stopped_by_the_memory_limit(graphs):
    items = [graphs.enormous(2**36), graphs.enormous(2**29), graphs.enormous(2**20)]
    with IsolatedPool(1, timeout=60, memory_bytes=2**30) as pool:
        first, second, third = pool.map(graphs.predicted_sum, items)
    expected = "model: expected it to run, got: too little memory for it; check the inputs"
    assert first.error is not None
    assert first.error.startswith(expected)
    assert second.error == first.error
    assert third == Outcome(12.0)


@LINUX
def test_memory_of_python_is_limited_too():
    outcome = run_isolated(bytearray, 2**30, memory_bytes=2**29)
    assert outcome == Outcome(error="ran out of memory")


@LINUX
def test_the_smallest_limit_lets_the_runtime_work(graphs):
    limit = isolation.MIN_MEMORY
    outcome = run_isolated(graphs.predicted_sum, graphs.endless(5), memory_bytes=limit)
    assert outcome == Outcome(12.0)


@LINUX
def test_the_largest_limit_is_no_limit():
    assert run_isolated(abs, -3, memory_bytes=sys.maxsize) == Outcome(3)


@pytest.mark.parametrize("limit", [isolation.MIN_MEMORY - 1, sys.maxsize + 1, 10**23, 0, 1e9])
def test_a_memory_limit_out_of_range_is_refused_at_once(limit):
    message = (
        f"memory limit: expected a whole number from {isolation.MIN_MEMORY} bytes, which an idle "
        f"worker with onnxruntime needs, to {sys.maxsize}, got {limit}; correct it"
    )
    with pytest.raises(ConfigurationError) as caught:
        IsolatedPool(1, memory_bytes=limit)
    assert str(caught.value) == message


def test_an_error_of_ours_is_a_failed_outcome():
    outcome = run_isolated(Payload.from_bits, "12")
    assert outcome.value is None
    assert outcome.error == "payload bits: expected a string of 0 and 1, got '12'; correct it"
    with pytest.raises(InferenceError, match=r"payload bits: expected"):
        unwrap(outcome)


def test_a_bug_is_raised_with_its_own_traceback():
    with IsolatedPool(1) as pool, pytest.raises(ValueError, match=r"invalid literal") as caught:
        list(pool.map(int, ["x"]))
    assert isinstance(caught.value.__cause__, isolation.WorkerTracebackError)
    assert "function(item)" in str(caught.value.__cause__)


def test_a_value_that_cannot_be_sent_back_is_a_bug():
    with IsolatedPool(1) as pool:
        with pytest.raises((TypeError, AttributeError), match=r"pickle"):
            list(pool.map(memoryview, [b"x"]))
        assert next(pool.map(abs, [-1])).value == 1


def test_a_bug_that_cannot_be_sent_keeps_its_name_and_traceback():
    class LocalError(Exception):
        pass

    try:
        raise LocalError("told")
    except LocalError as error:
        answer = isolation._bug(error)
    with pytest.raises(RuntimeError, match=r"LocalError: told") as caught:
        isolation.opened(answer)
    assert "raise LocalError" in str(caught.value.__cause__)


def test_an_initializer_runs_once_in_a_worker(tmp_path: Path):
    made = str(tmp_path / "made")
    with IsolatedPool(1, initializer=os.mkdir, initargs=(made,)) as pool:
        assert [o.value for o in pool.map(os.path.isdir, [made, made])] == [True, True]


def test_an_error_of_the_initializer_is_told():
    with IsolatedPool(1, initializer=Payload.from_bits, initargs=("2",)) as pool:
        outcome = next(pool.map(abs, [-1]))
    assert outcome.error == "payload bits: expected a string of 0 and 1, got '2'; correct it"


def test_workers_use_one_thread_of_arithmetic(graphs):
    assert run_isolated(graphs.environment, THREAD_VARIABLES).value == ["1"] * len(THREAD_VARIABLES)


def test_large_items_do_not_block_a_pool_that_is_stopped():
    start = time.monotonic()
    with IsolatedPool(1, timeout=60) as pool:
        results = pool.map(len, (bytes(2**22) for _ in range(20)))
        assert next(results).value == 2**22
    assert time.monotonic() - start < 40


@pytest.mark.parametrize(("workers", "timeout"), [(0, 1), (1, 0), (1, float("inf"))])
def test_impossible_pools_are_refused(workers, timeout):
    with pytest.raises(ConfigurationError, match=r"expected at least 1 and a finite time limit"):
        IsolatedPool(workers, timeout)


def _script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    return [sys.executable, str(path)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("standard_input", [False, True], ids=["file", "standard input"])
def test_a_script_without_guard_runs_once(tmp_path: Path, standard_input: bool):
    text = """
from nnw_onnx.inference import IsolatedPool
print("once", flush=True)
# One worker: a second one may still be starting when the first has done everything.
with IsolatedPool(1) as pool:
    print([outcome.value for outcome in pool.map(abs, range(-4, 1))])
"""
    done = subprocess.run(
        [sys.executable, "-"] if standard_input else _script(tmp_path, text),
        input=text if standard_input else "",
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "once\n[4, 3, 2, 1, 0]\n"


def test_other_processes_of_a_script_still_find_what_it_defines(tmp_path: Path):
    text = """
import multiprocessing
from nnw_onnx.inference import IsolatedPool
def own(n):
    return n + 1
if __name__ == "__main__":
    with IsolatedPool(1) as pool:
        print([outcome.value for outcome in pool.map(own, range(2))])
    with IsolatedPool(1) as pool:
        print([outcome.value for outcome in pool.map(abs, range(2))])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(own, range(2)))
"""
    done = subprocess.run(
        _script(tmp_path, text),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[1, 2]\n[0, 1]\n[1, 2]\n"


def test_a_script_without_guard_whose_own_functions_are_sent_gets_one_clear_error(tmp_path: Path):
    text = """
from nnw_onnx.inference import IsolatedPool
def own(n):
    return n + 1
with IsolatedPool(2) as pool:
    print(list(pool.map(own, range(5))))
"""
    done = subprocess.run(
        _script(tmp_path, text),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.rstrip().endswith(
        "workers: expected worker processes to start, got none that lives; in a script put the "
        'call under: if __name__ == "__main__":'
    )


@pytest.mark.skipif(sys.platform == "win32", reason="groups of processes are another thing there")
@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_an_interrupt_stops_all_workers_silently(tmp_path: Path, delay):
    text = """
import sys, time
from nnw_onnx.inference import IsolatedPool
if __name__ == "__main__":
    print("ready", flush=True)
    try:
        with IsolatedPool(2) as pool:
            list(pool.map(time.sleep, [60] * 4))
    except KeyboardInterrupt:
        sys.exit("interrupted")
"""
    process = subprocess.Popen(
        _script(tmp_path, text),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert errors == "interrupted\n"
    assert _alive(process.pid) == []


def _command(process: int) -> list[str]:
    try:
        return psutil.Process(process).cmdline()
    except psutil.NoSuchProcess:
        return []


def _alive(group: int, times: int = 100) -> list[int]:
    """Processes of a session, a moment after its leader ended."""
    for _ in range(times):
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        if not found:
            return found
        time.sleep(0.1)
    return found


class _Gone:
    """What a pool that ended has taken away when a worker that is starting asks for it."""

    def __reduce__(self):
        return open, ("/gone/for/good",)


def test_a_worker_that_cannot_start_any_more_says_nothing(capfd):
    process = BareContext().Process(target=print, args=(_Gone(),))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
@pytest.mark.parametrize("dies", ["the parent", "the worker"])
def test_nobody_outlives_who_started_him(tmp_path: Path, dies, monkeypatch):
    """Nor do the files that they were writing."""
    text = """
import subprocess, sys, tempfile, time
from nnw_onnx.inference import IsolatedPool
def work(seconds):
    tempfile.mkdtemp()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(seconds)
if __name__ == "__main__":
    with IsolatedPool(1, timeout=TIMEOUT) as pool:
        results = pool.map(work, [0, 60])
        next(results)
        print("ready", flush=True)
        print(next(results), flush=True)
        time.sleep(60)
""".replace("TIMEOUT", "60" if dies == "the parent" else "2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen(
        _script(tmp_path, text),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if dies == "the parent":
        process.kill()
        process.communicate(timeout=60)
        assert _alive(process.pid) == []
        scratch.sweep()
        assert list(tmp_path.glob("nnw-scratch-*")) == []
    else:
        assert "took longer than 2 s" in process.stdout.readline()
        assert not [p for p in _alive(process.pid, 1) if "sleep(60)" in " ".join(_command(p))]
        process.kill()
        process.communicate(timeout=60)
