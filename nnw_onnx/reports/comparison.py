"""A comparison as text, JSON, tables and one page; everything is escaped where it is written."""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.measures.compared import ClaimResult, Comparison, Group
from nnw_onnx.plugins import closest
from nnw_onnx.reports import forms, words
from nnw_onnx.reports.comparison_limits import limits_line, limits_table
from nnw_onnx.reports.comparison_tables import grid, label_of, tables
from nnw_onnx.reports.forms import Table
from nnw_onnx.reports.latex import as_latex
from nnw_onnx.text import document, harmless

FORMATS = ("html", "json", "csv", "markdown", "latex")
_MOST_NAMED = 12
"""Claims and reasons that are told in words; the tables have all of them."""
_LONG = frozenset({"attacks"})
"""Tables that are files only, in CSV: a reader has the grids instead."""


def render(found: Comparison, form: str) -> str:
    """The whole comparison as one text: "html", "json", "csv", "markdown" or "latex".

    CSV is every number of every technology in every setting; Markdown and LaTeX are tables.

    Raises:
        ConfigurationError: for another form.
    """
    if form not in FORMATS:
        raise ConfigurationError(
            f"comparison: expected one of the formats {', '.join(FORMATS)}; got {form!r}"
            f"{closest(form, FORMATS)}; choose one of them"
        )
    return document(_rendered(found, form))


def lead(found: Comparison) -> str:
    """What is compared, in one sentence."""
    runs = words.plural(len(found.runs), "run")
    several = sorted(set(found.payloads))
    payloads = " or ".join(map(str, several))
    return (
        f"{words.plural(len(found.contestants), 'technology', 'technologies')} of {runs}, "
        f"{words.plural(len(found.networks), 'network')} × {payloads} Payloads, one level of "
        f"{words.number(found.false_positive_rate)}"
    )


def strength(found: Comparison) -> str:
    """What so many networks can show at all."""
    if not found.claims:
        return "There is no claim to test: no two technologies have equal payloads."
    have, need = len(found.networks), found.needed
    claims = words.plural(found.claims, "claim")
    least = f"the smallest p-value of {have} networks is {words.number(found.smallest_p)}"
    if found.decidable:
        return f"{claims}, fixed by the plan; {least}, so that they can be significant."
    return (
        f"{claims}, fixed by the plan; {least}: none can be significant after Holm. That takes "
        f"{need} networks, or fewer claims."
    )


def unranked(found: Comparison) -> tuple[str, ...]:
    """Who has no place, because nobody who knows the method attacked it; () where all have one."""
    left = [c.label for c in found.contestants if not c.attacked]
    if not left:
        return ()
    if len(left) == len(found.contestants):
        return ("Not ranked: no technology was attacked by somebody who knows its method.",)
    return (f"Not ranked, because not attacked adaptively: {words.listed(left, _MOST_NAMED)}.",)


def summary(found: Comparison) -> tuple[str, ...]:
    """The comparison in a few lines of plain text."""
    lines = [lead(found), strength(found), *unranked(found)]
    for group in found.groups:
        lines += [f"{group.title}: {told}" for told in verdicts(found, group)]
        if again := limits_line(found, group):
            lines.append(f"{group.title}: {again}")
        if group.left_out:
            settings = words.plural(len(group.left_out), "setting")
            lines.append(f"{group.title}: {settings} left out of the scores, see the page")
    return tuple(map(harmless, lines))


def verdicts(found: Comparison, group: Group) -> tuple[str, ...]:
    """What the claims of a group came to, in sentences."""
    told = [_sentence(found, r) for r in group.results if r.verdict in ("first", "second")]
    equal = sum(r.verdict == "equivalent" for r in group.results)
    tied = sum(r.verdict == "tied" for r in group.results)
    unfair = sum(r.verdict == "not comparable" for r in group.results)
    rest = [
        f"{words.plural(n, one, many)}"
        for n, one, many in (
            (equal, "pair is equivalent", "pairs are equivalent"),
            (tied, "pair is tied", "pairs are tied"),
            (unfair, "pair is not comparable", "pairs are not comparable"),
        )
        if n
    ]
    more = len(told) - _MOST_NAMED
    told = told[:_MOST_NAMED] + ([f"and {more} more claims hold"] if more > 0 else [])
    return (*told, *([words.listed(rest)] if rest else []))


def _sentence(found: Comparison, result: ClaimResult) -> str:
    claim = result.claim
    pair = (claim.first, claim.second)
    winner, loser = pair if result.verdict == "first" else pair[::-1]
    where = "" if claim.setting is None else f" in {found.settings[claim.setting].label}"
    points = words.fixed(100 * abs(result.difference.value or 0.0), 1)
    return (
        f"{label_of(found, winner)} is attacked with less success than {label_of(found, loser)}"
        f"{where}, by {points} points (p = {words.number(result.adjusted)} after Holm)"
    )


def _rendered(found: Comparison, form: str) -> str:
    if form == "html":
        from nnw_onnx.reports.comparison_page import page

        return page(found)
    if form == "json":
        return found.model_dump_json(indent=1) + "\n"
    made = tables(found)
    if form == "csv":
        return next((forms.as_csv(t) for t in made if t.name == "attacks"), "")
    return _told(found, form)


def readable(found: Comparison) -> Iterator[Table]:
    """The tables that people read, those of single groups among them."""
    for made in tables(found):
        if made.name not in _LONG:
            yield made
    yield from _limits(found)
    yield from (g for group in found.groups if (g := grid(found, group)).rows)


def _limits(found: Comparison) -> Iterator[Table]:
    yield from (t for group in found.groups if (t := limits_table(found, group)).rows)


def _told(found: Comparison, form: str) -> str:
    made = list(readable(found))
    if form == "latex":
        return "\n".join(map(as_latex, made))
    said = "".join(f"- {forms.markdown_escaped(line)}\n" for line in summary(found))
    left = "".join(f"- {forms.markdown_escaped(line)}\n" for line in found.left_out)
    parts = [f"# Comparison\n\n{said}", *map(forms.as_markdown, made)]
    return "\n".join([*parts, *([f"## Not compared\n\n{left}"] if left else [])])


def files(found: Comparison) -> Iterator[tuple[str, str]]:
    """Name and content of every file of a comparison, the page first."""
    yield "comparison.html", render(found, "html")
    yield "comparison.json", render(found, "json")
    for made in (*tables(found), *_limits(found)):
        yield f"tables/{made.name}.csv", forms.as_csv(made)
    for made in readable(found):
        yield f"tables/{made.name}.md", forms.as_markdown(made)
        yield f"tables/{made.name}.tex", as_latex(made)
