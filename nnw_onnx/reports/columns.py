"""Every quantity of the report, declared once: key, heading, unit, form, direction, where from.

Tables, CSV, JSON, Markdown, LaTeX and the page follow from these columns; nothing else names a
quantity or decides how it is printed. A column reads one number (or a word) of a value of
`measures.results`, in the units of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

from nnw_onnx.measures.results import (
    BaseQuality,
    Cell,
    Control,
    Cost,
    EpochMean,
    FamilyResult,
    Imperceptibility,
    Level,
    Localisation,
    PairResult,
    PlaceCount,
    Point,
    QualityRow,
    Resistance,
    Setting,
    Share,
    Technology,
    Value,
    Visibility,
)
from nnw_onnx.measures.resynchronised import Resynchronised
from nnw_onnx.records import MeasureRecord
from nnw_onnx.reports.model import ClauseAnswer, Report

Of = TypeVar("Of")
Entry = Value | Share | float | int | str | bool | None


class Form(Enum):
    """How a number is printed."""

    WORDS = "words"
    COUNT = "count"
    NUMBER = "number"
    SHARE = "share"
    """A share of 1, in %."""
    QUALITY = "quality"
    """In the measure's unit; shares in %."""
    LOSS = "loss"
    """Likewise, shares in points; positive is worse."""
    SECONDS = "seconds"
    BYTES = "bytes"
    """Peak memory."""
    RATIO = "ratio"
    EVIDENCE = "evidence"
    """A decimal logarithm of a probability, shown with the other sign."""
    PROBABILITY = "probability"


@dataclass(frozen=True)
class Column(Generic[Of]):
    """One quantity.

    Attributes:
        key: for machines; never changed.
        heading: for readers.
        form: how it is printed, and so its unit (`unit_of`).
        get: where it is read from.
        better: whether larger or smaller is better; None where neither is.
        brief: heading where there is little room.
    """

    key: str
    heading: str
    form: Form
    get: Callable[[Of], Entry]
    better: Literal["higher", "lower"] | None = None
    brief: str = ""

    @property
    def short(self) -> str:
        """The heading where there is little room."""
        return self.brief or self.heading


_UNITS = {
    Form.SHARE: "%",
    Form.SECONDS: "s",
    Form.BYTES: "B",
    Form.RATIO: "×",
    Form.EVIDENCE: "−log₁₀ p",
}
_PLAIN_UNITS = {
    Form.SHARE: "share",
    Form.SECONDS: "s",
    Form.BYTES: "B",
    Form.EVIDENCE: "log10(p)",
    Form.PROBABILITY: "probability",
}


def unit_of(form: Form, measure: MeasureRecord) -> str:
    """The unit that numbers of a form are shown in; qualities and losses have their measure's."""
    if form is Form.LOSS:
        return "points" if measure.unit == "%" else measure.unit
    if form is Form.QUALITY:
        return measure.unit
    return _UNITS.get(form, "")


def shown(value: float, form: Form, measure: MeasureRecord) -> float:
    """A number of the records as it is shown: shares in percent, evidence as -log10 p."""
    if form is Form.EVIDENCE:
        return -value
    percent = form in (Form.QUALITY, Form.LOSS) and measure.unit == "%"
    return 100 * value if percent or form is Form.SHARE else value


def plain_unit_of(form: Form, measure: MeasureRecord) -> str:
    """The unit of a number as it is in the records, for machines; "1" for counts and ratios."""
    if form in (Form.QUALITY, Form.LOSS):
        return "share" if measure.unit == "%" else measure.unit or "1"
    return _PLAIN_UNITS.get(form, "1")


BASE: tuple[Column[BaseQuality], ...] = (
    Column("measure", "Measure", Form.WORDS, lambda b: b.measure),
    Column("quality", "Mean", Form.QUALITY, lambda b: b.quality),
    Column("lowest", "Lowest network", Form.QUALITY, lambda b: b.lowest),
    Column("highest", "Highest network", Form.QUALITY, lambda b: b.highest),
    Column("chance", "Guessing reaches", Form.QUALITY, lambda b: b.chance),
)


def _integrity(technology: Technology, number: int) -> int | None:
    return number if technology.record.kind == "integrity" else None


