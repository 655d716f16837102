"""Cards of methods in the report: what the literature says, and how carriers were chosen here."""

from __future__ import annotations

import dataclasses

from nnw_onnx import plugins
from nnw_onnx.records import CardRecord
from nnw_onnx.reports import build_report
from nnw_onnx.reports.cards import cards
from nnw_onnx.reports.page import page
from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation
from nnw_onnx.runs.plan_record import _cards
from nnw_onnx.vocabulary import Card, Method

from ..measures.made import invented  # noqa: TID252 - tests are no package that is installed
from .conftest import HOSTILE

CARD = CardRecord(
    paper="Somebody, A mark, 2020",
    blind=True,
    capacity="fewer bits than weights",
    key="a matrix",
    null="Bin(n, 1/2)",
    reported=("9 of 10 (table 1)",),
    dies_of=("pruning (somebody else, 2021)",),
    strength="margin",
)


def report_with(found):
    made = invented(2, 1)
    plan = made.plan.model_copy(update={"cards": found})
    injections = tuple(
        i.model_copy(update={"notes": (f"the largest {i.technology}",)}) for i in made.injections
    )
    return build_report(plan, injections, *made.parts[2:])


def test_a_record_holds_what_a_card_holds():
    assert [f.name for f in dataclasses.fields(Card)] == list(CardRecord.model_fields)


def test_a_plan_has_the_cards_of_its_methods():
    found = _cards(read_evaluation(find_evaluation("digits")))
    told = {n: plugins.load(Method, n).card for n in ("block-spread", "uchida")}
    assert {n: c.paper for n, c in found.items()} == {n: c.paper for n, c in told.items() if c}


def test_each_method_is_told_once_with_its_carriers():
    first, second = cards(report_with({"uchida": CARD}))
    assert (first.name, second.name) == ("block-spread", "uchida")
    assert dict(first.lines) == {
        "Attacks by who knows it": "Gaussian noise",
        "Carriers here": "conv1",
        "Chosen because": "the largest 0",
    }
    assert dict(second.lines) == {
        "Paper": CARD.paper,
        "Reads": "the suspect alone",
        "Capacity": CARD.capacity,
        "Key": CARD.key,
        "Null": CARD.null,
        "Strength": "the option margin",
        "Reported": "9 of 10 (table 1)",
        "Dies of": "pruning (somebody else, 2021)",
        "Attacks by who knows it": "Gaussian noise",
        "Carriers here": "conv1",
        "Chosen because": "the largest 1",
    }


def test_a_card_says_who_was_not_attacked_by_somebody_who_knows_it():
    def told(**fields):
        made = build_report(*invented(2, 7, **fields).parts)
        return [dict(card.lines).get("Attacks by who knows it") for card in cards(made)], made

    lines, made = told()
    assert lines == [made.settings[-1].label] * 2
    lines, made = told(attacked=False)
    assert lines == ["not attacked adaptively"] * 2
    only = made.settings[1].model_copy(update={"adaptive": (1,)})
    one = made.model_copy(update={"settings": (made.settings[0], only)})
    assert [dict(c.lines)["Attacks by who knows it"] for c in cards(one)] == [
        "not attacked adaptively", only.label,
    ]  # fmt: skip


def test_hostile_cards_are_shown_and_not_obeyed():
    bad = CARD.model_copy(update={"paper": HOSTILE})
    text = page(report_with({"uchida": bad}))
    assert "<script>" not in text
    assert "\x1b" not in text
