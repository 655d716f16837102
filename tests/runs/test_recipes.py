"""What a configuration says of training, and every way to say it wrongly."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import plan, settings
from nnw_onnx.runs.evaluation import Evaluation, evaluation_from
from nnw_onnx.runs.sources import Sources
from nnw_onnx.vocabulary import Recipe, Trial

BASE = {
    "networks": ["nnw:digits/cnn-0.onnx"],
    "dataset": {"name": "digits"},
    "methods": [{"name": "uchida", "training": {"epochs": 3}}],
    "training": {"learning_rate": 0.5, "initial_epochs": 40},
    "modifications": [{"name": "fine-tuning", "intensities": [0.5]}],
}


def made(**changes):
    return evaluation_from({**copy.deepcopy(BASE), **changes}, "a.toml", Path("/nowhere"))


def tasks_of(evaluation: Evaluation, sha256=("a",), data="images") -> list[plan.InjectionTask]:
    return plan.plan_injections(
        evaluation.seed,
        evaluation.payloads,
        settings.technologies_of(evaluation),
        sha256,
        Sources(data=(("training", data),)),
    )


def trials_of(evaluation: Evaluation) -> tuple[list[Trial], dict[str, InjectionRecord]]:
    records = [
        InjectionRecord(
            identity=task.identity, status="done", network=0, technology=task.technology,
            payload_index=task.payload_index, twin=task.twin,
        )
        for task in tasks_of(evaluation)
    ]  # fmt: skip
    planner = plan.Planner(
        evaluation,
        settings.technology_records(evaluation),
        settings.setting_records(evaluation),
        ["a"],
        Sources(data=(("training", "images"),)),
        common="common",
    )
    return planner.trials(records), {r.identity: r for r in records}


def test_a_recipe_is_that_of_the_evaluation_with_the_changes_of_the_method():
    evaluation = made()
    assert evaluation.base_recipe == Recipe(learning_rate=0.5)
    (technology,) = settings.technologies_of(evaluation)
    assert technology.recipe == Recipe(learning_rate=0.5, epochs=3.0)
    assert technology.start == "trained"


def test_technologies_name_their_workflows():
    methods = [
        {"name": "uchida"},
        {"name": "uchida", "training": {}},
        {"name": "adi", "payload_sizes": [100], "training": {"start": "scratch"}},
    ]
    found = settings.technology_records(made(methods=methods, payload_sizes=[64]))
    assert [(t.imperceptibility, t.robustness, t.payload_size, t.access) for t in found] == [
        ("NNW-NTI", "NNW-NIR", 64, "weights"),
        ("NNW-WTI", "NNW-NIR", 64, "weights"),
        ("NNW-WTI", "NNW-WIR", 100, "answers"),
    ]
    assert [t.label for t in found] == [
        "uchida, 64 bits",
        "uchida, 64 bits, by training",
        "adi, 100 bits, by training from scratch",
    ]
    assert found[0].training is None
    assert found[2].training["start"] == "scratch"


def test_a_twin_is_trained_once_for_all_technologies_of_one_recipe():
    methods = [
        {"name": "uchida"},
        {"name": "uchida", "training": {"epochs": 2}},
        {"name": "adi", "training": {"epochs": 2}},
        {"name": "adi", "training": {"epochs": 4}},
    ]
    tasks = tasks_of(made(methods=methods, payloads=2), ("a", "b"))
    twins = [(t.technology, t.network) for t in tasks if t.twin]
    assert twins == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert len([t for t in tasks if not t.twin]) == 4 * 2 * 2
    assert len({t.identity for t in tasks}) == len(tasks)


def test_what_is_trained_on_is_part_of_the_identity():
    first, second = (tasks_of(made(), data=data) for data in ("x", "y"))
    assert not {t.identity for t in first} & {t.identity for t in second}


def test_static_injections_are_the_same_with_and_without_training_beside_them():
    static = {"methods": [{"name": "uchida"}]}
    alone = made(**static, training=None, modifications=[])
    assert tasks_of(alone) == tasks_of(made(**static))


def test_watermarks_of_a_workflow_that_is_not_asked_for_are_not_modified():
    methods = [{"name": "uchida"}, {"name": "adi", "training": {}}]
    evaluation = made(methods=methods, workflows=["NNW-NTI", "NNW-WTI", "NNW-NIR"], payloads=1)
    trials, records = trials_of(evaluation)
    modified = [records[t.parents[0]] for t in trials if t.steps and t.parents]
    assert [(r.technology, r.twin) for r in modified] == [(0, False)]
    unmodified = [records[t.parents[0]] for t in trials if not t.steps and t.parents]
    assert sorted((r.technology, r.twin) for r in unmodified) == [
        (0, False), (1, False), (1, True),
    ]  # fmt: skip


def test_a_twin_hears_no_claim():
    methods = [{"name": "uchida", "training": {}}]
    trials, records = trials_of(made(methods=methods, payloads=1, control={"wrong_keys": 0}))
    (twin,) = [t for t in trials if t.parents and records[t.parents[0]].twin]
    assert twin.claims == ()


def test_an_overwriting_modifies_the_unwatermarked_network_once_for_each_method():
    methods = [{"name": "uchida"}, {"name": "block-spread"}]
    evaluation = made(
        methods=methods, payloads=2, modifications=[{"name": "overwriting", "intensities": [2]}]
    )
    trials, _ = trials_of(evaluation)
    unmarked = [t for t in trials if t.steps and not t.parents]
    assert [t.technology for t in unmarked] == [0, 1]
    assert [len(t.claims[0].injections) for t in unmarked] == [2, 2]
    assert len({t.identity for t in trials}) == len(trials)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"initial_epochs": 1, "learning_rat": 1}},
            "a.toml: training: learning_rat: expected one of the keys trainer, initial_epochs, "
            "split, limit, timeout, transfer, epochs,",
        ),
        (
            {"training": {"initial_epochs": 1, "learning_rate": -1}},
            "a.toml: training: learning_rate: expected a number greater than 0; got -1; correct it",
        ),
        (
            {"training": {"initial_epochs": 0}, "modifications": []},
            "a.toml: training.initial_epochs: expected a number greater than 0; got 0; correct it",
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
            {"methods": [{"name": "uchida", "images": "x"}]},
            "a.toml: methods.0: uchida: expected an option among",
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
            {
                "modifications": [
                    {
                        "name": "fine-tuning",
                        "intensities": [0.5],
                        "transfer": True,
                        "reinitialise": True,
                    }
                ]
            },
            "a.toml: modifications.0: expected training.transfer (a data set) for fine-tuning, got "
            "none; add it",
        ),
        (
            {"training": {"initial_epochs": 1, "trainer": {"name": "tensorflw"}}},
            "a.toml: training.trainer: expected one of torch; got 'tensorflw'",
        ),
        (
            {"training": {"initial_epochs": 1, "trainer": {"name": "torch", "devic": "cpu"}}},
            "a.toml: training.trainer: torch: expected an option among device,",
        ),
        (
            {"training": {"initial_epochs": 1, "transfer": {"name": "mnits"}}},
            "a.toml: training.transfer: datasets: expected one of",
        ),
        (
            {"workflows": ["NNW-XYZ"]},
            "a.toml: workflows.0: expected 'NNW-NTI', 'NNW-WTI', 'NNW-NIR' or 'NNW-WIR'; "
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
