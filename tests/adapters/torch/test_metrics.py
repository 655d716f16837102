"""The task torchmetrics against scikit-learn, scipy and our own measures; hostile texts."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

pytest.importorskip("torchmetrics")

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.tasks.image_restoration import psnr
from nnw_onnx.tasks.regression import Regression
from nnw_onnx.testing import check_task
from nnw_onnx.vocabulary import Quality, Spec, Task
from nnw_onnx_torch import metric_names

F1 = "MulticlassF1Score(num_classes=4, average='macro')"


def _task(*metrics: str, **options: object) -> Task:
    return plugins.create(Task, Spec("torchmetrics", {"metrics": list(metrics), **options}))


def _measured(task: Task, answers, targets, size: int = 7) -> Quality:
    answers, targets = np.asarray(answers), np.asarray(targets)
    meter = task.meter(ArraySamples({"x": np.zeros((1, 1))}, np.zeros(1)))
    for start in range(0, len(targets), size):
        meter.add({"y": answers[start : start + size]}, targets[start : start + size])
    return meter.result()


def _scores(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (40, 4) of a network that is mostly right, and classes."""
    rng = np.random.Generator(np.random.PCG64(seed))
    classes = rng.integers(0, 4, 40)
    return (rng.random((40, 4)) + 0.7 * np.eye(4)[classes]).astype(np.float32), classes


def test_metrics_of_classes_are_those_of_scikit_learn():
    scores, classes = _scores()
    told = scores.argmax(axis=1)
    texts = (F1, "classification.MulticlassCohenKappa(4)", "MulticlassMatthewsCorrCoef(4)")
    found = _measured(_task(*texts), scores, classes)
    assert found.values == {
        "MulticlassF1Score": pytest.approx(
            sklearn.metrics.f1_score(classes, told, average="macro")
        ),
        "MulticlassCohenKappa": pytest.approx(sklearn.metrics.cohen_kappa_score(classes, told)),
        "MulticlassMatthewsCorrCoef": pytest.approx(
            sklearn.metrics.matthews_corrcoef(classes, told)
        ),
    }
    assert found.scores is None


def test_metrics_of_numbers_are_those_of_scipy_and_our_own():
    rng = np.random.Generator(np.random.PCG64(1))
    targets = rng.standard_normal(50)
    answers = targets + 0.3 * rng.standard_normal(50)
    task = _task("R2Score", "SpearmanCorrCoef()", "MeanAbsoluteError()", usable_loss=0.1)
    found = _measured(task, answers[:, np.newaxis], targets)
    own = Regression().meter(ArraySamples({"x": np.zeros((1, 1))}, np.zeros(1)))
    own.add({"y": answers}, targets)
    expected = own.result().values
    assert found.values["R2Score"] == pytest.approx(expected["R2"], abs=1e-12)
    assert found.values["MeanAbsoluteError"] == pytest.approx(expected["MAE"], abs=1e-12)
    assert found.values["SpearmanCorrCoef"] == pytest.approx(
        scipy.stats.spearmanr(answers, targets).statistic
    )
    first, _, last = task.measured()
    assert (first.better, last.better) == ("higher", "lower")
    assert (first.usable_loss, first.negligible) == (0.1, pytest.approx(0.01))


def test_metrics_of_images():
    rng = np.random.Generator(np.random.PCG64(2))
    images = rng.random((1, 3, 32, 32))
    made = np.clip(images + 0.1 * rng.standard_normal(images.shape), 0, 1)
    task = _task("image.PeakSignalNoiseRatio(data_range=1.0)", usable_loss=1)
    (found,) = _measured(task, made, images).values.values()
    assert found == pytest.approx(psnr(made[0], images[0]))


def test_a_column_and_classes_of_the_scores():
    scores, classes = _scores()
    told = (classes == 2).astype(int)
    (area,) = _measured(_task("BinaryAUROC()", column=2), scores, told).values.values()
    assert area == pytest.approx(sklearn.metrics.roc_auc_score(told, scores[:, 2]))
    of_classes = _task("RandScore", classes=True, better=["higher"], usable_loss=0.1)
    (rand,) = _measured(of_classes, scores, classes).values.values()
    assert rand == pytest.approx(sklearn.metrics.rand_score(classes, scores.argmax(axis=1)))
    (again,) = _measured(of_classes, told, told).values.values()
    assert again == 1
    with pytest.raises(ConfigurationError, match=r"expected a column 4 of answers, got \(7, 4\);"):
        _measured(_task("BinaryAUROC()", column=4), scores, told)


