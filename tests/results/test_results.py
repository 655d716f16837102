"""The published results: their digests, and what is said of them against their records."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "results"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def contents(name: str) -> dict[str, bytes]:
    with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


@pytest.fixture(scope="module")
def comparison() -> dict:
    """Plan, injections by identity, and the trials that were done."""
    found = contents("comparison")
    plan = json.loads(found["comparison/plan.json"])
    lines = {
        name: [json.loads(line) for line in found[f"comparison/{name}.jsonl"].splitlines()]
        for name in ("injections", "records")
    }
    injections = {x["identity"]: x for x in lines["injections"]}
    return {"plan": plan, "injections": injections, "trials": lines["records"]}


def rows(mark: str) -> list[list[str]]:
    """Cells of the table between two marks of the README."""
    text = README.partition(f"<!-- begin {mark} -->")[2].partition(f"<!-- end {mark} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip().replace("\\", "") for c in line.strip("|").split("|")] for line in lines]


def answers(comparison: dict, label: str | None) -> dict[int, list[bool]]:
    """Yes or No of the Detector by technology, for the marked networks under a setting."""
    plan, found = comparison["plan"], defaultdict(list)
    for trial in comparison["trials"]:
        setting = trial["setting"]
        name = None if setting is None else plan["settings"][setting]["label"]
        if trial["injection"] and trial["status"] == "done" and name == label:
            technology = comparison["injections"][trial["injection"]]["technology"]
            found[technology].append(trial["verdicts"][0]["detected"])
    return dict(found)


@pytest.mark.parametrize("name", NAMES)
def test_archives_hold_what_the_digests_say(name):
    said = dict(reversed(line.split()) for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    held = contents(name)
    assert {f"{name}/{x}" for x in ("plan.json", "injections.jsonl", "records.jsonl")} <= set(held)
    for member, content in held.items():
        if not member.endswith("environment.json"):
            assert hashlib.sha256(content).hexdigest() == said[member], member


def test_the_networks_are_those_of_the_folder_and_none_was_tuned_on(comparison):
    models = FOLDER.parent / "models" / "comparison"
    digest = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in models.rglob("*.onnx")}
    used = {n["name"]: n["sha256"] for n in comparison["plan"]["networks"]}
    assert used == {p.name: digest[p.name] for p in (models / "compared").glob("*.onnx")}
    assert len(used) == 14


def test_every_mark_is_read_whole_from_the_unmodified_network(comparison):
    injected = [x for x in comparison["injections"].values() if x["status"] == "done"]
    trials = {
        x["injection"]: x["verdicts"][0]
        for x in comparison["trials"]
        if x["setting"] is None and x["injection"]
    }
    assert len(injected) >= 32 * 14 * 3 - 8
    for injection in injected:
        verdict = trials[injection["identity"]]
        assert verdict["detected"]
        assert verdict["errors"] in (0, None)


def test_no_unmarked_network_is_a_yes(comparison):
    unmarked = [
        verdict
        for trial in comparison["trials"]
        if trial["injection"] is None and trial["status"] == "done"
        for verdict in trial["verdicts"]
    ]
    assert len(unmarked) > 10_000
    assert not [v for v in unmarked if v["detected"]]


def test_a_permutation_takes_every_mark_and_changes_no_network(comparison):
    found = answers(comparison, "Permuted channels")
    assert len(found) == 32
    assert not any(sum(yes) for yes in found.values())


def test_the_signed_carrier_outlives_a_replaced_mean_filter_and_means_do_not(comparison):
    found = answers(comparison, "Filter mean replaced, carrier layer")
    kept = defaultdict(list)
    for technology in comparison["plan"]["technologies"]:
        method = technology["method"]
        name = (method["name"], method["options"].get("carrier"))
        kept[name] += found[technology["index"]]
    assert np.mean(kept["uchida", "signed"]) == 1
    for name in (("uchida", "mean"), ("st-dm", None), ("deepmarks", None)):
        assert np.mean(kept[name]) == 0, name


def test_what_two_watermarks_on_top_leave(comparison):
    """As results/README.md says it."""
    found = answers(comparison, "Overwriting")
    left = {}
    for technology in comparison["plan"]["technologies"]:
        method, yes = technology["method"], found[technology["index"]]
        if sum(yes) < len(yes):
            name = (method["name"], method["options"].get("carrier"), technology["payload_size"])
            left[name] = sum(yes)
    assert left == {
        ("greedy-residuals", None, 64): 0,
        ("greedy-residuals", None, 256): 0,
        ("st-dm", None, 256): 0,
        ("uchida", "mean", 256): 8,
        ("deepmarks", None, 256): 16,
        ("deepmarks", None, 64): 41,
        ("invariants", None, 64): 15,
    }
    for said in ("8 of 42 of `uchida`", "16 of `deepmarks`", "41 of `deepmarks`", "15 of\n"):
        assert said in README


@pytest.mark.parametrize(
    ("column", "label"),
    [("F1 Permuted channels", "Permuted channels"), ("D1 Float16", "Float16")],
)
@pytest.mark.parametrize("bits", [64, 256])
def test_the_table_of_attacks_follows_from_the_records(comparison, bits, column, label):
    """Neither changes quality, so that an attack succeeds where the Detector says No."""
    head, _, *body = rows(f"comparison grid-{bits}")
    found = answers(comparison, label)
    technologies = comparison["plan"]["technologies"]
    labels = {t["label"]: t["index"] for t in technologies if t["payload_size"] == bits}
    assert {row[0] for row in body} == set(labels)
    for row in body:
        percent = float(re.match(r"[\d.]+", row[head.index(column)]).group())
        no = 100 - 100 * np.mean(found[labels[row[0]]])
        assert percent == pytest.approx(no, abs=0.06), row[0]


def test_wrong_keys_are_found_as_seldom_as_declared():
    """The table that README speaks of: 12 cells a method, none of them a surprise among 168."""
    lines = (FOLDER / "wrong-keys.txt").read_text(encoding="utf-8").splitlines()
    cells = [line for line in lines if re.search(r" (un)?marked ", line)]
    methods = defaultdict(int)
    for line in cells:
        methods[line.split()[0]] += 1
        chance = float(re.search(r"smallest chance ([\d.e-]+)$", line).group(1))
        # Four levels a cell, and Bonferroni over all of them.
        assert chance > 0.01 / (4 * 168), line
    assert set(methods.values()) == {12}
    assert len(methods) == 14
    assert "of 9000 wrong keys" in next(x for x in lines if "cells of" in x)
