"""Every kind of method, code and Modification in an evaluation: its records, and what is said.

What is asserted is known before: from the shapes of the digits' networks, from the alphabet, from
the code's length, or computed here from the files that a run leaves.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.samples import only_feed
from nnw_onnx.measures.results import Point, Technology
from nnw_onnx.records import TrialRecord, VerdictRecord
from nnw_onnx.reports import build_report, names, sentences
from nnw_onnx.reports.definitions import definitions
from nnw_onnx.runs.evaluation import read_evaluation
from nnw_onnx.runs.injections import run_injection
from nnw_onnx.runs.plan import plan_injections
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.trial import run_trial

from ..tasks import real_sets  # noqa: TID252 - shared by two rooms' tests

pytestmark = pytest.mark.xdist_group("one run of every kind")

MODELS = Path(__file__).resolve().parents[2] / "models"
DIGITS = """
title = "Kinds"
networks = {networks}
payloads = {payloads}
payload_sizes = [24]
[dataset]
name = "digits"
limit = 100
preprocessing = {{ scale = 0.0625 }}
[control]
wrong_keys = 20
[cost]
cells = 0
[preview]
samples = 0
"""
METHODS = """
[[methods]]
name = "nct"
[[methods]]
name = "presence"
[[methods]]
name = "fragile"
[[methods]]
name = "levels"
[[methods]]
name = "uchida"
[methods.code]
name = "repetition"
[[methods]]
name = "uchida"
payload_sizes = [16]
[methods.code]
name = "reed-solomon"
parity = 4
[[methods]]
name = "block-spread"
[methods.code]
name = "bch"
n = 63
errors = 5
[[modifications]]
name = "l1-pruning"
layers = ["conv2.weight"]
intensities = [50]
[[modifications]]
name = "float16"
[[modifications]]
name = "int8"
mode = "dynamic"
[[modifications]]
name = "jpeg"
intensities = [95, 5]
[[modifications]]
name = "input-noise"
intensities = [0.02]
[[modifications]]
[[modifications.steps]]
name = "l1-pruning"
layers = ["conv1.weight"]
intensities = [10, 30]
[[modifications.steps]]
name = "gaussian-noise"
layers = ["head.weight"]
intensity = 0.1
"""
BLOCKS = {"conv1.weight": 1, "conv2.weight": 4, "conv3.weight": 18, "head.weight": 1}
"""Blocks of 1,024 weights in the digits' networks; what is left over belongs to the last one."""
WHOLE = sum(BLOCKS.values())


