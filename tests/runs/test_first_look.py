"""Before a run: the base quality is said, what looks wrong is told, what is no use stops."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import evaluate, first_look, forecast, progress
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.prepare import Prepared, prepare
from nnw_onnx.runs.preview import Preview
from nnw_onnx.vocabulary import Measure, Quality

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
HEADLINE = Measure("top-1 accuracy", "%", low=0.0, high=1.0)


def prepared(folder: Path, **changes: object) -> Prepared:
    asked = {
        "networks": [str(MODELS / "cnn-0.onnx")],
        "payloads": 2,
        "payload_sizes": [16],
        "dataset": {"name": "digits", "preprocessing": {"scale": 0.0625}},
        "methods": [{"name": "block-spread"}],
        "modifications": [{"name": "quantizing", "intensities": [8, 4, 2]}],
        "control": {"wrong_keys": 0},
        "cost": {"cells": 0},
        **changes,
    }
    return prepare(evaluation_from(asked, "test", folder), folder / "run")


def without_card(folder: Path) -> str:
    model = onnx.load(MODELS / "cnn-0.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "plain.onnx")
    return str(folder / "plain.onnx")


def looked(made: Prepared) -> list[str]:
    told: list[str] = []
    first_look.look(made, told.append)
    return told


def test_the_base_quality_is_said_beside_that_of_the_card(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="nnw_onnx")
    assert looked(prepared(tmp_path)) == []
    (line,) = [r.getMessage() for r in caplog.records if "top-1" in r.getMessage()]
    assert line.startswith("cnn-0.onnx: top-1 accuracy 9")
    assert line.endswith("on 300 of 898 samples; its card states 98.9 %")


def test_a_network_far_below_its_card_stops_before_anything_is_written(tmp_path):
    wrong = {"name": "digits", "preprocessing": {"scale": 1e-9}}
    made = prepared(tmp_path, dataset=wrong)
    told: list[str] = []
    with pytest.raises(ConfigurationError, match="near 98.9 %, as its card states, got 9.33 %"):
        evaluate.run(made, progress=False, tell=told.append)
    assert not (tmp_path / "run").exists()
    # What would be right is told beside it.
    assert "AT CHANCE" in told[0]
    assert "with 0 to 1 (300 samples" in told[1]
    assert told[1].endswith("try preprocessing = { scale = 0.0625 }")


def test_what_the_configuration_expects_counts_more_than_the_card(tmp_path):
    assert looked(prepared(tmp_path, preview={"expected": 0.9})) == []
    plain = [without_card(tmp_path)]
    made = prepared(tmp_path, networks=plain, payloads=1, preview={"expected": 0.2})
    assert looked(made) == []
    nothing = {"name": "digits", "preprocessing": {"scale": 1e-9}}
    made = prepared(tmp_path, networks=plain, dataset=nothing, preview={"expected": 0.9})
    with pytest.raises(ConfigurationError, match="near 90 %, as the configuration states"):
        looked(made)


def test_a_network_without_a_card_is_only_warned_of(tmp_path):
    wrong = {"name": "digits", "preprocessing": {"scale": 1e-9}}
    made = prepared(tmp_path, networks=[without_card(tmp_path)], dataset=wrong)
    assert "AT CHANCE" in looked(made)[0]


def test_answers_that_are_no_classification_stop_it(tmp_path):
    digits = load_digits()
    np.savez(
        tmp_path / "many.npz", x_train=digits.images, y_train=digits.target + 20,
        x_test=digits.images, y_test=digits.target + 20,
    )  # fmt: skip
    data = {"name": "npz", "path": "many.npz", "preprocessing": {"scale": 0.0625}}
    with pytest.raises(ConfigurationError, match=r"cnn-0.onnx: expected .* 10"):
        looked(prepared(tmp_path, dataset=data))


def test_a_look_can_be_switched_off_and_is_no_part_of_the_plan(tmp_path):
    looked_at, not_looked_at = (
        prepared(tmp_path, preview={"samples": count}).plan for count in (300, 0)
    )
    assert looked_at == not_looked_at


@pytest.mark.parametrize(
    ("right", "of", "stated", "stops"),
    [(85, 300, 0.9, True), (262, 300, 0.9, False), (7, 10, 0.9, False), (1, 10, 0.9, True)],
)
def test_far_below_is_more_than_samples_explain(right, of, stated, stops):
    scores = np.arange(of) < right
    found = Preview(Quality({"top-1 accuracy": right / of}, scores.astype(float)), of)
    assert first_look.is_far_below(found, HEADLINE, stated) == stops


def test_a_forecast_counts_what_a_run_would_do(tmp_path):
    made = prepared(tmp_path, cost={"cells": 1, "sessions": 2, "repetitions": 5, "warmups": 1})
    found = forecast.forecast(made)
    assert [(s.name, s.count, s.untimed) for s in found.stages] == [
        ("injections", 2, 0), ("trials", 3 + 3 * 3, 0), ("costs", 8, 0)
    ]  # fmt: skip
    assert found.by_setting == {"unmodified": 3, "Quantizing": 9}
    assert found.seconds == pytest.approx(sum(s.seconds for s in found.stages))
    assert min(s.seconds for s in found.stages) > 0
    assert not (tmp_path / "run").exists()
    assert found.lines()[0] == ("1 networks x 1 technologies x 2 payloads, quality on 898 samples")


def test_what_trains_is_counted_and_not_timed(tmp_path):
    pytest.importorskip("torch")
    made = prepared(
        tmp_path,
        training={"initial_epochs": 10},
        methods=[{"name": "uchida", "training": {"epochs": 1}}],
        modifications=[{"name": "fine-tuning", "intensities": [0.1, 0.2], "learning_rate": 0.01}],
    )
    injections, trials, _ = forecast.forecast(made).stages
    assert (injections.count, injections.untimed) == (3, 3)
    assert (trials.count, trials.untimed) == (4 + 6, 3 + 6)


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (89, "89 s"), (150, "2 min"), (12_000, "3 h 20 min")]
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert progress.duration(seconds) == words


def test_without_a_terminal_a_line_says_how_far_a_stage_is(monkeypatch, caplog, tmp_path):
    caplog.set_level(logging.INFO, logger="nnw_onnx")
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    made = prepared(tmp_path, preview={"samples": 0})
    evaluate.run(made, progress=False, tell=print)
    lines = [r.getMessage() for r in caplog.records]
    assert any(line.startswith("trials: ") and " of 12 after " in line for line in lines)
