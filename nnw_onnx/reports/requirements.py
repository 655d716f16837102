"""Requirements on a report: a small closed language over its rows, and what becomes of each.

    requirement = table [ "[" selection { "," selection } "]" ] "." quantity [ "." limit ] test
    selection   = modification [ "@" intensity ] | "technology" "=" name | "measure" "=" name
    limit       = "mean" | "low" | "high"
    test        = ( "<=" | ">=" | "<" | ">" ) number [ "%" ] | "==" name
    name        = a word, or any text in double quotes

Tables and quantities are those of `tables/all.csv`. Every row that is selected must meet the
requirement. Without a Modification the unmodified networks are meant, without a measure the
headline. Of a number with limits the one that speaks against the requirement is compared, unless
"mean" says otherwise: "high" for what may be at most so much, "low" for what must be at least.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnw_onnx.errors import ConfigurationError, shortened
from nnw_onnx.measures.checks import Check, outcome
from nnw_onnx.measures.results import Setting
from nnw_onnx.plugins import closest
from nnw_onnx.records import MeasureRecord, Plan, SettingRecord
from nnw_onnx.reports import columns, words
from nnw_onnx.reports.columns import Column, Form, Row
from nnw_onnx.reports.model import Report

MOST = 500
"""Characters of a requirement."""
RULE = "requirement"
_FEW = 3
"""Rows that are named where several do not meet a requirement."""
_TOKEN = re.compile(
    r'\s*(?:(?P<name>"[^"\n]{0,200}"|[A-Za-z][\w-]*)|(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)'
    r"|(?P<sign><=|>=|==|[<>=\[\].,@%]))"
)
_TESTS: dict[str, Callable[[float, float], bool]] = {
    "<=": lambda value, bound: value <= bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    ">": lambda value, bound: value > bound,
}
_LIMITS = ("mean", "low", "high")
_WITH_MODIFICATION = frozenset({"settings", "robustness", "blocks", "resynchronised"})
_BY_MEASURE = frozenset({"base", "quality"})
_ALSO = {"detected": "found_rate"}
"""What the share of watermarks found is called by everybody else."""
_EXAMPLE = "write for example 'quality.loss <= 1.0' or 'robustness[l1-pruning@50].detected >= 95%'"


@dataclass(frozen=True)
class Requirement:
    """A requirement as it was read.

    Attributes:
        text: as it was written.
        table: of the report.
        column: the quantity.
        modification: plug-in names joined by "+", or a label; None for unmodified networks.
        intensity: of it, or None for all.
        unit: that the Intensity was written with, or "".
        technology: label, or name of its method; None for all.
        measure: of quality; None for the headline.
        limit: "mean", "low" or "high"; of a word "".
        sign: of the test.
        bound: in the units of the rows, but see `scaled`; of a word 0.
        word: what a quantity that is a word has to be, or "".
        percent: whether the bound was written with "%".
    """

    text: str
    table: str
    column: Column[Any]
    modification: str | None = None
    intensity: float | None = None
    unit: str = ""
    technology: str | None = None
    measure: str | None = None
    limit: str = ""
    sign: str = "=="
    bound: float = 0.0
    word: str = ""
    percent: bool = False

    def scaled(self, measure: MeasureRecord) -> float:
        """The bound in the units of rows of this measure.

        Losses of a share are counted in points. Other shares are written with "%", or as they are.

        Raises:
            ConfigurationError: a number above 1 without "%", where a share is meant.
        """
        of_quality = self.column.form in (Form.QUALITY, Form.LOSS)
        shares = self.column.form is Form.SHARE or (of_quality and measure.unit == "%")
        if self.percent and not shares:
            raise _wrong(self.text, "a number without %", f"{self.bound:g}%", "leave % out")
        if shares and (self.percent or self.column.form is Form.LOSS):
            return self.bound / 100
        if shares and not 0 <= self.bound <= 1:
            cure = f"write {self.bound:g}%"
            raise _wrong(self.text, "a share with %, or from 0 to 1", f"{self.bound:g}", cure)
        return self.bound


def parsed(text: str) -> Requirement:
    """The requirement of a text.

    Raises:
        ConfigurationError: it is none, or names what no report has.
    """
    if len(text) > MOST:
        raise _wrong(text, f"at most {MOST} characters", f"{len(text)}", "write several")
    return _Reader(text).read()


def expect_rows(requirements: Sequence[Requirement], plan: Plan) -> None:
    """Raise `ConfigurationError` for what a run with this plan will not have, before it is run."""
    measures = {m.name: m for m in plan.measures}
    for wanted in requirements:
        _expect_named(wanted, [(t.label, t.method.name) for t in plan.technologies], "technology")
        _expect_named(wanted, [(name, name) for name in measures], "measure")
        _expect_setting(wanted, plan.settings)
        wanted.scaled(measures.get(wanted.measure or "", plan.measures[0]))


def checked(requirements: Sequence[Requirement], report: Report) -> tuple[Check, ...]:
    """What becomes of each requirement.

    Raises:
        ConfigurationError: a requirement of what the report cannot have.
    """
    return tuple(_checked(wanted, report) for wanted in requirements)


class _Reader:
    """Reads a requirement from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, place = text, list[tuple[str, str]](), 0
        end = len(text.rstrip())
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise _wrong(text, "a requirement", shortened(text[place:end], 40), _EXAMPLE)
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()

    def read(self) -> Requirement:
        """The whole of it."""
        table = self._one_of(self._take("name", "a table"), columns.TABLES, "a table")
        made = Requirement(self._text, table, columns.TABLES[table][0])
        if self._next("sign", "["):
            made = self._selected(made)
        self._sign(".")
        known = {column.key: column for column in columns.TABLES[table]}
        key = self._take("name", "a quantity")
        key = self._one_of(_ALSO.get(key, key), known, f"a quantity of {table}")
        made = self._tested(replace(made, column=known[key]))
        if self._tokens:
            raise self._unlike("the end")
        return made

    def _selected(self, made: Requirement) -> Requirement:
        while True:
            name = self._take("name", "a Modification, technology or measure")
            if name in ("technology", "measure") and self._next("sign", "="):
                named = {name: _bare(self._take("name", f"a {name}"))}
                made = replace(made, technology=named.get("technology", made.technology),
                               measure=named.get("measure", made.measure))  # fmt: skip
            else:
                made = self._modified(made, name)
            if self._next("sign", "]"):
                return made
            self._sign(",")

    def _modified(self, made: Requirement, name: str) -> Requirement:
        if made.table not in _WITH_MODIFICATION:
            raise _wrong(
                self._text, f"a Modification in one of {', '.join(sorted(_WITH_MODIFICATION))}",
                f"one in {made.table}", "leave it out",
            )  # fmt: skip
        made = replace(made, modification=_bare(name))
        if not self._next("sign", "@"):
            return made
        intensity = float(self._take("number", "an Intensity"))
        unit = "%" if self._next("sign", "%") else ""
        if not unit and self._tokens and self._tokens[0][0] == "name":
            unit = self._take("name", "a unit")
        return replace(made, intensity=intensity, unit=_bare(unit))

    def _tested(self, made: Requirement) -> Requirement:
        given = ""
        if self._next("sign", "."):
            given = self._one_of(self._take("name", "a limit"), _LIMITS, "a limit")
        sign = self._take("sign", "a comparison")
        is_word = made.column.form is Form.WORDS
        if is_word != (sign == "==") or sign not in (*_TESTS, "=="):
            signs = "==" if is_word else "one of " + ", ".join(_TESTS)
            raise _wrong(self._text, f"{signs} after {made.column.key}", sign, _EXAMPLE)
        if is_word:
            return replace(made, word=_bare(self._take("name", "a word")), sign=sign)
        bound = float(self._take("number", "a number"))
        if not math.isfinite(bound):
            raise _wrong(self._text, "a number", f"{bound}", "give a smaller one")
        against = "high" if sign.startswith("<") else "low"
        percent = self._next("sign", "%")
        return replace(made, limit=given or against, sign=sign, bound=bound, percent=percent)

    def _next(self, kind: str, text: str) -> bool:
        """Whether this comes next; if so it is read."""
        found = self._tokens[:1] == [(kind, text)]
        if found:
            self._tokens.pop(0)
        return found

    def _take(self, kind: str, what: str) -> str:
        if not self._tokens or self._tokens[0][0] != kind:
            raise self._unlike(what)
        return self._tokens.pop(0)[1]

    def _sign(self, text: str) -> None:
        if not self._next("sign", text):
            raise self._unlike(repr(text))

    def _unlike(self, what: str) -> ConfigurationError:
        got = repr(self._tokens[0][1]) if self._tokens else "the end"
        return _wrong(self._text, what, got, _EXAMPLE)

    def _one_of(self, word: str, known: Sequence[str] | dict[str, Any], what: str) -> str:
        if word not in known:
            raise _wrong(
                self._text, f"{what}: one of {', '.join(known)}",
                f"{word!r}{closest(word, known)}", "correct it",
            )  # fmt: skip
        return word


