"""Tables that stand for several settings: which, and what each of them is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.settings import setting_records
from nnw_onnx.runs.sweeps import with_sweeps
from nnw_onnx.runs.tables import Evaluation


def asked(*modifications: dict[str, object]) -> Evaluation:
    document = {
        "networks": ["nnw:digits/cnn-0.onnx"],
        "payloads": 2,
        "dataset": {"name": "digits"},
        "training": {"learning_rate": 0.02, "initial_epochs": 10},
        "methods": [{"name": "uchida"}],
        "modifications": list(modifications),
    }
    return evaluation_from(document, "test.toml", Path())


def settings(*modifications: dict[str, object]) -> list[tuple[str, tuple[float, ...]]]:
    found = setting_records(with_sweeps(asked(*modifications)))
    return [(record.label, record.intensities) for record in found]


def tuning(**options: object) -> dict[str, object]:
    return {"name": "fine-tuning", "intensities": [0.1, 0.5], **options}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fine-tuning", "Fine-tuning"),
        ("distillation", "Distillation"),
        ("model-soup", "Average of fine-tuned copies"),
    ],
)
def test_a_training_without_a_rate_is_tried_at_three(name, label):
    found = settings(
        {"name": name, "intensities": [2, 4]}, {"name": "clipping", "intensities": [3]}
    )
    assert found == [
        (f"{label}, learning rate 0.002", (2, 4)),
        (f"{label}, learning rate 0.02", (2, 4)),
        (f"{label}, learning rate 0.2", (2, 4)),
        ("Clipping", (3,)),
    ]


def test_whoever_gives_a_rate_gets_that_one():
    evaluation = asked(tuning(learning_rate=0.01), {"name": "averaging", "copies": 2})
    assert with_sweeps(evaluation).modifications == evaluation.modifications


def test_sweeping_twice_is_sweeping_once():
    once = with_sweeps(asked(tuning()))
    assert with_sweeps(once).modifications == once.modifications


def test_what_is_asked_for_already_is_not_done_twice():
    given = tuning(learning_rate=0.2, intensities=[0.5])
    assert settings(tuning(), given, tuning(scope="last")) == [
        ("Fine-tuning, learning rate 0.002", (0.1, 0.5)),
        ("Fine-tuning, learning rate 0.02", (0.1, 0.5)),
        ("Fine-tuning, learning rate 0.2", (0.1,)),
        ("Fine-tuning, learning rate 0.2 (2)", (0.5,)),
        ("Fine-tuning, scope last, learning rate 0.002", (0.1, 0.5)),
        ("Fine-tuning, scope last, learning rate 0.02", (0.1, 0.5)),
        ("Fine-tuning, scope last, learning rate 0.2", (0.1, 0.5)),
    ]


def test_a_label_says_the_rate_too():
    found = settings(tuning(label="The attacker"))
    assert [label for label, _ in found] == [
        f"The attacker, learning rate {rate}" for rate in (0.002, 0.02, 0.2)
    ]


def test_a_step_of_a_stack_stands_for_itself():
    stack = {"steps": [{"name": "clipping", "intensity": 3}, tuning()]}
    assert settings(stack) == [("Clipping 3 x sigma, then fine-tuning", (0.1, 0.5))]
