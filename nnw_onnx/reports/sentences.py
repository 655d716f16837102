"""What a report says first: what was done, and at most three verdicts (one a technology of few)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnw_onnx.measures.results import BaseQuality, FamilyResult, Localisation, Technology
from nnw_onnx.reports import names, words
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.names import Name
from nnw_onnx.reports.words import Shown, listed, plural

NOT_ATTACKED = "not attacked adaptively"


@dataclass(frozen=True)
class Verdict:
    """A sentence; `subject` is its beginning, which is set in bold."""

    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}{self.text}"


def lead(report: Report) -> str:
    """What was evaluated, in one sentence."""
    technologies = plural(len(report.technologies), "technology", "technologies")
    modifications = plural(len(report.settings), "Modification")
    payloads = plural(report.payloads, "Payload")
    repeated = f", {report.repetitions} repetitions" if report.repetitions > 1 else ""
    settings = plural(report.counts.total, "setting")
    networks = plural(len(report.networks), "network")
    return (
        f"{technologies} under {modifications} ({settings}), {networks} × {payloads}{repeated}, "
        "by NNW-NNT V1.1 (superset of IEEE 3304)."
    )


def base(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Of the headline and the guard: name, value of the unwatermarked networks, what that means."""
    known = {m.name: Shown(m) for m in report.measures}
    return tuple(
        (found.measure, *_base(found, known[found.measure], report))
        for found in report.base
        if found.measure in known and found.measure in (report.headline.name, report.guard)
    )


def _base(found: BaseQuality, shown: Shown, report: Report) -> tuple[str, str]:
    if found.quality.value is None:
        return words.DASH, found.quality.reason or "not measured"
    parts = []
    if found.lowest is not None and found.highest is not None and found.lowest < found.highest:
        parts.append(f"{shown.value(found.lowest, unit=False)} to {shown.value(found.highest)}")
    if found.chance is not None:
        unit = shown.measure.unit
        parts.append(f"guessing {words.number(shown.factor * found.chance)} {unit}".rstrip())
    if shown.measure.better == "lower":
        parts.append("lower is better")
    return shown.value(found.quality.value), ", ".join(parts)


def usable(report: Report) -> str:
    """What a network must keep to count as usable, in one sentence."""
    guard = next((m for m in report.measures if m.name == report.guard), None)
    limit = Shown(report.headline).usable()
    if guard is None or guard == report.headline:
        return f"Usable: at most {limit} lost."
    if Shown(guard).usable() == limit:
        return f"Usable: at most {limit} lost, of {guard.name} too."
    return f"Usable: at most {limit} lost, and {Shown(guard).usable()} of {guard.name}."


def brief(label: str) -> str:
    """What names a setting in a sentence: its Modifications without their options."""
    first, *rest = label.partition(" (")[0].split(", ")
    return ", ".join([first, *(part for part in rest if part.startswith("then "))])


def verdicts(report: Report, called: tuple[Name, ...]) -> tuple[Verdict, ...]:
    """The verdicts, none longer than about 20 words.

    Args:
        report: what is told.
        called: short name of each technology, in the order of the plan.
    """
    across = [report.technologies[i] for i in report.order]
    if len(across) <= names.FEW:
        return tuple(Verdict(str(called[t.index]), _verdict(report, t)) for t in across)
    return tuple(_overall(report, across, called))


def _verdict(report: Report, technology: Technology) -> str:
    ending = f"; {_loudness(report, technology)}."
    if technology.record.kind == "integrity" and technology.robustness_asked:
        return f" {_integrity(report, technology)}{ending}"
    if not technology.detectability.ever:
        return f" can never be found: {_why_never(technology)}{ending}"
    if not technology.robustness_asked or not report.settings:
        return f": robustness was not asked for{ending}"
    statuses = [report.cell(technology.index, s.index).status for s in report.settings]
    unsaid = sum(s in ("undecided", "void", "failed", "not run") for s in statuses)
    rest = f"; {plural(unsaid, 'Modification')} without verdict" if unsaid else ""
    told = "" if technology.attacked else f"; {NOT_ATTACKED}"
    return f" survives {_survived(technology)}; {_least(report, technology)}{rest}{told}{ending}"


def _survived(technology: Technology) -> str:
    """Settings survived by family, since one sum would hide the family that kills the mark."""
    found = [f for f in technology.families if f.plain.tally.usable]
    if len(found) < 2:
        return f"{technology.tally.survived} of {technology.tally.usable} settings"
    return listed([_family(f) for f in found], len(found))


def _family(found: FamilyResult) -> str:
    tally, again = found.plain.tally, found.resynchronised
    counted = f"{tally.survived} of {tally.usable} {names.KINDS[found.family]}"
    if again is None or again.tally.survived == tally.survived:
        return counted
    return f"{counted} ({again.tally.survived} re-synchronised)"