def _bare(name: str) -> str:
    return name.strip('"')


def _wrong(text: str, expected: str, got: str, cure: str) -> ConfigurationError:
    return ConfigurationError(
        f"require {shortened(text, 80)}: expected {expected}, got {got}; {cure}"
    )


def _alike(word: str) -> str:
    """A name as it is compared: neither case nor hyphens tell two of them apart."""
    return " ".join(word.replace("-", " ").replace("_", " ").lower().split())


def _expect_named(wanted: Requirement, known: Sequence[tuple[str, str]], what: str) -> None:
    given = wanted.technology if what == "technology" else wanted.measure
    names = list(dict.fromkeys(name for both in known for name in both))
    if given is not None and _alike(given) not in map(_alike, names):
        raise _wrong(
            wanted.text, f"a {what}: one of {'; '.join(names)}",
            f"{given!r}{closest(given, names)}", "correct it",
        )  # fmt: skip


def _expect_setting(wanted: Requirement, settings: Sequence[SettingRecord]) -> None:
    if wanted.modification is None:
        return
    found = [s for s in settings if _is_setting(wanted, s)]
    if not found:
        known = list(dict.fromkeys(_names(s) for s in settings)) or ["none"]
        raise _wrong(
            wanted.text, f"a Modification of the evaluation: {', '.join(known)}",
            f"{wanted.modification!r}{closest(wanted.modification, known)}", "correct it",
        )  # fmt: skip
    tried = [x for s in found for x in s.intensities]
    if wanted.intensity is not None and not any(map(wanted_at(wanted), tried)):
        told = ", ".join(f"{x:g}" for x in dict.fromkeys(tried)) or "none"
        raise _wrong(wanted.text, f"an Intensity that is tried: {told}",
                     f"{wanted.intensity:g}", "add it to the evaluation")  # fmt: skip


