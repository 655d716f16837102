"""ambiguity as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Nnw = Callable[..., Any]
Marked = tuple[Path, Path]


def test_what_rivals_can_show_is_a_table(nnw: Nnw, model: Path, marked: Marked) -> None:
    answer = nnw("ambiguity", model, marked[0], "--key", marked[1], "--tries", "20", "--seed", "1")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].split()[:2] == ["rival", "p"]
    rows = {line[:32].strip(): line[32:].split() for line in lines[1:6]}
    # 104 bits of "mine and mine"
    assert rows["(the owner's claim)"] == ["4.9e-32", "yes", "no"]
    assert rows["matrix fitted afterwards"] == ["4.9e-32", "yes", "yes", "yes", "owner"]
    assert rows["the same, counterfeit original"][-2:] == ["dates", "tell"]
    assert rows["second watermark on top"] == ["4.9e-32", "yes", "no", "no", "owner"]
    assert lines[6].startswith("matrix fitted afterwards: rival: the mark is in its own original")


def test_an_owner_whose_mark_is_not_there_gets_a_no(nnw: Nnw, model: Path, marked: Marked) -> None:
    words = ("--key", marked[1], "--tries", "2", "--seed", "1", "--format", "json")
    answer = nnw("ambiguity", model, model, *words)
    assert answer.status == 1
    told = json.loads(answer.out)
    assert [rivalry["dispute"]["first"]["detected"] for rivalry in told] == [False] * 4
    assert told[3]["dispute"]["outcome"] == "second"
