"""list and new-evaluation."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import PluginError
from nnw_onnx.runs.evaluation import read_evaluation, shipped
from nnw_onnx.runs.places import network_paths
from nnw_onnx.vocabulary import Method, Modification, SeesWhole, Spec

Nnw = Callable[..., Any]


@pytest.mark.parametrize("group", list(plugins.GROUPS))
def test_every_plugin_is_listed_with_its_options(nnw: Nnw, group: str) -> None:
    listed = json.loads(nnw("list", group, "--format", "json").out)
    assert [entry["name"] for entry in listed] == plugins.names(group)
    text = nnw("list", group).out
    for entry in listed:
        assert f"{entry['name']}: {entry['summary']}\n" in text
        options = plugins.options(plugins.load(plugins.base(group), entry["name"]))
        assert [o["name"] for o in entry["options"]] == [o.name for o in options]
        for option in options:
            assert f"    {option.name} ({option.type}, " in text
            assert option.help


def test_defaults_are_told_as_a_person_writes_them(nnw: Nnw) -> None:
    text = nnw("list", "datasets").out
    assert "preprocessing (table, default layout auto, channels auto): " in text
    assert 'targets (text, default ""): ' in text
    assert "size (list of 2 whole numbers from 1 to 4096, optional): " in text
    assert "path (path, required): " in text
    assert "default input_ids, attention_mask, token_type_ids): " in text
    listed = {d["name"]: d for d in json.loads(nnw("list", "datasets", "--format=json").out)}
    defaults = {o["name"]: o["default"] for o in listed["npz"]["options"]}
    assert (defaults["feeds"], defaults["preprocessing"]["layout"]) == ([], "auto")


def test_a_folder_for_a_bundled_data_set_is_refused(nnw: Nnw, model: Path) -> None:
    answer = nnw("new-evaluation", model, "--dataset", "digits", "--data", "photos")
    assert (answer.status, answer.out) == (2, "")
    assert "--data: expected a data set that is read from files, got 'digits'" in answer.err


def test_modifications_are_listed_with_the_standards_table(nnw: Nnw) -> None:
    listed = {m["name"]: m for m in json.loads(nnw("list", "modifications", "--format=json").out)}
    assert [listed[n]["number"] for n in ("gaussian-noise", "l1-pruning")] == [0, 1]
    assert listed["quantizing"]["parameter"]["letter"] == "B"
    text = nnw("list", "modifications").out
    assert "row 0 of the standard's table, Parameter S: " in text
    assert listed["averaging"]["parameter"] is None
    assert "not in the standard, no Parameter" in text


def test_methods_are_listed_with_what_they_see(nnw: Nnw) -> None:
    listed = {m["name"]: m for m in json.loads(nnw("list", "methods", "--format=json").out)}
    assert (listed["nct"]["kind"], listed["nct"]["access"]) == ("fingerprint", "weights")
    assert listed["uchida"]["package"] == f"nnw-onnx {nnw_onnx.__version__}"
    assert "watermark, sees answers" in nnw("list", "methods").out


def test_a_method_is_listed_with_the_attacks_of_who_knows_it(
    nnw: Nnw, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = nnw("list", "methods", "adi").out
    lines = [line.strip() for line in text.splitlines() if "who knows it" in line]
    assert lines == [
        "attack by who knows it: unlearning",
        "attack by who knows it: patterned-tuning, then random-resizing",
        "attack by who knows it: rejection",
    ]
    (listed,) = json.loads(nnw("list", "methods", "emmark", "--format=json").out)
    assert listed["adaptive"][-1] == [
        {"name": "grid-noise", "options": {"steps": 10}, "layers": ["@largest"]}
    ]
    assert "grid-noise(steps=10) of @largest\n" in nnw("list", "methods", "emmark").out
    monkeypatch.setattr(plugins.load(Method, "emmark"), "adaptive", ())
    text = nnw("list", "methods", "emmark").out
    assert "who knows it:" not in text
    assert "    not attacked adaptively: it names no attack of who knows it, and is" in text
    every = [m["name"] for m in json.loads(nnw("list", "methods", "--format=json").out)]
    alone = [name for name in every if issubclass(plugins.load(Method, name), SeesWhole)]
    assert nnw("list", "methods").out.count("not attacked adaptively") == 1 + len(alone)
    assert len(every) > 20


@pytest.mark.parametrize(
    ("group", "name"), [("codes", "bch"), ("presets", "deployment"), ("evaluations", "digits")]
)
def test_one_of_a_group_is_listed_alone(nnw: Nnw, group: str, name: str) -> None:
    everything = json.loads(nnw("list", group, "--format", "json").out)
    (one,) = json.loads(nnw("list", group, name, "--format", "json").out)
    assert one == next(entry for entry in everything if entry["name"] == name)
    assert nnw("list", group, name).out in nnw("list", group).out
    wrong = nnw("list", group, f"{name}x")
    assert (wrong.status, wrong.out) == (2, "")
    assert f"list: {group}: expected one of {everything[0]['name']}, " in wrong.err
    assert f"got '{name}x' (did you mean '{name}'?); see 'nnw list {group}'" in wrong.err


class Entry(NamedTuple):
    """An entry point, as far as a list looks."""

    name: str
    value: str
    package: str
    found: object

    @property
    def module(self) -> str:
        return self.value.partition(":")[0]

    @property
    def dist(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.package, version="1.2")

    def load(self) -> object:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


def test_a_plug_in_that_cannot_be_imported_is_listed_with_the_reason(
    nnw: Nnw, monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    broken = Entry("broken", "broken_pack:Broken", "broken-pack", ImportError("no module 'x'"))
    clash = Entry("uchida", "other_pack:Uchida", "other-pack", None)
    found = {"broken": [broken], "uchida": [clash]}
    monkeypatch.setattr(plugins, "_third_party", lambda g: found if g == "methods" else {})
    answer = nnw("list", "methods", "--format", "json")
    listed = {m["name"]: m for m in json.loads(answer.out)}
    assert answer.status == 0
    assert "broken_pack:Broken of broken-pack to be importable" in listed["broken"]["error"]
    assert "ImportError: no module 'x'" in listed["broken"]["error"]
    assert "one each from nnw-onnx and other-pack" in listed["uchida"]["error"]
    assert "error" not in listed["block-spread"]
    every = nnw("list").out
    assert "broken: cannot be used: methods: expected broken_pack:Broken" in every
    # The adapter to PyTorch is found as a third party's package is, and a preset names it.
    assert "deployment: cannot be used: deployment.toml: modifications." in every
    words = ("-o", tmp_path / "o.onnx", "--key-out", tmp_path / "k.npz", "--method")
    for method, reason in (("uchida", "nnw-onnx and other-pack"), ("broken", "no module 'x'")):
        refused = nnw("inject", model, *words, method)
        assert (refused.status, reason in refused.err) == (2, True)
    assert nnw("inject", model, *words, "block-spread").status == 0


@pytest.mark.parametrize("error", [SystemExit(0), RecursionError("a\nb"), GeneratorExit()])
def test_a_package_that_ends_in_any_way_leaves_the_others_listed(
    nnw: Nnw, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    found = {"ending": [Entry("ending", "ending:Ending", "ending-pack", error)]}
    monkeypatch.setattr(plugins, "_third_party", lambda g: found if g == "methods" else {})
    answer = nnw("list", "methods", "--format", "json")
    listed = {m["name"]: m for m in json.loads(answer.out)}
    assert answer.status == 0
    assert f"got: {type(error).__name__}" in listed["ending"]["error"]
    assert "ending-pack" in listed["ending"]["error"]
    assert "\n" not in listed["ending"]["error"]
    assert "error" not in listed["block-spread"]


@dataclass(frozen=True)
class _Unmade(Modification):
    """Its constructor ends the process."""

    name = "unmade"

    def __post_init__(self) -> None:
        raise SystemExit(0)

    def modify(self, network, bench, rng):
        raise NotImplementedError


@dataclass(frozen=True)
class _Untyped(_Unmade):
    """An option of a type that is nowhere."""

    name = "untyped"
    x: Nowhere = 3  # type: ignore[name-defined]  # noqa: F821 - on purpose


@pytest.mark.parametrize(
    ("plugin", "words"), [(_Unmade, "got SystemExit: 0"), (_Untyped, "'Nowhere' is not defined")]
)
def test_a_class_that_cannot_be_made_names_its_package(monkeypatch, plugin, words) -> None:
    entry = Entry(plugin.name, f"{__name__}:{plugin.__name__}", "odd-pack", plugin)
    found = {plugin.name: [entry]}
    monkeypatch.setattr(plugins, "_third_party", lambda g: found if g == "modifications" else {})
    with pytest.raises(PluginError, match=words):
        plugins.create(Modification, Spec(plugin.name))


def test_evaluations_are_listed(nnw: Nnw) -> None:
    listed = json.loads(nnw("list", "evaluations", "--format", "json").out)
    assert [entry["name"] for entry in listed] == list(shipped())
    assert {"digits", "reference"} <= set(shipped())


def test_presets_are_listed_with_what_they_bring(nnw: Nnw) -> None:
    listed = {e["name"]: e for e in json.loads(nnw("list", "presets", "--format", "json").out)}
    assert {"mpai-nnt", "deployment", "adaptive", "full"} <= set(listed)
    assert "Gaussian noise: 0.1 0.2 0.3 x sigma" in listed["mpai-nnt"]["modifications"]
    assert "Float16" in listed["deployment"]["modifications"]
    for name in ("adaptive", "full"):
        assert listed[name]["modifications"][-1].startswith("what the methods under test name")
    lines = nnw("list", "presets").out.splitlines()
    assert f"mpai-nnt: {listed['mpai-nnt']['summary']}" in lines
    assert "    Gaussian noise: 0.1 0.2 0.3 x sigma" in lines


def test_a_new_evaluation_names_its_presets(nnw: Nnw, model: Path, tmp_path: Path) -> None:
    out, own = tmp_path / "deep" / "mine.toml", tmp_path / "own.toml"
    out.parent.mkdir()
    own.write_text('summary = "own"\n[[modifications]]\nname = "float16"\n')
    named = ("--preset", "mpai-nnt", "--preset", own)
    assert nnw("new-evaluation", model, "--dataset", "digits", "-o", out, *named).status == 0
    assert read_evaluation(out).presets == ("mpai-nnt", "../own.toml")
    wrong = nnw("new-evaluation", model, "--dataset", "digits", "--preset", "mpai")
    assert wrong.status != 0
    assert "presets: expected a TOML file or one of" in wrong.err


def test_everything_is_listed_by_default(nnw: Nnw) -> None:
    groups = [*plugins.GROUPS, "evaluations", "presets"]
    assert list(json.loads(nnw("list", "--format", "json").out)) == groups
    lines = nnw("list").out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{g}:" for g in groups]


def test_a_new_evaluation_is_valid(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.toml"
    answer = nnw("new-evaluation", model, other_model, "--data", tmp_path / "photos", "-o", out)
    assert (answer.status, answer.out) == (0, "")
    assert answer.err.splitlines()[0] == f"nnw: wrote {out}; read it, then: nnw evaluate {out}"
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
    answer = nnw("new-evaluation", model, "--dataset", dataset, "--task", "image-classification")
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
    assert evaluation.dataset.spec.options["preprocessing"]["channels"] == "BGR"
    assert evaluation.methods[0].code.name == "repetition"
    assert evaluation.methods[-1].training is not None
    names = [[step.name for step in table.stack] for table in evaluation.modifications[5:]]
    assert names == [
        ["l1-pruning", "quantizing"], ["averaging"], ["fine-tuning"], ["distillation"],
        ["overwriting"],
    ]  # fmt: skip
    assert evaluation.modifications[5].stack[0].spec.options == {"intensity": 50.0}
    assert (evaluation.modifications[6].copies, evaluation.control.wrong_keys) == (2, 1000)


def test_a_network_whose_name_has_brackets_is_that_file(
    nnw: Nnw, model: Path, other_model: Path, tmp_path: Path
) -> None:
    """As a pattern `net[1].onnx` would be `net1.onnx`."""
    named = tmp_path / "net[1] ü*.onnx"
    named.write_bytes(model.read_bytes())
    (tmp_path / "net1.onnx").write_bytes(other_model.read_bytes())
    answer = nnw("new-evaluation", named, "--dataset", "digits", "-o", tmp_path / "x.toml")
    assert answer.status == 0
    evaluation = read_evaluation(tmp_path / "x.toml")
    assert network_paths(evaluation.networks) == [named]


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
