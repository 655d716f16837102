"""Whole evaluations that train: injection, twins, Modifications 4 to 6, costs, interruption."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sklearn.datasets import load_digits

import nnw_onnx as nnw
from nnw_onnx.records import CostRecord, InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs import progress, training
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.injections import run_injection
from nnw_onnx.runs.modify import NO_CARRIER
from nnw_onnx.runs.plan import plan_injections
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.store import Store
from nnw_onnx.vocabulary import Epoch

from .trained import MODEL, TRAINED, carried_out, configuration

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.xdist_group("one run that trains")

RECORDS = ("plan.json", "injections.jsonl", "records.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return carried_out(configuration(folder), folder / "run")


def injections(run: Path) -> list[InjectionRecord]:
    return Store(run).records(InjectionRecord)


def trials(run: Path, modification: str | None) -> list[TrialRecord]:
    """Records of the setting of this Modification; None: of no Modification."""
    names = {s.index: s.steps[0].modification.name for s in Store(run).read(Plan).settings}
    found = Store(run).records(TrialRecord)
    return [t for t in found if (None if t.setting is None else names[t.setting]) == modification]


def test_both_methods_are_put_in_and_have_one_twin(finished):
    twin, uchida, adi = injections(finished)
    assert (twin.twin, uchida.twin, adi.twin) == (True, False, False)
    assert (uchida.errors, adi.errors) == (0, 0)
    assert len(uchida.training.epochs) == 6
    assert uchida.training.epochs_to_inject <= 6
    assert uchida.layers == ("conv3.weight",)
    assert adi.layers == ()
    assert twin.training.epochs[-1].symbol_error_rate is None
    assert not Store(finished).key_path(twin.identity).exists()


def test_a_training_that_puts_nothing_in_is_the_twin(finished):
    """The watermarked networks differ from the twin, which differs from the original."""
    store = Store(finished)
    network = nnw.open(MODEL)
    found = [store.load_network(i.identity, network) for i in injections(finished)]
    weights = [made.weights["conv3.weight"] for made in found]
    original = network.weights["conv3.weight"]
    assert all(not np.array_equal(w, original) for w in weights)
    assert all(not np.array_equal(w, weights[0]) for w in weights[1:])


def test_every_network_is_read_with_its_own_key(finished):
    unmarked, twin, uchida, adi = trials(finished, None)
    assert [len(t.verdicts) for t in (unmarked, twin, uchida, adi)] == [2, 0, 1, 1]
    assert [d.detected for d in unmarked.verdicts] == [False, False]
    assert uchida.verdicts[0].errors == adi.verdicts[0].errors == 0
    assert uchida.verdicts[0].detected
    assert adi.verdicts[0].detected
    assert min(t.quality["top-1 accuracy"] for t in (twin, uchida, adi)) > 0.95


def test_a_black_box_watermark_has_no_carrier_to_aim_at(finished):
    by_status = {t.status: t for t in trials(finished, "l1-pruning") if t.injection}
    assert by_status["done"].layers == (("conv3.weight",),)
    assert by_status["skipped"].reason == NO_CARRIER


def test_fine_tuning_says_how_it_trained(finished):
    found = trials(finished, "fine-tuning")
    assert len(found) == 3
    assert {t.facts["epochs"] for t in found} == {2.0}
    assert all(t.change > 0 for t in found)


def test_a_student_without_the_carrier_makes_decoding_not_applicable(finished):
    found = trials(finished, "distillation")
    assert {t.status for t in found} == {"done"}
    # Guessing is right for one in ten.
    assert min(t.quality["top-1 accuracy"] for t in found) > 0.3
    # Of another architecture, so there is no change of weights to speak of.
    assert {t.change for t in found} == {None}
    verdicts = {d.injection: d for t in found for d in t.verdicts}
    _, uchida, adi = injections(finished)
    assert verdicts[uchida.identity].status == "not-applicable"
    assert "expected layer conv3.weight (64x32x3x3)" in verdicts[uchida.identity].reason
    assert verdicts[uchida.identity].errors is None
    # Adi's triggers can be asked of any network.
    assert verdicts[adi.identity].status == "done"
    assert verdicts[adi.identity].errors > 24 / 2


def test_overwriting_is_by_the_method_of_each_technology(finished):
    found = trials(finished, "overwriting")
    assert [(t.technology, t.injection is None) for t in found] == [
        (0, True), (1, True), (0, False), (1, False)
    ]  # fmt: skip
    assert [t.facts["method"] for t in found] == ["uchida", "adi", "uchida", "adi"]
    assert all(len(t.new_marks) == 2 for t in found)
    # The last of them is read better than by chance, where half or 9 in 10 would be wrong; that
    # is said of 24 Symbols with p < .04 each.
    limits = {"uchida": 7, "adi": 18}
    assert all(t.new_marks[-1].errors <= limits[str(t.facts["method"])] for t in found)
    assert [len(t.verdicts) for t in found] == [1, 1, 1, 1]


def test_cost_of_injection_is_of_a_batch_beside_the_same_without_watermark(finished):
    costs = [c for c in Store(finished).records(CostRecord) if c.operation == "injection"]
    assert len(costs) == 2
    for cost in costs:
        assert cost.status == "done"
        assert cost.batch == 32
        assert cost.repetitions == 4 * 9
        assert 0 < cost.minimum <= cost.seconds
        assert cost.ratio == pytest.approx(cost.seconds / cost.baseline_seconds)
        assert cost.peak_bytes > 0
        assert cost.device == "cpu"


def test_nothing_of_a_finished_training_is_left(finished):
    assert list((finished / "checkpoints").iterdir()) == []
    assert list((finished / "progress").iterdir()) == []


def test_records_are_the_same_on_several_processes(finished, tmp_path):
    # Costs are measured one at a time on every engine, so they need not be measured again.
    text = TRAINED.replace("cells = 1", "cells = 0")
    run = carried_out(configuration(tmp_path, text), tmp_path / "run", engine="processes")
    for name in RECORDS[1:]:
        assert (run / name).read_bytes() == (finished / name).read_bytes()


class SwitchedOffError(KeyboardInterrupt):
    """Stands for a machine that is switched off; like an interruption, no guard holds it."""


def test_an_interrupted_injection_goes_on_and_comes_to_the_same(finished, tmp_path, monkeypatch):
    prepared = prepare(read_evaluation(configuration(tmp_path)), tmp_path / "run")
    store = Store(tmp_path / "run")
    store.create()
    context = prepared.context
    tasks = plan_injections(context.seed, 1, context.technologies, context.sha256, context.sources)
    told = []

    def stop(self, name, words):
        told.append(words)
        if len(told) == 3:
            raise SwitchedOffError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "tell_progress", stop)
        with pytest.raises(SwitchedOffError):
            run_injection(context, tasks[1])
    kept = list((tmp_path / "run" / "checkpoints").iterdir())
    assert len(kept) == 1
    told.clear()
    monkeypatch.setattr(Store, "tell_progress", lambda self, name, words: told.append(words))
    record = run_injection(context, tasks[1])
    assert len(told) < 6
    assert record == injections(finished)[1]
    network = nnw.open(MODEL)
    again = store.load_network(record.identity, network)
    assert again.digest == Store(finished).load_network(record.identity, network).digest


def test_progress_is_told_with_loss_penalty_and_watermark_error():
    epoch = Epoch(3, 0.25, 0.5, 0.125)
    assert training.in_words(epoch) == "loss 0.250, penalty 0.5, watermark error 12.5%"


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((0.5, 0.0, 0.0), 2), ((0.0, 0.1, 0.0), 3), ((0.5, 0.1), None), ((0.0, 0.1), None)],
)
def test_the_watermark_is_in_when_it_stays_in(rates, expected):
    epochs = tuple(Epoch(i + 1, 1.0, None, rate) for i, rate in enumerate(rates))
    assert training.epochs_to_inject(epochs) == expected


def test_a_transfer_is_measured_on_the_data_that_it_learns(tmp_path):
    digits = load_digits()
    other = tmp_path / "other.npz"
    reversed_ = 9 - digits.target
    np.savez(
        other, x_train=digits.images[::2], y_train=reversed_[::2],
        x_test=digits.images[1::2], y_test=reversed_[1::2],
    )  # fmt: skip
    text = (
        TRAINED.split("[[methods]]", maxsplit=1)[0]
        + f"""
    [training.transfer]
    name = "npz"
    path = "{other.name}"
    preprocessing = {{ scale = 0.0625 }}
    [[methods]]
    name = "uchida"
    [[modifications]]
    name = "fine-tuning"
    intensities = [0.1]
    learning_rate = 0.05
    transfer = true
    scope = "last"
    reinitialise = true
    [cost]
    cells = 0
    """
    )
    run = carried_out(configuration(tmp_path, text), tmp_path / "run")
    unmarked, marked = trials(run, "fine-tuning")
    assert unmarked.quality_of == marked.quality_of == "npz"
    # Reversed classes: the network as it was would be right for none of them.
    assert marked.quality["top-1 accuracy"] > 0.9
    assert marked.verdicts[0].errors == 0
    assert not unmarked.verdicts[0].detected


def test_the_bar_shows_how_far_trainings_are(tmp_path, monkeypatch):
    class Bar:
        disable = False
        shown: ClassVar[list[str]] = []

        def set_postfix_str(self, words: str) -> None:
            self.shown.append(words)

    store = Store(tmp_path)
    monkeypatch.setattr(progress, "_SECONDS", 0.01)
    with progress.shown_progress(store, Bar(), progress.Count("trials", 0, 2)):
        store.tell_progress("a", "first: epoch 1/2")
        store.tell_progress("b", "second: epoch 2/2")
        for _ in range(500):
            if any(words.count("epoch") == 2 for words in Bar.shown):
                break
            threading.Event().wait(0.01)
    assert "first: epoch 1/2; second: epoch 2/2" in Bar.shown


def test_records_hold_no_secret(finished):
    text = "".join((finished / name).read_text() for name in RECORDS)
    for record in injections(finished):
        path = Store(finished).key_path(record.identity)
        if path.exists():
            assert path.stat().st_mode & 0o077 == 0
            assert nnw.load_key(path).key.secret.hex() not in text
    assert "triggers" not in {k for line in text.splitlines() for k in _keys(line)}


def _keys(line: str) -> set[str]:
    return set(re.findall(r'"(\w+)":', line))
