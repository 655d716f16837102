"""What a worker does, without the worker."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import context as context_module
from nnw_onnx.runs import work
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.runs.plan import Trial
from nnw_onnx.runs.prepare import prepare

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"


def test_relative_change_is_the_rms_over_the_pooled_deviation(rng):
    old = {"a": rng.normal(size=(4, 5)), "b": 3 + 2 * rng.normal(size=(7, 2))}
    new = {name: w + rng.normal(size=w.shape) for name, w in old.items()}
    energy = sum((x - y) ** 2 for n in old for x, y in zip(old[n].flat, new[n].flat, strict=True))
    spread = sum((x - w.mean()) ** 2 for w in old.values() for x in w.flat)
    assert work.relative_change(old, new) == pytest.approx(math.sqrt(energy / spread))


def test_relative_change_of_nothing_is_zero():
    assert work.relative_change({}, {}) == 0.0
    same = {"a": np.ones(3, np.float32)}
    assert work.relative_change(same, same) == 0.0


def test_small_and_large_data_sets_give_the_same_quality(tmp_path, monkeypatch):
    evaluation = evaluation_from(
        {
            "networks": [str(MODELS / "cnn-0.onnx")],
            "dataset": {"name": "digits", "preprocessing": {"scale": 0.0625}},
            "methods": [{"name": "block-spread"}],
            "session": {"batch_size": 50},
        },
        "test",
        tmp_path,
    )
    context = prepare(evaluation, tmp_path).context
    trial = Trial(identity="0" * 64, network=0, injection=None, keys=())
    at_once = work.run_trial(context, trial)
    monkeypatch.setattr(context_module, "CACHED_BYTES", 16 * 64 * 4)
    in_portions = work.run_trial(context, trial)
    assert at_once == in_portions
    assert at_once.quality["top-1 accuracy"] > 0.95


def test_one_network_under_two_names_is_refused(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(MODELS / "cnn-0.onnx", tmp_path / name)
    data = {
        "networks": ["*.onnx"],
        "dataset": {"name": "digits"},
        "methods": [{"name": "block-spread"}],
    }
    with pytest.raises(ConfigurationError, match=r"got a\.onnx under two names"):
        prepare(evaluation_from(data, "test", tmp_path), tmp_path)
