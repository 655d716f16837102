"""What a report says of training: workflows, twins, new watermarks, curves, four elements."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from nnw_onnx.reports import documents, forms, plots, tables, views, words
from nnw_onnx.reports.html import html
from nnw_onnx.reports.model import Report

from .trained import NETWORKS, PAYLOADS, RECIPE, make_trained_run

STATIC, UCHIDA, ADI = "block-spread, 64 bits", "uchida, 64 bits, by training", "adi, 64 bits"


@pytest.fixture(scope="module")
def drawn(trained_report):
    return plots.figures(trained_report)


@pytest.fixture(scope="module")
def page(trained_report, drawn):
    return html(trained_report, drawn)


@pytest.fixture(scope="module")
def partial(reported):
    """No twins, and two of the four workflows."""
    return reported(make_trained_run(twins=False, workflows=("NNW-WTI", "NNW-NIR")))


def verdict(report, aspect, group):
    return next(v for v in report.verdicts if v.aspect == aspect and v.group == group)


def notice(report, code):
    return next(w for w in report.warnings if w.code == code)


def rows_of(table):
    return list(csv.DictReader(io.StringIO(forms.write(table, "csv"))))


def test_the_workflows_are_named(trained_report, page):
    found = [v.workflow for v in trained_report.verdicts]
    assert found == ["NNW-NTI", "NNW-WTI", "NNW-WTI", "NNW-NIR", "NNW-NIR", "NNW-WIR", *[None] * 3]
    assert "<b>NNW-WTI, With Training Imperceptibility</b>: uchida, 64 bits, by training; " in page
    assert "<b>NNW-NIR, No Inference Robustness</b>: block-spread, 64 bits; uchida" in page
    markdown = documents.render(trained_report, "markdown")
    assert r"- NNW\-WIR: adi, 64 bits, by training: " in markdown
    assert r"Robustness \(NNW\-NIR, NNW\-WIR\) after each Modification" in markdown
    rows = rows_of(tables.robustness_table(trained_report))
    assert {(r["group"].split(",")[0], r["workflow"]) for r in rows} == {
        ("block-spread", "NNW-NIR"),
        ("uchida", "NNW-NIR"),
        ("adi", "NNW-WIR"),
    }
    assert "(not asked for)" not in page


def test_what_was_not_asked_for_says_so(partial):
    reason = "block-spread, 64 bits: not asked for: the evaluation leaves out the workflow NNW-NTI."
    found = verdict(partial, "imperceptibility", 0)
    assert (found.text, found.tone, found.figure) == (reason, "neutral", "–")
    assert verdict(partial, "robustness", 2).text.endswith("leaves out the workflow NNW-WIR.")
    rows = rows_of(tables.robustness_table(partial))
    none = [r for r in rows if r["modification"] == "not asked for"]
    assert [(r["group"], r["workflow"]) for r in none] == [("adi, 64 bits, by training", "NNW-WIR")]
    assert {v for k, v in none[0].items() if k not in {"group", "workflow", "modification"}} == {""}
    overview = views.overview(partial)
    assert [r.modification for r in overview if r.label.startswith("adi")] == ["not asked for"]
    said = html(partial)
    assert "NNW-WIR, With Inference Robustness (not asked for)</b>: adi" in said
    assert "<td>not asked for</td>" in said


def test_the_figures_of_a_part_leave_out_what_was_not_asked_for(partial):
    shown = plots.figures(partial)
    sweep = next(f for f in shown if f.section == "robustness")
    assert "uchida, 64 bits" in sweep.svg
    assert "adi, 64 bits" not in sweep.svg


def test_sweeps_are_drawn_though_the_first_technology_was_not_asked_for(reported):
    report = reported(make_trained_run(workflows=("NNW-NTI", "NNW-WTI", "NNW-WIR")))
    assert report.robustness[0].sweeps == ()
    shown = [f for f in plots.figures(report) if f.section == "robustness"]
    assert len(shown) == 6
    assert "adi, 64 bits" in shown[0].svg
    assert "block-spread" not in shown[0].svg


def test_the_twin_in_words(trained_report):
    found = trained_report.imperceptibility[1]
    text = verdict(trained_report, "imperceptibility", 1).text
    assert text.startswith(
        "uchida, 64 bits, by training: beside its twin (the same training without a watermark), "
        f"the watermark changes top-1 accuracy by {-100 * found.loss.mean:+.2f} points (95 % "
    )
    original = found.original
    assert original.loss.mean > found.loss.mean + 0.015
    low, high = -original.stated.limits.high, -original.stated.limits.low
    assert text.endswith(
        f" Beside the original network it changes by {-100 * original.loss.mean:+.2f} points (95 % "
        f"limits over {original.stated_over} {100 * low:+.2f} to {100 * high:+.2f}), which "
        "includes what further training does."
    )
    assert "twin" not in verdict(trained_report, "imperceptibility", 0).text


def test_both_references_are_in_the_table(trained_report):
    rows = rows_of(tables.imperceptibility_table(trained_report))
    found = {(r["group"], r["reference"]) for r in rows}
    assert found == {
        (STATIC, "original network"),
        (UCHIDA, "twin"),
        (UCHIDA, "original network (includes what further training does)"),
        (f"{ADI}, by training", "twin"),
        (f"{ADI}, by training", "original network (includes what further training does)"),
    }
    pairs = views.pairs_table(trained_report)
    assert len(pairs.rows) == NETWORKS * PAYLOADS * 5


def test_a_missing_twin(partial):
    text = verdict(partial, "imperceptibility", 1).text
    assert (
        "the loss of task quality was not measured: the twin, which is the same training without a "
        "watermark, has no record." in text
    )
    found = notice(partial, "no-twin")
    assert found.text.startswith("A twin, which is the same training without a watermark, is")
    assert found.details == (
        "uchida, 64 bits, by training: 0 of 3 measured",
        "adi, 64 bits, by training: 0 of 3 measured",
    )


def test_the_comparison_with_the_original_is_drawn_without_twins(partial):
    figure = plots.figures(partial)[0]
    assert figure.section == "imperceptibility"
    assert figure.svg.count("beside the original network") == 2


def test_twins_are_no_watermarked_networks(trained_report, trained_run):
    for summary in trained_report.injections:
        assert (summary.expected, summary.done) == (6, 6)
        trained = summary.group > 0
        assert (summary.twins_expected, summary.twins_done) == ((3, 3) if trained else (0, 0))
    assert [s.not_in for s in trained_report.injections] == [0, 0, 1]
    complete = trained_report.completeness
    # Three networks, 3 x 6 watermarked ones, three twins that two technologies share.
    assert complete.unmodified_planned == complete.unmodified_found == 3 + 18 + 3
    for group in trained_report.robustness:
        assert group.unmodified.watermarked.expected == group.unmodified.watermarked.done == 6


def test_failed_twins_are_told_apart(reported, trained_run):
    broken = [
        i.model_copy(update={"status": "failed", "reason": "no number"}) if i.twin else i
        for i in trained_run.injections
    ]
    kept = tuple(t for t in trained_run.trials if not (t.injection or "").startswith("twin"))
    run = type(trained_run)(trained_run.plan, tuple(broken), kept, (), None)
    found = reported(run)
    texts = [w.text for w in found.warnings if w.code == "not-done"]
    assert texts == ["Trainings without a watermark that were not done: 3 of 3."]
    assert found.completeness.unmodified_planned == found.completeness.unmodified_found


def test_an_overwriting_that_is_void(trained_report, drawn):
    sweep = trained_report.robustness[1].sweeps[-1]
    assert sweep.modification == "overwriting"
    # 14, 15 and 16 of 64 new Symbols are wrong in the three networks.
    assert [p.ser_new_marks.mean for p in sweep.points] == pytest.approx([0, 15 / 64, 15 / 64])
    assert [p.survived for p in sweep.points] == [True, None, None]
    found = notice(trained_report, "void-overwriting")
    assert "an overwriting that is not in is none" in found.text
    assert found.details[0] == (
        "uchida, 64 bits, by training, Overwriting (learning rate 0.01) 3 watermarks (all layers): "
        "the Symbol Error Rate of the last is 23.44 %; of the old watermarks 6 of 6 are detected"
    )
    text = verdict(trained_report, "robustness", 1).text
    assert "Not counted: 2 overwritings whose new watermarks are not in (the Symbol" in text
    assert "not fully measured" not in text
    # Of twelve settings two are void; fine tuning at a high rate and distillation are lost.
    assert verdict(trained_report, "robustness", 1).figure == "7 of 10"
    spots = next(
        r.spots
        for r in views.overview(trained_report)
        if r.label.startswith("uchida") and r.modification.startswith("Overwriting")
    )
    assert [s.notes for s in spots] == [
        ("new SER 0 %, last 0 %",),
        ("void: new SER 23.44 %, last 23.44 %",),
        ("void: new SER 23.44 %, last 23.44 %",),
    ]
    assert [s.state for s in spots] == ["survived", "unknown", "unknown"]
    figure = next(f for f in drawn if "overwriting" in f.name)
    assert "White markers: overwritings that are void" in figure.caption


def test_new_marks_are_in_the_table(trained_report):
    rows = rows_of(tables.robustness_table(trained_report))
    own = [r for r in rows if r["group"] == UCHIDA and "Overwriting" in r["modification"]]
    assert [float(r["ser_new_marks"]) for r in own] == pytest.approx([0, 15 / 64, 15 / 64])
    assert own[0]["void"] == ""
    assert own[1]["void"].startswith(
        "the overwriting is void: the last of its new watermarks is not"
    )


def test_a_carrier_that_is_gone(trained_report):
    row = next(
        r
        for r in views.overview(trained_report)
        if r.label == STATIC and r.modification.startswith("Distillation")
    )
    assert [s.notes for s in row.spots] == [("no carrier in 6 of 6",)] * 2
    assert [(s.detected, s.state) for s in row.spots] == [("0 %", "lost")] * 2
    text = verdict(trained_report, "robustness", 0).text
    assert "(all layers: 0 of 6 detected there, no carrier, top-1 accuracy 87.80 %)" in text
    rows = rows_of(tables.robustness_table(trained_report))
    own = [r for r in rows if r["group"] == STATIC and "Distillation" in r["modification"]]
    assert [(r["no_carrier"], r["fn"], r["ser_watermarked"]) for r in own] == [("9", "6", "")] * 2


def test_a_transfer(trained_report, drawn):
    sweep = next(s for s in trained_report.robustness[0].sweeps if "transfer" in s.options)
    assert (sweep.points[0].usable, sweep.points[0].quality_of) == (None, "cifar100")
    assert notice(trained_report, "other-data-set").details == (
        "Fine tuning (reinitialise, transfer) 0.5 (all layers): cifar100",
    )
    figure = next(f for f in drawn if "transfer" in f.name)
    assert "Top-1 accuracy on cifar100" in figure.svg
    assert "quality was measured on cifar100" in figure.caption
    rows = rows_of(tables.robustness_table(trained_report))
    own = next(r for r in rows if "transfer" in r["modification"])
    assert (own["quality_of"], own["quality_loss"], own["usable"]) == ("cifar100", "", "")


def test_facts_of_a_training(trained_report):
    point = trained_report.robustness[0].sweeps[0].points[1]
    # Last losses of 0.30, 0.32 and 0.34.
    assert point.facts == {"epochs": 5.0, "last loss": pytest.approx(0.32), "schedule": "linear"}
    row = rows_of(tables.robustness_table(trained_report))[2]
    assert row["facts"] == "epochs 5, last loss 0.32, schedule linear"


def test_readers_are_spared_empty_columns(report, trained_report):
    headings = [h for _, h in tables.robustness_table(report).for_readers.columns]
    assert "SER, new watermarks" not in headings
    assert "Training" not in headings
    assert "Carrier gone" in headings
    full = [h for _, h in tables.robustness_table(trained_report).for_readers.columns]
    assert {"SER, new watermarks", "Void", "Quality measured on", "Training"} <= set(full)


def test_options_make_sweeps_of_their_own(trained_report, drawn):
    titles = [f.title for f in drawn if f.section == "robustness"]
    assert titles[:4] == [
        "Fine tuning (learning rate 0.001), all layers",
        "Fine tuning (learning rate 0.01), all layers",
        "Fine tuning (learning rate 0.1), all layers",
        "Fine tuning (reinitialise, transfer), all layers",
    ]
    assert len({f.name for f in drawn}) == len(drawn)
    # Sweeps of one and of two Intensities.
    assert [len(s.points) for s in trained_report.robustness[0].sweeps] == [2, 2, 2, 1, 2, 3]


def test_the_four_elements(trained_report, trained_run, page):
    rows = {r["group"]: r for r in rows_of(tables.injection_table(trained_report))}
    own = [c for c in trained_run.costs if c.group == 1 and c.operation == "injection"]
    found = rows[UCHIDA]
    assert float(found["seconds"]) == pytest.approx(np.mean([c.seconds for c in own]))
    assert float(found["baseline_seconds"]) == pytest.approx(
        np.mean([c.baseline_seconds for c in own])
    )
    assert float(found["ratio"]) == pytest.approx(np.mean([c.ratio for c in own]))
    assert float(found["device_peak_bytes"]) == 901_000_000
    # 2 + network + Payload epochs each.
    assert float(found["epochs"]) == pytest.approx(3.5)
    assert float(found["epochs_low"]) < 3.5 < float(found["epochs_high"])
    assert (found["never_in"], found["never_in_of"]) == ("0", "6")
    never = rows["adi, 64 bits, by training"]
    assert (never["never_in"], never["never_in_of"]) == ("1", "6")
    # Without (2, 1), which would have needed 5: (2 + 3 + 3 + 4 + 4) / 5.
    assert float(never["epochs"]) == pytest.approx(3.2)
    assert rows[STATIC]["epochs"] == rows[STATIC]["ratio"] == ""
    for element in ("(a) Memory footprint", "(b) Time of an epoch / its batches", "(c) Epochs"):
        assert element in page
    assert "not applicable" in page


def test_cost_of_training_in_words(trained_report):
    text = verdict(trained_report, "cost", 2).text
    costs = trained_report.cost[2].operations[0]
    assert text.startswith(
        f"adi, 64 bits, by training: injecting by training takes {1e3 * costs.seconds.mean:.1f} ms "
        f"a batch, {costs.ratio.mean:.2f} times as long as without a watermark, and 1.2 GB "
        "(901 MB on the accelerator), detecting takes"
    )
    assert (
        "The watermark is in after 3.2 epochs (95 % limits 2.16 to 4.24); in 1 of 6 networks the "
        "watermark is never in." in text
    )
    assert "The watermark is in" not in verdict(trained_report, "cost", 0).text


def test_curves_are_drawn_and_written(trained_report, drawn, page):
    curves = [f for f in drawn if f.section == "training"]
    assert [f.name for f in curves] == [
        "training-1-uchida-64-bits-by-training",
        "training-2-adi-64-bits-by-training",
    ]
    for figure in curves:
        shown = {t.text for t in ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}text")}
        assert {"Loss", "Training quality", "Symbol Error Rate", "epoch"} <= shown
        assert {"with the watermark", "without a watermark"} <= shown
    content = json.loads(documents.render(trained_report, "json"))["trainings"]
    assert [t["group"] for t in content] == [1, 2]
    # First epoch: 0.5 + 1 + 0.05 m, m = 0, 1, 2.
    assert content[0]["mean"][0]["loss"] == pytest.approx(1.55)
    assert content[0]["twins"][0]["loss"] == pytest.approx(1.45)
    assert len(content[0]["runs"]) == NETWORKS * PAYLOADS + NETWORKS
    rows = rows_of(views.epochs_table(trained_report, 0))
    assert len(rows) == 6 * (1 + NETWORKS + 1)
    assert 'id="training"' in page


def test_the_recipe_is_readable(page):
    for name, value in (
        ("Start", "the networks as they are"),
        ("Learning rate", "0.01"),
        ("Nesterov", "yes"),
        ("Batches in all", "2,346"),
        ("Trainings", "6 watermarked networks, 3 twins"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page


def test_recipes_in_words():
    assert words.recipe({**RECIPE, "start": "scratch", "nested": {"a_b": [1, 2]}, "none": None})[
        -2:
    ] == [("Nested", "a b 1 2"), ("None", "default")]
    assert ("Start", "fresh weights") in words.recipe({"start": "scratch"})
    assert words.named("learning_rate", 0.01) == "learning rate 0.01"
    assert words.named("transfer", True) == "transfer"
    assert words.named("transfer", False) == "no transfer"
    assert words.named("student", "\x1b[31m") == r"student \x1b[31m"
    assert words.facts({}) == "–"
    assert words.workflow("NNW-WTI") == "NNW-WTI, With Training Imperceptibility"


def test_a_static_report_has_no_training(report):
    assert report.trainings == ()
    page = html(report)
    assert 'id="training"' not in page
    assert "Training" not in re.findall(r"<h2>(.*?)</h2>", page)
    assert report.workflows == ("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR")


def test_reports_of_trainings_validate_and_come_back(trained_report, partial):
    schema = json.loads((files("nnw_onnx.reports") / "report.schema.json").read_text("utf-8"))
    for made in (trained_report, partial):
        content = documents.render(made, "json")
        jsonschema.validate(json.loads(content), schema)
        assert Report.model_validate_json(content) == made


def test_completeness_counts_what_was_asked_for(reported):
    tables_ = [
        {"name": "fine-tuning", "intensities": [0.1, 0.5], "learning_rate": rate}
        for rate in (0.001, 0.01, 0.1)
    ]
    tables_.append(
        {"name": "fine-tuning", "intensities": [0.5], "reinitialise": True, "transfer": True}
    )
    tables_.append({"name": "distillation", "intensities": [5, 20], "student": "nnw:fast"})
    tables_.append({"name": "overwriting", "intensities": [2, 3, 4], "learning_rate": 0.01})
    for workflows, marked in ((None, 18), (("NNW-NTI", "NNW-WIR"), 6), (("NNW-WTI",), None)):
        run = make_trained_run(workflows=workflows)
        plan = run.plan.model_copy(update={"evaluation": {"modifications": tables_}})
        asked = {g.index for g in plan.groups if g.robustness in plan.workflows}
        own = {i.identity: i.group for i in run.injections}
        kept = [
            t
            for t in run.trials
            if t.modification is None
            or own.get(t.injection, t.group) in asked
            or (t.injection is None and t.group is None and asked)
        ]
        found = reported(type(run)(plan, run.injections, tuple(kept), (), None)).completeness
        expected = 24 + (0 if marked is None else (3 + marked) * 12)
        assert found.trials_planned == found.trials_found == expected
        assert found.settings_planned == found.settings_found == (0 if marked is None else 12)
