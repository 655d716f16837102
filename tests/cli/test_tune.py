"""nnw tune: strengths for a comparison, on networks that are not compared."""

from __future__ import annotations

import json
from pathlib import Path

MODELS = Path(__file__).parents[2] / "models" / "digits"
CONFIG = f"""
networks = ["{MODELS}/cnn-0.onnx"]
payloads = 1
payload_sizes = [16]
[dataset]
name = "digits"
preprocessing = {{ scale = 0.0625 }}
[[methods]]
name = "lsb"
depth = 2
code = {{ name = "repetition", times = 3 }}
[[methods]]
name = "presence"
"""


def test_strengths_are_printed_as_tables_of_a_configuration(nnw, tmp_path, monkeypatch):
    import tomllib

    from nnw_onnx.runs import tuning

    monkeypatch.setattr(tuning, "_STEPS", 1)
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG)
    answer = nnw("tune", str(config), "--on", str(MODELS / "cnn-1.onnx"), "--loss", "0.02")
    assert answer.status == 0, answer.err
    lsb, presence = tomllib.loads(answer.out)["methods"]
    assert lsb.pop("code")["times"] == 3
    assert lsb == {"name": "lsb", "payload_sizes": [16], "depth": 2}
    assert presence["name"] == "presence"
    assert presence["margin"] > 0
    assert "has no strength to tune" in answer.out
    assert "mean loss" in answer.out
    told = nnw("tune", str(config), "--on", str(MODELS / "cnn-1.onnx"), "--format", "json")
    outcomes = [one["outcome"] for one in json.loads(told.out)]
    assert outcomes[0] == "no strength"


def test_networks_that_are_compared_are_not_tuned_on(nnw, tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG)
    answer = nnw("tune", str(config), "--on", str(MODELS / "cnn-0.onnx"))
    assert answer.status == 2
    assert "expected networks that are not compared, got cnn-0.onnx" in answer.err
