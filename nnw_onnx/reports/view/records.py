"""The records behind a cell: one row for each network and claim, from declared columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from nnw_onnx.measures.run import Place, Run
from nnw_onnx.records import TrialRecord, VerdictRecord
from nnw_onnx.reports import names
from nnw_onnx.reports.columns import Column, Entry, Form
from nnw_onnx.reports.forms import Item, headed
from nnw_onnx.reports.model import Report
from nnw_onnx.vocabulary import Json

MOST_ROWS = 20_000
"""Of the records of one technology that are shown."""


@dataclass(frozen=True)
class Heard:
    """One claim on one network, or a network that none was heard on.

    Attributes:
        number: of the record in `records.jsonl`, from 1.
        trial: the network, after a Modification or none.
        carries: what is in the network.
        network: its name.
        intensity: of the Modification, with its unit.
        verdict: what was said; None where nothing was heard.
        again: the same with the channels put back in order.
        before: headline quality of the same network without the Modification.
        after: likewise with it.
    """

    number: int
    trial: TrialRecord
    carries: str
    network: str
    intensity: str
    verdict: VerdictRecord | None = None
    again: VerdictRecord | None = None
    before: float | None = None
    after: float | None = None


def _said(get: Callable[[VerdictRecord], Entry]) -> Callable[[Heard], Entry]:
    return lambda heard: None if heard.verdict is None else get(heard.verdict)


def _answer(found: VerdictRecord | None) -> str | None:
    if found is None:
        return None
    if found.status != "done":
        return found.status
    return None if found.detected is None else "yes" if found.detected else "no"


def _why(heard: Heard) -> str | None:
    found = heard.verdict
    reasons = [heard.trial.reason, *((found.reason, *found.notes) if found else ())]
    return "; ".join(dict.fromkeys(filter(None, reasons))) or None


COLUMNS: tuple[Column[Heard], ...] = (
    Column("intensity", "Intensity", Form.WORDS, lambda h: h.intensity or None),
    Column("network", "Network", Form.WORDS, lambda h: h.network),
    Column("carries", "Carries", Form.WORDS, lambda h: h.carries),
    Column("repetition", "Repetition", Form.COUNT, lambda h: h.trial.repetition + 1),
    Column("status", "Status", Form.WORDS, lambda h: h.trial.status),
    Column("answer", "Detected", Form.WORDS, lambda h: _answer(h.verdict)),
    Column("log10_p", "−log₁₀ p", Form.EVIDENCE, _said(lambda v: v.log10_p)),
    Column("statistic", "Statistic", Form.NUMBER, _said(lambda v: v.statistic)),
    Column("errors", "Symbols wrong", Form.COUNT, _said(lambda v: v.errors)),
    Column("symbols", "of", Form.COUNT, _said(lambda v: v.symbols)),
    Column("needed", "Yes takes, right", Form.COUNT, _said(lambda v: v.needed)),
    Column("bit_errors", "Bits wrong", Form.COUNT, _said(lambda v: v.bit_errors)),
    Column("before", "Quality before", Form.QUALITY, lambda h: h.before),
    Column("after", "Quality after", Form.QUALITY, lambda h: h.after),
    Column("change", "Relative change of the Weights", Form.NUMBER, lambda h: h.trial.change),
    Column("again", "Detected, re-synchronised", Form.WORDS, lambda h: _answer(h.again)),
    Column(
        "again_p",
        "−log₁₀ p, re-synchronised",
        Form.EVIDENCE,
        lambda h: None if h.again is None else h.again.log10_p,
    ),
    Column("why", "Remarks", Form.WORDS, _why),
    Column("number", "Record", Form.COUNT, lambda h: h.number),
)
_PLAIN = frozenset({"repetition", "status"})
"""Columns that say nothing where all rows say the same."""


def records(report: Report, run: Run, technology: int) -> dict[str, Json]:
    """The records of a technology by setting ("" where nothing was modified), as they are shown."""
    numbers = {id(trial): i for i, trial in enumerate(run.trials, 1)}
    places: list[tuple[str, Place, str]] = [("", (None, None), "")]
    for setting in report.settings:
        for level in setting.of(technology).levels:
            at = names.intensity(level, setting)
            places.append((str(setting.index), (setting.index, level.intensity), at))
    by_setting: dict[str, list[Heard]] = {}
    left = MOST_ROWS
    for key, place, at in places:
        rows = list(_heard(run, technology, place, at, numbers))
        by_setting.setdefault(key, []).extend(rows[:left])
        left -= min(left, len(rows))
    every = [row for rows in by_setting.values() for row in rows]
    shown = [c for c in COLUMNS if _tells(c, every)]
    return {
        "heads": [[c.key, headed(c, report.headline), c.form is not Form.WORDS] for c in shown],
        "rows": {key: [_texts(report, shown, r) for r in rows] for key, rows in by_setting.items()},
        "whole": left > 0,
    }


def _tells(column: Column[Heard], rows: list[Heard]) -> bool:
    found = {column.get(row) for row in rows}
    return bool(found - {None}) and (column.key not in _PLAIN or len(found) > 1)


def _texts(report: Report, shown: list[Column[Heard]], row: Heard) -> list[Json]:
    items = (Item(c.get(row), c.form, report.headline) for c in shown)
    return [None if item.plain is None else item.text for item in items]


def _heard(
    run: Run, technology: int, place: Place, at: str, numbers: Mapping[int, int]
) -> Iterator[Heard]:
    """Watermarked networks first, then those without the watermark."""
    for trial in (*run.marked(technology, place), *run.plain(technology, place)):
        before = run.unmodified.get((trial.network, trial.injection))
        main = run.headline.name
        again = {v.injection: v for v in trial.resynchronised}
        base = Heard(
            numbers[id(trial)],
            trial,
            _carries(run, trial, None),
            _network(run, trial),
            at,
            before=before.quality.get(main) if before and trial.setting is not None else None,
            after=trial.quality.get(main),
        )
        own = [v for v in trial.verdicts if _of(run, v, technology)]
        if not own:
            yield base
        for verdict in own:
            yield replace(
                base,
                carries=_carries(run, trial, verdict),
                verdict=verdict,
                again=again.get(verdict.injection),
            )


def _network(run: Run, trial: TrialRecord) -> str:
    known = {network.index: network.name for network in run.plan.networks}
    return known.get(trial.network, f"network {trial.network}")


def _of(run: Run, verdict: VerdictRecord, technology: int) -> bool:
    claim = run.by_identity.get(verdict.injection)
    return claim is not None and claim.technology == technology


def _carries(run: Run, trial: TrialRecord, verdict: VerdictRecord | None) -> str:
    claim = run.by_identity.get(verdict.injection if verdict else trial.injection or "")
    heard = f"Payload {claim.payload_index + 1}" if claim and not claim.twin else "a watermark"
    if trial.injection is None:
        return "nothing" if verdict is None else f"nothing; {heard} claimed"
    if verdict is None or verdict.injection == trial.injection:
        return heard
    return f"{heard}, of copies" if verdict.injection in trial.copies else f"not {heard}"
