"""Mixtures of recipients' copies in an evaluation: each recipient's claim is heard and counted."""

from __future__ import annotations

import pytest

from .test_kinds import DIGITS, Run

MIXED = """
[[methods]]
name = "block-spread"
[[modifications]]
name = "averaging"
copies = 3
[[modifications]]
name = "mixing-weights"
rule = "minimum"
copies = 3
[[modifications]]
name = "mixing-layers"
copies = 3
"""
ATTACKS = ("averaging", "mixing-weights", "mixing-layers")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("mixed")
    sizes = DIGITS.replace("payload_sizes = [24]", "payload_sizes = [64]")
    text = sizes.format(networks='["nnw:digits/cnn-0.onnx"]', payloads=4)
    return Run(folder, text + MIXED)


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_colluder_is_heard_and_a_share_of_them_reported(mixed, attack):
    verdicts = mixed.verdicts("block-spread", attack)
    assert {v.injection for v in verdicts} == {i.identity for i in mixed.injections}
    assert {v.status for v in verdicts} == {"done"}
    (point,) = mixed.points("block-spread", attack)
    (trial,) = [t for t in mixed.trials if mixed.setting(t) == attack and t.injection]
    colluders = {trial.injection, *trial.copies}
    assert (point.tested, point.expected, len(colluders)) == (3, 3, 3)
    assert point.found == sum(v.detected for v in verdicts if v.injection in colluders)
    # The fourth recipient is heard too, and is innocent.
    assert (point.innocents, point.accused) == (1, 0)
    assert trial.facts["copies"] == 3
    assert trial.quality
    assert trial.change > 0


def test_a_mark_in_one_layer_tells_the_one_whose_layer_it_is(mixed):
    found = [v.detected for v in mixed.verdicts("block-spread", "mixing-layers")]
    assert sorted(found) == [False, False, False, True]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_unwatermarked_network_mixed_with_itself_stays_as_it_is(mixed, attack):
    (plain,) = [t for t in mixed.trials if mixed.setting(t) == attack and not t.injection]
    assert (plain.status, plain.change) == ("done", 0)
    assert not any(v.detected for v in plain.verdicts)
