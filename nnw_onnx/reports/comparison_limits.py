"""Places with other limits of usability, as a table of each group and as one line."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.compared import Comparison, Group, LimitedPlaces, Place
from nnw_onnx.reports import words
from nnw_onnx.reports.columns import Form
from nnw_onnx.reports.comparison_tables import file_of, label_of, ordered
from nnw_onnx.reports.forms import Head, Item, Table
from nnw_onnx.reports.words import Shown


def limits_table(found: Comparison, group: Group) -> Table:
    """Success and place of each technology at each limit; no rows where nothing ever counts."""
    heads = [Head("technology", "Technology", False, False, lead=True)]
    for one in group.limits:
        key, at = _amount(found, one), f"loss up to {_amount(found, one, unit=True)}"
        heads += [
            Head(f"success_at_{key}", f"Success, %, {at}", True, False),
            Head(f"place_at_{key}", f"Place, {at}", True, False),
        ]
    known = [{p.contestant: p for p in one.places} for one in group.limits]
    rows = [
        (
            Item(label_of(found, k), Form.WORDS, found.measure),
            *(item for at in known for item in _items(found, at.get(k))),
        )
        for k in (ordered(group) if any(known) else ())
    ]
    return Table(
        f"limits-{file_of(group)}",
        f"{group.title}: places with other limits of usability",
        tuple(heads),
        tuple(rows),
        below=_notes(found, group),
    )


def limits_line(found: Comparison, group: Group) -> str:
    """Whether places change with the limit, and which; "" where there are no other limits."""
    told = [one for one in group.limits if one.places]
    silent = [_amount(found, one, unit=True) for one in group.limits if not one.places]
    none = f"no setting counts at a loss up to {_either(silent)}" if silent else ""
    if len(told) < 2:
        return f"places are not repeated at other limits of usability: {none}" if silent else ""
    amounts = _either([_amount(found, one) for one in told])
    where = f"where a loss up to {amounts} {Shown(found.measure).unit}".rstrip() + " is usable"
    after = f"; {none}" if none else ""
    changed = _changed(told)
    if not changed:
        return f"places by success are the same {where}{after}"
    named = [
        f"{label_of(found, k)} ({', '.join(str(p.place) for p in row)})"
        for k, row in changed.items()
    ]
    count = f"{len(changed)} of {words.plural(len(group.contestants), 'place')}"
    change = "changes" if len(changed) == 1 else "change"
    return f"{count} by success {change} {where}: {words.listed(named)}{after}"


def _changed(told: Sequence[LimitedPlaces]) -> dict[int, tuple[Place, ...]]:
    """Places by limit of the technologies whose place is not always the same, most first."""
    rows = {row[0].contestant: row for row in zip(*(one.places for one in told), strict=True)}
    moved = {k: row for k, row in rows.items() if _spread(row)}
    return dict(sorted(moved.items(), key=lambda item: -_spread(item[1])))


def _spread(row: Sequence[Place]) -> int:
    found = [p.place for p in row if p.place is not None]
    return max(found) - min(found) if found else 0


def _items(found: Comparison, place: Place | None) -> tuple[Item, Item]:
    success, number = (None, None) if place is None else (place.success, place.place)
    return Item(success, Form.SHARE, found.measure), Item(number, Form.COUNT, found.measure)


def _notes(found: Comparison, group: Group) -> tuple[str, ...]:
    usual = Shown(found.measure).usable()
    counts = words.listed([f"{one.intensities:,}" for one in group.limits])
    return (
        "Places here are by success alone, equal ones shared, and no further claims: the manifest "
        f"and Holm stay at a loss up to {usual}.",
        f"Modifications at single Intensities that count, limit by limit: {counts}.",
    )


def _amount(found: Comparison, one: LimitedPlaces, unit: bool = False) -> str:
    shown = Shown(found.measure)
    text = words.number(shown.factor * one.usable_loss)
    return f"{text} {shown.unit}".rstrip() if unit else text


def _either(amounts: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(amounts[:-1]), *amounts[-1:]]))