def wanted_at(wanted: Requirement) -> Callable[[float], bool]:
    """Whether an Intensity is the one that is meant."""
    meant = wanted.intensity
    return lambda tried: meant is None or math.isclose(tried, meant, rel_tol=1e-9)


def _names(setting: Setting | SettingRecord) -> str:
    return "+".join(step.modification.name for step in setting.steps)


def _is_setting(wanted: Requirement, setting: Setting | SettingRecord) -> bool:
    given = wanted.modification or ""
    return given == _names(setting) or _alike(given) == _alike(setting.label)


def _checked(wanted: Requirement, report: Report) -> Check:
    measures = {m.name: m for m in report.measures}
    measure = measures.get(wanted.measure or "", report.headline)
    bound = wanted.scaled(measure)
    rows = list(_selected(wanted, report))
    shown = _in_words(wanted, measure)
    required = f"{wanted.sign} {wanted.word or shown(bound)}"
    judged = [_judged(wanted, row, bound, shown) for row in rows]
    if not judged:
        return Check(RULE, wanted.text, required, "the report has no such row", "not measured")
    unmeasured = [j for j in judged if j.value is None and not j.passed]
    wrong = unmeasured or [j for j in judged if not j.passed]
    told = wrong or [_nearest(judged, wanted)]
    said = "; ".join(j.text for j in told[:_FEW])
    more = f" and {len(told) - _FEW} more" if len(told) > _FEW else ""
    of = f" (of {len(judged)} rows)" if len(judged) > 1 else ""
    result = "not measured" if unmeasured and not wanted.word else outcome(not wrong)
    number = None if told[0].value is None else shown.plain(told[0].value)
    return Check(RULE, wanted.text, required, f"{said}{more}{of}", result, number, told[0].limit)


@dataclass(frozen=True)
class _Judged:
    """One row beside the requirement.

    Attributes:
        text: in words, with its place.
        passed: whether it is met.
        value: what was compared, in the units of the rows, or None.
        limit: which of its numbers that is.
    """

    text: str
    passed: bool
    value: float | None = None
    limit: str = ""


