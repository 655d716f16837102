"""What a configuration says of training, and every way to say it wrongly."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import nnw_onnx as nnw
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import plan
from nnw_onnx.runs.evaluation import evaluation_from
from nnw_onnx.vocabulary import Recipe

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
BASE = {
    "networks": ["nnw:digits/cnn-0.onnx"],
    "dataset": {"name": "digits"},
    "methods": [{"name": "uchida", "training": {"epochs": 3}}],
    "training": {"learning_rate": 0.5, "initial_epochs": 40},
    "modifications": [{"name": "fine-tuning", "intensities": [0.5]}],
}


def made(**changes):
    return evaluation_from({**copy.deepcopy(BASE), **changes}, "a.toml", Path("/nowhere"))


def test_a_recipe_is_that_of_the_evaluation_with_the_changes_of_the_method():
    evaluation = made()
    assert evaluation.base_recipe == Recipe(learning_rate=0.5)
    (technology,) = plan.technologies_of(evaluation)
    assert technology.recipe == Recipe(learning_rate=0.5, epochs=3.0)
    assert technology.start == "trained"


def test_groups_name_their_workflows():
    methods = [
        {"name": "uchida"},
        {"name": "uchida", "training": {}},
        {"name": "adi", "payload_sizes": [100], "training": {"start": "scratch"}},
    ]
    groups = plan.groups_of(made(methods=methods, payload_sizes=[64]))
    assert [(g.imperceptibility, g.robustness, g.payload_size) for g in groups] == [
        ("NNW-NTI", "NNW-NIR", 64),
        ("NNW-WTI", "NNW-NIR", 64),
        ("NNW-WTI", "NNW-WIR", 100),
    ]
    assert [g.label for g in groups] == [
        "uchida, 64 bits",
        "uchida, 64 bits, by training",
        "adi, 100 bits, by training from scratch",
    ]
    assert groups[0].training is None
    assert groups[2].training["start"] == "scratch"


def test_a_twin_is_trained_once_for_all_groups_of_one_recipe():
    methods = [
        {"name": "uchida"},
        {"name": "uchida", "training": {"epochs": 2}},
        {"name": "adi", "training": {"epochs": 2}},
        {"name": "adi", "training": {"epochs": 4}},
    ]
    evaluation = made(methods=methods, payloads=2)
    tasks = plan.plan_injections(evaluation, plan.groups_of(evaluation), ["a", "b"], "data")
    twins = [(t.group, t.network) for t in tasks if t.twin]
    assert twins == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert len([t for t in tasks if not t.twin]) == 4 * 2 * 2
    assert len({t.identity for t in tasks}) == len(tasks)


def test_what_is_trained_on_is_part_of_the_identity():
    evaluation = made()
    groups = plan.groups_of(evaluation)
    first, second = (plan.plan_injections(evaluation, groups, ["a"], d) for d in ("x", "y"))
    assert not {t.identity for t in first} & {t.identity for t in second}


def test_static_injections_are_the_same_with_and_without_training_beside_them():
    static = {"methods": [{"name": "uchida"}]}
    alone = made(**static, training=None, modifications=[])
    beside = made(**static)
    one, other = (plan.plan_injections(e, plan.groups_of(e), ["a"], "x") for e in (alone, beside))
    assert one == other


def test_watermarks_of_a_workflow_that_is_not_asked_for_are_not_modified():
    methods = [{"name": "uchida"}, {"name": "adi", "training": {}}]
    evaluation = made(methods=methods, workflows=["NNW-NTI", "NNW-WTI", "NNW-NIR"], payloads=1)
    groups = plan.groups_of(evaluation)
    networks = [nnw.open(MODEL)]
    records = [
        InjectionRecord(
            identity=task.identity, status="done", network=0, group=task.group,
            payload_index=0, twin=task.twin,
        )
        for task in plan.plan_injections(evaluation, groups, ["a"])
    ]  # fmt: skip
    trials = plan.plan_trials(evaluation, networks, records, "context", groups)
    by_identity = {r.identity: r for r in records}
    modified = [by_identity[t.injection] for t in trials if t.modification and t.injection]
    assert [(r.group, r.twin) for r in modified] == [(0, False)]
    unmodified = [by_identity[t.injection] for t in trials if not t.modification and t.injection]
    assert sorted((r.group, r.twin) for r in unmodified) == [(0, False), (1, False), (1, True)]


def test_an_overwriting_modifies_the_unwatermarked_network_once_for_each_method():
    methods = [{"name": "uchida"}, {"name": "block-spread"}]
    evaluation = made(
        methods=methods, payloads=2, modifications=[{"name": "overwriting", "intensities": [2]}]
    )
    groups = plan.groups_of(evaluation)
    records = [
        InjectionRecord(
            identity=task.identity, status="done", network=0, group=task.group,
            payload_index=task.payload_index,
        )
        for task in plan.plan_injections(evaluation, groups, ["a"])
    ]  # fmt: skip
    trials = plan.plan_trials(evaluation, [nnw.open(MODEL)], records, "context", groups)
    unmarked = [t for t in trials if t.modification and t.injection is None]
    assert [t.group for t in unmarked] == [0, 1]
    assert [len(t.keys) for t in unmarked] == [2, 2]
    assert len({t.identity for t in trials}) == len(trials)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"learning_rat": 1}},
            "a.toml: training: learning_rat: expected one of the keys trainer, initial_epochs, "
            "split, limit, timeout, transfer, epochs,",
        ),
        (
            {"training": {"learning_rate": -1}},
            "a.toml: training: learning_rate: Input should be greater than 0; got -1; correct it",
        ),
        (
            {"training": {"initial_epochs": 0}},
            "a.toml: training.initial_epochs: Input should be greater than 0; got 0; correct it",
        ),
        (
            {"methods": [{"name": "uchida", "training": {"epoch": 1}}]},
            "a.toml: methods.0.training: epoch: expected one of the keys start, epochs,",
        ),
        (
            {"methods": [{"name": "adi"}]},
            "a.toml: methods.0: expected a table [methods.training], because adi is put in by "
            "training only, got none; add it",
        ),
        (
            {"methods": [{"name": "block-spread", "training": {}}]},
            "a.toml: methods.0: expected a method that training can put in, got block-spread; "
            "leave [methods.training] out",
        ),
        (
            {"methods": [{"name": "uchida", "trigger_images": "x"}]},
            "a.toml: methods.0: expected trigger_images for a method with triggers, got uchida; "
            "leave it out",
        ),
        (
            {"methods": [{"name": "uchida"}], "workflows": ["NNW-WTI"]},
            "a.toml: methods.0: expected NNW-NTI or NNW-NIR among workflows, got NNW-WTI; add one "
            "or leave the method out",
        ),
        (
            {"training": {}},
            "a.toml: modifications.0: expected training.initial_epochs (epochs of the initial "
            "training of the networks) for fine-tuning, got none; add it",
        ),
        (
            {"modifications": [{"name": "fine-tuning", "intensities": [0.5], "transfer": True}]},
            "a.toml: modifications.0: expected training.transfer (a data set) for fine-tuning, got "
            "none; add it",
        ),
        (
            {"training": {"initial_epochs": 1, "trainer": {"name": "tensorflw"}}},
            "a.toml: training: trainers: expected one of torch; got 'tensorflw'",
        ),
        (
            {"training": {"initial_epochs": 1, "trainer": {"name": "torch", "devic": "cpu"}}},
            "a.toml: training: torch: expected an option among device,",
        ),
        (
            {"training": {"initial_epochs": 1, "transfer": {"name": "mnits"}}},
            "a.toml: training: datasets: expected one of",
        ),
        (
            {"workflows": ["NNW-XYZ"]},
            "a.toml: workflows.0: Input should be 'NNW-NTI', 'NNW-WTI', 'NNW-NIR' or 'NNW-WIR'; "
            "got 'NNW-XYZ'; correct it",
        ),
        (
            {"methods": [{"name": "uchida", "payload_sizes": [8, 8]}]},
            "a.toml: methods.0.payload_sizes: expected different sizes, got one twice; remove it;",
        ),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(ConfigurationError) as caught:
        made(**changes)
    assert str(caught.value).startswith(message), str(caught.value)
    assert "\n" not in str(caught.value)
