"""Whole evaluations, small ones, through every stage."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx.records import CostRecord, InjectionRecord, TrialRecord
from nnw_onnx.runs.store import Store

from .trained import carried_out

pytestmark = pytest.mark.xdist_group("one small run")

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
SMALL = """
title = "Small"
seed = {seed}
networks = [{networks}]
payloads = 2
payload_sizes = [16]
[dataset]
name = "digits"
limit = 200
preprocessing = {{ scale = 0.0625 }}
[session]
timeout = {timeout}
[control]
wrong_keys = 20
[preview]
samples = 0
[cost]
cells = {cells}
sessions = 1
repetitions = 5
warmups = 1
[[methods]]
name = "block-spread"
[[modifications]]
name = "gaussian-noise"
intensities = [0.1, 1.0]
[[modifications]]
name = "l1-pruning"
layers = "carrier"
intensities = [50]
"""
RECORDS = ("plan.json", "injections.jsonl", "records.jsonl")


def configuration(
    folder: Path, networks=("cnn-0.onnx", "cnn-1.onnx"), cells=0, timeout=60, seed=0
) -> Path:
    path = folder / "small.toml"
    names = ", ".join(f'"{MODELS / n}"' for n in networks)
    path.write_text(SMALL.format(networks=names, cells=cells, timeout=timeout, seed=seed))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RECORDS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> nnw.Evaluated:
    folder = tmp_path_factory.mktemp("finished")
    path = configuration(folder, cells=1)
    return nnw.evaluate(path, run_folder=folder / "run", progress=False)


def test_every_cell_is_measured(finished):
    store = Store(finished.folder)
    trials = store.records(TrialRecord)
    assert [r.status for r in store.records(InjectionRecord)] == ["done"] * 4
    assert len(trials) == 2 * 3 * 4
    assert {t.status for t in trials} == {"done"}
    unmodified = [t for t in trials if t.setting is None]
    assert all(t.quality["top-1 accuracy"] > 0.9 for t in unmodified)
    marked = [t for t in unmodified if t.injection]
    assert [t.verdicts[0].errors for t in marked] == [0] * 4


def test_every_cost_is_measured(finished):
    costs = Store(finished.folder).records(CostRecord)
    assert [c.operation for c in costs] == ["injection", "detection", "decoding", "inference"]
    for cost in costs:
        assert cost.status == "done"
        assert 0 < cost.minimum <= cost.seconds < 10
        assert 0 <= cost.peak_bytes < 10**9
        assert 0 < cost.allocated_bytes < 10**9
        assert cost.load >= 0
    assert 0.2 < costs[-1].ratio < 5


def test_documents_are_there_and_name_no_folder(finished):
    folder = finished.folder
    for name in ("report.json", "report.html", "environment.json"):
        text = (folder / name).read_text()
        assert str(folder.parent) not in text
        assert str(MODELS) not in text
    for name in RECORDS:
        assert str(folder.parent).encode() not in (folder / name).read_bytes()


def test_secrets_stay_in_the_keys(finished):
    secrets = [nnw.load_key(p).key.secret for p in (finished.folder / "keys").iterdir()]
    assert len(secrets) == 4
    for path in finished.folder.rglob("*"):
        if path.is_file() and path.parent.name != "keys":
            data = path.read_bytes()
            assert not any(s in data or s.hex().encode() in data for s in secrets)


def test_records_are_the_same_bytes_on_another_engine_and_with_another_seed_not(finished, tmp_path):
    again = carried_out(configuration(tmp_path, cells=0), tmp_path / "run", engine="processes")
    expected = contents(finished.folder)
    got = contents(again)
    assert got["records.jsonl"] == expected["records.jsonl"]
    assert got["injections.jsonl"] == expected["injections.jsonl"]
    other = carried_out(configuration(tmp_path, seed=1), tmp_path / "other")
    assert contents(other)["records.jsonl"] != expected["records.jsonl"]


def test_an_unfinished_run_is_finished_and_ends_with_the_same_bytes(finished, tmp_path, caplog):
    path, folder = configuration(tmp_path), tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    whole = contents(folder)
    lines = whole["records.jsonl"].split(b"\n")
    (folder / "records.jsonl").write_bytes(b"\n".join(lines[:5]) + b"\n" + lines[5][:40])
    (folder / "environment.json").unlink()
    with caplog.at_level(logging.INFO, "nnw_onnx"):
        assert contents(carried_out(path, folder)) == whole
    assert "an unfinished run of this evaluation; the rest is done now" in caplog.text


def test_a_finished_run_is_not_measured_again(finished, tmp_path):
    before = contents(finished.folder) | {"costs": (finished.folder / "costs.jsonl").read_bytes()}
    told: list[str] = []
    path = configuration(tmp_path, cells=1)
    carried_out(path, finished.folder, tell=told.append)
    after = contents(finished.folder) | {"costs": (finished.folder / "costs.jsonl").read_bytes()}
    assert after == before
    assert "finished already" in told[0]


def test_a_run_folder_belongs_to_one_evaluation(finished, tmp_path):
    other = configuration(tmp_path, seed=5)
    with pytest.raises(nnw.NnwError, match="expected a run of this evaluation, got one of another"):
        carried_out(other, finished.folder)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(finished, tmp_path):
    path, folder = configuration(tmp_path), tmp_path / "run"
    command = [sys.executable, "-m", "nnw_onnx", "evaluate", str(path), "--run-folder", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    records = folder / "records.jsonl"
    deadline = time.monotonic() + 300
    while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Traceback" not in messages
    assert "go on with: nnw evaluate " in messages
    resumed, fresh = contents(carried_out(path, folder)), contents(finished.folder)
    for name in ("injections.jsonl", "records.jsonl"):  # the plans ask for other costs
        assert resumed[name] == fresh[name]


def test_a_network_that_never_answers_costs_its_own_trials_only(tmp_path):
    onnx.save(hanging_network(), tmp_path / "hangs.onnx")
    names = ("cnn-0.onnx", str(tmp_path / "hangs.onnx"))
    path = configuration(tmp_path, names, timeout=20)
    text = path.read_text().replace("payloads = 2", "payloads = 1")
    path.write_text(text[: text.index("[[modifications]]")])
    done = carried_out(path, tmp_path / "run")
    by_network: dict[int, set[str | None]] = {0: set(), 1: set()}
    for trial in Store(done).records(TrialRecord):
        by_network[trial.network].add(trial.reason)
    assert by_network == {0: {None}, 1: {"took longer than 20 s"}}


def test_a_provider_that_is_not_there_is_told_before_anything_is_written(tmp_path):
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("[session]", '[session]\nproviders = ["NoSuch"]'))
    with pytest.raises(nnw.NnwError, match="NoSuch"):
        carried_out(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_measured_nothing_is_an_error(tmp_path, caplog):
    onnx.save(hanging_network(), tmp_path / "hangs.onnx")
    path = configuration(tmp_path, [str(tmp_path / "hangs.onnx")], timeout=5)
    text = path.read_text().replace("payloads = 2", "payloads = 1")
    path.write_text(text[: text.index("[[modifications]]")])
    with pytest.raises(nnw.NnwError, match="got 2 that failed: took longer than 5 s"):
        nnw.evaluate(path, run_folder=tmp_path / "run", progress=False)
    assert "2 of 2 trials failed, the first because: took longer than 5 s" in caplog.messages
    assert (tmp_path / "run" / "report.html").exists()


def hanging_network() -> onnx.ModelProto:
    """A network for the digits whose Loop makes 2^50 rounds."""
    rng = np.random.Generator(np.random.Philox(1))
    weight = numpy_helper.from_array(rng.normal(size=(64, 10)).astype(np.float32), "fc.weight")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc.weight"], ["logits"]),
        helper.make_node("Loop", ["rounds", "yes", "logits"], ["out"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "hangs",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 10])],
        [
            weight,
            helper.make_tensor("rounds", TensorProto.INT64, [], [2**50]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_network_at_chance_is_told_loudly(tmp_path):
    path = configuration(tmp_path)
    text = path.read_text().replace("scale = 0.0625", "scale = 1e-9")
    path.write_text(text[: text.index("[[modifications]]")])
    told: list[str] = []
    carried_out(path, tmp_path / "run", tell=told.append)
    assert len([t for t in told if "AT CHANCE" in t]) == 2
