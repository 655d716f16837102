"""What is planned, without running any of it."""

from __future__ import annotations

import dataclasses

import pytest

from nnw_onnx import plugins
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import plan, settings
from nnw_onnx.runs.evaluation import Evaluation
from nnw_onnx.runs.sources import Sources
from nnw_onnx.vocabulary import Spec, Technology, Trial

MODIFICATIONS = [
    {"name": "gaussian-noise", "intensities": [0.1, 0.2]},
    {"name": "l1-pruning", "layers": "carrier", "intensities": [50]},
]
SHA256 = ("sha-a", "sha-b")
SOURCES = Sources(data=(("training", "images"), ("transfer", "others")))


def evaluation(**changes: object) -> Evaluation:
    return Evaluation.model_validate(
        {
            "networks": ["a.onnx", "b.onnx"],
            "payloads": 2,
            "payload_sizes": [8, 16],
            "dataset": {"name": "digits"},
            "methods": [{"name": "block-spread"}, {"name": "uchida"}],
            "modifications": MODIFICATIONS,
            "control": {"wrong_keys": 100},
            **changes,
        }
    )


def tasks_of(ev: Evaluation, sources: Sources = SOURCES) -> list[plan.InjectionTask]:
    technologies = settings.technologies_of(ev)
    return plan.plan_injections(ev.seed, ev.payloads, technologies, SHA256, sources)


def marks(tasks, carriers=("conv2",) * 9, failed=()) -> list[InjectionRecord]:
    return [
        InjectionRecord(
            identity=t.identity,
            status="failed" if t.technology in failed else "done",
            network=t.network,
            technology=t.technology,
            payload_index=t.payload_index,
            layers=() if t.twin or not carriers[t.technology] else (carriers[t.technology],),
            twin=t.twin,
        )
        for t in tasks
    ]


def planner(ev: Evaluation, **changes) -> plan.Planner:
    made = plan.Planner(
        ev,
        settings.technology_records(ev),
        settings.setting_records(ev),
        SHA256,
        SOURCES,
        common="common",
        controls=(0, 1),
    )
    return dataclasses.replace(made, **changes)


def trials_of(ev: Evaluation, injections=None, **changes) -> list[Trial]:
    records = marks(tasks_of(ev)) if injections is None else injections
    return planner(ev, **changes).trials(records)


def heard(trial: Trial) -> list[str]:
    return [i for claims in trial.claims for i in claims.injections]


def test_technologies_are_methods_times_sizes_with_all_options():
    found = settings.technology_records(evaluation())
    assert [(t.method.name, t.payload_size) for t in found] == [
        ("block-spread", 8),
        ("block-spread", 16),
        ("uchida", 8),
        ("uchida", 16),
    ]
    assert "budget" in found[0].method.options
    assert found[0].method.package == "nnw-onnx"


def test_injections_are_m_times_d_for_every_technology():
    tasks = tasks_of(evaluation())
    assert len(tasks) == 4 * 2 * 2
    assert len({t.identity for t in tasks}) == len(tasks)


def test_the_identity_of_a_plain_injection_is_what_it_was_in_version_0_1():
    """So its secret is, and the mark; this one was computed by version 0.1.0."""
    method = Spec("uchida", {"margin": 2.0, "strength": 0.01, "carrier": "mean"})
    (task, *_) = plan.plan_injections(
        0,
        1,
        [Technology(method, 64)],
        ["0" * 64],
        SOURCES,
    )
    expected = "070d31abf6dc74112ac07d644fa86eb7c0979a42dd246c023389c61eefa8cca6"
    assert task.identity == expected


def test_what_is_not_asked_for_has_no_part_in_the_identity_and_what_is_has():
    base = settings.technologies_of(evaluation())[2]

    def identity(technology: Technology, sources: Sources = SOURCES) -> str:
        return plan.plan_injections(0, 1, [technology], ["n"], sources)[0].identity

    same = dataclasses.replace(base, start="scratch")
    assert identity(same) == identity(base)
    assert identity(base, Sources()) == identity(base)
    changed = [
        dataclasses.replace(base, layers=("conv1",)),
        dataclasses.replace(base, size=9),
        dataclasses.replace(base, code=Spec("repetition", {"times": 3})),
    ]
    assert len({identity(base), *map(identity, changed)}) == 1 + len(changed)


def test_trials_cover_m_times_d_plus_1_networks_for_every_cell():
    trials = trials_of(evaluation())
    cells = 1 + 2 + 1
    unmarked = [t for t in trials if not t.parents]
    assert len(unmarked) == cells * 2
    assert len(trials) - len(unmarked) == cells * 4 * 2 * 2
    assert len({t.identity for t in trials}) == len(trials)
    assert all(len(heard(t)) == 8 for t in unmarked)
    assert all(heard(t) == list(t.parents) for t in trials if t.parents)