class Run:
    """An evaluation carried out in this process, one task after the other."""

    def __init__(self, folder: Path, text: str) -> None:
        path = folder / "kinds.toml"
        path.write_text(text, encoding="utf-8")
        prepared = prepare(read_evaluation(path), folder / "run")
        context, payloads = prepared.context, prepared.evaluation.payloads
        self.store, self.plan = context.store, prepared.plan
        self.store.create()
        tasks = plan_injections(
            context.seed, payloads, context.technologies, context.sha256, context.sources
        )
        self.injections = [run_injection(context, task) for task in tasks]
        planned = prepared.planner.trials(self.injections)
        self.trials = [run_trial(context, trial) for trial in planned]
        self.report = build_report(self.plan, self.injections, self.trials, [], None)

    def label(self, technology: int) -> str:
        method = self.plan.technologies[technology]
        return method.code.name if method.code else method.method.name

    def technology(self, label: str) -> Technology:
        return next(t for t in self.report.technologies if self.label(t.index) == label)

    def setting(self, trial: TrialRecord) -> str:
        if trial.setting is None:
            return ""
        return "+".join(s.modification.name for s in self.plan.settings[trial.setting].steps)

    def verdicts(self, label: str, setting: str, *, own: bool = True) -> list[VerdictRecord]:
        """Of one technology under one setting, on watermarked or on unwatermarked networks."""
        of = {i.identity for i in self.injections if self.label(i.technology) == label}
        return [
            verdict
            for trial in self.trials
            if self.setting(trial) == setting and (trial.injection is not None) == own
            for verdict in trial.verdicts
            if verdict.injection in of
        ]

    def points(self, label: str, setting: str) -> list[Point]:
        index = self.technology(label).index
        return [
            p
            for s in self.report.settings
            if "+".join(step.modification.name for step in s.steps) == setting
            for p in self.report.points_of(index, s.index)
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("kinds")
    networks = '["nnw:digits/cnn-0.onnx", "nnw:digits/cnn-1.onnx"]'
    return Run(folder, DIGITS.format(networks=networks, payloads=1) + METHODS)


def test_all_is_done(run):
    assert {i.status for i in run.injections} == {"done"}
    assert {t.status for t in run.trials} == {"done"}
    assert len(run.injections) == 2 * 7
    # Eight settings and none; each on the unwatermarked networks and on those of all technologies.
    assert len(run.trials) == 9 * 2 * (1 + 7)
    assert not run.report.completeness.missing


@pytest.mark.parametrize(
    ("label", "symbols", "bits", "chance"),
    [
        ("levels", 8, 24, 7 / 8),
        ("repetition", 72, 24, 1 / 2),
        ("reed-solomon", 8 * (2 + 4), 16, 1 / 2),
        ("bch", 24 + 27, 24, 1 / 2),
    ],
)
def test_payloads_come_back_through_alphabet_and_code(run, label, symbols, bits, chance):
    for verdict in run.verdicts(label, ""):
        assert (verdict.symbols, verdict.errors) == (symbols, 0)
        assert (verdict.bits, verdict.bit_errors) == (bits, 0)
        assert verdict.log10_p == pytest.approx(symbols * np.log10(1 - chance))
    technology = run.technology(label)
    assert technology.unmodified.bit_errors.value == 0
    assert technology.control.ser_expected == pytest.approx(chance)
    assert technology.control.ser == pytest.approx(chance, abs=0.04)
    assert technology.control.detected == 0
    assert not any(v.detected for v in run.verdicts(label, "", own=False))


@pytest.mark.parametrize("label", ["nct", "presence", "fragile"])
def test_without_payload_there_are_no_symbols(run, label):
    for verdict in run.verdicts(label, ""):
        assert verdict.detected
        assert (verdict.errors, verdict.bits, verdict.bit_errors) == (None, None, None)
    unmodified = run.technology(label).unmodified
    assert (unmodified.status, unmodified.ser.value) == ("survives", None)
    assert unmodified.ser.reason == "no Symbols are read"
    assert run.technology(label).record.payload_size == 0


def test_negatives_of_a_fingerprint_are_the_other_networks(run):
    network_of = {i.identity: i.network for i in run.injections if run.label(i.technology) == "nct"}
    heard = {
        (trial.network, network_of[v.injection], v.detected)
        for trial in run.trials
        for v in trial.verdicts
        if v.injection in network_of
    }
    assert heard == {(0, 0, True), (1, 1, True), (0, 1, False), (1, 0, False)}
    technology = run.technology("nct")
    assert technology.control is None
    assert technology.alarms == ()
    assert {i.changed_weights for i in run.injections if run.label(i.technology) == "nct"} == {0}
    assert technology.imperceptibility.loss.value == 0
    assert "told from other networks" in dict(definitions(run.report))["Fingerprint"]


def test_integrity_names_the_layer_that_was_changed(run):
    for verdict in run.verdicts("fragile", "l1-pruning"):
        changed = [p.layer for p in verdict.places if p.statistic < 32]
        assert changed == ["conv2.weight"] * BLOCKS["conv2.weight"]
        assert verdict.statistic == WHOLE - BLOCKS["conv2.weight"]
        assert [p.layer for p in verdict.places[:4]] == changed
    (point,) = run.points("fragile", "l1-pruning")
    assert [(p.layer, p.tests) for p in point.places] == [("conv2.weight", 2)]
    assert point.place_right.value == 1


@pytest.mark.parametrize(("setting", "whole"), [("float16", 0), ("int8", 0), ("jpeg", WHOLE)])
def test_integrity_of_whole_networks_and_of_inputs(run, setting, whole):
    assert {v.statistic for v in run.verdicts("fragile", setting)} == {whole}
    for point in run.points("fragile", setting):
        assert point.found == (2 if whole else 0)
        assert bool(point.places) == (whole == 0)
        assert point.place_right.value is None


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("", 0),
        ("l1-pruning", BLOCKS["conv2.weight"]),
        ("float16", WHOLE),
        ("int8", WHOLE),
        ("jpeg", 0),
        ("l1-pruning+gaussian-noise", BLOCKS["conv1.weight"] + BLOCKS["head.weight"]),
    ],
)
def test_integrity_is_counted_by_block(run, setting, changed):
    told = [v.blocks for v in run.verdicts("fragile", setting)]
    assert told
    for blocks in told:
        assert (blocks.blocks, blocks.changed) == (WHOLE, changed)
        assert (blocks.named, blocks.right) == (changed, changed)
    points = run.points("fragile", setting) if setting else [run.technology("fragile").unmodified]
    for point in points:
        found = point.localisation
        assert (found.changed_tests, found.detected) == ((2, 2) if changed else (0, 0))
        assert (found.untouched_tests, found.alarms) == ((0, 0) if changed else (2, 0))
        assert found.recall.value == found.precision.value == (1 if changed else None)


