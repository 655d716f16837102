"""Records of tasks that are finished before their turn: kept, taken once, and of this run only."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnw_onnx.engines.processes import Processes
from nnw_onnx.errors import RunError
from nnw_onnx.records import InjectionRecord, TrialRecord
from nnw_onnx.runs.finished import Finished
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.work import Work

from .here import Here
from .interrupted import TASKS, begun, failed, record_of, stage

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys
from pathlib import Path
from nnw_onnx.engines.processes import Processes
from tests.runs.interrupted import stage
list(stage(Path(sys.argv[1]), Processes(workers=3)))
"""


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "plan.json").write_text("{}")
    return tmp_path


def wait_for(number: int, run: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while len(Store(run).finished().identities()) < number and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_finished_when_a_run_is_killed_is_not_done_again(run):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(run)], cwd=ROOT)
    wait_for(3, run, process)
    process.kill()
    assert process.wait() == -9
    assert sorted(begun(run)) == [0, 1, 2, 3]
    assert Store(run).records(TrialRecord) == []
    (run / "may-end").touch()
    list(stage(run, Processes(workers=2)))
    # The first, which had not ended, once more; of the others each once.
    assert sorted(begun(run)) == [0, 0, 1, 2, 3, 4, 5]
    assert Store(run).finished().identities() == set()
    assert (run / "records.jsonl").read_bytes() == undisturbed(run / "serial")


def undisturbed(folder: Path) -> bytes:
    folder.mkdir()
    for name in ("plan.json", "may-end"):
        (folder / name).write_text("{}")
    list(stage(folder, Here()))
    return (folder / "records.jsonl").read_bytes()


def kept(run: Path, number: int) -> Path:
    Store(run).finished().put(record_of(TASKS[number]))
    return run / "finished" / TASKS[number].identity


def test_a_finished_record_is_taken_once_in_its_turn(run):
    for number in (4, 1):
        kept(run, number)
    (run / "may-end").touch()
    assert [r.network for r in stage(run, Here())] == [0, 1, 2, 3, 4, 5]
    assert begun(run) == [0, 2, 3, 5]
    assert list((run / "finished").iterdir()) == []


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def of_another_plan(path: Path) -> None:
    Finished(path.parents[1], "0" * 64).put(record_of(TASKS[2]))


def of_another_task(path: Path) -> None:
    Store(path.parents[1]).finished().put(record_of(TASKS[3]))
    path.with_name(TASKS[3].identity).replace(path)


def of_another_kind(path: Path) -> None:
    digest = Store(path.parents[1]).finished().plan
    line = b'{"identity":"' + TASKS[2].identity.encode() + b'"}'
    told = hashlib.sha256(digest.encode() + line).hexdigest().encode()
    path.write_bytes(told + b"\n" + line)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "change", [torn, of_another_plan, of_another_task, of_another_kind, empty, Path.unlink]
)
def test_what_is_no_whole_record_of_this_run_is_done_again(run, change):
    change(kept(run, 2))
    assert Store(run).finished().record(TASKS[2].identity, TrialRecord) is None
    (run / "may-end").touch()
    list(stage(run, Here()))
    assert begun(run) == [0, 1, 2, 3, 4, 5]


def test_a_link_or_a_large_file_is_not_read(run, monkeypatch):
    path = kept(run, 2)
    path.rename(run / "elsewhere")
    path.symlink_to(run / "elsewhere")
    finished = Store(run).finished()
    assert finished.record(TASKS[2].identity, TrialRecord) is None
    path.unlink()
    kept(run, 2)
    assert finished.record(TASKS[2].identity, TrialRecord) == record_of(TASKS[2])
    monkeypatch.setattr("nnw_onnx.runs.finished.LARGEST", 10)
    assert finished.record(TASKS[2].identity, TrialRecord) is None
    finished.put(record_of(TASKS[3]))
    assert finished.identities() == {TASKS[2].identity}


def test_more_than_a_run_can_have_is_refused(run, monkeypatch):
    size = kept(run, 2).stat().st_size
    monkeypatch.setattr("nnw_onnx.runs.folders.MAX_BYTES", size - 1)
    with pytest.raises(RunError) as caught:
        list(stage(run, Here()))
    assert str(caught.value) == (
        f"finished: expected at most {size - 1} bytes of records that wait, got {size}; remove "
        "this folder, what is in it is done again"
    )


def test_what_failed_is_forgotten_where_it_is_tried_again(run):
    kept(run, 1)
    Store(run).finished().put(failed(TASKS[2], "ran out of memory"))
    Store(run).forget_failed()
    assert Store(run).finished().identities() == {TASKS[1].identity}
    Store(run).finished().clear()
    assert not (run / "finished").exists()


def test_what_another_machine_has_finished_comes_after_its_network(run, monkeypatch):
    order: list[str] = []
    monkeypatch.setattr(Store, "keep", lambda self, name, content: order.append(name))
    work = Work(record_of, SimpleNamespace(store=Store(run)))
    work.keep({"finished/" + "a" * 64: b"", "keys/x.npz": b"", "networks/x.npz": b""}, ())
    assert order == ["keys/x.npz", "networks/x.npz", "finished/" + "a" * 64]


def test_only_a_finished_record_is_taken_from_another_machine(run):
    store = Store(run)
    store.keep("finished/../plan.json", b"x")
    store.keep("finished/short", b"x")
    assert not (run / "finished").exists()
    store.keep(f"finished/{TASKS[0].identity}", b"x")
    assert store.finished().record(TASKS[0].identity, InjectionRecord) is None
    assert store.finished().identities() == {TASKS[0].identity}