def test_aiming_at_the_carrier_modifies_the_unwatermarked_network_for_each_carrier():
    ev = evaluation()
    trials = trials_of(ev, marks(tasks_of(ev), ("conv2", "conv2", "conv1", None)))
    aimed = [t for t in trials if t.setting == 1]
    assert {t.steps[0].layers for t in aimed} == {("@carrier",)}
    assert sorted(len(heard(t)) for t in aimed if not t.parents) == [2, 2, 2, 2, 4, 4]


def test_a_stack_has_its_steps_in_order_and_the_intensity_in_the_swept_one():
    table = {
        "steps": [
            {"name": "l1-pruning", "intensities": [10, 90], "layers": "carrier"},
            {"name": "gaussian-noise", "intensity": 0.5},
        ]
    }
    trials = [t for t in trials_of(evaluation(modifications=[table])) if t.setting == 0]
    assert {t.intensity for t in trials} == {10.0, 90.0}
    for trial in trials:
        first, second = trial.steps
        assert (first.modification.name, first.layers) == ("l1-pruning", ("@carrier",))
        assert first.modification.options["intensity"] == trial.intensity
        assert (second.modification.name, second.layers) == ("gaussian-noise", ("@all",))
        assert second.modification.options["intensity"] == 0.5
    (setting,) = settings.setting_records(evaluation(modifications=[table]))
    assert (setting.label, setting.swept) == (
        "L1 pruning, carrier layer, then gaussian noise 0.5 x sigma",
        0,
    )
    assert setting.parameter.letter == "P"
    assert [s.aim for s in setting.steps] == ["carrier", "all"]


def test_labels_tell_settings_of_one_modification_apart():
    tables = [
        {"name": "fine-tuning", "intensities": [0.1], "learning_rate": 0.01},
        {"name": "fine-tuning", "intensities": [0.1], "learning_rate": 0.1, "reinitialise": True},
        {"name": "l1-pruning", "intensities": [10]},
        {"name": "l1-pruning", "intensities": [10], "layers": ["conv*", "fc"]},
        {"name": "quantizing", "intensities": [8], "label": "Rounding"},
    ]
    found = settings.setting_records(evaluation(modifications=tables))
    assert [s.label for s in found] == [
        "Fine-tuning, learning rate 0.01",
        "Fine-tuning, reinitialise, learning rate 0.1",
        "L1 pruning",
        "L1 pruning, layers conv* fc",
        "Rounding",
    ]
    assert [(s.trains, s.steps[0].number, s.steps[0].aim) for s in found] == [
        (True, 4, ""), (True, 4, ""), (False, 1, "all"), (False, 1, "conv* fc"), (False, 3, "all"),
    ]  # fmt: skip
    assert "intensity" not in found[0].steps[0].modification.options


def test_identities_depend_on_seed_and_options_but_not_on_order_margin_or_title():
    first = {t.identity for t in trials_of(evaluation(), controls=())}
    swapped = evaluation(modifications=MODIFICATIONS[::-1], margin=0.3, title="Other")
    assert {t.identity for t in trials_of(swapped, controls=())} == first
    assert not {t.identity for t in trials_of(evaluation(seed=1)) if t.parents} & first
    other = {t.identity for t in trials_of(evaluation(), common="other data", controls=())}
    assert not other & first


def test_a_setting_more_changes_no_other_trial():
    first = {t.identity for t in trials_of(evaluation())}
    more = evaluation(
        modifications=[*MODIFICATIONS, {"name": "random-pruning", "intensities": [1]}]
    )
    assert first < {t.identity for t in trials_of(more)}


def test_failed_injections_have_no_trials():
    ev = evaluation()
    trials = trials_of(ev, marks(tasks_of(ev), failed=(0, 1, 2, 3)))
    assert [(t.network, t.setting, t.parents) for t in trials] == [(0, None, ()), (1, None, ())]


def test_wrong_keys_are_dealt_out_over_the_trials_of_a_network_and_setting():
    trials = trials_of(evaluation())
    for network in (0, 1):
        for setting in (None, 0, 1):
            of = [t for t in trials if (t.network, t.setting) == (network, setting)]
            for technology in (0, 1):
                wrong = [c for t in of for c in t.claims if c.technology == technology]
                numbers = [n for c in wrong for n in range(c.first, c.first + c.count)]
                assert sorted(numbers) == list(range(100))
                assert max(c.count for c in wrong) - min(c.count for c in wrong) <= 1
    assert {c.technology for t in trials for c in t.claims} == {None, 0, 1}


def test_no_wrong_keys_where_none_are_wanted_or_no_trial_would_run():
    without = trials_of(evaluation(control={"wrong_keys": 0}))
    assert {c.of for t in without for c in t.claims} == {"injections"}
    ev = evaluation()
    homeless = trials_of(ev, marks(tasks_of(ev), ("conv2", "conv2", "conv2", None)))
    aimed = [t for t in homeless if t.setting == 1 and t.network == 0]
    by = {bool(t.parents): [] for t in aimed}
    for t in aimed:
        by[bool(t.parents)].append(sum(c.count for c in t.claims if c.technology == 0))
    assert sum(map(sum, by.values())) == 100
    assert by[True][-2:] == [0, 0]  # those of the technology without a carrier are skipped


