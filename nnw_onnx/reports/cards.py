"""What the literature says of each method, and how its carriers were chosen here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnw_onnx.measures.results import Technology
from nnw_onnx.records import CardRecord
from nnw_onnx.reports.model import Report
from nnw_onnx.reports.sentences import NOT_ATTACKED
from nnw_onnx.reports.words import listed

_MOST_NOTES = 4


@dataclass(frozen=True)
class CardOf:
    """A method.

    Attributes:
        name: of the method.
        lines: (what, told).
    """

    name: str
    lines: tuple[tuple[str, str], ...]


def cards(report: Report) -> tuple[CardOf, ...]:
    """The card of each method, and what its keys note on carriers; none that tells nothing."""
    names = dict.fromkeys(t.record.called for t in report.technologies)
    made = (CardOf(name, tuple(_lines(report, name))) for name in names)
    return tuple(card for card in made if card.lines)


def _lines(report: Report, name: str) -> Iterator[tuple[str, str]]:
    if name in report.cards:
        yield from _card(report.cards[name])
    technologies = [t for t in report.technologies if t.record.called == name]
    yield from _attacks(report, technologies)
    own = [t.injections for t in technologies]
    layers = list(dict.fromkeys(layer for i in own for layer in i.layers))
    notes = list(dict.fromkeys(note for i in own for note in i.notes))
    if layers:
        yield "Carriers here", listed(layers, _MOST_NOTES)
    if notes:
        yield "Chosen because", "; ".join(_few(notes))


def _card(card: CardRecord) -> Iterator[tuple[str, str]]:
    yield "Paper", card.paper
    yield "Reads", "the suspect alone" if card.blind else "beside the unwatermarked network"
    yield "Capacity", card.capacity
    yield "Key", card.key
    yield "Null", card.null
    if card.strength:
        yield "Strength", f"the option {card.strength}"
    if card.reported:
        yield "Reported", "; ".join(card.reported)
    if card.dies_of:
        yield "Dies of", "; ".join(card.dies_of)


def _attacks(report: Report, technologies: Sequence[Technology]) -> Iterator[tuple[str, str]]:
    """What somebody who knows the method did here, or that nobody did."""
    asked = [t for t in technologies if t.robustness_asked and t.record.kind != "integrity"]
    if report.settings and asked:
        indices = {t.index for t in asked}
        labels = [s.label for s in report.settings if indices & set(s.adaptive)]
        yield "Attacks by who knows it", "; ".join(labels) or NOT_ATTACKED


def _few(notes: list[str]) -> list[str]:
    more = len(notes) - _MOST_NOTES
    return notes[:_MOST_NOTES] + (
        [f"and {more} more notes in the report's JSON"] if more > 0 else []
    )