TECHNOLOGIES: tuple[Column[Technology], ...] = (
    Column("technology", "Technology", Form.WORDS, lambda t: t.label),
    Column("method", "Method", Form.WORDS, lambda t: t.record.called),
    Column("kind", "Kind", Form.WORDS, lambda t: t.record.kind),
    Column(
        "injected",
        "Injected",
        Form.WORDS,
        lambda t: "by training" if t.trained else "without training",
    ),
    Column("reads", "Read from", Form.WORDS, lambda t: t.record.access),
    Column("payload_bits", "Payload, bits", Form.COUNT, lambda t: t.record.payload_size),
    Column("code", "Code", Form.WORDS, lambda t: t.record.code.name if t.record.code else None),
    Column("symbols", "Symbols", Form.COUNT, lambda t: t.injections.symbols),
    Column("null", "Null", Form.WORDS, lambda t: t.detectability.null),
    Column(
        "log10_least",
        "Highest −log₁₀ p",
        Form.EVIDENCE,
        lambda t: t.detectability.log10_least,
        "lower",
    ),
    Column(
        "level",
        "Decided at",
        Form.PROBABILITY,
        lambda t: None if t.detectability.own_threshold else t.detectability.level,
    ),
    Column(
        "attained", "Attained chance of a Yes", Form.PROBABILITY, lambda t: t.detectability.attained
    ),
    Column("negatives", "Negatives", Form.COUNT, lambda t: t.detectability.negatives),
    Column("injections", "Injected", Form.COUNT, lambda t: t.injections.done, "higher"),
    Column("injections_planned", "Planned", Form.COUNT, lambda t: t.injections.expected),
    Column("usable", "Usable settings", Form.COUNT, lambda t: t.tally.usable),
    Column("survived", "Survived", Form.COUNT, lambda t: t.tally.survived, "higher"),
    Column("lost", "Lost", Form.COUNT, lambda t: t.tally.lost, "lower"),
    Column("noticed", "Noticed", Form.COUNT, lambda t: _integrity(t, t.tally.noticed), "higher"),
    Column(
        "unnoticed", "Unnoticed", Form.COUNT, lambda t: _integrity(t, t.tally.unnoticed), "lower"
    ),
    Column("undecided", "Undecided", Form.COUNT, lambda t: t.tally.undecided),
    Column("without_result", "Without result", Form.COUNT, lambda t: t.tally.without_result),
    Column(
        "least",
        "Least share found",
        Form.SHARE,
        lambda t: t.whole.weakest.found if t.whole and t.whole.weakest else None,
        "higher",
    ),
    Column(
        "attacked",
        "Attacked adaptively",
        Form.WORDS,
        lambda t: "yes" if t.attacked else "no: not ranked",
    ),
    Column(
        "alarms",
        "Networks with a false alarm",
        Form.COUNT,
        lambda t: None if t.alarms is None else len(t.alarms),
        "lower",
    ),
)

