"""From the records of a run to its report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import NnwError
from nnw_onnx.measures.costs import GroupCost, costs_of_groups
from nnw_onnx.measures.imperceptibility import GroupImperceptibility, imperceptibility
from nnw_onnx.measures.limits import dataset_sizes, failures
from nnw_onnx.measures.points import GroupRobustness
from nnw_onnx.measures.robustness import SURVIVAL, USABLE_LOSS, robustness
from nnw_onnx.measures.selection import marks_of, twins_of
from nnw_onnx.measures.trainings import trainings_of_groups
from nnw_onnx.records import (
    CostRecord,
    Environment,
    Group,
    InjectionRecord,
    Plan,
    TrialRecord,
)
from nnw_onnx.reports.completeness import completeness
from nnw_onnx.reports.cost_verdict import cost_verdict
from nnw_onnx.reports.method import METHOD, STANDARD
from nnw_onnx.reports.model import Completeness, InjectionSummary, Report, Reproducibility, Verdict
from nnw_onnx.reports.notices import Material, notices
from nnw_onnx.reports.verdicts import imperceptibility_verdict, robustness_verdict
from nnw_onnx.vocabulary import Parameter


def build_report(
    plan: Plan,
    injections: Sequence[InjectionRecord],
    trials: Sequence[TrialRecord],
    costs: Sequence[CostRecord],
    environment: Environment | None,
    rng: np.random.Generator,
    parameters: Mapping[str, Parameter] | None = None,
) -> Report:
    """The report of a run.

    Args:
        plan: what was planned.
        injections: every injection record.
        trials: every trial record.
        costs: every cost record.
        environment: where it ran, if that is known.
        rng: generator of every bootstrap; the same state gives the same report.
        parameters: Modification -> its Parameter in the standard's table; None to ask the plug-ins.
    """
    if parameters is None:
        parameters = parameters_of(trials)
    hidden = imperceptibility(plan, injections, trials)
    robust = robustness(plan, injections, trials, rng, parameters)
    cost = costs_of_groups(plan, costs, rng, injections)
    sizes = dataset_sizes(plan)
    complete = completeness(plan, injections, trials, costs)
    material = Material(plan, injections, trials, costs, robust, sizes, complete, hidden)
    return Report(
        standard=STANDARD,
        title=plan.title,
        profile=plan.profile,
        headline=next((g.headline for g in robust if g.headline), None),
        rate=any(g.rate for g in robust),
        networks=plan.networks,
        payloads=plan.payloads,
        groups=plan.groups,
        workflows=plan.workflows,
        repetitions=plan.repetitions,
        false_positive_rate=plan.false_positive_rate,
        margin=plan.margin,
        usable_loss=USABLE_LOSS,
        survival=SURVIVAL,
        dataset=plan.dataset,
        dataset_sizes=sizes,
        completeness=complete,
        verdicts=_verdicts(hidden, robust, cost, complete),
        warnings=notices(material),
        injections=tuple(_injections(plan, g, injections) for g in plan.groups),
        imperceptibility=hidden,
        robustness=robust,
        cost=cost,
        trainings=trainings_of_groups(plan, injections),
        environment=environment,
        configuration=plan.evaluation,
        method=METHOD,
        reproducibility=_reproducibility(plan, injections, trials),
    )


def _verdicts(
    hidden: Sequence[GroupImperceptibility],
    robust: Sequence[GroupRobustness],
    cost: Sequence[GroupCost],
    complete: Completeness,
) -> tuple[Verdict, ...]:
    return (
        *(imperceptibility_verdict(g, complete) for g in hidden),
        *(robustness_verdict(g, complete) for g in robust),
        *(cost_verdict(g, complete) for g in cost),
    )


def _reproducibility(
    plan: Plan, injections: Sequence[InjectionRecord], trials: Sequence[TrialRecord]
) -> Reproducibility:
    return Reproducibility(
        package_version=plan.package_version,
        seed=plan.seed,
        evaluation_sha256=plan.evaluation_sha256,
        records_sha256=digest([*injections, *trials]),
    )


def parameters_of(trials: Sequence[TrialRecord]) -> dict[str, Parameter]:
    """Parameter of each Modification that occurs and whose plug-in is installed."""
    names = sorted({t.modification.name for t in trials if t.modification is not None})
    found = {}
    for name in names:
        try:
            parameter = getattr(plugins.load("modifications", name), "parameter", None)
        except NnwError:
            # An old run is drawn again without the third-party plug-in that it was made with.
            continue
        if isinstance(parameter, Parameter):
            found[name] = parameter
    return found


def digest(records: Sequence[InjectionRecord | TrialRecord]) -> str:
    """SHA-256 (hex) over records as JSON lines, sorted by identity."""
    lines = sorted((r.identity, r.model_dump_json()) for r in records)
    return hashlib.sha256("\n".join(line for _, line in lines).encode()).hexdigest()


def _injections(
    plan: Plan, group: Group, injections: Sequence[InjectionRecord]
) -> InjectionSummary:
    own, twins = marks_of(group, injections), twins_of(plan, group, injections)
    done = [i for i in own if i.status == "done"]
    return InjectionSummary(
        group=group.index,
        label=group.label,
        expected=len(plan.networks) * plan.payloads,
        done=len(done),
        layers=tuple(dict.fromkeys(name for i in done for name in i.layers)),
        notes=tuple(dict.fromkeys(note for i in done for note in i.notes)),
        commitments=tuple(i.commitment for i in done if i.commitment),
        failures=failures([(i.status, i.reason) for i in (*own, *twins)]),
        not_in=sum(bool(i.errors) for i in done),
        twins_expected=0 if group.training is None else len(plan.networks),
        twins_done=sum(i.status == "done" for i in twins),
    )