def test_only_marks_of_integrity_that_are_there_have_blocks(run):
    assert {v.blocks for v in run.verdicts("fragile", "l1-pruning", own=False)} == {None}
    for label in ("presence", "levels", "nct"):
        assert {v.blocks for v in run.verdicts(label, "l1-pruning")} == {None}
        assert run.technology(label).unmodified.localisation is None


def test_integrity_is_no_loser(run):
    said = {v.subject: v.text for v in sentences.verdicts(run.report, _called(run))}
    # Weights are changed by pruning, both conversions and the stack's two settings, not by inputs.
    # On two networks; the inputs' three settings and the unmodified networks change no block.
    assert said["Integrity:"] == (
        " fragile no Payload detects the change in 10 of 10 tests, blocks named: recall 100.0 %, "
        "precision 100.0 %, no false alarm in 8."
    )
    assert "of 6" in said["Hardest:"] or "none defeats" in said["Hardest:"]
    assert "nothing is survived or lost" in dict(definitions(run.report))["Integrity"]


@pytest.mark.parametrize("setting", ["jpeg", "input-noise"])
def test_changed_inputs_change_answers_and_leave_weights(run, setting):
    trials = [t for t in run.trials if run.setting(t) == setting]
    assert {t.change for t in trials} == {0.0}
    assert {t.layers for t in trials} == {((),)}
    for label in ("presence", "levels", "nct"):
        before = {v.injection: v.statistic for v in run.verdicts(label, "")}
        for after in run.verdicts(label, setting):
            assert after.statistic == before[after.injection]


def test_the_stronger_jpeg_costs_more(run):
    (setting,) = [s for s in run.report.settings if s.label == "JPEG of the inputs"]
    assert [level.intensity for level in setting.levels] == [95, 5]
    weak, strong = (level.quality.value for level in setting.levels)
    assert weak > 0.95
    assert strong < weak - 0.05


def test_conversions_are_small_changes(run):
    for trial in run.trials:
        if run.setting(trial) == "float16":
            assert 0 < trial.change < 2**-11
    for label in ("levels", "bch", "repetition", "reed-solomon", "presence", "nct"):
        assert all(v.detected for s in ("float16", "int8") for v in run.verdicts(label, s))


