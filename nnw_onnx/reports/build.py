"""From the records of a run to its report; the same records give the same report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from nnw_onnx.errors import RunError
from nnw_onnx.measures import families, matrix
from nnw_onnx.measures.costs import cost_of
from nnw_onnx.measures.decisions import Judge, control_of, judge_of
from nnw_onnx.measures.imperceptibility import imperceptibility
from nnw_onnx.measures.limits import dataset_sizes, failures
from nnw_onnx.measures.results import InjectionSummary, Point, Setting, Technology
from nnw_onnx.measures.resynchronised import (
    Resynchronised,
    resynchronised_points,
    with_controls_again,
)
from nnw_onnx.measures.robustness import SURVIVAL, Where, point
from nnw_onnx.measures.run import Run, asked
from nnw_onnx.measures.trainings import training_of
from nnw_onnx.measures.usability import base_quality, settings
from nnw_onnx.measures.visibility import visibility
from nnw_onnx.records import (
    CostRecord,
    Environment,
    InjectionRecord,
    Plan,
    TechnologyRecord,
    TrialRecord,
)
from nnw_onnx.reports.conformance import conformances, departures
from nnw_onnx.reports.method import METHOD, STANDARD
from nnw_onnx.reports.model import (
    Completeness,
    Ranking,
    Report,
    Reproducibility,
    SettingCounts,
)
from nnw_onnx.reports.notices import Material, notices

RANKED_AT = (0.4, 2.0)
"""Other limits of usability that the ranking is repeated at, in units of the usual one: 2 and 10
points where that is 5."""
_Points = tuple[tuple[Point, ...], ...]
"""Points of one technology by setting and level."""


def build_report(
    plan: Plan,
    injections: Sequence[InjectionRecord],
    trials: Sequence[TrialRecord],
    costs: Sequence[CostRecord],
    environment: Environment | None,
) -> Report:
    """The report of a run.

    Args:
        plan: what was planned.
        injections: every injection record.
        trials: every trial record.
        costs: every cost record.
        environment: where it ran, if that is known.

    Raises:
        RunError: technologies or settings are not numbered by their places.
    """
    _check_numbers(plan)
    run = Run(plan, tuple(injections), tuple(trials))
    rows = settings(run)
    judges = [judge_of(run, t) for t in plan.technologies]
    points = [_points(run, t, j, rows) for t, j in zip(plan.technologies, judges, strict=True)]
    again = resynchronised_points(run, rows)
    technologies = tuple(
        _technology(run, t, j, rows, p, again, costs)
        for t, j, p in zip(plan.technologies, judges, points, strict=True)
    )
    drafts = [
        [matrix.draft(s.of(t), p) for s, p in zip(rows, own, strict=True)]
        for t, own in enumerate(points)
    ]
    cells, notes = matrix.cells(drafts)
    flat = tuple(p for own in points for row in own for p in row)
    complete = _completeness(run, rows, flat)
    sizes = dataset_sizes(plan)
    made = Report(
        standard=STANDARD,
        departures=tuple(d.text for d in departures()),
        title=plan.title,
        networks=plan.networks,
        payloads=plan.payloads,
        repetitions=plan.repetitions,
        workflows=plan.workflows,
        false_positive_rate=plan.false_positive_rate,
        survival=SURVIVAL,
        measures=plan.measures,
        guard=plan.guard,
        base=base_quality(run),
        dataset=plan.dataset,
        dataset_sizes=sizes,
        technologies=technologies,
        order=matrix.columns([t.tally for t in technologies], [t.attacked for t in technologies]),
        settings=rows,
        rows=matrix.rows(rows),
        counts=_counts(rows),
        rankings=_rankings(run, rows, points),
        cells=cells,
        notes=notes,
        points=flat,
        resynchronised=again,
        completeness=complete,
        notices=notices(Material(run, technologies, rows, flat, sizes, complete, costs)),
        environment=environment,
        cards=plan.cards,
        left_out=plan.left_out,
        configuration=plan.evaluation,
        method=METHOD,
        reproducibility=_reproducibility(run),
    )
    return made.model_copy(update={"conformance": conformances(made)})


def _check_numbers(plan: Plan) -> None:
    for name, found in (("technologies", plan.technologies), ("settings", plan.settings)):
        numbers = [record.index for record in found]
        if numbers != list(range(len(numbers))):
            raise RunError(
                f"plan: expected {name} numbered 0, 1, ..., got {numbers}; run the evaluation again"
            )


def _points(
    run: Run, technology: TechnologyRecord, judge: Judge, rows: Sequence[Setting]
) -> _Points:
    return tuple(
        tuple(
            point(run, technology, judge, Where(s.index, k, level.intensity))
            for k, level in enumerate(s.levels)
        )
        for s in rows
    )


def _technology(
    run: Run,
    record: TechnologyRecord,
    judge: Judge,
    rows: Sequence[Setting],
    points: _Points,
    again: Sequence[Resynchronised],
    costs: Sequence[CostRecord],
) -> Technology:
    unmodified = point(run, record, judge, Where())
    own = [row.point for row in again if row.technology == record.index]
    every = (unmodified, *(p for row in points for p in row), *own)
    alarms = tuple(sorted({n for p in every for n in p.alarms}))
    met = [(s.of(record.index), row) for s, row in zip(rows, points, strict=True)]
    put_back = families.put_back(met, own)
    return Technology(
        index=record.index,
        label=record.label,
        record=record,
        trained=record.training is not None,
        detectability=judge.what,
        tally=matrix.tally([setting for setting, _ in met], points),
        alarms=None if judge.calibrated else alarms,
        injections=_injections(run, record),
        unmodified=unmodified,
        imperceptibility=imperceptibility(run, record),
        cost=cost_of(run, record, costs),
        training=training_of(run, record),
        control=control_of(run, record),
        control_resynchronised=control_of(with_controls_again(run), record),
        visibility=visibility(run, record),
        robustness_asked=asked(run.plan, record.robustness),
        imperceptibility_asked=asked(run.plan, record.imperceptibility),
        families=families.families(record.index, met, put_back),
        whole=families.resistance(met) if met else None,
        whole_resynchronised=families.resistance(put_back) if put_back else None,
        strongest=families.strongest(met),
        attacked=families.attacked(run, record.index),
    )


def _injections(run: Run, record: TechnologyRecord) -> InjectionSummary:
    own, twins = run.marks(record.index), run.twins(record)
    done = [i for i in own if i.status == "done"]
    return InjectionSummary(
        expected=run.expected,
        done=len(done),
        not_in=sum(bool(i.errors) for i in done),
        symbols=max((i.symbols for i in done if i.symbols), default=None),
        layers=tuple(dict.fromkeys(name for i in done for name in i.layers)),
        notes=tuple(dict.fromkeys(note for i in done for note in i.notes)),
        commitments=tuple(i.commitment for i in done if i.commitment),
        twins_expected=0 if record.training is None else len(run.plan.networks),
        twins_done=sum(i.status == "done" for i in twins),
        failures=failures((i.status, i.reason) for i in (*own, *twins)),
    )


def _counts(rows: Sequence[Setting]) -> SettingCounts:
    levels = [level for s in rows for level in s.levels]
    return SettingCounts(
        total=len(levels),
        usable=sum(level.counts for level in levels),
        unusable=sum(level.usability == "unusable" for level in levels),
        undecided=sum(level.usability == "undecided" for level in levels),
        not_applicable=sum(level.usability == "n/a" for level in levels),
        differing=sum(level.usability == "differs" for level in levels),
        elsewhere=sum(level.usability == "elsewhere" for level in levels),
        outside=sum(level.outside for level in levels),
    )


def _rankings(run: Run, rows: Sequence[Setting], points: Sequence[_Points]) -> tuple[Ranking, ...]:
    return tuple(
        _ranking(run, rows, points, run.headline.usable_loss * factor) for factor in RANKED_AT
    )


def _ranking(run: Run, rows: Sequence[Setting], points: Sequence[_Points], limit: float) -> Ranking:
    found = [
        matrix.survived_at([s.of(t) for s in rows], own, run.headline, limit)
        for t, own in enumerate(points)
    ]
    return Ranking(
        usable_loss=limit,
        usable=max((usable for _, usable in found), default=0),
        survived=tuple(survived for survived, _ in found),
        of=tuple(usable for _, usable in found),
    )


def _completeness(run: Run, rows: Sequence[Setting], points: Sequence[Point]) -> Completeness:
    """What the plan asks for; what is not asked for, or can do nothing, needs no tests."""
    wanted = {t.index for t in run.plan.technologies if asked(run.plan, t.robustness)}
    own = [p for p in points if p.technology in wanted and p.status != "n/a"]
    present = {(t.setting, t.intensity) for t in run.trials}
    absent = [
        s.label if level.intensity is None else f"{s.label} {level.intensity:g}"
        for s in rows
        for level in s.levels
        if (s.index, level.intensity) not in present
    ]
    marks = [i for t in run.plan.technologies for i in run.marks(t.index)]
    return Completeness(
        tests_planned=sum(p.expected for p in own),
        tests_found=sum(min(p.tested, p.expected) for p in own),
        injections_planned=run.expected * len(run.plan.technologies),
        injections_done=sum(i.status == "done" for i in marks),
        missing=tuple(absent) if wanted else (),
    )


def _reproducibility(run: Run) -> Reproducibility:
    return Reproducibility(
        package_version=run.plan.package_version,
        seed=run.plan.seed,
        evaluation_sha256=run.plan.evaluation_sha256,
        records_sha256=digest([*run.injections, *run.trials]),
        plugins=dict(run.plan.plugins),
        sources=dict(run.plan.sources),
    )


def digest(records: Sequence[InjectionRecord | TrialRecord]) -> str:
    """SHA-256 (hex) over records as JSON lines, sorted by identity."""
    lines = sorted((r.identity, r.model_dump_json()) for r in records)
    return hashlib.sha256("\n".join(line for _, line in lines).encode()).hexdigest()
