"""A run in MLflow: what is sent, and above all what is not."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import Plan
from nnw_onnx.runs.keys import load_key
from nnw_onnx.runs.store import Store

SEED = 918_273_645
EVALUATION = f"""
title = "Tracked <b>, 1"
seed = {SEED}
networks = ["nnw:digits/cnn-0.onnx", "nnw:digits/cnn-1.onnx"]
payloads = 1
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
limit = 60
[[methods]]
name = "block-spread"
[[modifications]]
name = "l1-pruning"
intensities = [50]
[[modifications]]
name = "float16"
[control]
wrong_keys = 5
[cost]
cells = 0
[preview]
samples = 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose seed is found wherever it is written."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "e.toml").write_text(EVALUATION)
    nnw.evaluate(folder / "e.toml", run_folder=folder / "run", progress=False)
    return folder / "run"


class TrackerError(Exception):
    """What a tracker says that takes nothing."""


class Client:
    """Keeps what it is sent."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self.kept = kept

    def get_experiment_by_name(self, name: str) -> Any:
        return self.kept["experiments"].get(name)

    def create_experiment(self, name: str) -> str:
        self.kept["experiments"][name] = SimpleNamespace(experiment_id="7")
        return "7"

    def create_run(self, place: str, tags: dict[str, str], run_name: str) -> Any:
        self.kept["runs"].append((place, run_name, tags))
        return SimpleNamespace(info=SimpleNamespace(run_id="r1", start_time=5))

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.kept["metrics"] += metrics
        self.kept["params"] += params

    def log_artifacts(self, run_id: str, folder: str, place: str) -> None:
        root = Path(folder)
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        self.kept["files"] = {str(p.relative_to(root)): p.read_bytes() for p in files}

    def set_terminated(self, run_id: str) -> None:
        self.kept["ended"] = run_id


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a tracker has been sent."""
    kept: dict[str, Any] = {"experiments": {}, "runs": [], "metrics": [], "params": []}
    made = ModuleType("mlflow")
    vars(made).update(
        MlflowClient=lambda: Client(kept),
        entities=SimpleNamespace(
            Param=lambda key, value: (key, value),
            Metric=lambda key, value, timestamp, step: (key, value, timestamp, step),
        ),
        exceptions=SimpleNamespace(MlflowException=TrackerError),
    )
    monkeypatch.setitem(sys.modules, "mlflow", made)
    return kept


def secrets_of(run: Path) -> list[bytes]:
    """Everything of a run that keys follow from, or on which a guess of it could be tried."""
    store = Store(run)
    plan, report = store.read(Plan), nnw.report(run)
    claims = [load_key(path) for path in sorted((run / "keys").iterdir())]
    found = [str(SEED).encode(), f"{SEED:x}".encode(), f"{SEED:,}".encode()]
    found += [plan.evaluation_sha256.encode(), report.reproducibility.records_sha256.encode()]
    for claim in claims:
        secret = claim.key.secret
        found += [secret, secret.hex().encode(), base64.b64encode(secret)[:-2]]
        found += [claim.key.commitment.encode(), claim.payload.bits.encode()]
        found += [claim.payload.hex.encode()]
    found += [path.stem.encode() for path in (run / "keys").iterdir()]
    return found


def test_nothing_that_keys_follow_from_is_sent(run: Path, tracker: dict[str, Any]) -> None:
    nnw.log(run)
    sent = {
        **tracker["files"],
        "told": repr({k: tracker[k] for k in tracker if k != "files"}).encode(),
    }
    # The test would see it: the report of the run itself tells some of it.
    own = (run / "report.json").read_bytes()
    secret = secrets_of(run)
    assert sum(word in own for word in secret) >= 4
    for name, content in sent.items():
        assert not [word for word in secret if word in content], name
        assert b"keys/" not in content, name
        assert str(run.parent).encode() not in content, name
    assert set(tracker["files"]) > {"report.html", "report.json", "model-card.md", "tables/all.csv"}
    assert not [name for name in tracker["files"] if "plan" in name or name.endswith(".npz")]


