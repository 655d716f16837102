"""What settings leave of the unwatermarked networks: decided once, for all technologies.

A Modification that ruins the network defeats nobody. Whether it does is told by networks without a
watermark, so that every technology has the same denominator. Where a Modification differs from
technology to technology (aimed at carriers, by the same method), it is several Modifications: each
technology has a decision of its own, by the networks that were modified as its own are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nnw_onnx.measures.limits import Nested, average, loss
from nnw_onnx.measures.results import BaseQuality, Level, Setting, Usability, Value
from nnw_onnx.measures.run import Run, why_none
from nnw_onnx.measures.scores import Pair, lost, quality_loss
from nnw_onnx.records import Family, MeasureRecord, SettingRecord, TrialRecord

NO_UNMARKED = "no unwatermarked network could be tested"
_LETTERS = {"standard": "", "deployment": "D", "preserving": "F", "adaptive": "A", "removal": "R"}


def settings(run: Run) -> tuple[Setting, ...]:
    """Every setting of the plan with its Intensities from weak to strong."""
    codes = _codes(run.plan.settings)
    return tuple(
        Setting(
            index=record.index,
            code=code,
            label=record.label,
            family=_family(record),
            steps=record.steps,
            parameter=record.parameter,
            copies=record.copies,
            trains=record.trains,
            levels=tuple(_level(run, record, i) for i in intensities(record)),
            adaptive=record.adaptive,
            preset=record.preset,
        )
        for record, code in zip(run.plan.settings, codes, strict=True)
    )


def _family(record: SettingRecord) -> Family:
    families = {step.family for step in record.steps}
    if len(record.steps) == 1:
        return record.steps[0].family
    if record.adaptive:
        return "adaptive"
    return families.pop() if len(families) == 1 and "standard" not in families else "removal"


def intensities(record: SettingRecord) -> list[float | None]:
    """The Intensities of a setting from weak to strong; [None] where nothing is swept."""
    down = record.parameter is not None and record.parameter.stronger == "down"
    return [*sorted(record.intensities, reverse=down)] or [None]


def _codes(records: Sequence[SettingRecord]) -> list[str]:
    """Short names: the number of the standard's table, else letter and running number."""
    stems = [_stem(r) for r in records]
    often, seen = Counter(stems), Counter[str]()
    codes = []
    for stem in stems:
        seen[stem] += 1
        numbered = stem.isdigit()
        running = _letters(seen[stem]) if numbered and often[stem] > 1 else ""
        codes.append(stem + running if numbered else f"{stem}{seen[stem]}")
    return codes


def _stem(record: SettingRecord) -> str:
    first = record.steps[0]
    if len(record.steps) > 1:
        return "S"
    if first.number is not None:
        return str(first.number)
    return _LETTERS[first.family] or "M"


