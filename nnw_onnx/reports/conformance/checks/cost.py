"""Clauses of the chapter Computational Cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nnw_onnx.measures.results import Cost, Technology, Value
from nnw_onnx.reports.conformance.answers import (
    Answer,
    apart,
    each,
    met,
    not_measured,
    not_met,
)
from nnw_onnx.reports.conformance.checks.common import nothing_put_in, watermarked, watermarks
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.words import memory, number, seconds

_HERE = "cost"
_VALUES: Mapping[str, tuple[str, Callable[[Cost], Value], Callable[[float], str]]] = {
    "memory": ("memory of the Injector", lambda c: c.memory, memory),
    "injection": ("an injection", lambda c: c.injection, seconds),
    "batch": ("a batch", lambda c: c.batch, seconds),
    "inference": ("an inference", lambda c: c.inference, seconds),
    "detection": ("a detection", lambda c: c.detection, seconds),
    "decoding": ("a decoding", lambda c: c.decoding, seconds),
    "detection-memory": ("memory of the Detector", lambda c: c.detection_memory, memory),
    "decoding-memory": ("memory of the Decoder", lambda c: c.decoding_memory, memory),
}
"""Name in a clause -> what it is, where it is read, how it is written."""


def value(report: Report, of: Sequence[str]) -> Answer:
    """Numbers of the cost of each technology, those that apply to it.

    Args:
        report: of the run.
        of: names of `_VALUES`.
    """

    def ask(technology: Technology) -> Answer:
        own = [name for name in of if _applies(technology, name)]
        if not own:
            return apart("its marks were put in elsewhere", "technologies")
        told = []
        for name in own:
            what, get, written = _VALUES[name]
            found = get(technology.cost)
            if found.value is None:
                return not_measured(f"{what}: {found.reason}", _HERE)
            told.append(f"{what} {written(found.value)}")
        return met(", ".join(told), _HERE)

    return _each(report, ask)


def _applies(technology: Technology, name: str) -> bool:
    record = technology.record
    if name in ("memory", "injection", "batch"):
        trained = {"injection": False, "batch": True}.get(name, technology.trained)
        return not record.elsewhere and trained is technology.trained
    return record.decodes or not name.startswith("decoding")


def epochs(report: Report) -> Answer:
    """Epochs needed where training puts the watermark in."""

    def ask(technology: Technology) -> Answer:
        found = technology.cost.epochs
        if found.value is None:
            return not_measured(str(found.reason), _HERE)
        never = technology.cost.never_in
        rest = (
            f"; {never} of {technology.cost.trainings} trainings never got there" if never else ""
        )
        return met(f"{number(found.value)} epochs{rest}", _HERE)

    trained = [t for t in watermarks(report) if t.trained and not t.record.elsewhere]
    none = apart("no technology of this run is put in by training", "technologies")
    return each(trained, ask, none)


def networks(report: Report) -> Answer:
    """Costs of all M x D watermarked networks."""
    wanted = watermarked(report)

    def ask(technology: Technology) -> Answer:
        done = technology.cost.cells
        said = f"{done} of {wanted} watermarked networks"
        if done >= wanted:
            return met(said, _HERE)
        return not_met(f"{said}; key cells of [cost] in the evaluation says of how many", _HERE)

    return _each(report, ask)


def limits(report: Report, of: Sequence[str]) -> Answer:
    """95 % limits of the mean costs.

    Args:
        report: of the run.
        of: names of `_VALUES`.
    """

    def ask(technology: Technology) -> Answer:
        own = [name for name in of if _applies(technology, name)]
        for name in own:
            what, get, _ = _VALUES[name]
            found = get(technology.cost)
            if found.value is not None and found.limits is None:
                return not_met(f"{what}: {found.reason or 'no limits'}", "t-cost")
            if found.limits is not None and found.confidence is None:
                why = "limits are given, but approximate: they may cover less than 95 %"
                return not_met(why, "t-cost")
        return met("with 95 % limits", "t-cost") if own else apart("nothing of it applies", _HERE)

    return _each(report, ask)


def environment(report: Report) -> Answer:
    """A Testing Environment that the costs hold for."""
    if not any(t.cost.cells for t in report.technologies):
        return apart("the evaluation measures no costs", "environment")
    if report.environment is None:
        return not_measured("the run has no record of its environment", "environment")
    kind = report.environment.environment_class
    if kind == "other":
        why = "the machine is of neither class that the standard names; it is described as it is"
        return not_measured(why, "environment")
    return met(f"class {kind}", "environment")


def _each(report: Report, ask: Callable[[Technology], Answer]) -> Answer:
    """Asked of each technology whose costs were measured."""
    marks = watermarks(report)
    measured = [t for t in marks if t.cost.cells]
    if measured or not marks:
        return each(measured, ask, nothing_put_in())
    broken = next((f.reason for t in marks for f in t.cost.failures), "")
    return not_measured(broken or "the evaluation measures no costs", "technologies")
