"""The table of deployment transformations: what the words beside it may say of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Modification

from ..modifications.deployed import ALL, name_of  # noqa: TID252 - its columns

NAMES = ["none", *map(name_of, ALL)]
KEPT = {
    "none", "opset-conversion opset=21", "initializers-to-constants", "external-data",
    "dropped-names", "re-export",
}  # fmt: skip
"""After which every weight has every bit."""
FOLDING = [name for name in NAMES if name.startswith(("bn-", "graph-", "simplification"))]
CELL = re.compile(r"(?:\d+|\?)?[yn](?:>(?:\d+|\?)?[yn])?|[-.]")


@pytest.fixture(scope="module")
def tables():
    """Network -> (method -> transformation -> cell), (transformation -> change, accuracy)."""
    path = Path(__file__).parents[2] / "results" / "deployment.txt"
    found, now = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        network, _, title = line.partition(": ")
        if title.startswith("marks"):
            found[network] = now, _ = {}, {}
        elif title == "answers":
            now = found[network][1]
        elif found and line.split()[-1:] and line.split()[-1] not in ("accuracy", "23"):
            _enter(now, line)
    return found


def _enter(table, line):
    """A row of marks, or of answers, which begins with the number of its transformation."""
    number, _, rest = line.strip().partition(" ")
    if number.isdigit():
        name = NAMES[int(number)]
        assert rest.startswith(f"{name} "), line
        table[name] = rest[len(name) :].split(maxsplit=1)
        return
    method, cells = line[:18].strip(), line[18:].split()
    if all(map(CELL.fullmatch, cells)):
        table[method] = dict(zip(NAMES, cells, strict=True))


def test_every_network_has_every_transformation_and_ten_methods_or_more(tables):
    assert set(tables) == {"digits/cnn-0", "resnet20", "resnet56"}
    for network, (marks, answers) in tables.items():
        assert set(answers) == set(NAMES)
        assert len(marks) >= (5 if network == "resnet56" else 10)


def test_answers_change_by_no_more_than_is_promised(tables):
    for _, answers in tables.values():
        for name, (change, _) in answers.items():
            kind = None if name == "none" else plugins.load(Modification, name.split()[0])
            if kind is not None and kind.preserves is not None and change != "not":
                assert float(change) <= kind.preserves, name


def test_what_leaves_the_weights_leaves_every_mark(tables):
    """But invariants without names: of several kernels of a shape it marks some, and which?"""
    for network, (marks, _) in tables.items():
        for method, cells in marks.items():
            for name in KEPT - ({"dropped-names"} if method == "invariants" else set()):
                assert cells[name] in ("0y", "y", "."), (network, method, name)


def test_a_real_network_is_exported_again(tables):
    for network in ("resnet20", "resnet56"):
        for method in ("block-spread", "uchida", "st-dm", "spread-spectrum", "greedy-residuals"):
            assert tables[network][0][method]["re-export"] == "0y"


def test_folding_takes_st_dm_and_a_reference_brings_it_back(tables):
    for network in ("resnet20", "resnet56"):
        cells = tables[network][0]["st-dm"]
        folded = [cells[name] for name in FOLDING]
        assert all(re.fullmatch(r"\d\dn>0y", cell) for cell in folded), folded
        for method in ("block-spread", "spread-spectrum"):
            assert {tables[network][0][method][name] for name in FOLDING} == {"0y"}
