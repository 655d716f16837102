"""The tables of attacks that leave every answer: what the words beside them may say of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scipy import stats

from ..benchmarks.preserving_on_models import STEPS, counts, known  # noqa: TID252 - its rows

FOLDER = Path(__file__).parents[2] / "results"


def lines_of(name):
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def section(title):
    """The lines below a heading of the table of marks, its own head left out."""
    lines = lines_of("preserving.txt")
    start = lines.index(title) + 2
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


@pytest.fixture(scope="module")
def networks():
    heads = [x for x in lines_of("preserving.txt") if x.endswith(": answers on test pictures")]
    return [head.partition(":")[0] for head in heads]


def test_no_attack_changes_a_prediction_or_more_than_a_ten_thousandth_of_an_answer(networks):
    assert len(networks) == 4
    for network in networks:
        rows = [x.split() for x in section(f"{network}: answers on test pictures")]
        assert rows[-1][:2] == ["all", "stacked"]
        for row in rows:
            if row[-1] != "-":
                change, same, of, shown = row[-4:]
                assert (of, same) == ("of", shown)
                assert float(change) < 1e-4


def test_every_mark_that_permutations_and_dummies_hide_is_found_in_order(networks):
    """But invariants, which lies in the order itself; by its own rule nobody puts that back."""
    for network in networks:
        rows = section(f"{network}: marks, as it is > put back in order")
        assert len(rows) >= (3 if network == "resnet56" else 10)
        for row in rows:
            cells = re.findall(r"(?:\d+ |\? )?(?:yes|no) > (?:(?:\d+ )?(?:yes|no)|-)", row)
            for cell in cells[:1] + cells[-4:]:
                after = cell.partition(" > ")[2]
                assert after.endswith("yes") or row.startswith("invariants"), (network, row)


def test_wrong_keys_are_found_in_order_as_often_as_chance_allows():
    lines = [x for x in lines_of("preserving.txt") if re.search(r" (un)?marked +\d+ keys ", x)]
    assert len(lines) == 6
    for line in lines:
        keys = int(re.search(r"(\d+) keys", line)[1])
        assert keys >= 1000
        for hits, chance in re.findall(r"(\d+) of ([\d.]+) \(", line):
            low, high = stats.binom.interval(0.999, keys, float(chance) / keys)
            assert low <= int(hits) <= high, line


def test_counts_are_those_of_the_rows():
    lines = lines_of("preserving-models.txt")
    found = known("\n".join(lines))
    told = lines[-len(STEPS) - 2 :]
    assert told[2:] == list(counts(list(found.values())))[2:]
    for place, step in enumerate(STEPS):
        cells = [x.split()[4 + place] for x in lines if x.split()[:1] in [[n] for n in found]]
        changed = [x for x in cells if x != "-"]
        (said,) = [x for x in told if x.startswith(step)]
        assert said.split()[1] == str(len(changed))
        if step in ("permutation", "scaling", "zero", "clique", "split"):
            assert len(changed) >= 20
