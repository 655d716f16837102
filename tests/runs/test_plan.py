import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import InjectionRecord
from nnw_onnx.runs import plan
from nnw_onnx.runs.evaluation import Evaluation
from nnw_onnx.testing import ArrayNetwork

MODIFICATIONS = [
    {"name": "gaussian-noise", "intensities": [0.1, 0.2]},
    {"name": "l1-pruning", "layers": "carrier", "intensities": [50]},
]


def evaluation(**changes) -> Evaluation:
    return Evaluation.model_validate(
        {
            "networks": ["a.onnx", "b.onnx"],
            "payloads": 2,
            "payload_sizes": [8, 16],
            "dataset": {"name": "digits"},
            "methods": [{"name": "block-spread"}, {"name": "uchida"}],
            "modifications": MODIFICATIONS,
            **changes,
        }
    )


@pytest.fixture
def networks(rng):
    def network() -> ArrayNetwork:
        return ArrayNetwork.of(
            {
                "conv1.weight": rng.normal(size=(8, 3, 3, 3)),
                "conv2.weight": rng.normal(size=(16, 8, 3, 3)),
                "fc.weight": rng.normal(size=(10, 16)),
            }
        )

    return [network(), network()]


def marks(tasks, carriers) -> list[InjectionRecord]:
    return [
        InjectionRecord(
            identity=t.identity,
            status="done",
            network=t.network,
            group=t.group,
            payload_index=t.payload_index,
            layers=(carriers[t.group],),
        )
        for t in tasks
    ]


def planned(ev, networks, carriers=("conv2.weight",) * 4):
    groups = plan.groups_of(ev)
    tasks = plan.plan_injections(ev, groups, ["sha-a", "sha-b"])
    return tasks, plan.plan_trials(ev, networks, marks(tasks, carriers), "digest")


def test_groups_are_methods_times_sizes_with_all_options():
    groups = plan.groups_of(evaluation())
    assert [(g.method.name, g.payload_size) for g in groups] == [
        ("block-spread", 8),
        ("block-spread", 16),
        ("uchida", 8),
        ("uchida", 16),
    ]
    assert "budget" in groups[0].method.options


def test_injections_are_m_times_d_for_every_group():
    tasks = plan.plan_injections(evaluation(), plan.groups_of(evaluation()), ["x", "y"])
    assert len(tasks) == 4 * 2 * 2
    assert len({t.identity for t in tasks}) == len(tasks)


def test_trials_cover_m_times_d_plus_1_networks_for_every_cell(networks):
    _, trials = planned(evaluation(), networks)
    cells = 1 + 2 + 1
    unmarked = [t for t in trials if t.injection is None]
    assert len(unmarked) == cells * 2
    assert len(trials) - len(unmarked) == cells * 4 * 2 * 2
    assert len({t.identity for t in trials}) == len(trials)
    assert all(len(t.keys) == 8 for t in unmarked)


def test_aiming_at_the_carrier_modifies_the_carrier_of_each_mark(networks):
    carriers = ("conv2.weight", "conv2.weight", "conv1.weight", "conv1.weight")
    _, trials = planned(evaluation(), networks, carriers)
    aimed = [t for t in trials if t.aim == "carrier"]
    assert {t.layers for t in aimed} == {("conv1.weight",), ("conv2.weight",)}
    assert sorted(len(t.keys) for t in aimed if t.injection is None) == [4, 4, 4, 4]


def test_identity_depends_on_seed_data_and_options_but_not_on_order(networks):
    first = {t.identity for t in planned(evaluation(), networks)[1]}
    swapped = evaluation(modifications=MODIFICATIONS[::-1])
    assert {t.identity for t in planned(swapped, networks)[1]} == first
    assert not {t.identity for t in planned(evaluation(seed=1), networks)[1]
                if t.injection} & first  # fmt: skip


def test_failed_injections_have_no_trials(networks):
    ev = evaluation()
    tasks = plan.plan_injections(ev, plan.groups_of(ev), ["sha-a", "sha-b"])
    failed = [
        InjectionRecord(identity=t.identity, status="failed", reason="x", network=t.network,
                        group=t.group, payload_index=t.payload_index)
        for t in tasks
    ]  # fmt: skip
    trials = plan.plan_trials(ev, networks, failed, "digest")
    assert {t.injection for t in trials} == {None}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("all", ("conv1.weight", "conv2.weight", "fc.weight")),
        (["conv*"], ("conv1.weight", "conv2.weight")),
        (["fc.weight", "conv1.weight"], ("conv1.weight", "fc.weight")),
        ("fc.weight", ("fc.weight",)),
    ],
)
def test_layers_are_selected_in_the_order_of_the_file(networks, wanted, expected):
    assert plan.select_layers(networks[0], wanted) == expected


def test_a_layer_that_is_not_there_gets_a_suggestion(networks):
    with pytest.raises(ConfigurationError, match=r"did you mean 'conv2.weight'"):
        plan.select_layers(networks[0], ["conv2.weigth"])
