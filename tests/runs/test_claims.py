"""Payloads that are too short for a claim are told before anything runs, with what it takes."""

from __future__ import annotations

import pytest

from nnw_onnx.runs.claims import too_short
from nnw_onnx.vocabulary import Spec, Technology


def technology(name: str, size: int, code: Spec | None = None, **options: object) -> Technology:
    return Technology(Spec(name, options), size, code)


@pytest.mark.parametrize(
    ("level", "size", "takes"), [(1e-3, 9, 10), (1e-6, 19, 20), (1e-9, 29, 30), (1e-12, 39, 40)]
)
def test_the_bits_that_a_rate_takes(level, size, takes):
    (line,) = too_short([technology("uchida", size)], level)
    assert line == (
        f"uchida: expected at least {takes} symbols, because a claim at a false-positive rate of "
        f"{level:g} takes so many, got {size}: errors are measured, and no claim can be shown; "
        "give longer payloads or a larger rate"
    )
    assert too_short([technology("uchida", takes)], level) == []


def test_symbols_of_a_code_count():
    """Eight bits repeated three times are 24 Symbols, which are enough for one in a million."""
    assert too_short([technology("uchida", 8)], 1e-6)
    assert too_short([technology("uchida", 8, Spec("repetition", {"times": 3}))], 1e-6) == []


def test_what_is_not_counted_so_is_left_out():
    assert too_short([technology("presence", 0), technology("adi", 5)], 1e-6) == []