ROBUSTNESS: tuple[Column[Point], ...] = (
    Column("status", "Status", Form.WORDS, lambda p: p.status),
    Column("found", "Found", Form.COUNT, lambda p: p.found, "higher"),
    Column("tested", "Tested", Form.COUNT, lambda p: p.tested),
    Column("expected", "Expected", Form.COUNT, lambda p: p.expected),
    Column("gone", "Carrier gone", Form.COUNT, lambda p: p.gone, "lower"),
    Column("innocents", "Innocents heard", Form.COUNT, lambda p: p.innocents),
    Column("accused", "Innocents accused", Form.COUNT, lambda p: p.accused, "lower"),
    Column("noticed", "Noticed", Form.COUNT, lambda p: p.noticed, "higher"),
    Column("found_rate", "Share found", Form.SHARE, lambda p: p.found_rate, "higher", "found"),
    Column("missed_rate", "FN / (M D)", Form.SHARE, lambda p: p.missed_rate, "lower", "missed"),
    Column(
        "false_alarm_rate", "FP / M", Form.SHARE, lambda p: p.false_alarm_rate, "lower", "alarms"
    ),
    Column("fn_ratio", "FN / [M (D + 1)]", Form.SHARE, lambda p: p.fn_ratio, "lower", "FN"),
    Column("fp_ratio", "FP / [M (D + 1)]", Form.SHARE, lambda p: p.fp_ratio, "lower", "FP"),
    Column("marks", "Effective number of marks", Form.NUMBER, lambda p: p.marks),
    Column("icc", "Intraclass correlation", Form.NUMBER, lambda p: p.icc),
    Column("ser", "Symbol Error Rate", Form.SHARE, lambda p: p.ser, "lower", "SER"),
    Column(
        "ser_unwatermarked",
        "Symbol Error Rate, unwatermarked",
        Form.SHARE,
        lambda p: p.ser_unwatermarked,
        None,
        "SER unw.",
    ),
    Column(
        "ser_all",
        "Symbol Error Rate, all M (D + 1)",
        Form.SHARE,
        lambda p: p.ser_all,
        None,
        "SER all",
    ),
    Column(
        "bit_errors",
        "Bit errors after the code",
        Form.SHARE,
        lambda p: p.bit_errors,
        "lower",
        "bits",
    ),
    Column(
        "log10_p",
        "Evidence, median −log₁₀ p",
        Form.EVIDENCE,
        lambda p: p.log10_p,
        "lower",
        "−log₁₀ p",
    ),
    Column(
        "log10_p_unwatermarked",
        "Evidence in unwatermarked networks",
        Form.EVIDENCE,
        lambda p: p.log10_p_unwatermarked,
    ),
    Column(
        "quality", "Quality, watermarked", Form.QUALITY, lambda p: p.quality, "higher", "quality"
    ),
    Column("loss", "Loss, watermarked", Form.LOSS, lambda p: p.loss, "lower", "loss"),
    Column(
        "loss_unwatermarked",
        "Loss, unwatermarked",
        Form.LOSS,
        lambda p: p.loss_unwatermarked,
        "lower",
        "loss unw.",
    ),
    Column("quality_of", "Quality measured on", Form.WORDS, lambda p: p.quality_of),
    Column("change", "Relative change of the Weights", Form.NUMBER, lambda p: p.change),
    Column(
        "ser_new_marks", "Symbol Error Rate of new marks", Form.SHARE, lambda p: p.ser_new_marks
    ),
    Column("ser_last_new_mark", "of the last new mark", Form.SHARE, lambda p: p.ser_last_new_mark),
    Column("place_right", "Place named rightly", Form.SHARE, lambda p: p.place_right, "higher"),
    Column("reason", "Reason", Form.WORDS, lambda p: p.reason),
)

SETTINGS: tuple[Column[Level], ...] = (
    Column("usability", "Unwatermarked networks", Form.WORDS, lambda s: s.usability),
    Column(
        "standard",
        "The standard's range",
        Form.WORDS,
        lambda s: s.standard or "not in the standard",
    ),
    Column("quality", "Quality, unwatermarked", Form.QUALITY, lambda s: s.quality, "higher"),
    Column("loss", "Loss, unwatermarked", Form.LOSS, lambda s: s.loss, "lower"),
    Column("guard_loss", "Loss of the guard", Form.LOSS, lambda s: s.guard_loss, "lower"),
    Column("reason", "Reason", Form.WORDS, lambda s: s.reason),
)

STRONGEST: tuple[Column[Point], ...] = tuple(
    column
    for column in ROBUSTNESS
    if column.key
    in ("status", "found", "tested", "found_rate", "ser", "log10_p", "quality", "loss")
)

RESYNCHRONISED: tuple[Column[Resynchronised], ...] = (
    Column("status", "Status", Form.WORDS, lambda r: r.point.status),
    Column("found", "Found", Form.COUNT, lambda r: r.point.found, "higher"),
    Column("tested", "Tested", Form.COUNT, lambda r: r.point.tested),
    Column("found_rate", "Share found", Form.SHARE, lambda r: r.point.found_rate, "higher"),
    Column("false_alarm_rate", "FP / M", Form.SHARE, lambda r: r.point.false_alarm_rate, "lower"),
    Column("ser", "Symbol Error Rate", Form.SHARE, lambda r: r.point.ser, "lower"),
    Column("log10_p", "Evidence, median −log₁₀ p", Form.EVIDENCE, lambda r: r.point.log10_p),
    Column("tried", "Networks", Form.COUNT, lambda r: r.networks),
    Column("recovered", "Put in order", Form.COUNT, lambda r: r.recovered, "higher"),
    Column("moved", "Channels moved", Form.SHARE, lambda r: r.moved),
    Column("missing", "Channels missing", Form.SHARE, lambda r: r.lost),
    Column("cosine", "Cosine of channels", Form.NUMBER, lambda r: r.cosine),
    Column("margin", "More than the best wrong one", Form.NUMBER, lambda r: r.margin),
    Column("why", "Why not", Form.WORDS, lambda r: "; ".join(r.reasons) or None),
)

