"""Whether the records of a run are all that its plan asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nnw_onnx.measures.selection import Setting, intensity_of
from nnw_onnx.records import CostRecord, InjectionRecord, Plan, TrialRecord
from nnw_onnx.reports import words
from nnw_onnx.reports.model import Completeness

_OPERATIONS = 4
_Planned = tuple[str, str, float, dict[str, Any]]
_Found = tuple[Setting, float | None]


def completeness(
    plan: Plan,
    injections: Sequence[InjectionRecord],
    trials: Sequence[TrialRecord],
    costs: Sequence[CostRecord],
) -> Completeness:
    """The plan's settings, trials and costs against those that have a record.

    A trial is one network, watermarked or not, at one setting and repetition: M (D + 1) of them for
    one technology whose robustness is asked for. Twins are tested unmodified only. Networks whose
    injection is recorded as not done need none.
    """
    each = _unmodified(plan, injections)
    planned = _settings(plan.evaluation) if _asked(plan) else []
    present: dict[_Found, set[tuple[int, str | None, int]]] = {}
    for trial in trials:
        key = (Setting.of(trial), intensity_of(trial.modification))
        present.setdefault(key, set()).add((trial.network, trial.injection, trial.repetition))
    found = sum(len(units) for units in present.values())
    unmodified = len(present.pop((Setting(None, "{}", None), None), ()))
    missing = [] if planned is None else [p for p in planned if _match(p, present) is None]
    return Completeness(
        unmodified_planned=each,
        unmodified_found=unmodified,
        settings_planned=None if planned is None else len(planned),
        settings_found=len(present) if planned is None else len(planned) - len(missing),
        missing_settings=tuple(_name(p) for p in missing),
        trials_planned=None
        if planned is None
        else each + _modified(plan, injections) * len(planned) * plan.repetitions,
        trials_found=found,
        costs_planned=_costs(plan, injections),
        costs_found=len(costs),
    )


def _asked(plan: Plan) -> set[int]:
    """Technologies whose robustness is asked for."""
    return {g.index for g in plan.groups if g.robustness in plan.workflows}


def _unmodified(plan: Plan, injections: Sequence[InjectionRecord]) -> int:
    """Networks without Modification: without watermark, with one, and twins."""
    recipes: list[object] = []
    for group in plan.groups:
        if group.training is not None and group.training not in recipes:
            recipes.append(group.training)
    marked = plan.payloads * len(plan.groups)
    refused = sum(i.status != "done" for i in injections)
    return len(plan.networks) * (1 + marked + len(recipes)) - refused


def _modified(plan: Plan, injections: Sequence[InjectionRecord]) -> int:
    """Networks of one setting and repetition, without and with a watermark."""
    asked = _asked(plan)
    refused = sum(i.status != "done" and not i.twin and i.group in asked for i in injections)
    return len(plan.networks) * (1 + plan.payloads * len(asked)) - refused


def _settings(evaluation: Mapping[str, Any]) -> list[_Planned] | None:
    """(name, aim, Intensity, options) of every setting; None where the plan does not say."""
    tables = evaluation.get("modifications")
    if not isinstance(tables, list):
        return None
    found = []
    for table in tables:
        layers = table.get("layers", "all")
        aim = layers if isinstance(layers, str) else " ".join(layers)
        options = {k: v for k, v in table.items() if k not in ("name", "intensities", "layers")}
        found += [(table["name"], aim, float(i), options) for i in table["intensities"]]
    return found


def _match(planned: _Planned, present: Mapping[_Found, object]) -> _Found | None:
    """The recorded setting; records may hold options of a plug-in that the plan leaves out."""
    name, aim, intensity, options = planned
    fitting = [
        (setting, value)
        for setting, value in present
        if (setting.modification, setting.aim, value) == (name, aim, intensity)
        and options.items() <= json.loads(setting.options).items()
    ]
    return min(fitting, key=lambda found: len(found[0].options), default=None)


def _name(planned: _Planned) -> str:
    name, aim, intensity, options = planned
    title = words.modification_name(name, options)
    return f"{title} {words.intensity(intensity, None)} ({words.aim_name(aim)})"


def _costs(plan: Plan, injections: Sequence[InjectionRecord]) -> int | None:
    """Cost measurements planned; None where the plan does not say."""
    table = plan.evaluation.get("cost")
    if not isinstance(table, dict):
        return None
    refused = {
        g.index: sum(i.status != "done" and i.group == g.index and not i.twin for i in injections)
        for g in plan.groups
    }
    possible = [len(plan.networks) * plan.payloads - refused[g.index] for g in plan.groups]
    cells = table.get("cells")
    return _OPERATIONS * sum(n if cells is None else min(n, cells) for n in possible)