def test_a_stack_is_one_setting(run):
    (setting,) = [s for s in run.report.settings if len(s.steps) == 2]
    assert setting.label == (
        "L1 pruning, layers conv1.weight, then gaussian noise 0.1 x sigma, layers head.weight"
    )
    assert sentences.brief(setting.label) == "L1 pruning, then gaussian noise 0.1 x sigma"
    assert [level.intensity for level in setting.levels] == [10, 30]
    stacked = [t for t in run.trials if run.setting(t) == "l1-pruning+gaussian-noise"]
    assert {t.layers for t in stacked} == {(("conv1.weight",), ("head.weight",))}
    for verdict in run.verdicts("fragile", "l1-pruning+gaussian-noise"):
        changed = {p.layer for p in verdict.places if p.statistic < 32}
        assert changed == {"conv1.weight", "head.weight"}


def _called(run: Run):
    return names.technology_names(run.report)


AVERAGED = """
[[methods]]
name = "presence"
[[methods]]
name = "levels"
[[modifications]]
name = "averaging"
copies = 5
"""


@pytest.fixture(scope="module")
def averaged(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("averaged")
    return Run(folder, DIGITS.format(networks='["nnw:digits/cnn-0.onnx"]', payloads=5) + AVERAGED)


def test_every_recipient_is_looked_for_in_the_mean_of_copies(averaged):
    mixed = [t for t in averaged.trials if t.setting is not None and t.injection]
    assert len(mixed) == 2
    for trial in mixed:
        given = {trial.injection, *trial.copies}
        assert len(given) == 5
        assert {v.injection for v in trial.verdicts} == given
        assert trial.facts["copies"] == 5
    for label in ("presence", "levels"):
        (point,) = averaged.points(label, "averaging")
        assert (point.expected, point.tested) == (5, 5)
    (plain,) = [t for t in averaged.trials if t.setting is not None and not t.injection]
    assert plain.change == 0


def test_the_evidence_of_a_mean_is_what_its_weights_say(averaged):
    store, plain = averaged.store, open_network(MODELS / "digits" / "cnn-0.onnx")
    mark = next(i for i in averaged.injections if averaged.label(i.technology) == "presence")
    mixed = next(t for t in averaged.trials if t.copies and t.injection == mark.identity)
    given = (mixed.injection, *mixed.copies)
    copies = [_carrier(store.load_network(i, plain)) for i in given]
    original = _carrier(plain)
    mean = np.mean(copies, axis=0)
    for copy, identity in zip(copies, given, strict=True):
        # A copy is the original moved by one step along signs that only its key knows.
        signs = np.sign(copy - original)
        expected = float(np.sum(signs * mean) / np.linalg.norm(mean))
        (verdict,) = [v for v in mixed.verdicts if v.injection == identity]
        assert verdict.statistic == pytest.approx(expected, abs=1e-3)


def _carrier(network) -> np.ndarray:
    return np.asarray(network.weights["conv3.weight"], np.float64)


FOLDED = """
title = "Folded"
networks = ["nnw:cifar10/fast-0.onnx"]
payloads = 1
payload_sizes = [24]
[dataset]
name = "npz"
path = "noise.npz"
[control]
wrong_keys = 90
[cost]
cells = 0
[preview]
samples = 0
[[methods]]
name = "fragile"
[[methods]]
name = "block-spread"
layer = "block3.conv2.weight"
[[modifications]]
name = "bn-folding"
"""


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("folded")
    rng = np.random.Generator(np.random.Philox(5))
    images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "noise.npz", inputs=images, labels=np.arange(20) % 10)
    return Run(folder, FOLDED)


def test_folding_normalisations_keeps_answers_and_is_seen(folded):
    trials = [t for t in folded.trials if t.setting is not None]
    assert {t.status for t in trials} == {"done"}
    assert all(0 <= t.difference < 1e-3 for t in trials)
    assert all(t.change > 0.01 for t in trials)
    (verdict,) = folded.verdicts("fragile", "bn-folding")
    # More blocks are changed than a record has places; those that are whole are in no way first.
    assert len(verdict.places) == 64
    assert sum(p.statistic < 32 for p in verdict.places) == 63
    (told,) = folded.verdicts("block-spread", "bn-folding")
    assert (told.errors, told.detected) == (0, True)


