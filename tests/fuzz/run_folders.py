"""Mutants of run folders, and a report of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

import nnw_onnx as nnw
from nnw_onnx.reports import FORMATS, render
from nnw_onnx.runs.store import RECORDS, SINGLE
from nnw_onnx.text import document

NUMBERS = (
    0, -0.0, 1, -1, 0.5, 5e-324, 1e-300, 1e-15, 1 - 1e-16, 1e15, -1e15, 1e308, 2**53, 2**63,
    10**400, 10**4200, float("nan"), float("inf"), True, None,
)  # fmt: skip
TEXTS = (
    "", "\x1b[2J\x1b]0;x\x07", "\x9b31m", "\u202egnp.exe", "a\nb\r\nc", "\x00", "\ufffe",
    "=1+1|'x'!A1",
    "<script>alert(1)</script>", "]]>&amp;<!--", "| a | b |", "\\input{x}$%#_&{}~^", "x" * 5000,
    "\u3164\u034f", "\U000e0041", "../../x", "{{ 7*7 }}", "\u05d0\u05d1 1 2", "𝔞é\u0301",
)  # fmt: skip
ELSEWHERE: tuple[Any, ...] = ([], {}, [[[[]]]], {"a": {"b": [1, "c"]}}, "x", 3)


def write_run(
    folder: Path, plan: Any, injections: Any, trials: Any, costs: Any, where: Any
) -> None:
    """A run folder with these records."""
    for name in ("keys", "networks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for record in filter(None, (plan, where)):
        (folder / SINGLE[type(record)]).write_text(record.model_dump_json())
    for records in (injections, trials, costs):
        if records:
            lines = "".join(r.model_dump_json() + "\n" for r in records)
            (folder / RECORDS[type(records[0])]).write_text(lines)


def mutated(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one place in it changed: a leaf, a key, a length."""
    places = list(_places(value, ()))
    return _changed(value, places[rng.integers(len(places))], lambda old: _other(old, rng))


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else inside:
        yield from _places(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(value[path[0]], path[1:], change)
    return copy


def _other(old: Any, rng: np.random.Generator) -> Any:
    def one_of(some: Any) -> Any:
        return some[rng.integers(len(some))]

    if rng.random() < 0.05:
        return one_of(ELSEWHERE)
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return one_of(NUMBERS)
    if isinstance(old, str):
        return one_of(TEXTS)
    if isinstance(old, list):
        return one_of(([], old[:-1], old[::-1], old * 2, [*old, *old[:1] * 40]))
    if isinstance(old, dict) and old:
        keys = list(old)
        key = one_of(keys)
        return one_of((
            {k: v for k, v in old.items() if k != key},
            {(one_of(TEXTS) if k == key else k): v for k, v in old.items()},
            {},
        ))  # fmt: skip
    return one_of(NUMBERS + TEXTS)


def draw_report(folder: Path) -> None:
    """Draw the report in every form, each of which must be harmless and well-formed."""
    report = nnw.report(folder)
    texts = {form: render(report, form) for form in FORMATS}
    json.loads(texts["json"])
    for path in folder.rglob("*"):
        if path.suffix in (".svg", ".html", ".csv", ".md", ".tex"):
            texts[path.name] = path.read_text(encoding="utf-8")
    for name, text in texts.items():
        assert document(text) == text, name
        if name.endswith(".svg"):
            ElementTree.fromstring(text)
