import gc
import json
import os
import stat
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from pydantic import ValidationError

from nnw_onnx.errors import RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.records import InjectionRecord, Plan, TrialRecord, VerdictRecord
from nnw_onnx.runs import folders
from nnw_onnx.runs.store import Store, write_atomically


def record(identity: str) -> InjectionRecord:
    return InjectionRecord(
        identity=identity, status="done", network=0, technology=0, payload_index=0
    )


def opened(tmp_path) -> Store:
    store = Store(tmp_path / "run")
    store.create()
    return store


def test_records_come_back_in_order(tmp_path):
    store = opened(tmp_path)
    for name in "abc":
        store.append(record(name))
    assert [r.identity for r in store.records(InjectionRecord)] == ["a", "b", "c"]


def test_a_torn_last_line_is_dropped(tmp_path):
    store = opened(tmp_path)
    store.append(record("a"))
    whole = (store.folder / "injections.jsonl").read_bytes()
    (store.folder / "injections.jsonl").write_bytes(whole + b'{"identity": "b", "sta')
    assert [r.identity for r in store.records(InjectionRecord)] == ["a"]
    store.drop_torn_lines()
    assert (store.folder / "injections.jsonl").read_bytes() == whole


def test_a_changed_record_is_named(tmp_path):
    store = opened(tmp_path)
    store.append(record("a"))
    path = store.folder / "injections.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "fine"}) + "\n")
    with pytest.raises(RunError, match=r"injections.jsonl, line 1: expected a record, got: status"):
        store.records(InjectionRecord)


def test_records_are_read_one_after_the_other(tmp_path):
    store = opened(tmp_path)
    store.append(record("a"))
    path = store.folder / "injections.jsonl"
    path.write_text(path.read_text() + '{"identity": \n"b"}\n')
    found = store.each(InjectionRecord)
    assert next(found).identity == "a"
    with pytest.raises(RunError, match=r"injections\.jsonl, line 2: expected a record"):
        next(found)


def test_a_file_of_records_has_a_largest_size(tmp_path):
    store = opened(tmp_path)
    for name in "abc":
        store.append(record(name))
    path = store.folder / "injections.jsonl"
    least = path.stat().st_size
    assert len(list(folders.lines(path, least))) == 3
    with pytest.raises(RunError, match=rf"expected at most {least - 1} bytes, got a larger file"):
        list(folders.lines(path, least - 1))


def test_no_file_of_records_becomes_larger_than_can_be_read(tmp_path):
    path = tmp_path / "records.jsonl"
    folders.append(path, b"one\n", most=8)
    folders.append(path, b"two\n", most=8)
    with pytest.raises(RunError) as caught:
        folders.append(path, b"3\n", most=8)
    assert str(caught.value) == (
        "records.jsonl: expected at most 8 bytes of records in a run, got 10; what is recorded can "
        "be reported, do the rest in other runs of fewer trials or samples"
    )
    assert list(folders.lines(path, 8)) == [b"one", b"two"]


def test_reading_records_leaves_the_collector_as_it_was(tmp_path):
    store = opened(tmp_path)
    store.append(record("a"))
    path = store.folder / "injections.jsonl"
    path.write_text(path.read_text() + "{}\n")
    for _ in range(2):
        with pytest.raises(RunError):
            store.records(InjectionRecord)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": "../../x"},
        {"network": -1},
        {"change": 1e300},
        {"payload_index": 2**60},
        {"unknown": 1},
    ],
)
def test_values_that_no_run_writes_are_refused(tmp_path, changes):
    store = opened(tmp_path)
    store.append(record("a"))
    path = store.folder / "injections.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}) + "\n")
    with pytest.raises(RunError, match=r"injections\.jsonl, line 1: expected a record"):
        store.records(InjectionRecord)


def test_a_verdict_has_no_more_errors_than_symbols():
    with pytest.raises(ValidationError, match="no more errors than symbols"):
        VerdictRecord(injection="a", status="done", symbols=8, errors=9)


def test_words_of_a_record_cannot_command_a_terminal():
    made = InjectionRecord(
        identity="a",
        status="failed",
        reason="\x1b[2J\u202e",
        network=0,
        technology=0,
        payload_index=0,
    )
    assert made.reason == "\\x1b[2J\\u202e"