def test_large_carriers_get_fewer_wrong_keys(folded):
    """90 keys over three trials of a setting are 30 each; 2^23 weights a trial may allow fewer."""
    tried = {
        (folded.label(control.technology), control.keys)
        for trial in folded.trials
        for control in trial.controls
    }
    assert tried == {("fragile", 2**23 // 415_136), ("block-spread", 30)}


TRAINED = """
title = "Trained"
networks = ["nnw:digits/cnn-0.onnx"]
payloads = 1
payload_sizes = [32]
[dataset]
name = "digits"
limit = 200
preprocessing = { scale = 0.0625 }
[training]
initial_epochs = 40
batch_size = 32
learning_rate = 0.02
limit = 300
[[methods]]
name = "deepsigns"
[methods.training]
epochs = 3
[[modifications]]
[[modifications.steps]]
name = "l1-pruning"
intensities = [10, 30]
[[modifications.steps]]
name = "fine-tuning"
intensity = 0.025
learning_rate = 0.005
[cost]
cells = 0
[preview]
samples = 0
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    pytest.importorskip("torch")
    return Run(tmp_path_factory.mktemp("trained"), TRAINED)


def test_activations_carry_a_watermark_that_training_puts_in(trained):
    twin, mark = trained.injections
    assert (twin.twin, mark.twin, mark.status) == (True, False, "done")
    assert mark.layers == ("conv3.weight",)
    assert [e.number for e in mark.training.epochs] == [1, 2, 3]
    (own,), (other,) = (trained.verdicts("deepsigns", "", own=o) for o in (True, False))
    assert (own.symbols, own.null.name) == (32, "Bin(32, 1/2)")
    assert own.errors == mark.errors
    assert other.detected is False
    # Wrong keys would each need inputs and a training of their own.
    assert trained.technology("deepsigns").control is None


def test_a_stack_with_training_has_one_label_and_one_swept_step(trained):
    (setting,) = trained.plan.settings
    assert setting.label == "L1 pruning, then fine-tuning 0.025 x initial epochs"
    assert (setting.swept, setting.intensities, setting.trains) == (0, (10, 30), True)
    stacked = [t for t in trained.trials if t.setting is not None]
    assert {(t.status, t.intensity) for t in stacked} == {("done", 10), ("done", 30)}
    assert {t.facts["fine-tuning: epochs"] for t in stacked} == {1.0}
    assert all(len(t.layers[0]) == 4 for t in stacked)


REAL = """
title = "Real"
networks = ["{model}"]
payloads = 1
payload_sizes = [32]
[control]
wrong_keys = 4
[cost]
cells = 0
[preview]
samples = 0
[session]
batch_size = 8
[[methods]]
name = "levels"
[[methods]]
name = "fragile"
{rest}
"""
PRUNING = """
[[modifications]]
name = "l1-pruning"
intensities = [50]
"""
INPUTS = """
[[modifications]]
name = "jpeg"
intensities = [50]
"""
SEGMENTATION = """
[dataset]
name = "segmentation-folder"
path = "data"
classes = 21
preprocessing = { scale = 0.00784313725490196, mean = [1.0] }
[task]
name = "semantic-segmentation"
"""
DETECTION = """
[dataset]
name = "coco"
path = "data"
size = [416, 416]
fit = "corner"
preprocessing = { scale = 1.0, channels = "BGR" }
[task]
name = "object-detection"
form = "yolox"
"""
REGRESSION = """
[dataset]
name = "npz"
path = "told.npz"
[task]
name = "regression"
"""
HALF = """
[[modifications]]
name = "float16"
"""
RESTORATION = """
[dataset]
name = "restoration-folder"
path = "data"
size = [672, 672]
downscale = 3
limit = 1
[task]
name = "image-restoration"
border = 3
"""
TEXT = """
[dataset]
name = "text-tokens"
path = "data"
classes = {classes}
tokenizer = "bytes"
pad = 256
keep = "ends"
[task]
name = "text-classification"
"""


def _real(folder: Path, model: Path, rest: str) -> Run:
    made = Run(folder, REAL.format(model=model, rest=rest))
    assert {t.status for t in made.trials} == {"done"}
    for label in ("levels", "fragile"):
        assert [v.detected for v in made.verdicts(label, "")] == [True]
        assert [v.detected for v in made.verdicts(label, "", own=False)] == [False]
    return made


def _losses(run: Run, label: str) -> list[float]:
    (setting,) = [s for s in run.report.settings if s.label.startswith(label)]
    return [level.loss.value for level in setting.levels]


@pytest.mark.shared_data
def test_segmentation_is_evaluated(tmp_path, shared_data):
    real_sets.segmented_pictures(tmp_path / "data", shared_data, triggers=0)
    made = _real(tmp_path, shared_data / real_sets.DEEPLAB, SEGMENTATION + INPUTS + PRUNING)
    # The masks are what the network itself answers, so it has them all right.
    assert made.report.headline.name == "mean IoU"
    assert made.report.base[0].quality.value == 1
    assert 0 < _losses(made, "JPEG of the inputs")[0] < _losses(made, "L1 pruning")[0] < 1
    assert {v.statistic for v in made.verdicts("fragile", "l1-pruning")} == {0}


@pytest.mark.shared_data
def test_restoration_is_evaluated(tmp_path, shared_data):
    real_sets.clean_pictures(tmp_path / "data", shared_data, triggers=0)
    made = _real(tmp_path, shared_data / real_sets.SUPERRES, RESTORATION + INPUTS + PRUNING)
    assert (made.report.headline.name, made.report.headline.unit) == ("PSNR", "dB")
    assert 25 < made.report.base[0].quality.value < 40
    assert 0.5 < _losses(made, "JPEG of the inputs")[0] < 20
    assert all(v.detected for v in made.verdicts("levels", "jpeg"))


@pytest.mark.shared_data
def test_texts_are_evaluated(tmp_path, shared_data):
    real_sets.typed_files(tmp_path / "data", each=1)
    classes = json.dumps(list(real_sets.magika_classes()))
    text = TEXT.replace("{classes}", classes) + PRUNING
    made = _real(tmp_path, shared_data / real_sets.MAGIKA, text)
    assert made.report.base[0].quality.value > 0.7
    assert {v.statistic for v in made.verdicts("fragile", "l1-pruning")} == {0}


@pytest.mark.shared_data
def test_detection_is_evaluated(tmp_path, shared_data):
    real_sets.annotated_pictures(tmp_path / "data", shared_data)
    made = _real(tmp_path, shared_data / real_sets.YOLOX, DETECTION + HALF + PRUNING)
    assert made.report.headline.name == "mAP"
    whole = made.report.base[0].quality.value
    assert 0.35 < whole < 0.5
    # Half precision moves boxes where nothing is seen; what is found stays.
    assert abs(_losses(made, "Float16")[0]) < 0.03
    assert _losses(made, "L1 pruning")[0] > 0.9 * whole


@pytest.mark.shared_data
def test_regression_is_evaluated(tmp_path, shared_data):
    """Remaining useful life of an engine, as the network itself tells it of drawn readings."""
    model = shared_data / real_sets.LIFE
    session = Session(open_network(model).runnable())
    rng = np.random.Generator(np.random.PCG64(0))
    readings = rng.random((60, 20, 20, 1)).astype(np.float32)
    told = only_feed(session.predict(readings.transpose(0, 3, 1, 2)))
    np.savez(tmp_path / "told.npz", x_test=readings, y_test=told)
    made = _real(tmp_path, model, REGRESSION + HALF + PRUNING)
    assert made.report.headline.name == "R2"
    assert made.report.base[0].quality.value == 1
    assert 0 < _losses(made, "Float16")[0] < 0.01 < _losses(made, "L1 pruning")[0]
    # It is a ratio of sums, so that one network has limits for other samples.
    (half,) = [s for s in made.report.settings if s.label == "Float16"]
    assert half.levels[0].usability == "usable"