def test_each_repetition_is_a_trial_of_its_own():
    trials = trials_of(evaluation(repetitions=3))
    of = [t for t in trials if t.setting == 0 and t.intensity == 0.1 and not t.parents]
    assert [(t.repetition, t.network) for t in of] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    assert len({t.identity for t in of}) == 6
    assert {t.repetition for t in trials if t.setting is None} == {0}


def test_a_fingerprint_hears_other_networks_as_negatives():
    ev = evaluation(methods=[{"name": "uchida"}], payload_sizes=[8])
    (record,) = settings.technology_records(ev)
    fingerprint = (record.model_copy(update={"kind": "fingerprint"}),)
    records = marks(tasks_of(ev))
    by_identity = {r.identity: r for r in records}
    for trial in planner(ev, technologies=fingerprint).trials(records):
        claimed = {by_identity[i].network for i in heard(trial)}
        assert claimed == ({trial.network} if trial.parents else {1 - trial.network})


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_of_several_recipients_are_one_trial_that_hears_all_of_them(copies):
    table = {"name": "gaussian-noise", "intensities": [0.1], "copies": copies}
    ev = evaluation(payloads=3, modifications=[table])
    records = marks(tasks_of(ev))
    by_identity = {r.identity: r for r in records}
    trials = [t for t in planner(ev).trials(records) if t.setting == 0]
    marked = [t for t in trials if t.parents]
    assert len(marked) == 4 * 2
    assert {t.copies for t in trials} == {copies}
    for trial in marked:
        parents = [by_identity[i] for i in trial.parents]
        assert [p.payload_index for p in parents] == list(range(copies))
        assert len({(p.network, p.technology) for p in parents}) == 1
        # Those who colluded first, then the innocent third where there is one.
        told = heard(trial)
        assert told[:copies] == list(trial.parents)
        assert [by_identity[i].payload_index for i in told] == [0, 1, 2]
        assert len({by_identity[i].technology for i in told}) == 1
    (setting,) = settings.setting_records(ev)
    assert setting.label == f"Gaussian noise, {copies} copies"
    lost = [r for r in records if not (r.technology == 1 and r.payload_index == 0)]
    few = [t for t in planner(ev).trials(lost) if t.setting == 0 and t.parents]
    assert len(few) == (4 if copies == 2 else 3) * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "46998b11654216e9119bb633803e0a826773744f5daefa4c7fa1c99b6adbd40e"),
        (
            {"mode": "dynamic"},
            "e5a0f1b6dd1f8068023e3c3ae5cf8435efc5d64237985ff9bb2503f1aa85080c",
        ),
    ],
)
def test_options_that_came_later_to_a_modification_leave_identities(options, expected):
    """Those of version 0.2.0, which computed these; and another value is another trial."""

    def identity(**more):
        ev = evaluation(
            modifications=[{"name": "int8", **options, **more}], control={"wrong_keys": 1}
        )
        first = next(t for t in trials_of(ev) if t.steps and not t.parents)
        return first.identity

    assert identity() == expected
    assert identity(form="qdq") == expected
    assert len({expected, identity(form="qoperator"), identity(per_channel=False)}) == 3


def test_plug_ins_are_made_once_a_setting_however_many_trials_there_are(monkeypatch):
    made = []
    create = plugins.create
    monkeypatch.setattr(plugins, "create", lambda *given: made.append(given) or create(*given))

    def count(**changes: int) -> tuple[int, int]:
        ev = evaluation(**changes)
        records, several = marks(tasks_of(ev)), planner(ev)
        made.clear()
        return len(several.trials(records)), len(made)

    (few, once), (many, again) = count(), count(repetitions=9, payloads=5)
    assert many > 15 * few
    assert once == again


def test_labels_of_many_tables_make_each_plug_in_as_often_as_those_of_few(monkeypatch):
    made = []
    create = plugins.create
    monkeypatch.setattr(plugins, "create", lambda *given: made.append(given) or create(*given))

    def count(tables: int) -> float:
        named = [
            {"steps": [{"name": "gaussian-noise", "intensity": 0.01 * (1 + k)}]}
            for k in range(tables)
        ]
        several = evaluation(modifications=named).modifications
        made.clear()
        assert len(set(settings.labels_of(several))) == tables
        return len(made) / tables

    assert count(20) == count(5)


def test_injections_of_a_network_that_is_not_there_have_no_trials():
    ev = evaluation()
    records = marks(tasks_of(ev))
    stray = [mark.model_copy(update={"network": 9}) for mark in records]
    assert trials_of(ev, [*records, *stray]) == trials_of(ev, records)