IMPERCEPTIBILITY: tuple[Column[Imperceptibility], ...] = (
    Column("before", "Quality without", Form.QUALITY, lambda i: i.before, "higher", "Without"),
    Column("after", "Quality with", Form.QUALITY, lambda i: i.after, "higher", "With"),
    Column("loss", "Loss", Form.LOSS, lambda i: i.loss, "lower"),
    Column("margin", "Margin", Form.LOSS, lambda i: i.margin),
    Column("verdict", "At the margin", Form.WORDS, lambda i: i.verdict),
    Column("scope", "Said of", Form.WORDS, lambda i: i.scope),
    Column("reference", "Compared with", Form.WORDS, lambda i: i.reference),
    Column(
        "carrier_change",
        "Relative change of the carrier",
        Form.NUMBER,
        lambda i: i.carrier_change,
        "lower",
    ),
    Column("changed_weights", "Changed Weights", Form.NUMBER, lambda i: i.changed_weights, "lower"),
)

VISIBILITY: tuple[Column[Visibility], ...] = (
    Column("ks_weights", "Weights, KS", Form.NUMBER, lambda v: v.weights, "lower"),
    Column("ks_filter_means", "Filter means, KS", Form.NUMBER, lambda v: v.filter_means, "lower"),
    Column("variance_ratio", "Variance, after / before", Form.RATIO, lambda v: v.variance_ratio),
    Column("auc", "Trained detector, AUC", Form.NUMBER, lambda v: v.auc, "lower"),
    Column("seen_p", "p of so much", Form.PROBABILITY, lambda v: v.p_value),
    Column("seen", "Visible", Form.WORDS, lambda v: v.verdict),
    Column("told_from", "Told from", Form.WORDS, lambda v: v.reference),
    Column("carriers", "Carriers looked at", Form.COUNT, lambda v: v.layers),
    Column("why_no_detector", "Why not measured", Form.WORDS, lambda v: v.auc.reason),
)

QUALITY: tuple[Column[QualityRow], ...] = (
    Column("measure", "Measure", Form.WORDS, lambda q: q.measure),
    Column("before", "Without", Form.QUALITY, lambda q: q.before),
    Column("after", "With", Form.QUALITY, lambda q: q.after),
    Column("loss", "Loss", Form.LOSS, lambda q: q.loss, "lower"),
)

PAIRS: tuple[Column[PairResult], ...] = (
    Column("network", "Network", Form.COUNT, lambda p: p.network),
    Column("payload", "Payload", Form.COUNT, lambda p: p.payload_index),
    Column("before", "Without", Form.QUALITY, lambda p: p.before),
    Column("after", "With", Form.QUALITY, lambda p: p.after),
    Column("loss", "Loss", Form.LOSS, lambda p: p.loss, "lower"),
    Column("lost", "Right, then wrong", Form.COUNT, lambda p: p.lost),
    Column("gained", "Wrong, then right", Form.COUNT, lambda p: p.gained),
    Column("mcnemar_p", "McNemar p", Form.PROBABILITY, lambda p: p.mcnemar_p),
    Column("change", "Relative change of the carrier", Form.NUMBER, lambda p: p.change),
)

