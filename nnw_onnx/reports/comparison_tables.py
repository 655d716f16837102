"""The tables of a comparison, from columns that are declared once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnw_onnx.measures.compared import (
    Attack,
    ClaimResult,
    Comparison,
    Contestant,
    Group,
    QualityPair,
    Standing,
    SymbolPair,
)
from nnw_onnx.reports import words
from nnw_onnx.reports.columns import Column, Form
from nnw_onnx.reports.forms import Head, Item, Table, table
from nnw_onnx.reports.names import CROWDED


def places(standing: Standing) -> str:
    """The places that a technology can have: "1", or "1 to 3" where it is tied with others."""
    first, last = standing.best, standing.worst
    if first is None:
        return "not ranked"
    return f"{first}" if first == last else f"{first} to {last}"


CONTESTANTS: tuple[Column[Contestant], ...] = (
    Column("payload_bits", "Payload, bits", Form.COUNT, lambda c: c.bits),
    Column("symbols", "Symbols", Form.COUNT, lambda c: c.symbols),
    Column("level", "Decided at", Form.PROBABILITY, lambda c: c.level),
    Column("attained", "Attained as recorded", Form.PROBABILITY, lambda c: c.attained),
    Column("decided", "Decided here", Form.WORDS, lambda c: c.decided),
    Column("loss", "Loss through the watermark", Form.LOSS, lambda c: c.loss, "lower"),
    Column("attacked", "Attacked adaptively", Form.WORDS, lambda c: "yes" if c.attacked else "no"),
)
STANDINGS: tuple[Column[Standing], ...] = (
    Column("places", "Place", Form.WORDS, places),
    Column("success", "Attacks that succeed", Form.SHARE, lambda s: s.score, "lower"),
    Column("rank", "Mean rank within networks", Form.NUMBER, lambda s: s.rank, "lower"),
)
RESULTS: tuple[Column[ClaimResult], ...] = (
    Column("difference", "Difference, first − second", Form.SHARE, lambda r: r.difference),
    Column("p_value", "p, sign-flip", Form.PROBABILITY, lambda r: r.p_value),
    Column("adjusted", "p after Holm", Form.PROBABILITY, lambda r: r.adjusted),
    Column("verdict", "Verdict", Form.WORDS, lambda r: r.verdict),
    Column("reason", "Reason", Form.WORDS, lambda r: r.reason),
)
QUALITY_PAIRS: tuple[Column[QualityPair], ...] = (
    Column("difference", "Quality, first − second", Form.LOSS, lambda q: q.difference),
    Column("equality", "At the margin", Form.WORDS, lambda q: q.equality),
)
SYMBOL_PAIRS: tuple[Column[SymbolPair], ...] = (
    Column("difference", "Symbol Error Rate, first − second", Form.SHARE, lambda s: s.difference),
    Column("equality", "At the margin", Form.WORDS, lambda s: s.equality),
    Column("reason", "Reason", Form.WORDS, lambda s: s.difference.reason),
)
ATTACKS: tuple[Column[Attack], ...] = (
    Column("success", "Attacks that succeed", Form.SHARE, lambda a: a.success, "lower"),
    Column("lost", "Not found", Form.SHARE, lambda a: a.lost, "lower"),
    Column("ser", "Symbol Error Rate", Form.SHARE, lambda a: a.ser, "lower"),
    Column("counts", "Counts", Form.WORDS, lambda a: "yes" if a.counts else "no"),
    Column("reason", "Reason", Form.WORDS, lambda a: a.reason),
)


def tables(found: Comparison) -> tuple[Table, ...]:
    """Every table that there are numbers for."""
    return tuple(t for t in _tables(found) if t.rows)


def _tables(found: Comparison) -> Iterator[Table]:
    measure = found.measure
    yield table(
        "technologies",
        "The technologies that are compared",
        ("Technology",),
        CONTESTANTS,
        (((c.label,), c, measure) for c in found.contestants),
    )
    yield table(
        "standings",
        "Attacks that succeed: the Detector says No and the network is usable",
        ("Group", "Technology"),
        STANDINGS,
        (
            ((g.title, label_of(found, s.contestant)), s, measure)
            for g in found.groups
            for s in g.standings
        ),
    )
    yield table(
        "claims",
        f"The manifest of {words.plural(found.claims, 'claim')}",
        ("First", "Second", "Modification"),
        RESULTS,
        (
            (
                (
                    label_of(found, r.claim.first),
                    label_of(found, r.claim.second),
                    "all" if r.claim.setting is None else found.settings[r.claim.setting].label,
                ),
                r,
                measure,
            )
            for g in found.groups
            for r in g.results
        ),
    )
    yield table(
        "equal-quality",
        f"Quality of the watermarked networks in pairs, {measure.name}",
        ("First", "Second"),
        QUALITY_PAIRS,
        (
            ((label_of(found, q.first), label_of(found, q.second)), q, measure)
            for g in found.groups
            for q in g.quality
        ),
    )
    margin = words.number(100 * found.symbol_equivalence)
    yield table(
        "equal-symbols",
        f"Symbol Error Rates in pairs, equivalent where the limits are inside ±{margin} points",
        ("First", "Second"),
        SYMBOL_PAIRS,
        (
            ((label_of(found, s.first), label_of(found, s.second)), s, measure)
            for g in found.groups
            for s in g.symbols
        ),
        once=frozenset({"reason"}),
    )
    yield table(
        "attacks",
        "Each Modification at each Intensity",
        ("Technology", "Modification", "Intensity", "Unit"),
        ATTACKS,
        (
            (
                (
                    label_of(found, a.contestant),
                    found.settings[a.setting].label,
                    a.intensity,
                    found.settings[a.setting].unit if a.intensity is not None else "",
                ),
                a,
                measure,
            )
            for g in found.groups
            for a in g.attacks
        ),
    )


def grid(found: Comparison, group: Group) -> Table:
    """The share of attacks that succeed: settings down, technologies across; many are turned."""
    across = ordered(group)
    by_place = {(a.contestant, a.setting, a.level): a for a in group.attacks}
    leads, rows = [], []
    for setting in found.settings:
        for i, level in enumerate(setting.levels):
            cells = [by_place[k, setting.index, i] for k in across]
            if not all(c.counts for c in cells):
                continue
            at = "" if level.intensity is None else f" {level.intensity:g} {setting.unit}".rstrip()
            leads.append(f"{setting.code} {setting.label}{at}")
            rows.append([Item(c.success, Form.SHARE, found.measure) for c in cells])
    labels = [label_of(found, k) for k in across]
    if turned(group):
        columns = [tuple(row[i] for row in rows) for i in range(len(across))] if rows else []
        keys = [f"s{i}" for i in range(len(leads))]
        return _grid(found, group, ("Technology", labels), (keys, leads), columns)
    return _grid(found, group, ("Modification", leads), ([f"c{k}" for k in across], labels), rows)


def turned(group: Group) -> bool:
    """Whether technologies are rows of the grid, as they are in the matrix of so many."""
    return len(group.contestants) > CROWDED


def _grid(
    found: Comparison,
    group: Group,
    down: tuple[str, Sequence[str]],
    across: tuple[Sequence[str], Sequence[str]],
    cells: Sequence[Sequence[Item]],
) -> Table:
    """A grid from what stands down (its name, then words) and across (keys, then words)."""
    lead, labels = down
    heads = [Head(lead.lower(), lead, False, False, lead=True, roomy=turned(group))]
    heads += [Head(key, text, True, False) for key, text in zip(*across, strict=True)]
    rows = tuple(
        (Item(label, Form.WORDS, found.measure), *row)
        for label, row in zip(labels, cells, strict=bool(cells))
    )
    return Table(f"grid-{file_of(group)}", f"{group.title}, in %", tuple(heads), rows)


def file_of(group: Group) -> str:
    """A group in the name of a file: its bits, told from fingerprints of as many."""
    return f"{group.bits}{'-fingerprints' if group.title.endswith('fingerprints') else ''}"


def ordered(group: Group) -> Sequence[int]:
    """Technologies of a group, the best first."""
    return [s.contestant for s in group.standings] or list(group.contestants)


def label_of(found: Comparison, contestant: int) -> str:
    """Name of a technology for people."""
    return found.contestants[contestant].label
