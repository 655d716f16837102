"""Reports that no run made: a small one, the large one, and one whose every name is hostile."""

from __future__ import annotations

import pytest

from . import synthetic

HOSTILE = (
    "=cmd|' /C calc'!A0 <script>alert(1)</script> $x^2$ & \\input{x} | `a` \x1b[31m\u202e \"'{}"
)


@pytest.fixture(scope="session")
def small():
    return synthetic.small()


@pytest.fixture(scope="session")
def large():
    return synthetic.large()


@pytest.fixture(scope="session")
def hostile():
    return synthetic.small(rename=HOSTILE)
