"""A run folder as its records and their report, if it is not too large to be shown."""

from __future__ import annotations

from dataclasses import dataclass

from nnw_onnx.errors import RunError
from nnw_onnx.measures.run import Run
from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
from nnw_onnx.reports.build import build_report
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.view.finding import Place
from nnw_onnx.runs.store import Store

MOST_BYTES = 128 << 20
"""Of the records of a run that is shown; reading them takes about fifteen times the memory."""
MOST_POINTS = 50_000
"""Technologies x settings of a run that is shown: beyond that no page of it could be used."""


@dataclass(frozen=True)
class Opened:
    """A run that can be shown."""

    run: Run
    report: Report


def opened(place: Place) -> Opened:
    """The run at a place.

    Raises:
        RunError: it is too large, or its records are missing or broken.
        OSError: it cannot be read.
    """
    if place.size > MOST_BYTES:
        raise RunError(
            f"expected at most {MOST_BYTES:,} bytes of records, got {place.size:,}; look at it "
            "with 'nnw report'"
        )
    store = Store(place.folder)
    plan = store.read(Plan)
    _check_size(plan)
    run = Run(plan, tuple(store.records(InjectionRecord)), tuple(store.records(TrialRecord)))
    costs, where = store.records(CostRecord), store.read_if_there(Environment)
    return Opened(run, build_report(plan, run.injections, run.trials, costs, where))


def _check_size(plan: Plan) -> None:
    each = sum(max(1, len(setting.intensities)) for setting in plan.settings)
    points = len(plan.technologies) * (1 + each)
    if points > MOST_POINTS:
        raise RunError(
            f"expected at most {MOST_POINTS:,} technologies x settings, got {points:,}; look at it "
            "with 'nnw report'"
        )