COST: tuple[Column[Cost], ...] = (
    Column("injection", "Injection without training", Form.SECONDS, lambda c: c.injection, "lower"),
    Column("batch", "Injection by training, a batch", Form.SECONDS, lambda c: c.batch, "lower"),
    Column("batch_plain", "The same without a watermark", Form.SECONDS, lambda c: c.batch_plain),
    Column("batch_ratio", "Training, with / without", Form.RATIO, lambda c: c.batch_ratio, "lower"),
    Column("epochs", "Epochs until all Symbols are read", Form.NUMBER, lambda c: c.epochs, "lower"),
    Column("never_in", "Trainings without success", Form.COUNT, lambda c: c.never_in, "lower"),
    Column("detection", "Detecting", Form.SECONDS, lambda c: c.detection, "lower"),
    Column("decoding", "Decoding", Form.SECONDS, lambda c: c.decoding, "lower"),
    Column("memory", "Injection, peak memory", Form.BYTES, lambda c: c.memory, "lower"),
    Column("device_memory", "on the accelerator", Form.BYTES, lambda c: c.device_memory, "lower"),
    Column(
        "detection_memory",
        "Detecting, peak memory",
        Form.BYTES,
        lambda c: c.detection_memory,
        "lower",
    ),
    Column(
        "decoding_memory", "Decoding, peak memory", Form.BYTES, lambda c: c.decoding_memory, "lower"
    ),
    Column("inference", "Inference, watermarked", Form.SECONDS, lambda c: c.inference),
    Column(
        "inference_plain", "Inference, unwatermarked", Form.SECONDS, lambda c: c.inference_plain
    ),
    Column(
        "inference_ratio",
        "Inference, with / without",
        Form.RATIO,
        lambda c: c.inference_ratio,
        "lower",
    ),
)

CONTROLS: tuple[Column[Control], ...] = (
    Column("wrong_keys", "Wrong keys tried", Form.COUNT, lambda c: c.keys),
    Column("wrong_found", "Found", Form.COUNT, lambda c: c.detected, "lower"),
    Column("wrong_expected", "At most expected", Form.NUMBER, lambda c: c.expected),
    Column("wrong_p", "p of so many", Form.PROBABILITY, lambda c: c.p_value),
    Column("wrong_least", "Largest −log₁₀ p", Form.EVIDENCE, lambda c: c.log10_least),
    Column("wrong_ser", "Symbol Error Rate", Form.SHARE, lambda c: c.ser),
    Column("wrong_ser_expected", "by chance", Form.SHARE, lambda c: c.ser_expected),
)

EPOCHS: tuple[Column[EpochMean], ...] = (
    Column("epoch", "Epoch", Form.COUNT, lambda e: e.number),
    Column("networks", "Networks", Form.COUNT, lambda e: e.networks),
    Column("epoch_loss", "Loss of the task", Form.NUMBER, lambda e: e.loss, "lower"),
    Column("penalty", "Added by the watermark", Form.NUMBER, lambda e: e.penalty),
    Column("epoch_ser", "Symbol Error Rate", Form.SHARE, lambda e: e.symbol_error_rate, "lower"),
)


PLACES: tuple[Column[tuple[Point, PlaceCount]], ...] = (
    Column("layer", "Place named first", Form.WORDS, lambda p: p[1].layer),
    Column("tests", "in tests", Form.COUNT, lambda p: p[1].tests),
    Column("tested", "Tested", Form.COUNT, lambda p: p[0].tested),
    Column("place_right", "All places named rightly", Form.SHARE, lambda p: p[0].place_right),
)


BLOCKS: tuple[Column[Localisation], ...] = (
    Column("changed_tests", "Tests with changed blocks", Form.COUNT, lambda b: b.changed_tests),
    Column("detected", "Change detected", Form.COUNT, lambda b: b.detected, "higher"),
    Column(
        "untouched_tests", "Tests without a changed block", Form.COUNT, lambda b: b.untouched_tests
    ),
    Column("false_alarms", "False alarms", Form.COUNT, lambda b: b.alarms, "lower"),
    Column("blocks", "Blocks", Form.COUNT, lambda b: b.blocks),
    Column("blocks_changed", "Changed", Form.COUNT, lambda b: b.changed),
    Column("blocks_named", "Named", Form.COUNT, lambda b: b.named),
    Column("blocks_right", "Named rightly", Form.COUNT, lambda b: b.right, "higher"),
    Column("recall", "Of changed blocks named (recall)", Form.SHARE, lambda b: b.recall, "higher"),
    Column(
        "precision",
        "Of named blocks changed (precision)",
        Form.SHARE,
        lambda b: b.precision,
        "higher",
    ),
)

