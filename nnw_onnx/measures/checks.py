"""Checks: what was required, what was measured, and whether the one is met by the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "not measured"]


@dataclass(frozen=True)
class Check:
    """One requirement beside what was measured.

    Attributes:
        rule: a fixed word for its kind, such as "quality".
        name: which one it is; unique among the checks that are made together.
        required: in words.
        measured: in words; the reason where nothing was measured.
        outcome: "not measured" is no pass: see `met`.
        value: the number that was compared, in the units of the words; None where it is none.
        limit: what that number is: "mean", "low" or "high" of its limits, "count" or ""; see
            `reports.requirements`.
    """

    rule: str
    name: str
    required: str
    measured: str
    outcome: Outcome
    value: float | None = None
    limit: str = ""

    def __bool__(self) -> bool:
        return self.outcome == "passed"


def met(checks: Sequence[Check]) -> bool:
    """Whether every one of them passed, and there is one."""
    return bool(checks) and all(checks)


def outcome(passed: bool) -> Outcome:
    """The outcome of what was measured."""
    return "passed" if passed else "failed"
