"""The section of a model card, and a report that may be given away."""

from __future__ import annotations

import re

import pytest

from nnw_onnx.reports import Report, documents
from nnw_onnx.reports.columns import rows
from nnw_onnx.reports.sharing import shareable


def test_a_card_tells_what_marks_cost_and_survive(small):
    lines = documents.render(small, "model-card").splitlines()
    assert lines[0] == "## Watermark evaluation"
    assert lines[2].startswith("Evaluated with nnw\\-onnx ")
    assert "This is no certificate." in lines[2]
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(small.technologies)
    assert len({line.count(" | ") for line in table if not line.startswith("| ---")}) == 1
    first = small.technologies[small.order[0]]
    assert f"{first.tally.survived} of {first.tally.usable}" in table[2]
    assert re.search(r"\d \\\[.* to .*\\\] points", table[2])
    assert any("smallest over these settings" in line for line in lines)
    assert lines[-len(small.notices) - 2] == "What limits this:"


def test_a_card_has_no_index_of_models_and_no_secret(small):
    text = documents.render(small, "model-card")
    assert "model-index" not in text
    assert not text.startswith("---")
    assert small.reproducibility.evaluation_sha256 not in text
    assert "seed" not in text


def test_a_hostile_name_commands_nothing(hostile):
    text = documents.render(hostile, "model-card")
    assert "<script>" not in text
    assert "\x1b" not in text
    assert all(
        line.startswith(("#", "|", "-", "Evaluated", "What")) for line in text.splitlines() if line
    )


def test_large_reports_have_cards_too(large):
    assert documents.render(large, "model-card").count("\n| ") == 1 + len(large.technologies) + 1


def test_a_shareable_report_is_one_without_what_keys_follow_from(small):
    made = shareable(small)
    assert made.reproducibility.seed is None
    assert made.reproducibility.evaluation_sha256 is None
    assert made.reproducibility.records_sha256 is None
    assert "seed" not in made.configuration
    assert not [t for t in made.technologies if t.injections.commitments]
    assert list(rows(made)) == list(rows(small))
    assert small.reproducibility.seed is not None
    assert Report.model_validate_json(documents.render(made, "json")) == made


@pytest.mark.parametrize("form", documents.FORMATS)
def test_a_shareable_report_is_drawn_in_every_form(small, form):
    text = documents.render(shareable(small), form)
    assert small.reproducibility.evaluation_sha256 not in text
    assert small.reproducibility.records_sha256 not in text
    assert "seed None" not in text
