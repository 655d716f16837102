"""Conformance: the clauses and departures as data, and each answer on runs that call for it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import Environment, NetworkRecord, Plan, PluginRecord
from nnw_onnx.reports import build_report, conformance, names, render, tables
from nnw_onnx.reports.conformance import checks, clauses
from nnw_onnx.reports.matrix import matrix
from nnw_onnx.reports.model import CLAUSE_STATUSES, Conformance
from nnw_onnx.reports.page import page

from ..measures.made import (  # noqa: TID252 - shared by two rooms' tests
    ACCURACY,
    ENVIRONMENT,
    Made,
    invented,
    make_dataset,
)

ROOT = Path(__file__).resolve().parents[2]
PROFILES = {p.name: p for p in clauses.profiles()}
ANNEX = tuple(
    ACCURACY.model_copy(update={"name": name})
    for name in ("top-1 accuracy", "precision", "false alarm", "recall", "missed detection")
)


def answers(made: Made, profile: str = "nnt-1.1") -> dict[str, tuple[str, str]]:
    """Clause -> status and reason."""
    report = build_report(*made.parts)
    found = next(c for c in report.conformance if c.profile == profile)
    return {c.id: (c.status, c.reason) for c in found.clauses}


@pytest.fixture(scope="module")
def whole() -> Made:
    """A run in which nothing is missing: two methods without training, all seven Modifications."""
    return invented(2, 4, samples=300)


@pytest.fixture(scope="module")
def found(whole: Made) -> dict[str, tuple[str, str]]:
    return answers(whole)


# The data -----------------------------------------------------------------------------------------


def test_the_profiles_are_those_three_and_the_default_is_first() -> None:
    assert conformance.names() == ("nnt-1.1", "nnw-1.0", "tec-1.0", "ieee-3304")
    assert clauses.profiles()[0].name == conformance.DEFAULT
    assert conformance.find("ieee-3304").name == "nnw-1.0"


@pytest.mark.parametrize(
    ("name", "did_you_mean"), [("nnt-11", " (did you mean 'nnt-1.1'?)"), ("x", ""), ("", "")]
)
def test_an_unknown_profile_is_told_in_one_line(name: str, did_you_mean: str) -> None:
    known = "nnt-1.1, nnw-1.0, tec-1.0, ieee-3304"
    wanted = f"profile: expected one of {known}; got {name!r}{did_you_mean}; choose one of them"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(wanted)}$"):
        conformance.find(name)


@pytest.mark.parametrize("name", PROFILES)
def test_every_clause_is_there_once_and_names_a_check(name: str) -> None:
    ids = [c.id for c in PROFILES[name].clauses]
    assert len(set(ids)) == len(ids)
    assert {c.check for c in PROFILES[name].clauses} <= set(checks.CHECKS)
    assert all(c.asks.endswith(".") and c.place for c in PROFILES[name].clauses)


def test_every_check_is_of_some_clause() -> None:
    named = {c.check for p in PROFILES.values() for c in p.clauses}
    assert named == set(checks.CHECKS)


def test_departures_name_clauses_that_exist() -> None:
    known = {f"{p.name}:{c.id}" for p in PROFILES.values() for c in p.clauses}
    listed = conformance.departures()
    assert {place for d in listed for place in d.clauses} <= known
    assert len({d.id for d in listed}) == len(listed)


def test_the_readme_lists_the_departures_and_no_others() -> None:
    said = "; ".join(d.short for d in conformance.departures())
    wanted = (
        f"Not implemented, or otherwise than the standard's words say: {said}. "
        "Every report lists this."
    )
    told = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert wanted in told, f"the paragraph of README.md is to be: {wanted}"


def test_nobody_is_said_to_certify_anything(whole: Made) -> None:
    folder = ROOT / "nnw_onnx" / "reports" / "conformance"
    told = [path.read_text(encoding="utf-8") for path in folder.rglob("*.toml")]
    report = build_report(*whole.parts)
    told += [c.model_dump_json() for c in report.conformance]
    assert not [text for text in told if "certif" in text.lower()]
    denied = "This report is no certification"
    for form in ("html", "json", "markdown"):
        text = render(report, form)
        assert "certif" not in text.replace(denied, "").lower()


# One run in which all is there --------------------------------------------------------------------

MET = {
    "imp-networks": "M = 3, D = 3 of 64 bits",
    "imp-injected": "9 watermarked networks of 9",
    "imp-unmarked-quality": "top-1 accuracy of 3 networks",
    "imp-marked-run": "9 watermarked networks beside the same without a watermark",
    "imp-same-measures": "top-1 accuracy, without and with the watermark",
    "rob-injected": "9 watermarked networks of 9",
    "rob-modified": "12 networks in each of 17 settings",
    "rob-decoder": "Symbol Error Rates of 17 settings, and their mean over all networks",
    "rob-ratios": "FP and FN divided by M (D + 1) = 12, M D = 9, mean SER",
    "rob-intensities": "17 Intensities of 4 Modifications",
    "rob-types": "4 of the standard's table, 0 others",
    "mod-0": "5 Intensities inside the range of the table",
    "mod-1": "3 Intensities inside the range of the table; 90 % outside, which are marked so",
    "cost-networks": "9 of 9 watermarked networks",
    "aiw-nti": "both inferences of 9 networks",
    "aiw-nir": "Payloads and errors of 17 settings",
}


@pytest.mark.parametrize("clause", MET)
def test_what_is_there_is_met(found: dict[str, tuple[str, str]], clause: str) -> None:
    assert found[clause] == ("met", MET[clause])


def test_numbers_are_told_of_each_technology(found: dict[str, tuple[str, str]]) -> None:
    for clause, told in (
        (
            "imp-reported",
            r"block-spread, 64 bits: top-1 accuracy [\d.]+ % without, [\d.]+ % with; ",
        ),
        ("rob-detector", r"block-spread, 64 bits: \d+ TP, \d+ FN, 0 FP over all settings; "),
        ("cost-injection-memory", r"block-spread, 64 bits: memory of the Injector \d+ kB; "),
        ("cost-injection-time", r"block-spread, 64 bits: an injection [\d.]+ ms; "),
        ("cost-reading-time", r"block-spread, 64 bits: a detection [\d.]+ ms, a decoding "),
    ):
        status, reason = found[clause]
        assert status == "met"
        assert re.match(told, reason), reason


@pytest.mark.parametrize(
    ("clause", "reason"),
    [
        ("imp-prepared", "no technology of this run trains, so that none needs training data"),
        ("imp-during-training", "no technology of this run is put in by training"),
        ("mod-6", "the evaluation does not ask for it"),
        ("fp-matcher", "no technology of this run is a fingerprint"),
        ("cost-epochs", "no technology of this run is put in by training"),
        ("aiw-wir", "no technology of this run is evaluated by NNW-WIR"),
        ("imp-annex", "the annex names no measure for this task (top-1 accuracy)"),
    ],
)
def test_what_a_run_has_nothing_of_is_not_about_it(
    found: dict[str, tuple[str, str]], clause: str, reason: str
) -> None:
    assert found[clause] == ("not about this run", reason)


# What is not met ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "shape", "status", "reason"),
    [
        (300, (1, 8, 8), "not met", "at least 0.3 samples or 19.2 scalars for each Weight where 10 "
         "are asked; enough only if an entry is a scalar"),
        (10, (1,), "not met", "at least 0.01 samples or 0.01 scalars for each Weight where 10 are "
         "asked"),
        (10_000, (1, 8, 8), "met", "at least 10 samples or 640 scalars for each Weight where 10 "
         "are asked"),
    ],
)  # fmt: skip
def test_ten_entries_for_each_weight(
    whole: Made, entries: int, shape: tuple[int, ...], status: str, reason: str
) -> None:
    plan = whole.plan.model_copy(update={"dataset": make_dataset(entries, shape)})
    told = answers(whole.but(plan=plan))
    assert told["imp-test-set"] == told["cost-data"] == (status, reason)
    assert told["imp-training-set"][0] == "not measured"


def test_an_unknown_size_is_not_measured(whole: Made) -> None:
    data = make_dataset().model_copy(update={"shapes": {}})
    plan = whole.plan.model_copy(update={"dataset": data})
    wanted = ("not measured", "the shape of the entries is unknown")
    assert answers(whole.but(plan=plan))["imp-test-set"] == wanted


def test_costs_of_some_networks_are_not_those_of_all(whole: Made) -> None:
    some = tuple(c for c in whole.costs if (c.network, c.payload_index) == (0, 0))
    told = answers(whole.but(costs=some))
    said = "1 of 9 watermarked networks; key cells of [cost] in the evaluation says of how many"
    assert told["cost-networks"] == told["cost-reading-networks"] == ("not met", said)
    why = "memory of the Injector: one session: what it scatters says nothing of the next"
    assert told["cost-injection-limits"] == ("not met", why)


def test_approximate_limits_are_not_those_of_95_percent(whole: Made) -> None:
    again = tuple(
        c.model_copy(
            update={"identity": f"{c.identity}-2", "session": 1, "seconds": 1.1 * c.seconds}
        )
        for c in whole.costs
    )
    told = answers(whole.but(costs=whole.costs + again))
    why = "limits are given, but approximate: they may cover less than 95 %"
    assert told["cost-reading-limits"] == ("not met", why)
    assert answers(whole.but(costs=whole.costs + again), "nnw-1.0")["cost-reading-time"][0] == "met"


def test_an_injection_that_failed_is_not_met(whole: Made) -> None:
    first, *others = whole.injections
    broken = first.model_copy(update={"status": "failed", "reason": "it did not fit"})
    told = answers(whole.but(injections=(broken, *others)))
    said = "block-spread, 64 bits: 8 of 9 watermarked networks: it did not fit"
    assert told["imp-injected"] == told["rob-injected"] == ("not met", said)


def test_a_trial_that_failed_is_not_met(whole: Made) -> None:
    at = next(i for i, t in enumerate(whole.trials) if t.injection and t.setting == 0)
    gone = {"status": "failed", "reason": "a crash", "verdicts": (), "quality": {}, "scores": None}
    broken = whole.trials[at].model_copy(update=gone)
    told = answers(whole.but(trials=(*whole.trials[:at], broken, *whole.trials[at + 1 :])))
    assert told["rob-modified"][0] == "not met"
    assert told["rob-modified"][1].endswith("fewer than 12 networks in 1 of 17 settings: a crash")


def test_an_intensity_outside_the_table_alone_is_not_met(whole: Made) -> None:
    trials = tuple(
        t.model_copy(update={"outside_standard_range": t.setting == 2}) for t in whole.trials
    )
    told = answers(whole.but(trials=trials))
    assert told["mod-2"][0] == "not met"
    assert told["mod-2"][1].startswith("0 Intensities inside the range of the table; 1 %, 5 %, ")


def test_v1_prunes_all_layers_at_once(whole: Made) -> None:
    said = "Weights are pruned layer by layer, as in NNT, and not over all layers at once"
    assert answers(whole, "nnw-1.0")["mod-1"] == ("not met", said)


def test_nobody_searches_fingerprints(whole: Made) -> None:
    kinds = tuple(t.model_copy(update={"kind": "fingerprint"}) for t in whole.plan.technologies)
    told = answers(whole.but(plan=whole.plan.model_copy(update={"technologies": kinds})))
    assert told["fp-computed"] == ("met", "9 fingerprints of 9")
    assert told["fp-modified"] == ("met", "in 17 settings")
    why = "each fingerprint is tested by itself; there is no repository that is searched"
    for clause in ("fp-matcher", "fp-ratios", "cost-extraction", "cost-matching"):
        assert told[clause] == ("not met", why)
    assert told["rob-detector"] == (
        "not about this run",
        "no technology of this run is a watermark",
    )


# What is not measured -----------------------------------------------------------------------------


def test_a_run_that_has_only_begun(whole: Made) -> None:
    told = answers(Made(whole.plan, (), ()))
    assert {status for status, _ in told.values()} == {
        "met",
        "not met",
        "not measured",
        "not about this run",
    }
    again = "the run is not whole: the same command goes on with it"
    for clause, reason in (
        ("imp-injected", f"0 of 9 watermarked networks; {again}"),
        ("imp-marked-run", f"0 of 9 watermarked networks: {again}"),
        ("rob-modified", f"fewer than 12 networks in 17 of 17 settings; {again}"),
        ("rob-detector", "tests are missing in 17 of 17 settings"),
        ("mod-0", f"there is no test of it; {again}"),
        ("cost-networks", "the evaluation measures no costs"),
        ("aiw-nir", "no Payload of a modified network was read"),
    ):
        assert told[clause] == ("not measured", reason), clause
    first = ", ".join(f"Gaussian noise 0.{i}" for i in (1, 2, 3))
    assert told["rob-types"][1] == f"no record of {first} and 14 more; {again}"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_partial_run_claims_less_and_breaks_nothing(whole: Made, share: float) -> None:
    """Whatever is cut off makes no clause met that the whole run does not meet."""
    cut = whole.but(
        injections=whole.injections[: round(share * len(whole.injections))],
        trials=whole.trials[: round(share * len(whole.trials))],
        costs=(),
    )
    before, after = answers(whole), answers(cut)
    assert not [c for c, (s, _) in after.items() if s == "met" and before[c][0] != "met"]
    assert after["rob-modified"][0] != "met"


def test_where_the_costs_hold(whole: Made) -> None:
    assert answers(whole)["cost-environment"] == (
        "not measured",
        "the machine is of neither class that the standard names; it is described as it is",
    )
    medium = Environment.model_validate({**ENVIRONMENT.model_dump(), "environment_class": "Medium"})
    assert answers(whole.but(environment=medium))["cost-environment"] == ("met", "class Medium")
    none = "the run has no record of its environment"
    assert answers(whole.but(environment=None))["cost-environment"] == ("not measured", none)
    without = "the evaluation measures no costs"
    assert answers(whole.but(costs=()))["cost-environment"] == ("not about this run", without)


def test_the_annex_informs(whole: Made) -> None:
    plan = whole.plan.model_copy(update={"measures": ANNEX})
    said = "precision, false alarm, recall and missed detection"
    assert answers(whole.but(plan=plan))["imp-annex"] == ("met", said)
    some = whole.plan.model_copy(update={"measures": ANNEX[:3]})
    lacking = "precision and false alarm, without recall and missed detection"
    assert answers(whole.but(plan=some))["imp-annex"] == ("not measured", lacking)


def test_workflows_that_are_left_out(whole: Made) -> None:
    plan = whole.plan.model_copy(update={"workflows": ("NNW-NTI",)})
    told = answers(whole.but(plan=plan))
    assert told["aiw-nir"] == ("not about this run", "the evaluation leaves it out")
    left = "the evaluation leaves its workflows of Robustness out"
    assert told["rob-detector"] == ("not about this run", left)
    plan = whole.plan.model_copy(update={"workflows": ("NNW-NIR",)})
    left = "the evaluation leaves its workflows of Imperceptibility out"
    assert answers(whole.but(plan=plan))["imp-reported"] == ("not about this run", left)


def test_an_evaluation_without_modifications(whole: Made) -> None:
    plan = whole.plan.model_copy(update={"settings": ()})
    trials = tuple(t for t in whole.trials if t.setting is None)
    told = answers(whole.but(plan=plan, trials=trials))
    for clause in ("rob-modified", "rob-detector", "rob-decoder", "rob-intensities", "rob-types"):
        assert told[clause] == ("not about this run", "the evaluation asks for no Modification")


def test_what_training_puts_in() -> None:
    told = answers(invented(3, 7, samples=300))
    assert told["imp-during-training"] == ("met", "9 watermarked networks of 9")
    assert told["imp-prepared"] == (
        "met",
        "training data and recipe of adi, 100 bits are in the plan",
    )
    assert told["cost-epochs"] == ("met", "3 epochs")
    assert told["aiw-wti"][0] == told["aiw-wir"][0] == "met"
    # Of nine networks under fine-tuning some were out of time.
    assert told["rob-detector"][0] == "not measured"
    assert told["mod-5"][0] == told["mod-6"][0] == "met"


# NNW-TEC ------------------------------------------------------------------------------------------


def test_the_method_of_tec_is_nnt(whole: Made) -> None:
    told = answers(whole, "tec-1.0")
    status, reason = told["method"]
    open_ = [c for c, (s, _) in answers(whole).items() if s == "not met"]
    assert (status, reason.startswith("of nnt-1.1 is not met: ")) == ("not met", True)
    assert open_[0] in reason
    assert told["procedures"][0] == "not measured"
    form = "another form of it, which is to be put in by training and carrier mean"
    assert told["rtw"] == ("not about this run", f"uchida, 64 bits: {form}")
    assert told["tbw"] == told["nct"] == ("not about this run", "it is not under test")
    assert told["ber"][0] == "met"


def test_a_technology_of_tec_in_its_own_form(whole: Made) -> None:
    first, second = whole.plan.technologies
    method = second.method.model_copy(update={"options": {"carrier": "mean", "margin": 2}})
    trained = second.model_copy(update={"training": {"epochs": 4}, "method": method})
    plan = whole.plan.model_copy(update={"technologies": (first, trained)})
    assert answers(whole.but(plan=plan), "tec-1.0")["rtw"] == ("met", "uchida, 64 bits")
    nct = first.model_copy(update={"method": PluginRecord(name="nct"), "kind": "fingerprint"})
    told = answers(
        whole.but(plan=plan.model_copy(update={"technologies": (nct, second)})), "tec-1.0"
    )
    assert told["nct"] == ("met", "block-spread, 64 bits")
    assert told["ber"][0] == "not met"


def test_the_general_setting_goes_by_names(whole: Made) -> None:
    lacking = "data set CIFAR10, network VGG16 and network ResNet8"
    said = f"by the names of files and plug-ins, without {lacking}"
    told = answers(whole, "tec-1.0")
    assert told["image-classification"] == ("not met", said)
    assert told["segmentation"][0] == "not about this run"
    plan = replaced_networks(whole.plan, "vgg16-bn.onnx", "cifar-resnet-8.onnx")
    data = plan.dataset.model_copy(update={"plugin": PluginRecord(name="cifar10")})
    made = whole.but(plan=plan.model_copy(update={"dataset": data}))
    said = "VGG16 and ResNet8 on CIFAR10, by the names of files and plug-ins"
    assert answers(made, "tec-1.0")["image-classification"] == ("met", said)


def replaced_networks(plan: Plan, *files: str) -> Plan:
    named: list[NetworkRecord] = [
        n.model_copy(update={"name": files[i % len(files)]}) for i, n in enumerate(plan.networks)
    ]
    return plan.model_copy(update={"networks": tuple(named)})


# In the report ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        invented(2, 4, samples=100),
        invented(7, 13, samples=60),
        invented(12, 5, 2, 2, 40),
        invented(1, 0, 1, 1, 40),
        replace(invented(2, 3, samples=60), trials=(), injections=(), costs=()),
    ],
    ids=["usual", "trained", "many", "no Modification", "nothing done"],
)
def test_every_place_that_is_named_is_on_the_page(made: Made) -> None:
    report = build_report(*made.parts)
    text = page(report)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    named = {c.anchor for found in report.conformance for c in found.clauses}
    assert named <= set(ids)
    assert {c.status for found in report.conformance for c in found.clauses} <= set(CLAUSE_STATUSES)


def test_the_report_tells_of_it_in_every_form(whole: Made) -> None:
    report = build_report(*whole.parts)
    text = page(report)
    assert '<a href="#conformance">Conformance</a>' in text
    for made in report.conformance:
        assert f"{made.standard} (<code>{made.profile}</code>): {made.counted()}" in text
    data = json.loads(render(report, "json"))["conformance"]
    assert [c["profile"] for c in data] == [*PROFILES]
    assert data[0]["clauses"][0]["status"] == "not measured"
    markdown = render(report, "markdown")
    assert "Conformance with NNW\\-NNT V1.1, Neural Network Traceability: " in markdown
    drawn = {t.name for t in tables.tables(report, matrix(report, names.technology_names(report)))}
    assert {f"conformance-{name}" for name in PROFILES} <= drawn


def test_a_departure_stands_beside_its_clauses(whole: Made) -> None:
    report = build_report(*whole.parts)
    assert report.departures == tuple(d.text for d in conformance.departures())
    told = {c.id: c.departures for c in report.conformance[0].clauses}
    (text,) = told["fp-matcher"]
    assert text.startswith("Fingerprints")
    assert told["rob-modified"] == ()


def test_it_is_true_where_nothing_is_not_met(whole: Made) -> None:
    found = build_report(*whole.parts).conformance[0]
    counts = Counter(c.status for c in found.clauses)
    assert not found
    assert repr(found) == f"Conformance('nnt-1.1': {found.counted()})"
    assert found.counted() == ", ".join(f"{counts[s]} {s}" for s in CLAUSE_STATUSES)
    kept = tuple(c for c in found.clauses if c.status != "not met")
    assert Conformance(profile="x", standard="x", clauses=kept)


def test_long_messages_of_others_are_cut(whole: Made) -> None:
    first, *others = whole.injections
    broken = first.model_copy(update={"status": "failed", "reason": "no\n" * 5000})
    status, reason = answers(whole.but(injections=(broken, *others)))["imp-injected"]
    assert status == "not met"
    assert len(reason) == 300
    assert reason.endswith(" no n…")