CLAUSES: tuple[Column[ClauseAnswer], ...] = (
    Column("place", "Place", Form.WORDS, lambda c: c.place),
    Column("asks", "What is asked", Form.WORDS, lambda c: c.asks),
    Column("answer", "Answer", Form.WORDS, lambda c: c.status),
    Column("reason", "Why", Form.WORDS, lambda c: c.reason),
    Column("seen", "Seen at", Form.WORDS, lambda c: f"#{c.anchor}"),
    Column("informative", "Informative", Form.WORDS, lambda c: c.informative),
    Column("otherwise", "Otherwise here", Form.WORDS, lambda c: " ".join(c.departures)),
)
"""The clauses of a profile; see `reports.conformance`."""


TABLES: dict[str, tuple[Column[Any], ...]] = {
    "base": BASE[1:],
    "settings": SETTINGS,
    "technologies": TECHNOLOGIES,
    "imperceptibility": IMPERCEPTIBILITY,
    "quality": QUALITY[1:],
    "visibility": VISIBILITY,
    "cost": COST,
    "controls": CONTROLS,
    "controls_resynchronised": CONTROLS,
    "robustness": ROBUSTNESS,
    "resynchronised": RESYNCHRONISED,
    "blocks": BLOCKS,
}
"""Table of a `Row` -> its quantities."""


def families(report: Report) -> tuple[Column[FamilyResult], ...]:
    """What a technology survives of a family, as networks are found and re-synchronised."""

    def least(found: Resistance | None) -> float | None:
        return None if found is None or found.weakest is None else found.weakest.found

    def where(found: Resistance | None) -> str | None:
        if found is None or found.weakest is None:
            return None
        setting = report.settings[found.weakest.setting]
        intensity = setting.levels[found.weakest.level].intensity
        return setting.label if intensity is None else f"{setting.label} {intensity:g}"

    def survived(found: Resistance | None) -> int | None:
        return None if found is None else found.tally.survived

    return (
        Column("usable", "Usable settings", Form.COUNT, lambda f: f.plain.tally.usable),
        Column("survived", "Survived", Form.COUNT, lambda f: survived(f.plain), "higher"),
        Column("lost", "Lost", Form.COUNT, lambda f: f.plain.tally.lost, "lower"),
        Column("least", "Least share found", Form.SHARE, lambda f: least(f.plain), "higher"),
        Column("where", "under", Form.WORDS, lambda f: where(f.plain)),
        Column(
            "survived_again",
            "Survived, re-synchronised",
            Form.COUNT,
            lambda f: survived(f.resynchronised),
            "higher",
        ),
        Column(
            "least_again",
            "Least share found, re-synchronised",
            Form.SHARE,
            lambda f: least(f.resynchronised),
            "higher",
        ),
        Column("where_again", "under", Form.WORDS, lambda f: where(f.resynchronised)),
    )


def cells(report: Report) -> tuple[Column[Cell], ...]:
    """The matrix by cell: Intensities are looked up in the settings of the report."""

    def intensity(cell: Cell, level: int | None) -> float | None:
        return None if level is None else report.settings[cell.setting].levels[level].intensity

    def reason(cell: Cell) -> str | None:
        return report.notes[cell.note - 1] if cell.note else None

    return (
        Column("status", "Status", Form.WORDS, lambda c: c.status),
        Column("survived", "Survived up to", Form.NUMBER, lambda c: intensity(c, c.survived)),
        Column("lost_at", "Lost at", Form.NUMBER, lambda c: intensity(c, c.lost_at)),
        Column("shown", "Shown", Form.NUMBER, lambda c: intensity(c, c.level)),
        Column("reason", "Reason", Form.WORDS, reason),
    )


@dataclass(frozen=True)
class Row:
    """One number or word of the report, for machines, in the units of the records.

    Attributes:
        technology: its label; "" for numbers of the unwatermarked networks alone.
        modification: label of the setting; "" where nothing was modified.
        intensity: of the setting, or None.
        intensity_unit: of it; "" for plain ratios.
        table: what the quantity belongs to, such as "robustness".
        quantity: key of the column, such as "ser".
        measure: name of the measure of quality, where it is one of several.
        value: the number; None where it is a word, or with a `reason`.
        unit: of value and limits; "1" for counts and ratios.
        low: lower limit, or None.
        high: upper limit, or None.
        confidence: of the limits; None for approximate ones.
        method: how the limits were made.
        networks: that it is a mean over; 0 where it is none.
        word: where it is no number.
        reason: why there is no number or no limits.
    """

    technology: str
    modification: str
    intensity: float | None
    intensity_unit: str
    table: str
    quantity: str
    measure: str = ""
    value: float | int | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    method: str = ""
    networks: int = 0
    word: str = ""
    reason: str = ""


