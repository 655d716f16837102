"""Axes: where a number lies between the two ends of a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """Equal steps; what lies beyond an end is drawn at it.

    Attributes:
        low: number at the start.
        high: number at the end, above `low`.
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Place of a number: 0 at the start, 1 at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def holds(self, value: float) -> bool:
        """Whether the number itself lies on the axis."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Log:
    """Equal ratios, from one power of ten to another.

    Attributes:
        low: exponent at the start.
        high: exponent at the end, above `low`.
    """

    low: int
    high: int

    @classmethod
    def around(cls, values: Sequence[float]) -> Log:
        """The shortest axis of whole powers that holds these positive numbers."""
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(low, max(high, low + 1))

    def at(self, value: float) -> float:
        """Place of a positive number."""
        return Linear(self.low, self.high).at(math.log10(value))

    def ticks(self) -> list[float]:
        """Places of its powers of ten, at most twelve of them."""
        # By exponents: 10.0**-324 is 0, and a run folder may hold any number.
        step = max(1, math.ceil((self.high - self.low) / 11))
        exponents = Linear(self.low, self.high)
        return [exponents.at(e) for e in range(self.low, self.high + 1, step)]


@dataclass(frozen=True)
class Folded:
    """0 to a limit on the first half, the limit to the end on the second.

    Both sides of a decision get the same room, so that quadrants of two such axes are equal.

    Attributes:
        knee: the limit, above 0.
        high: number at the end, above `knee`.
    """

    knee: float
    high: float

    def at(self, value: float) -> float:
        """Place of a number; one below 0 is drawn at 0."""
        if value <= self.knee:
            return 0.5 * Linear(0.0, self.knee).at(value)
        return 0.5 + 0.5 * Linear(self.knee, self.high).at(value)


def rounded_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, ... (positive numbers)."""
    unit = 10.0 ** math.floor(math.log10(value))
    return next(m * unit for m in (1, 2, 5, 10) if value <= m * unit * (1 + 1e-9))


def percent(place: float) -> str:
    """A place as a length of CSS and SVG: text keeps its size where the figure is stretched."""
    return f"{100 * place:.1f}%"