@dataclass(frozen=True)
class _InWords:
    """Prints numbers of one column as reports do."""

    form: Form
    measure: MeasureRecord

    def plain(self, value: float) -> float:
        """The number as it is shown: shares in percent, losses in points."""
        return (
            value if self.form is Form.EVIDENCE else columns.shown(value, self.form, self.measure)
        )

    def __call__(self, value: float) -> str:
        unit = columns.unit_of(self.form, self.measure) if self.form is not Form.EVIDENCE else ""
        number = words.number(self.plain(value), 4)
        return f"{number} {unit}".rstrip()


def _in_words(wanted: Requirement, measure: MeasureRecord) -> _InWords:
    return _InWords(wanted.column.form, measure)


def _selected(wanted: Requirement, report: Report) -> Iterator[Row]:
    settings = {s.label: s for s in report.settings}
    technologies = {t.label: t.record.method.name for t in report.technologies}
    meant = wanted.measure or report.headline.name
    for row in columns.rows(report):
        if row.table != wanted.table or row.quantity != wanted.column.key:
            continue
        if wanted.table in _BY_MEASURE and _alike(row.measure) != _alike(meant):
            continue
        names = (row.technology, technologies.get(row.technology, ""))
        if wanted.technology is not None and _alike(wanted.technology) not in map(_alike, names):
            continue
        if _is_meant(wanted, row, settings):
            yield row


def _is_meant(wanted: Requirement, row: Row, settings: dict[str, Setting]) -> bool:
    if wanted.modification is None:
        return not row.modification
    if not row.modification or not _is_setting(wanted, settings[row.modification]):
        return False
    if wanted.intensity is None:
        return True
    same_unit = not wanted.unit or wanted.unit == row.intensity_unit
    return row.intensity is not None and wanted_at(wanted)(row.intensity) and same_unit


def _judged(wanted: Requirement, row: Row, bound: float, shown: _InWords) -> _Judged:
    where = _place(row)
    if wanted.word:
        word = row.word or "nothing"
        return _Judged(f"{word}{where}", _alike(word) == _alike(wanted.word))
    if row.value is None:
        reason = row.reason or "there is no number"
        return _Judged(f"not measured{where}: {reason}", False)
    # Only numbers that were estimated have limits; a count is what it is.
    estimated = bool(row.networks)
    value, limit = (row.value, "count")
    if estimated:
        found = {"mean": row.value, "low": row.low, "high": row.high}[wanted.limit]
        if found is None:
            return _Judged(_without_limits(wanted, row, shown, where), False)
        value, limit = found, wanted.limit
    text = f"{shown(value)}{_which(row, limit, shown)}{where}"
    return _Judged(text, _TESTS[wanted.sign](value, bound), value, limit)


def _without_limits(wanted: Requirement, row: Row, shown: _InWords, where: str) -> str:
    why = row.reason or "none are given of it"
    return (
        f"no limits{where}: {why}; the mean is {shown(row.value or 0.0)}, which "
        f"{wanted.column.key}.mean requires something of"
    )


def _which(row: Row, limit: str, shown: _InWords) -> str:
    """Which of its numbers was compared."""
    if limit not in ("low", "high"):
        return " (mean)" if limit == "mean" else ""
    sure = "approximate limits" if row.confidence is None else f"{100 * row.confidence:g} % limits"
    if row.method == "no-event":
        sure = "one-sided 95 % limit"
    return (
        f" ({'lower' if limit == 'low' else 'upper'} of the {sure}; mean {shown(row.value or 0)})"
    )


def _place(row: Row) -> str:
    unit = f" {row.intensity_unit}".rstrip()
    at = "" if row.intensity is None else f" at {row.intensity:g}{unit}"
    under = f" under {row.modification}{at}" if row.modification else ""
    return f" of {row.technology}{under}" if row.technology else under


def _nearest(judged: Sequence[_Judged], wanted: Requirement) -> _Judged:
    """Of those that meet it, the one that does so least."""
    upper = wanted.sign.startswith("<")
    known = [j for j in judged if j.value is not None]
    return max(known, key=lambda j: (j.value or 0.0) * (1 if upper else -1), default=judged[0])
