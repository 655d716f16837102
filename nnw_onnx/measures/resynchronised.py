"""Robustness for an owner who puts modified networks back in order before looking.

Where an evaluation was asked to, every claim on a modified network was heard twice: on the network
as it is, and on it as it was put back into the order of the unwatermarked one. A run with second
verdicts in the place of the first is measured as any other, false alarms included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pydantic import Field

from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.limits import Nested, average
from nnw_onnx.measures.results import Point, ResultModel, Setting, Value
from nnw_onnx.measures.robustness import Where, point
from nnw_onnx.measures.run import Run
from nnw_onnx.records import AligningRecord, TechnologyRecord, TrialRecord

NO_ORDER = "nothing could be put in order"


class Resynchronised(ResultModel):
    """One technology at one point, heard on networks that were put back in order."""

    technology: int
    setting: int
    level: int
    """Place in `Setting.levels`."""
    intensity: float | None
    point: Point
    """As `Point`, of second verdicts."""
    networks: int
    """Watermarked networks that were tried."""
    recovered: int
    """Of them, put in order; the others were heard as they are."""
    moved: Value
    """Share of channels that were found in other places."""
    lost: Value
    """Share of channels that are not in the network."""
    cosine: Value
    """Mean cosine of channels and those of the unwatermarked network."""
    margin: Value
    """How much larger that is than of the best wrong channel."""
    undone: dict[str, int] = Field(default_factory=dict)
    """Channels or normalisations over all networks: "scales", "signs", "dummies", "folded"."""
    reasons: tuple[str, ...] = ()
    """Why networks could not be put in order."""


def resynchronised(run: Run) -> Run | None:
    """The run with second verdicts where there are some; None where none was asked for."""
    if not any(trial.aligning for trial in run.trials):
        return None
    return Run(run.plan, run.injections, tuple(map(_heard_again, run.trials)))


def with_controls_again(run: Run) -> Run:
    """The run with what wrong keys came to on networks put back in order, and that alone."""
    trials = tuple(_controls_again(t) for t in run.trials if t.controls_resynchronised)
    return Run(run.plan, run.injections, trials)


def resynchronised_points(run: Run, settings: Sequence[Setting]) -> tuple[Resynchronised, ...]:
    """Every technology that it is something for, in each setting at each Intensity.

    Args:
        run: its records.
        settings: as the report has them.
    """
    again = resynchronised(run)
    return () if again is None else tuple(_points(run, again, settings))


def _points(run: Run, again: Run, settings: Sequence[Setting]) -> Iterator[Resynchronised]:
    for technology in run.plan.technologies:
        if applies(run, technology):
            judge = judge_of(again, technology)
            for setting in settings:
                for k, level in enumerate(setting.levels):
                    where = Where(setting.index, k, level.intensity)
                    yield _point(run, technology, where, point(again, technology, judge, where))


def applies(run: Run, technology: TechnologyRecord) -> bool:
    """Whether any claim of a technology was heard a second time."""
    own = {mark.identity for mark in run.marks(technology.index)}
    return any(verdict.injection in own for t in run.trials for verdict in t.resynchronised)


def _point(run: Run, technology: TechnologyRecord, where: Where, told: Point) -> Resynchronised:
    marked = run.marked(technology.index, (where.setting, where.intensity))
    tried = [t for t in marked if t.aligning is not None]
    done = [t for t in tried if t.aligning is not None and t.aligning.recovered]
    reasons = [t.aligning.reason for t in tried if t.aligning and t.aligning.reason]
    return Resynchronised(
        technology=technology.index,
        setting=where.setting or 0,
        level=where.level or 0,
        intensity=where.intensity,
        point=told,
        networks=len(tried),
        recovered=len(done),
        moved=_mean(done, lambda a: a.moved / a.channels if a.channels else None),
        lost=_mean(done, lambda a: a.lost / a.channels if a.channels else None),
        cosine=_mean(done, lambda a: a.cosine),
        margin=_mean(done, lambda a: a.margin),
        undone=_undone([t.aligning for t in done if t.aligning]),
        reasons=tuple(dict.fromkeys(reasons)),
    )


def _mean(trials: Sequence[TrialRecord], number: Callable[[AligningRecord], float | None]) -> Value:
    singles = (
        (t.network, t.injection or "", x)
        for t in trials
        if t.aligning is not None and (x := number(t.aligning)) is not None
    )
    return average(Nested.of(singles), NO_ORDER)


def _undone(told: Sequence[AligningRecord]) -> dict[str, int]:
    found = {
        "scales": sum(a.scaled for a in told),
        "signs": sum(a.turned for a in told),
        "dummies": sum(a.dummies for a in told),
        "folded": sum(a.folded for a in told),
    }
    return {name: count for name, count in found.items() if count}


def _controls_again(trial: TrialRecord) -> TrialRecord:
    return trial.model_copy(update={"controls": trial.controls_resynchronised})


def _heard_again(trial: TrialRecord) -> TrialRecord:
    again = {verdict.injection: verdict for verdict in trial.resynchronised}
    verdicts = tuple(again.get(verdict.injection, verdict) for verdict in trial.verdicts)
    return trial.model_copy(update={"verdicts": verdicts})