def _letters(number: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa."""
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def _level(run: Run, record: SettingRecord, intensity: float | None) -> Level:
    place = (record.index, intensity)
    trials = run.unwatermarked(place)
    every = _level_of(run, record, intensity, trials)
    if not _differs(record, trials):
        return every
    plain = [run.plain(technology.index, place) for technology in run.plan.technologies]
    own = tuple(_level_of(run, record, intensity, some) for some in plain)
    told = [level for level, some in zip(own, plain, strict=True) if some and level.applies]
    if len({level.usability for level in told}) > 1:
        reason = "it does something else for each technology, and each has a decision of its own"
        return every.model_copy(update={"usability": "differs", "reason": reason, "own": own})
    said = told[0] if told else every
    return every.model_copy(update={"usability": said.usability, "reason": said.reason, "own": own})


def _differs(record: SettingRecord, trials: Sequence[TrialRecord]) -> bool:
    """Whether a setting does something else to a network for each technology."""
    aimed = any(step.aim == "carrier" or step.depends_on_method for step in record.steps)
    return aimed or any(trial.technology is not None for trial in trials)


def _level_of(
    run: Run, record: SettingRecord, intensity: float | None, every: Sequence[TrialRecord]
) -> Level:
    """A level by these unwatermarked networks."""
    trials = [t for t in every if t.status == "done"]
    pairs = run.pairs(trials)
    unknown = why_none(run.plan, why_no_loss(every))
    change = quality_loss(pairs, run.headline, unknown, run.book)
    guard = _guard_loss(run, pairs)
    elsewhere = sorted({t.quality_of for t in trials if t.quality_of is not None})
    outside = in_table(record) and run.outside((record.index, intensity))
    quality = quality_of(trials, run.headline, why_none(run.plan, NO_UNMARKED))
    usability, reason = _judged(run, trials, change, guard, quality)
    if not_applicable(every):
        usability = "n/a"
    return Level(
        intensity=intensity,
        outside=outside,
        standard=("outside" if outside else "inside") if in_table(record) else None,
        usability=usability,
        loss=change,
        guard_loss=guard,
        quality=quality,
        quality_of=" and ".join(elsewhere) or None,
        reason=reason,
    )


def in_table(record: SettingRecord) -> bool:
    """Whether the standard's table has this setting: one Modification, with a Parameter."""
    single = len(record.steps) == 1 and record.copies == 1
    return single and record.parameter is not None and record.steps[0].number is not None


def not_applicable(trials: Sequence[TrialRecord]) -> bool:
    """Whether a setting can do nothing to any of the unwatermarked networks."""
    return bool(trials) and all(t.status in ("not-applicable", "skipped") for t in trials)


def why_no_loss(trials: Sequence[TrialRecord]) -> str:
    """Why there is no loss of these unwatermarked networks, where there is none."""
    if any(t.quality_of is not None for t in trials):
        return "quality was measured on another data set, not on that of the evaluation"
    refused = next((t.reason for t in trials if t.status != "done" and t.reason), None)
    return f"{NO_UNMARKED}: {refused}" if refused else NO_UNMARKED


def quality_of(trials: Sequence[TrialRecord], measure: MeasureRecord, reason: str) -> Value:
    """Mean quality of networks by a measure."""
    known = [t for t in trials if t.status == "done" and measure.name in t.quality]
    singles = ((t.network, t.injection or "", t.quality[measure.name]) for t in known)
    return average(Nested.of(singles), reason)


def _guard_loss(run: Run, pairs: Sequence[Pair]) -> Value | None:
    guard = run.guard
    if guard is None or guard.name == run.headline.name:
        return None
    singles = [(p.network, p.unit, x) for p in pairs if (x := lost(p, guard)) is not None]
    return loss(Nested.of(singles), NO_UNMARKED) if singles else None


def _judged(
    run: Run, trials: Sequence[TrialRecord], change: Value, guard: Value | None, quality: Value
) -> tuple[Usability, str | None]:
    measure = run.headline
    if _at_chance(trials, measure):
        return "unusable", "the unwatermarked networks are no better than guessing"
    if change.value is None:
        moved = any(t.quality_of is not None for t in trials)
        return ("elsewhere" if moved and quality.value is not None else "undecided"), change.reason
    veto = _vetoed(run.guard, guard)
    if veto is not None:
        return veto
    return _tested(change, measure)


def _tested(change: Value, measure: MeasureRecord) -> tuple[Usability, str | None]:
    """By the limits: a point is no test, and what others would lose is not known from it."""
    if change.limits is None:
        return "undecided", f"the loss has no limits: {change.reason}"
    low, high = change.limits
    if high <= measure.usable_loss:
        return "usable", None
    if low > measure.usable_loss:
        return "unusable", f"the unwatermarked networks lose too much {measure.name}"
    return "undecided", (
        "the limits of the loss of the unwatermarked networks include the largest loss allowed"
    )


def counts_at(level: Level, measure: MeasureRecord, limit: float) -> bool:
    """Whether a level would be in the denominator if another loss still counted as usable.

    What another test than that of the loss decided stays as it is: a veto of the guard, quality
    that is no better than guessing, quality that was measured elsewhere.

    Args:
        level: as it was judged.
        measure: the headline, with the limit that it was judged by.
        limit: the other one, in the measure's own units.
    """
    if (level.usability, level.reason) != _tested(level.loss, measure):
        return level.counts
    return _tested(level.loss, measure.model_copy(update={"usable_loss": limit}))[0] == "usable"


def _vetoed(guard: MeasureRecord | None, change: Value | None) -> tuple[Usability, str] | None:
    """What the measure says that a collapsed network cannot keep; it vetoes and never acquits."""
    if guard is None or change is None or change.value is None or change.value <= guard.usable_loss:
        return None
    words = f"the unwatermarked networks lose too much {guard.name}"
    # A veto only leaves a setting out, so that without limits the networks at hand are enough.
    low = change.value if change.low is None else change.low
    return ("unusable", words) if low > guard.usable_loss else ("undecided", f"{words}, perhaps")


def _at_chance(trials: Sequence[TrialRecord], measure: MeasureRecord) -> bool:
    """Whether networks are, on the mean, no better than guessing."""
    known = [
        (t.quality[measure.name], chance)
        for t in trials
        if measure.name in t.quality
        if (chance := t.chance if t.chance is not None else measure.chance) is not None
    ]
    above = sum(q - c for q, c in known)
    return bool(known) and (above <= 0 if measure.better == "higher" else above >= 0)


def base_quality(run: Run) -> tuple[BaseQuality, ...]:
    """The unwatermarked networks before anything is done to them, by measure."""
    trials = [t for t in run.unwatermarked((None, None)) if t.status == "done"]
    found = []
    for place, measure in enumerate(run.plan.measures):
        values = [t.quality[measure.name] for t in trials if measure.name in t.quality]
        told = [t.chance for t in trials if t.chance is not None] if place == 0 else []
        found.append(
            BaseQuality(
                measure=measure.name,
                quality=quality_of(trials, measure, why_none(run.plan, NO_UNMARKED)),
                lowest=min(values, default=None),
                highest=max(values, default=None),
                chance=max(told, default=measure.chance),
            )
        )
    return tuple(found)
