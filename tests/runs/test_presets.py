"""Presets: files of Modifications, what of them an evaluation can give, and what methods name."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import Plan
from nnw_onnx.runs import evaluation as ev
from nnw_onnx.runs import presets
from nnw_onnx.runs.checks import Faults, check_modification, intensities_of, made_step
from nnw_onnx.runs.evaluate import default_folder
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.settings import setting_records
from nnw_onnx.runs.tables import ModificationTable
from nnw_onnx.vocabulary import Method, Spec, Step

from .test_prepare import BASE, plan_of

# The presets that issue 10 asks for.
NAMES = {
    "mpai-nnt", "mpai-testbed", "wrt-cifar10", "find-the-lady", "deployment",
    "functionality-preserving", "adaptive", "full",
}  # fmt: skip
OWN = """
summary = "mine"
[[modifications]]
name = "gaussian-noise"
intensities = [0.2, 0.7]
[[modifications]]
name = "float16"
"""


def preset(tmp_path, text=OWN, name="mine.toml"):
    (tmp_path / name).write_text(text)
    return name


def given(tmp_path, **changes):
    return ev.evaluation_from({**copy.deepcopy(BASE), **changes}, "e", tmp_path)


def expanded(evaluation, lacks=lambda need: ""):
    return presets.with_presets(evaluation, lacks)


def added(evaluation):
    """Name and Intensities of what presets brought."""
    tables = evaluation.modifications[len(BASE["modifications"]) :]
    return [(t.name, t.intensities, t.preset) for t in tables]


def methods():
    return [plugins.load(Method, name) for name in plugins.names("methods")]


def test_every_preset_of_the_project_is_there_valid_and_described():
    shipped = presets.shipped()
    assert set(shipped) == NAMES
    for name, path in shipped.items():
        assert presets.read_preset(path).summary
        assert presets.tables_of(name, path.parent, methods())


def test_the_standards_preset_is_its_seven_modifications_inside_its_ranges():
    tables = presets.tables_of("mpai-nnt", presets.shipped()["mpai-nnt"].parent)
    made = [(t, made_step(t.stack[0], intensities_of(t)[0])) for t in tables]
    assert {one.number for _, one in made} == set(range(7))
    for table, one in made:
        single = table.layers == "carrier"
        for intensity in table.intensities:
            assert not one.parameter.outside_standard_range(intensity, single_layer=single)


@pytest.mark.parametrize(
    ("name", "family"),
    [("deployment", "deployment"), ("functionality-preserving", "preserving")],
)
def test_a_preset_of_a_family_has_nothing_else(name, family):
    for table in presets.tables_of(name, presets.shipped()[name].parent):
        families = {made_step(step, intensities_of(table)[0]).family for step in table.stack}
        assert families == {family}


def test_the_full_preset_is_all_the_others():
    folder = presets.shipped()["full"].parent
    every = {c for t in presets.tables_of("full", folder, methods()) for c in presets.cells_of(t)}
    for name in NAMES - {"full"}:
        own = presets.tables_of(name, folder, methods())
        assert {c for t in own for c in presets.cells_of(t)} <= every


def test_a_preset_comes_behind_what_is_asked_for_and_does_nothing_twice(tmp_path):
    made = expanded(given(tmp_path, presets=[preset(tmp_path), "mine.toml"]))
    # The configuration itself has noise of 0.1 and 0.2.
    assert added(made) == [("gaussian-noise", (0.7,), "mine"), ("float16", None, "mine")]
    assert made.left_out == ()
    assert [t.preset for t in made.modifications[:2]] == ["", ""]
    records = setting_records(made)
    assert [record.preset for record in records] == ["", "", "mine", "mine"]
    assert [record.label for record in records[2:]] == ["Gaussian noise, mine", "Float16"]


def test_of_a_stack_only_intensities_are_left_that_are_not_there(tmp_path):
    text = """
summary = "stack"
[[modifications]]
steps = [
  {name = "l1-pruning", intensity = 50, layers = "carrier"},
  {name = "quantizing", intensities = [8, 6], layers = ["conv*"]},
]
"""
    made = expanded(given(tmp_path, presets=[preset(tmp_path, text)]))
    assert [step.intensities for step in made.modifications[2].stack] == [None, (6,)]


def test_what_the_evaluation_lacks_is_left_out_with_its_reason(tmp_path):
    text = """
