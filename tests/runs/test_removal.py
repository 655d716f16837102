"""Removal end to end, on digits: stacks of the Watermark Robustness Toolbox, and what trains."""

from __future__ import annotations

import pytest

from nnw_onnx.records import Plan, TrialRecord
from nnw_onnx.runs.store import Store

from .trained import carried_out

pytest.importorskip("torch")

SETTINGS = """
title = "Removal"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [32]
[dataset]
name = "digits"
limit = 300
preprocessing = { scale = 0.0625 }
[training]
initial_epochs = 40
batch_size = 32
learning_rate = 0.02
limit = 300
[training.transfer]
name = "digits"
limit = 100
preprocessing = { scale = 0.0625 }
[[methods]]
name = "uchida"
[[modifications]]
label = "shifting, smoothing"
[[modifications.steps]]
name = "weight-shifting"
intensity = 1.5
noise = 0
[[modifications.steps]]
name = "input-smoothing"
deviation = 0.3
[[modifications]]
label = "shifting, fine-pruning, smoothing"
[[modifications.steps]]
name = "weight-shifting"
intensity = 1.5
noise = 0.2
[[modifications.steps]]
name = "fine-pruning"
intensity = 30
epochs = 10
[[modifications.steps]]
name = "input-smoothing"
deviation = 0.3
[[modifications]]
label = "shifting, mirroring, smoothing"
[[modifications.steps]]
name = "weight-shifting"
intensity = 1.5
noise = 0.2
[[modifications.steps]]
name = "input-flip"
[[modifications.steps]]
name = "input-smoothing"
deviation = 0.5
[[modifications]]
name = "merging"
intensities = [0.5]
other = "original"
[[modifications]]
name = "model-soup"
intensities = [2]
learning_rate = 0.01
[[modifications]]
name = "regularisation"
intensities = [0.01]
epochs = 1
epochs_after = 1
[[modifications]]
name = "label-smoothing"
intensities = [0.3]
epochs = 1
[[modifications]]
name = "refit"
intensities = [0.02]
epochs = 1
labels = "own"
data = "transfer"
[[modifications]]
name = "knockoff"
intensities = [4]
learning_rate = 0.05
[[modifications]]
name = "knockoff"
questions = "noise"
intensities = [1]
samples = 200
learning_rate = 0.05
[control]
wrong_keys = 10
[preview]
samples = 0
[cost]
cells = 0
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, list[TrialRecord]]:
    """Label of a setting -> its trials, the unwatermarked network first."""
    folder = tmp_path_factory.mktemp("removal")
    path = folder / "removal.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    store = Store(carried_out(path, folder / "run"))
    plan = store.read(Plan)
    labels = {s.index: s.label for s in plan.settings}
    trials: dict[str, list[TrialRecord]] = {}
    for trial in store.records(TrialRecord):
        if trial.setting is not None:
            trials.setdefault(labels[trial.setting], []).append(trial)
    return {k: sorted(v, key=lambda t: t.injection is not None) for k, v in trials.items()}


def test_every_setting_is_done_to_both_networks(found):
    assert len(found) == 10
    reasons = {(label, t.status, t.reason) for label, v in found.items() for t in v}
    assert {status for _, status, _ in reasons} == {"done"}, reasons
    assert all([t.injection is None for t in v] == [True, False] for v in found.values())


def test_both_networks_are_trained_by_the_same_recipe(found):
    told = ("epochs", "samples", "learning rate", "schedule")
    for label, (plain, marked) in found.items():
        for fact in told:
            assert plain.facts.get(fact) == marked.facts.get(fact), label


def test_a_stack_tells_what_each_step_did(found):
    facts = found["shifting, fine-pruning, smoothing"][1].facts
    assert facts["fine-pruning: channels cut off"] > 0
    assert facts["fine-pruning: epochs"] == 10


def test_training_after_a_shift_gives_the_task_back(found):
    shifted, trained = (
        min(t.quality["top-1 accuracy"] for t in found[label])
        for label in ("shifting, smoothing", "shifting, fine-pruning, smoothing")
    )
    assert trained > max(0.5, shifted)


def test_half_way_to_the_original_the_task_is_kept(found):
    plain, marked = found["Merging with another network"]
    assert plain.change == 0
    assert marked.change > 0
    assert marked.quality["top-1 accuracy"] > 0.9
    assert marked.facts["the attacker has"] == "original"
