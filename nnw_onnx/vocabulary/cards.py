"""What the literature says of a method, for readers of a catalogue and of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """What is known of a method before it is measured; every entry is one plain sentence or less.

    Attributes:
        paper: authors, title, venue and year; "none" for a method of this project.
        blind: whether Detector and Decoder need nothing of the unwatermarked network.
        capacity: how many Symbols fit, such as "fewer bits than weights a filter".
        key: what the key holds beside its secret.
        null: distribution of the evidence without the watermark, and what it rests on.
        reported: headline numbers of the paper, each with where it stands there.
        dies_of: what the method is known not to survive, each with its source.
        strength: name of the option that makes the watermark stronger and costs quality, which a
            fair comparison tunes; None where there is none.
    """

    paper: str
    blind: bool
    capacity: str
    key: str
    null: str
    reported: tuple[str, ...] = ()
    dies_of: tuple[str, ...] = ()
    strength: str | None = None
