"""Runs in a tracker of experiments: MLflow, where it is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nnw_onnx.api.measuring import report
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.reports.model import Report
    from nnw_onnx.reports.tracked import Tracked

EXPERIMENT = "nnw-onnx"
_ARTIFACTS = "report"
_MOST_METRICS, _MOST_PARAMS = 1000, 100
"""That MLflow takes at once."""
Of = TypeVar("Of")


@dataclass(frozen=True)
class Logged:
    """A run as a tracker keeps it.

    Attributes:
        run_id: of MLflow.
        experiment: that it is in.
        params: how many were logged.
        metrics: likewise.
        artifacts: files of the report, likewise.
    """

    run_id: str
    experiment: str
    params: int
    metrics: int
    artifacts: int


def log(run_folder: str | Path, *, experiment: str = EXPERIMENT) -> Logged:
    """Log a finished run to MLflow: parameters, metrics, and its report as artifacts.

    What is sent holds no key, and neither the seed from which the keys follow nor a digest or
    commitment on which it could be tried; records stay where they are. It goes where MLflow itself
    is told to (`MLFLOW_TRACKING_URI`). No name of a user or machine is added, but the Testing
    Environment is part of every report.

    Args:
        run_folder: of `nnw evaluate`.
        experiment: its name; it is made where there is none.

    Raises:
        ConfigurationError: MLflow is not installed, or does not take the run.
        RunError: there is no run, or its records are broken.
    """
    from nnw_onnx.reports import summary
    from nnw_onnx.reports.sharing import shareable
    from nnw_onnx.reports.tracked import tracked

    mlflow = _mlflow()
    made = shareable(report(run_folder))
    kept = tracked(made)
    note = "\n\n".join(summary(made))
    with tempfile.TemporaryDirectory(prefix="nnw-") as folder:
        files = _written(made, Path(folder))
        try:
            run_id = _sent(mlflow, experiment, made.title, kept, note, Path(folder))
        except mlflow.exceptions.MlflowException as error:
            words = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"log: expected a tracker that takes the run, got: {words}; set "
                "MLFLOW_TRACKING_URI to one"
            ) from error
    return Logged(run_id, experiment, len(kept.params), len(kept.metrics), files)


def _mlflow() -> Any:
    try:
        return import_module("mlflow")
    except ImportError as error:
        raise ConfigurationError(
            f"log: expected mlflow, got: {error}; pip install mlflow, or mlflow-skinny for a server"
        ) from error


def _written(made: Report, folder: Path) -> int:
    from nnw_onnx.reports import render, write_documents
    from nnw_onnx.runs.store import write_atomically

    files = write_documents(made, folder)
    write_atomically(folder / "model-card.md", render(made, "model-card").encode())
    return len(files) + 1


def _sent(mlflow: Any, experiment: str, title: str, kept: Tracked, note: str, folder: Path) -> str:
    """The identity of the run in MLflow.

    The client adds no tags of its own, as `mlflow.start_run` would: user, machine, path, commit.
    """
    client = mlflow.MlflowClient()
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known else client.create_experiment(experiment)
    run = client.create_run(place, tags={"mlflow.note.content": note}, run_name=title)
    name, begun = run.info.run_id, run.info.start_time
    entities = mlflow.entities
    params = [entities.Param(key, value) for key, value in kept.params.items()]
    metrics = [entities.Metric(key, value, begun, 0) for key, value in kept.metrics.items()]
    for part in _parts(params, _MOST_PARAMS):
        client.log_batch(name, params=part)
    for part in _parts(metrics, _MOST_METRICS):
        client.log_batch(name, metrics=part)
    client.log_artifacts(name, str(folder), _ARTIFACTS)
    client.set_terminated(name)
    return str(name)


def _parts(every: Sequence[Of], most: int) -> Iterator[Sequence[Of]]:
    for start in range(0, len(every), most):
        yield every[start : start + most]