summary = "much"
[[modifications]]
name = "fine-tuning"
intensities = [0.5]
[[modifications]]
name = "averaging"
copies = 9
[[modifications]]
name = "jpeg"
intensities = [50]
[[modifications]]
name = "float16"
"""
    evaluation = given(tmp_path, presets=[preset(tmp_path, text)])
    made = expanded(evaluation, lambda need: f"no {need}" if need == "scale" else "")
    assert added(made) == [("float16", None, "mine")]
    assert [(x.preset, x.label, x.reason) for x in made.left_out] == [
        (
            "mine", "Fine-tuning",
            "expected training.initial_epochs (epochs of the initial training of the networks) for "
            "fine-tuning, got none; add it",
        ),
        (
            "mine", "Average of copies, 9 copies",
            "copies: expected at most payloads = 5, because each recipient has a payload, got 9; "
            "use fewer copies or more payloads",
        ),
        ("mine", "JPEG of the inputs", "no scale"),
    ]  # fmt: skip


def test_the_same_asked_for_itself_is_refused(tmp_path):
    tuning = {"name": "fine-tuning", "intensities": [0.5]}
    with pytest.raises(ConfigurationError, match=r"modifications\.0: expected training\.initial_"):
        given(tmp_path, modifications=[tuning])


def test_a_plan_keeps_settings_their_origin_and_what_is_left_out(tmp_path):
    plan = plan_of(tmp_path, presets=["mpai-nnt", "adaptive"])
    plan = Plan.model_validate_json(plan.model_dump_json())
    by_preset = {setting.preset for setting in plan.settings}
    assert by_preset == {"", "mpai-nnt", "adaptive"}
    trains = "the evaluation has no table [training]"
    assert {(x.preset, x.label): x.reason for x in plan.left_out} == {
        ("mpai-nnt", "Distillation"): trains,
        ("mpai-nnt", "Fine-tuning"): (
            "expected training.initial_epochs (epochs of the initial training of the networks) for "
            "fine-tuning, got none; add it"
        ),
    }
    assert plan.evaluation["presets"] == ["mpai-nnt", "adaptive"]
    attacks = [s for s in plan.settings if s.adaptive]
    assert attacks
    assert all(setting.adaptive == (0,) for setting in attacks)


def test_records_follow_from_the_modifications_wherever_they_come_from(tmp_path):
    """The preset of a file, and its tables written out, are the same evaluation."""
    by_preset = plan_of(tmp_path, presets=[preset(tmp_path)])
    more = [{"name": "gaussian-noise", "intensities": [0.7]}, {"name": "float16"}]
    by_hand = plan_of(tmp_path, modifications=[*BASE["modifications"], *more])
    assert by_preset.evaluation_sha256 == by_hand.evaluation_sha256
    assert by_preset.evaluation["presets"] == ["mine.toml"]
    assert "presets" not in by_hand.evaluation
    assert plan_of(tmp_path).evaluation_sha256 != by_hand.evaluation_sha256


def test_without_presets_a_run_lies_where_it_did(tmp_path):
    plain = given(tmp_path)
    described = plain.model_dump(mode="json", exclude={"engine", "preview"})
    assert described.pop("presets") == []
    assert default_folder(plain) != default_folder(given(tmp_path, presets=["mpai-nnt"]))


# --- the attacks of methods ---


class Named:
    """A stand-in for a method that names attacks."""

    name = "named"
    adaptive = (
        (Step(Spec("quantizing", {"intensity": 3}), ("@carrier",)),),
        (Step(Spec("permutation")), Step(Spec("gaussian-noise", {"intensity": 0.2}), ("@all",))),
        (Step(Spec("l1-pruning", {"intensity": 90}), ("conv1.weight",)),),
    )


def test_attacks_of_methods_become_tables():
    tables = [presets.attack_table(stack) for stack in Named.adaptive]
    first, second, third = (t.model_dump(exclude_none=True, exclude_defaults=True) for t in tables)
    assert first == {"name": "quantizing", "intensities": (3.0,), "layers": "carrier"}
    assert [dict(step) for step in second["steps"]] == [
        {"name": "permutation"},
        {"name": "gaussian-noise", "layers": "all", "intensity": 0.2},
    ]
    assert third["layers"] == ("conv1.weight",)
    for table in tables:
        found = Faults()
        check_modification("x", table, found)
        assert found.lines == []


def test_every_attack_that_a_method_names_can_be_a_table():
    named = 0
    for method in methods():
        for stack in method.adaptive:
            found = Faults()
            check_modification(method.name, presets.attack_table(stack), found)
            assert found.lines == []
            named += 1
    assert named


def test_a_setting_knows_whose_attack_it_is(tmp_path, monkeypatch):
    """With other Intensities beside it, of all layers or the carrier, but not of another layer."""
    kind = plugins.load(Method, "uchida")
    monkeypatch.setattr(kind, "adaptive", Named.adaptive)

    def whose(**table):
        made = given(tmp_path, modifications=[table], methods=[
            {"name": "block-spread"}, {"name": "uchida", "payload_sizes": [16, 32]},
        ])  # fmt: skip
        return setting_records(made)[0].adaptive

    noise = {"name": "gaussian-noise", "intensities": [0.2]}
    assert whose(name="quantizing", intensities=[8, 3], layers="carrier") == (1, 2)
    assert whose(name="quantizing", intensities=[3]) == (1, 2)
    assert whose(name="quantizing", intensities=[8]) == ()
    assert whose(name="quantizing", intensities=[3], layers=["head*"]) == ()
    assert whose(steps=[{"name": "permutation"}, noise]) == (1, 2)
    assert whose(steps=[noise, {"name": "permutation"}]) == ()
    assert whose(name="l1-pruning", intensities=[90], layers=["conv1.weight"]) == (1, 2)


def test_the_adaptive_preset_is_what_the_methods_under_test_name(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins.load(Method, "uchida"), "adaptive", Named.adaptive)
    made = expanded(given(tmp_path, presets=["adaptive"]))
    assert len(made.modifications) == len(BASE["modifications"]) + len(Named.adaptive)
    assert all(setting.adaptive == (0,) for setting in setting_records(made)[2:])
    monkeypatch.setattr(plugins.load(Method, "uchida"), "adaptive", ())
    assert added(expanded(given(tmp_path, presets=["adaptive"]))) == []


def test_an_attack_that_no_table_can_be_is_refused_with_its_method(tmp_path, monkeypatch):
    wrong = ((Step(Spec("quantizing", {"intensity": 99})),),)
    monkeypatch.setattr(plugins.load(Method, "uchida"), "adaptive", wrong)
    with pytest.raises(ConfigurationError, match="uchida: adaptive: quantizing: option intensity"):
        expanded(given(tmp_path, presets=["adaptive"]))


# --- what is wrong with presets ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('summary = "x"\nmodification = []\n', "mine.toml: modification: expected one of the keys"),
        ("modifications = []\n", "mine.toml: summary: expected a value, got none; add it"),
        (
            'summary = "x"\n[[modifications]]\nname = "gausian-noise"\n',
            "mine.toml: modifications.0: expected one of",
        ),
        (
            'summary = "x"\n[[modifications]]\nname = "quantizing"\nintensities = [99]\n',
            "mine.toml: modifications.0: quantizing: option intensity",
        ),
        ('summary = "x"\nincludes = ["mine.toml"]\n', "expected includes that end"),
        ('summary = "x"\nincludes = ["mpai-nt"]\n', "did you mean 'mpai-nnt'"),
        ("summary", "mine.toml: expected TOML, got:"),
    ],
)
def test_a_wrong_preset_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigurationError) as caught:
        given(tmp_path, presets=[preset(tmp_path, text)])
    (line,) = caught.value.args
    assert message in line
    assert line.startswith("e: ")
    assert "\n" not in line


def test_a_preset_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"did you mean 'deployment'\?\); see 'nnw"):
        given(tmp_path, presets=["deploment"])
    with pytest.raises(ConfigurationError, match=r"absent\.toml: expected a readable"):
        given(tmp_path, presets=["absent.toml"])


def test_presets_are_added_to_an_evaluation(tmp_path):
    preset(tmp_path)
    made = given(tmp_path, presets=["adaptive"])
    more = ev.with_more_presets(made, ["mpai-nnt", "adaptive", "mine.toml"], tmp_path)
    assert more.presets == ("adaptive", "mpai-nnt", str(tmp_path / "mine.toml"))
    # Files are seen from where the command was given, not from the configuration.
    assert [t[0] for t in added(expanded(more.at(tmp_path / "elsewhere")))][-1] == "float16"
    with pytest.raises(ConfigurationError, match="presets: expected a TOML file or one of"):
        ev.with_more_presets(made, ["nothing"], tmp_path)


def test_paths_of_a_preset_are_seen_from_its_own_folder(tmp_path, monkeypatch):
    """No built-in Modification has a path; here one of a third party does."""
    (tmp_path / "deep").mkdir()
    preset(tmp_path / "deep")
    seen = []

    def seen_from(folder, kind, table):
        seen.append(folder)
        return table

    monkeypatch.setattr(presets, "seen_from", seen_from)
    presets.tables_of("deep/mine.toml", tmp_path)
    assert set(seen) == {tmp_path / "deep"}


def test_an_evaluation_made_in_python_may_name_presets_too(tmp_path):
    made = given(tmp_path).model_copy(update={"presets": ("nothing",)})
    with pytest.raises(ConfigurationError, match="presets: expected a TOML file or one of"):
        prepare(made, tmp_path / "run")


def test_a_table_remembers_its_preset_when_it_is_changed():
    table = ModificationTable(name="float16").of_preset("mine")
    assert table.model_copy(update={"label": "x"}).preset == "mine"
    assert dataclasses.is_dataclass(made_step(table.stack[0], None))