def test_what_was_measured_is_sent_as_it_is(run: Path, tracker: dict[str, Any]) -> None:
    done = nnw.log(run, experiment="marks")
    assert (done.run_id, done.experiment, tracker["ended"]) == ("r1", "marks", "r1")
    ((place, name, tags),) = tracker["runs"]
    assert (place, name) == ("7", "Tracked <b>, 1")
    assert list(tags) == ["mlflow.note.content"]
    params, metrics = dict(tracker["params"]), {key: value for key, value, *_ in tracker["metrics"]}
    assert (len(params), len(metrics)) == (done.params, done.metrics)
    assert (params["payloads"], params["samples"]) == ("1", "60")
    assert params["technology 0"] == "block-spread, 64 bits"
    pruned = "block-spread 64 bits/robustness/L1 pruning/50 percent/found_rate"
    assert metrics[pruned] == 1.0
    assert metrics["block-spread 64 bits/controls/wrong_found"] == 0.0
    assert 0.9 < metrics["base/top-1 accuracy/quality"] <= 1.0
    assert metrics["block-spread 64 bits/imperceptibility/loss.high"] > 0
    made = nnw.Report.model_validate_json(tracker["files"]["report.json"])
    own = nnw.report(run)
    assert made.points == own.points
    assert made.cells == own.cells
    assert made.reproducibility.seed is None
    assert "seed" not in made.configuration


def test_names_are_what_every_tracker_takes(run: Path, tracker: dict[str, Any]) -> None:
    done = nnw.log(run)
    assert done.artifacts == len(tracker["files"])
    for key, *_ in (*tracker["params"], *tracker["metrics"]):
        assert re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_. /-]{0,249}", key), key
        assert not [part for part in key.split("/") if part.strip(".") == ""], key
    keys = [key for key, *_ in tracker["metrics"]]
    assert len(set(keys)) == len(keys)


def test_an_experiment_that_is_there_is_used(run: Path, tracker: dict[str, Any]) -> None:
    tracker["experiments"]["nnw-onnx"] = SimpleNamespace(experiment_id="3")
    nnw.log(run)
    assert tracker["runs"][0][0] == "3"


def test_what_a_tracker_refuses_is_one_line(
    run: Path, tracker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*about: object) -> None:
        raise TrackerError("no server\nhere")

    monkeypatch.setattr(Client, "get_experiment_by_name", refuse)
    with pytest.raises(
        ConfigurationError,
        match="log: expected a tracker that takes the run, got: no server here; set",
    ):
        nnw.log(run)


def test_without_mlflow_one_line_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        ConfigurationError, match=r"log: expected mlflow, got: .*; pip install mlflow"
    ):
        nnw.log(run)


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_mlflow_itself_takes_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    if store == "sqlite":
        pytest.importorskip("sqlalchemy", reason="a database of mlflow needs sqlalchemy")
    where = {"file": (tmp_path / "runs").as_uri(), "sqlite": f"sqlite:///{tmp_path}/m.db"}[store]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    mlflow.set_tracking_uri(None)
    done = nnw.log(run, experiment="real")
    client = mlflow.MlflowClient(where)
    kept = client.get_run(done.run_id)
    assert kept.info.status == "FINISHED"
    assert len(kept.data.metrics) == done.metrics
    assert len(kept.data.params) == done.params
    assert set(kept.data.tags) == {"mlflow.note.content", "mlflow.runName"}
    names = {found.path for found in client.list_artifacts(done.run_id, "report")}
    assert {"report/report.html", "report/model-card.md"} <= names
    secret = secrets_of(run)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in secret if word in content], path


def test_the_command_says_what_was_sent(
    run: Path, tracker: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from nnw_onnx.cli.main import main

    assert main(["log", str(run), "--experiment", "e"]) == 0
    assert re.fullmatch(
        r"run r1 of experiment e: \d+ parameters, \d+ metrics, \d+ files of the report\n",
        capsys.readouterr().out,
    )
    assert main(["log", str(run), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["experiment"] == "nnw-onnx"
