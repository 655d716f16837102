"""Strength at equal loss of quality, on networks that are not compared."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.methods.uchida import Uchida
from nnw_onnx.runs import tuning
from nnw_onnx.runs.evaluate import default_folder
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.vocabulary import Card


@pytest.fixture
def made(tmp_path):
    evaluation = Evaluation.model_validate(
        {
            "networks": ["nnw:digits/cnn-0.onnx"],
            "payloads": 2,
            "payload_sizes": [32],
            "dataset": {"name": "digits", "preprocessing": {"scale": 0.0625}},
            "methods": [{"name": "uchida"}],
        }
    )
    return prepare(evaluation, tmp_path / default_folder(evaluation))


@pytest.fixture
def strength(monkeypatch):
    """Uchida with a card that names its margin, and few steps to find it."""
    monkeypatch.setattr(tuning, "_STEPS", 4)
    card = Uchida.card or Card("", True, "", "", "")
    monkeypatch.setattr(Uchida, "card", dataclasses.replace(card, strength="margin"))


def test_the_strength_is_the_largest_whose_mean_loss_is_what_was_asked_for(made, strength):
    tried: list[str] = []
    (found,) = tuning.tune(made, 0.05, tried.append)
    assert (found.option, found.outcome, found.technology.size) == ("margin", "reached", 32)
    assert found.loss is not None
    assert found.loss <= 0.05
    assert found.technology.method.options["margin"] == found.value
    # The next strength that was tried, at most 5 % more, cost more than that.
    values = {
        float(line.split("margin ")[1].split(" ")[0]): float(line.rsplit(" ", 1)[1])
        for line in tried
    }
    above = min(value for value in values if value > found.value * 1.0005)
    assert values[above] > 0.05
    assert above / found.value < (tuning._UP * tuning._DOWN) ** (0.5**tuning._STEPS) * 1.001


def test_a_method_without_strength_is_told(made, monkeypatch):
    card = Uchida.card or Card("", True, "", "", "")
    monkeypatch.setattr(Uchida, "card", dataclasses.replace(card, strength=None))
    (found,) = tuning.tune(made, 0.05)
    assert (found.value, found.loss, found.outcome) == (None, None, "no strength")


@pytest.mark.parametrize("loss", [0.0, -1.0, math.nan])
def test_a_loss_that_is_none_is_refused(made, loss):
    with pytest.raises(ConfigurationError, match="expected a positive loss of quality, got"):
        tuning.tune(made, loss)


def test_a_strength_that_is_no_number_is_refused(strength, monkeypatch):
    class Other(Uchida):
        card: ClassVar[Card | None] = Card("", True, "", "", "", strength="carrier")

    monkeypatch.setattr(tuning.plugins, "create", lambda kind, spec: Other())
    with pytest.raises(ConfigurationError, match="expected a number as option 'carrier', got"):
        tuning.strength_of(Uchida().spec())