@pytest.mark.parametrize("check", check_task(
    _task(F1), ArraySamples({"x": np.zeros((40, 1))}, _scores()[1]), {"y": _scores()[0]}
), ids=str)  # fmt: skip
def test_it_keeps_the_contract_of_tasks(check):
    check()


def test_what_a_training_minimises_is_an_option():
    assert _task(F1).minimised() is None
    assert _task(F1, training_loss="cross-entropy").minimised() == "cross-entropy"


def test_a_hundred_metrics_can_be_named():
    every = metric_names.known()
    assert sum(map(len, every.values())) > 150
    for name in ("Frechet", "Inception", "Learned", "CLIP", "BERT", "Rouge", "DNSMOS"):
        assert not [one for names in every.values() for one in names if name in one]


def test_what_nobody_says_is_asked_for():
    with pytest.raises(ConfigurationError, match=r"whether higher values of MulticlassConfusi"):
        _task("MulticlassConfusionMatrix(3)", usable_loss=1).measured()
    with pytest.raises(ConfigurationError, match=r"which loss of MeanSquaredError\(\) leaves a n"):
        _task("MeanSquaredError()").measured()
    with pytest.raises(ConfigurationError, match=r"better for each of 2 metrics, got 1; add or le"):
        _task(F1, "R2Score", better=["lower"]).measured()
    assert _task("MulticlassConfusionMatrix(3)", better=["lower"], usable_loss=1).measured()


def test_two_metrics_of_one_class_have_names_of_their_own():
    texts = (F1, "MulticlassF1Score(num_classes=4, average='micro')")
    assert [m.name for m in _task(*texts).measured()] == list(texts)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "MulticlassF1Score(num_classes=open('x'))",
        "MulticlassF1Score(*[4])",
        "MulticlassF1Score(**{'num_classes': 4})",
        "MulticlassF1Score(num_classes=4",
        "torch.nn.functional.relu(1)",
        "(lambda: 1)()",
        "a if b else c",
        "R2Score(" + "[" * 300 + "]" * 300 + ")",
        "R2Score(adjusted=" + "1" * 600 + ")",
        "",
    ],
)
def test_what_is_no_class_with_literals_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"torchmetrics: expected a metric such as") as got:
        _task(text).measured()
    assert "\n" not in str(got.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MulticlassF1Scor()", r"or one of audio, image, text that compares arrays\), got 'Multic"),
        ("image.FrechetInceptionDistance()", r"expected a metric of torchmetrics.classification, "),
        ("MulticlassF1Score(4, average='x')", r"expected arguments that MulticlassF1Score takes, "),
        ("MulticlassF1Score(nothing=1)", r"expected arguments that MulticlassF1Score takes, got "),
        ("FleissKappa()", r"compares answers with targets, got FleissKappa of ratings; choose an"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(text, message):
    with pytest.raises(ConfigurationError, match=message) as got:
        _task(text).measured()
    assert "\n" not in str(got.value)


def test_answers_that_do_not_fit_are_refused():
    scores, classes = _scores()
    with pytest.raises(ConfigurationError, match=r"expected answers and targets that .* takes, go"):
        _measured(_task(F1), scores[:, :3], classes)
    with pytest.raises(ConfigurationError, match=r"one number of .*, got \(4,\); choose an averag"):
        _measured(_task("MulticlassF1Score(4, average=None)"), scores, classes)
    with pytest.raises(ConfigurationError, match=r"one number of MulticlassROC\(4\), got tuple; c"):
        _measured(_task("MulticlassROC(4)", better=["higher"], usable_loss=1), scores, classes)
    with pytest.raises(InferenceError, match=r"expected at least one answer, got none; add data"):
        _measured(_task(F1), scores[:0], classes[:0])


def test_what_is_no_number_is_the_worst_where_there_is_a_worst():
    scores, classes = _scores()
    scores[3, 1] = np.nan
    assert _measured(_task(F1), scores, classes).values == {"MulticlassF1Score": 0}
    error = _measured(_task("MulticlassCalibrationError(4)"), scores, classes)
    assert list(error.values.values()) == [1]
    with pytest.raises(InferenceError, match=r"MeanSquaredError\(\) has a finite value, got NaN o"):
        _measured(_task("MeanSquaredError()", usable_loss=1), scores[:, 1], classes * 1.0)
    with pytest.raises(InferenceError, match=r"has a finite value, got some that have none; see"):
        _measured(_task("MeanSquaredLogError", usable_loss=1), np.full(9, -2.0), np.arange(9.0))


def test_without_torchmetrics_one_line_says_what_to_install(monkeypatch):
    task = _task(F1)
    monkeypatch.setitem(sys.modules, "torchmetrics.classification", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'nnw-onnx\[torchmetrics\]', or cho"):
        task.measured()