def _least(report: Report, technology: Technology) -> str:
    """The least that is found in a usable setting, which is the robustness, and where that is."""
    found = technology.whole.weakest if technology.whole else None
    if found is None or technology.tally.survived == technology.tally.usable:
        return "none lost" if not technology.tally.lost else "some lost"
    where = brief(report.settings[found.setting].label)
    return f"least found {words.percent(found.found, 0)}, under {where}"


def _integrity(report: Report, technology: Technology) -> str:
    """Of all settings, usable or not: changes detected, blocks named, and false alarms."""
    asked = [p for p in report.points if p.technology == technology.index and p.tested]
    told = [p.localisation for p in (*asked, technology.unmodified) if p.localisation is not None]
    if not told:
        # Records of earlier versions tell of no blocks.
        noticed = sum(p.status == "noticed" for p in asked)
        return f"notices the change in {noticed} of {len(asked)} settings"
    changed, untouched = sum(b.changed_tests for b in told), sum(b.untouched_tests for b in told)
    parts = []
    if changed:
        parts += [
            f"detects the change in {sum(b.detected for b in told)} of {changed} tests",
            f"blocks named: {_blocks(told)}",
        ]
    alarms = sum(b.alarms for b in told)
    parts += [f"{alarms or 'no'} false alarm{'s' * (alarms > 1)} in {untouched}"] * bool(untouched)
    return ", ".join(parts)


def _blocks(told: list[Localisation]) -> str:
    """Over all blocks of all tests."""
    right, named = sum(b.right for b in told), sum(b.named for b in told)
    recall = words.percent(right / sum(b.changed for b in told))
    precision = words.percent(right / named) if named else words.DASH
    return f"recall {recall}, precision {precision}"


def _why_never(technology: Technology) -> str:
    symbols = technology.injections.symbols
    return f"{plural(symbols, 'Symbol')} cannot prove it" if symbols else "its test reaches no Yes"


def _loudness(report: Report, technology: Technology) -> str:
    """What the watermark costs, the quality without and with it beside it."""
    if not technology.imperceptibility_asked:
        return "loss not asked for"
    found, shown = technology.imperceptibility, Shown(report.headline)
    word = "not shown to be negligible" if found.verdict == "not shown" else found.verdict
    if found.before.value is None or found.after.value is None:
        return f"loss {word}"
    before, after = shown.value(found.before.value, unit=False), shown.value(found.after.value)
    return f"loss {word} ({before} to {after})"


def _ranked(lasting: list[Technology], called: tuple[Name, ...], between: str) -> Iterator[Verdict]:
    """The first of those that were attacked by somebody who knows them; others have no place."""
    ranked = [t for t in lasting if t.attacked]
    if ranked:
        most = max(t.tally.survived for t in ranked)
        first = [t for t in ranked if t.tally.survived == most]
        best = listed([called[t.index].row for t in first], 3, between)
        each = " each" if len(first) > 1 else ""
        of = sorted({t.tally.usable for t in first})
        yield Verdict("Most survived:", f" {best}, {most} of {_span(of)} settings{each}.")
    left = [called[t.index].row for t in lasting if not t.attacked]
    if left:
        who = listed(left, 3, between) if ranked else "every technology"
        yield Verdict("Not ranked:", f" {who}, {NOT_ATTACKED}.")


def _span(numbers: list[int]) -> str:
    return " to ".join(f"{n}" for n in dict.fromkeys((numbers[0], numbers[-1])))


def _overall(
    report: Report, across: list[Technology], called: tuple[Name, ...]
) -> Iterator[Verdict]:
    # An integrity method that is lost has done what it is for: it takes no part in this race.
    lasting = [t for t in across if t.record.kind != "integrity"] or across
    # Names of many technologies have commas of their own.
    between = "; " if len(across) > names.CROWDED else ", "
    yield from _ranked(lasting, called, between)
    defeats = [
        (
            sum(report.cell(t.index, s.index).status == "lost" for t in lasting),
            f"{brief(s.label)} ({s.code})",
        )
        for s in report.settings
    ]
    hardest = [x for x in sorted(defeats, key=lambda x: -x[0])[:3] if x[0]]
    said = "; ".join(f"{label} defeats {count} of {len(lasting)}" for count, label in hardest)
    yield Verdict("Hardest:", f" {said or 'none defeats a technology at its weakest'}.")
    for t in across:
        if t.record.kind == "integrity" and t.robustness_asked:
            said = f" {called[t.index].row} {_integrity(report, t)}."
            yield Verdict("Integrity:", said)
    margin = Shown(report.headline).margin()
    loud = [called[t.index].row for t in across if t.imperceptibility.verdict == "noticeable"]
    quiet = sum(t.imperceptibility.verdict == "negligible" for t in across)
    said = f" {quiet} of {len(across)} negligible at {margin}"
    yield Verdict(
        "Imperceptibility:", f"{said}; noticeable: {listed(loud, between=between) or 'none'}."
    )
