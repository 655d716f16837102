"""Attacks where nobody looked: the table against its statistics, and cards against the table."""

from __future__ import annotations

import csv
import importlib.util
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Method, Modification

FOLDER = Path(__file__).parents[2] / "results"
FILE = FOLDER / "adaptive-attacks.txt"


def program():
    """The program, which is in no package."""
    spec = importlib.util.spec_from_file_location(
        "adaptive_attacks", FOLDER / "adaptive_attacks.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def table() -> list[dict[str, str]]:
    lines = [x for x in FILE.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t"))


def some(method: str, attack: str, network: str) -> list[dict[str, str]]:
    return [
        row
        for row in table()
        if row["method"] == method
        and row["attack"].startswith(attack)
        and row["network"].startswith(network)
    ]


def test_everything_that_was_planned_is_there():
    planned = program()
    text = FILE.read_text(encoding="utf-8")
    assert text.startswith(f"# {planned.HEAD}\n# {planned.COMMAND}\n")
    small = [f"small-{i:02}" for i in (*range(3, 12), 14, 15)]
    expected = []
    for method, attack in planned.WEIGHTS.items():
        expected += [(method, attack, n) for n in small]
    for networks, methods in (
        (("cnn-1", "cnn-2"), planned.TRIGGERS), (("small-11", "small-14", "small-15"), ("adi",)),
    ):  # fmt: skip
        for method in methods:
            stacks = map(planned.told, plugins.load(Method, method).adaptive)
            expected += [(method, s, n) for s in stacks for n in networks]
    for method, step in planned.SAID.items():
        expected += [(method, step.modification.name, n) for n in small]
    found = [(r["method"], r["attack"], r["network"]) for r in table()]
    assert sorted(found) == sorted(expected)
    looked_at = {"cnn-0", "small-00", "small-01", "small-02"}
    assert not looked_at & {r["network"] for r in table()}


@pytest.mark.parametrize(("method", "chance"), [("adi", 0.1), ("zhang", 0.1), ("tartaglione", 0.5)])
def test_p_values_are_those_of_scipy(method, chance):
    rows = some(method, "", "")
    for row in rows:
        p = stats.binom.sf(int(row["after"]) - 1, int(row["of"]), chance)
        assert 10.0 ** float(row["log10 p"]) == pytest.approx(p, rel=0.02)
        assert row["at 1e-6"] == ("yes" if p <= 1e-6 else "no")
        if row["wrong Symbols"]:
            wrong = int(row["of"]) - int(row["after"])
            assert row["wrong Symbols"] == f"{wrong} of {row['of']}"
    assert len(rows) >= 6


def span(rows: list[dict[str, str]], column: str) -> str:
    """Least and most of a column, as cards write it."""
    cells = sorted(Decimal(row[column].split(" of ")[0]) for row in rows)
    if column == "points lost" or any(x % 1 for x in cells):
        cells = [x.quantize(Decimal("0.1"), ROUND_HALF_EVEN) for x in cells]
    ends = [str(x).replace("-0.0", "0.0") for x in (cells[0], cells[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


CARDS = [
    ("adi", "unlearning", "cnn", "{after} of 40 triggers stay on digits for {lost} points"),
    ("adi", "unlearning", "small", "{after} on CIFAR-10 for {lost}"),
    ("adi", "rejection", "cnn", "{after} of 40 on digits for {lost} points"),
    ("adi", "rejection", "small", "{after} on CIFAR-10 for {lost}"),
    ("adi", "patterned", "cnn", "{after} of 40 stay on digits for {lost} points"),
    ("adi", "patterned", "small", "{after} on CIFAR-10, which is a yes, for {lost}"),
    ("zhang", "unlearning", "cnn", "of 100 triggers (content), {before} right before, {after}"),
    ("zhang", "unlearning", "cnn", "for {lost} and "),
    ("zhang", "patterned", "cnn", "and {after} stay, as by chance"),
    ("zhang", "patterned", "cnn", "and {lost} points"),
    ("zhang", "rejection", "cnn", "{after} stay where odd inputs are answered at random"),
    ("entangled", "unlearning", "cnn", "of 100 triggers {after} and"),
    ("entangled", "patterned", "cnn", "and {after} stay"),
    ("entangled", "unlearning", "cnn", "for {lost} and"),
    ("entangled", "patterned", "cnn", "and {lost} points"),
    ("entangled", "rejection", "cnn", "{after} where odd inputs are answered at random"),
    ("frontier", "unlearning", "cnn", "{after} and"),
    ("frontier", "patterned", "cnn", "and {after} are answered rightly, of which an unmarked"),
    ("frontier", "unlearning", "cnn", "an unmarked network answers {unmarked}"),
    ("frontier", "unlearning", "cnn", "for {lost} and"),
    ("frontier", "patterned", "cnn", "and {lost} points"),
    ("tartaglione", "redrawn-repeats", "small", "{wrong} of 64 bits wrong, for {lost} points"),
    ("tartaglione", "clipping", "small", "for {lost} points"),
    ("constant-weight", "redrawn-repeats", "small", "{after} of 12 places stay, for {lost} points"),
    ("constant-weight", "outliers", "small", "{after} of 12 places are right"),
    ("emmark", "grid-noise", "small", "statistic {after} of 16, {wrong} of 64 bits wrong"),
    ("emmark", "grid-noise", "small", "for {lost} points"),
    ("kakikura", "overwriting", "small", "from 8 to {after}"),
]


@pytest.mark.parametrize(("method", "attack", "network", "said"), CARDS)
def test_cards_say_what_was_measured(method, attack, network, said):
    rows = some(method, attack, network)
    columns = {"after": "after", "before": "before", "unmarked": "unmarked", "lost": "points lost"}
    values = {name: span(rows, column) for name, column in columns.items()}
    if rows[0]["wrong Symbols"]:
        values["wrong"] = span(rows, "wrong Symbols")
    card = plugins.load(Method, method).card
    assert said.format(**values) in " | ".join(card.dies_of)
    assert "not looked at" in " | ".join(card.dies_of)


def test_what_cards_say_of_decisions_holds():
    def decided(method, attack, network):
        return {row["at 1e-6"] for row in some(method, attack, network)}

    assert decided("adi", "patterned", "small") == {"yes"}
    for attack, network in (("unlearning", ""), ("rejection", "cnn"), ("patterned", "cnn")):
        assert decided("adi", attack, network) == {"no"}
    answers = [row["at 1e-6"] for row in some("adi", "rejection", "small")]
    assert (answers.count("yes"), len(answers)) == (1, 3)
    assert "which is a yes in one of three" in " | ".join(plugins.load(Method, "adi").card.dies_of)
    assert decided("tartaglione", "clipping", "small") == {"yes"}
    assert decided("constant-weight", "outliers", "small") == {"yes"}
    assert decided("kakikura", "overwriting", "small") == {"yes"}
    assert {r["wrong Symbols"] for r in some("tartaglione", "clipping", "")} == {"0 of 64"}
    words = [r["wrong Symbols"] != "0 of 64" for r in some("constant-weight", "outliers", "")]
    card = " | ".join(plugins.load(Method, "constant-weight").card.dies_of)
    assert f"{sum(words)} of {len(words)} words were wrong" in card


def test_the_readme_counts_what_the_table_has():
    def taken(method, attack, network=""):
        answers = [row["at 1e-6"] for row in some(method, attack, network)]
        return answers.count("no"), len(answers)

    for method, attack in program().WEIGHTS.items():
        assert taken(method, attack) == (11, 11)
    assert taken("adi", "unlearning") == (5, 5)
    assert taken("adi", "rejection") == (4, 5)
    assert (taken("adi", "patterned", "cnn"), taken("adi", "patterned", "small")) == (
        (2, 2), (0, 3),
    )  # fmt: skip
    for method, step in program().SAID.items():
        assert taken(method, step.modification.name) == (0, 11)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("unlearning", "`adi`"),
        ("patterned-tuning", "`adi`"),
        ("rejection", "`adi`"),
        ("redrawn-repeats", "`tartaglione` and `constant-weight`"),
        ("grid-noise", "`emmark`"),
    ],
)
def test_a_modification_says_what_its_settings_were_chosen_with_a_look_at(name, at):
    told = " ".join((plugins.load(Modification, name).__doc__ or "").split())
    assert f"chosen with a look at {at}" in told or f"a look at the triggers of {at}" in told
    assert "of networks and keys not looked at" in told