def test_records_are_regular_files(tmp_path):
    store = opened(tmp_path)
    os.mkfifo(store.folder / "records.jsonl")
    with pytest.raises(RunError, match=r"records\.jsonl: expected a regular file"):
        store.records(TrialRecord)
    with pytest.raises(RunError, match=r"expected plain files and folders, got a pipe, .* named"):
        store.read(Plan)


def test_keys_are_in_a_folder_of_the_owner(tmp_path):
    store = opened(tmp_path)
    assert stat.S_IMODE((store.folder / "keys").stat().st_mode) == 0o700


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="expected a new or empty run folder, got one with notes"):
        Store(tmp_path).create()


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"expected a run folder with plan\.json, got none"):
        Store(tmp_path).read(Plan)


def test_two_processes_cannot_write_one_run(tmp_path):
    first, second = Store(tmp_path / "run"), Store(tmp_path / "run")
    with (
        first.locked(),
        pytest.raises(RunError, match="another process is writing"),
        second.locked(),
    ):
        pass


def network_of(path: Path, dtype: np.dtype) -> OnnxNetwork:
    """A file with one layer of this type."""
    weight = onnx.helper.make_tensor(
        "a/../b.weight", onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), (3, 4),
        np.zeros((3, 4), dtype).tobytes(), raw=True,
    )  # fmt: skip
    port = onnx.helper.make_tensor_value_info
    kind = weight.data_type
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", weight.name], ["y"])], "g",
        [port("x", kind, ["n", 3])], [port("y", kind, ["n", 4])], [weight],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return open_network(path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_are_kept_exactly(tmp_path, dtype):
    store, original = opened(tmp_path), network_of(tmp_path / "a.onnx", dtype)
    values = np.linspace(-3, 3, 12).reshape(4, 3).astype(dtype)
    store.save_network("x", original.with_weights({"a/../b.weight": values}), original)
    again = store.load_network("x", original).weights["a/../b.weight"]
    assert np.array_equal(again.astype(np.float64), values.astype(np.float64))
    assert sorted(p.name for p in (store.folder / "networks").iterdir()) == ["x.npz"]


def test_a_network_of_another_graph_is_kept_whole(tmp_path):
    store = opened(tmp_path)
    original = network_of(tmp_path / "a.onnx", np.float32)
    other = network_of(tmp_path / "b.onnx", np.float64)
    store.save_network("x", other, original)
    assert store.load_network("x", original).digest == other.digest
    assert store.load_network("x", original).digest != original.digest


def test_broken_weights_are_one_line(tmp_path):
    store, original = opened(tmp_path), network_of(tmp_path / "a.onnx", np.float32)
    (store.folder / "networks" / "x.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(RunError, match="expected the arrays that a run keeps") as caught:
        store.load_network("x", original)
    assert "\n" not in str(caught.value)


def test_a_run_folder_of_the_first_form_names_the_version_that_reads_it(tmp_path):
    store = opened(tmp_path)
    (store.folder / "plan.json").write_text('{"schema_version": 1, "package_version": "0.1.0"}')
    with pytest.raises(RunError) as caught:
        store.read(Plan)
    assert str(caught.value) == (
        f"{store.folder}: expected a run folder of form 2, got one of form 1; nnw-onnx 0.1 (pip "
        "install 'nnw-onnx<0.2') reads it"
    )


@pytest.mark.parametrize("text", ["[1]", "{", '{"schema_version": true}', "[" * 100_000])
def test_a_plan_that_is_none_is_one_line(tmp_path, text):
    store = opened(tmp_path)
    (store.folder / "plan.json").write_text(text)
    with pytest.raises(RunError, match=r"plan\.json, line 1: expected a record, got") as caught:
        store.read(Plan)
    assert "\n" not in str(caught.value)


def test_atomic_write_leaves_nothing_behind_when_it_fails(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_of_holes_is_not_read(tmp_path):
    path = tmp_path / "records.jsonl"
    path.touch()
    os.truncate(path, 1 << 36)
    tracemalloc.start()
    with pytest.raises(RunError, match="got a larger file"):
        next(folders.lines(path))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
