"""list and new-evaluation."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.runs.evaluation import read_evaluation, shipped
from nnw_onnx.runs.places import network_paths

Nnw = Callable[..., Any]


@pytest.mark.parametrize("group", list(plugins.FOLDERS))
def test_every_plugin_is_listed_with_its_options(nnw: Nnw, group: str) -> None:
    listed = json.loads(nnw("list", group, "--format", "json").out)
    assert [entry["name"] for entry in listed] == plugins.names(group)
    text = nnw("list", group).out
    for entry in listed:
        assert f"{entry['name']}: {entry['summary']}\n" in text
        options = plugins.options(plugins.load(group, entry["name"]))
        assert [o["name"] for o in entry["options"]] == [o.name for o in options]
        for option in options:
            assert f"    {option.name} ({option.type}, " in text
            assert option.help


def test_modifications_are_listed_with_the_standards_table(nnw: Nnw) -> None:
    listed = {m["name"]: m for m in json.loads(nnw("list", "modifications", "--format=json").out)}
    assert [listed[n]["number"] for n in ("gaussian-noise", "l1-pruning")] == [0, 1]
    assert listed["quantizing"]["parameter"]["letter"] == "B"
    assert "row 0 of the standard's table, Parameter S: " in nnw("list", "modifications").out


def test_evaluations_are_listed(nnw: Nnw) -> None:
    listed = json.loads(nnw("list", "evaluations", "--format", "json").out)
    assert [entry["name"] for entry in listed] == list(shipped())
    assert {"digits", "reference"} <= set(shipped())


def test_everything_is_listed_by_default(nnw: Nnw) -> None:
    groups = [*plugins.FOLDERS, "evaluations"]
    assert list(json.loads(nnw("list", "--format", "json").out)) == groups
    lines = nnw("list").out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{g}:" for g in groups]


def test_a_new_evaluation_is_valid(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.toml"
    answer = nnw("new-evaluation", model, other_model, "--data", tmp_path / "photos", "-o", out)
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == f"nnw: wrote {out}; read it, then: nnw evaluate {out}\n"
    evaluation = read_evaluation(out)
    assert [p.resolve() for p in network_paths(evaluation.networks)] == [model, other_model]
    assert evaluation.dataset.name == "image-folder"
    assert Path(evaluation.dataset.spec.options["path"]).resolve() == tmp_path / "photos"
    assert evaluation.dataset.spec.options["size"] == [8, 8]
    assert [m.name for m in evaluation.methods] == ["block-spread", "uchida"]
    text = out.read_text(encoding="utf-8")
    for layer in nnw_onnx.open(model).layers:
        assert (layer.name in text) == (layer.role == "kernel")


@pytest.mark.parametrize("dataset", plugins.names("datasets"))
def test_a_new_evaluation_is_valid_for_every_dataset(
    nnw: Nnw, model: Path, tmp_path: Path, dataset: str
) -> None:
    answer = nnw("new-evaluation", model, "--dataset", dataset)
    assert (answer.status, answer.err) == (0, "")
    (tmp_path / "x.toml").write_text(answer.out, encoding="utf-8")
    assert read_evaluation(tmp_path / "x.toml").dataset.name == dataset


def test_every_commented_setting_is_a_valid_one(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    """Taking away the "# " before `name = value` and tables gives a valid evaluation too."""
    text = nnw("new-evaluation", model).out
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        name, equals, _ = bare.partition(" = ")
        is_table = bare.startswith("[") and line != bare
        lines.append(bare if is_table or (equals and name.isidentifier()) else line)
    assert lines != text.splitlines()
    (tmp_path / "x.toml").write_text("\n".join(lines), encoding="utf-8")
    evaluation = read_evaluation(tmp_path / "x.toml")
    assert evaluation.dataset.preprocessing.channels == "BGR"
    assert evaluation.methods[-1].training is not None
    assert evaluation.modifications[-1].name == "overwriting"


def test_hostile_names_stay_inside_their_comment(
    nnw: Nnw, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / 'a"\n[engine]\nname = "x.onnx'
    hostile.write_bytes(model.read_bytes())
    parsed = tomllib.loads(nnw("new-evaluation", hostile).out)
    assert Path(parsed["networks"][0]).name == hostile.name
    assert parsed["engine"] == {"name": "serial"}


def test_a_mistake_writes_nothing(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.toml"
    answer = nnw("new-evaluation", model, "--dataset", "image-foldr", "-o", out)
    assert answer.status == 2
    assert "(did you mean 'image-folder'?)" in answer.err
    assert not out.exists()