def rows(report: Report) -> Iterator[Row]:
    """Every number and word of a report, one a row."""
    known = {m.name: m for m in report.measures}
    for found in report.base:
        measure = known.get(found.measure, report.headline)
        yield from _read(BASE[1:], found, Row("", "", None, "", "base", "", found.measure), measure)
    for setting in report.settings:
        for level in setting.levels:
            where = _where(report, "", setting, level.intensity, "settings")
            yield from _read(SETTINGS, level, where, report.headline)
            for technology in report.technologies if level.own else ():
                own = level.of(technology.index)
                yield from _read(
                    SETTINGS, own, replace(where, technology=technology.label), report.headline
                )
    for technology in report.technologies:
        yield from _of_technology(report, technology)
    for point in report.points:
        label = report.technologies[point.technology].label
        place = None if point.setting is None else report.settings[point.setting]
        where = _where(report, label, place, point.intensity, "robustness")
        yield from _read(ROBUSTNESS, point, where, report.headline)
        yield from _of_blocks(point, where, report.headline)
    for row in report.resynchronised:
        label = report.technologies[row.technology].label
        place = report.settings[row.setting]
        where = _where(report, label, place, row.intensity, "resynchronised")
        yield from _read(RESYNCHRONISED, row, where, report.headline)


def _where(
    report: Report, technology: str, setting: Setting | None, intensity: float | None, table: str
) -> Row:
    label = "" if setting is None else setting.label
    unit = setting.parameter.unit if setting is not None and setting.parameter else ""
    return Row(
        technology,
        label,
        intensity,
        "" if intensity is None or unit == "ratio" else unit,
        table,
        "",
    )


def _of_technology(report: Report, technology: Technology) -> Iterator[Row]:
    def read(columns: Sequence[Column[Of]], source: Of, table: str) -> Iterator[Row]:
        where = _where(report, technology.label, None, None, table)
        return _read(columns, source, where, report.headline)

    yield from read(TECHNOLOGIES, technology, "technologies")
    yield from read(IMPERCEPTIBILITY, technology.imperceptibility, "imperceptibility")
    for row in technology.imperceptibility.measures:
        known = {m.name: m for m in report.measures}
        where = Row(technology.label, "", None, "", "quality", "", row.measure)
        yield from _read(QUALITY[1:], row, where, known.get(row.measure, report.headline))
    if technology.visibility:
        yield from read(VISIBILITY, technology.visibility, "visibility")
    yield from read(COST, technology.cost, "cost")
    if technology.control:
        yield from read(CONTROLS, technology.control, "controls")
    if technology.control_resynchronised:
        yield from read(CONTROLS, technology.control_resynchronised, "controls_resynchronised")
    yield from read(ROBUSTNESS, technology.unmodified, "robustness")
    where = _where(report, technology.label, None, None, "")
    yield from _of_blocks(technology.unmodified, where, report.headline)


def _of_blocks(point: Point, where: Row, measure: MeasureRecord) -> Iterator[Row]:
    if point.localisation is not None:
        yield from _read(BLOCKS, point.localisation, replace(where, table="blocks"), measure)


def _read(
    columns: Sequence[Column[Of]], source: Of, where: Row, measure: MeasureRecord
) -> Iterator[Row]:
    for column in columns:
        entry = column.get(source)
        unit = "" if column.form is Form.WORDS else plain_unit_of(column.form, measure)
        row = replace(where, quantity=column.key, unit=unit)
        if isinstance(entry, Value):
            yield replace(
                row,
                value=entry.value,
                low=entry.low,
                high=entry.high,
                confidence=entry.confidence,
                method=entry.method or "",
                networks=entry.networks,
                reason=entry.reason or "",
            )
        else:
            plain = entry.value if isinstance(entry, Share) else entry
            yield replace(row, **_as_field(plain))


def _as_field(plain: float | int | str | bool | None) -> dict[str, Any]:
    if isinstance(plain, bool):
        return {"word": "yes" if plain else "no"}
    return {"word": plain} if isinstance(plain, str) else {"value": plain}
