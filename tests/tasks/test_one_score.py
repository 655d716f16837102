"""Classifiers of two classes that answer one score: a probability, or a logit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import SessionSettings
from nnw_onnx.kit.meters import threshold_of
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs.quality import measure, task_for
from nnw_onnx.runs.suspect import Running, wrapped
from nnw_onnx.tasks.image_classification import ImageClassification
from nnw_onnx.tasks.text_classification import TextClassification
from nnw_onnx.vocabulary import Spec, Task

from .conftest import measured, samples_of

LOGITS = np.array([-3.0, 0.2, 0.9, 4.0, -0.1, 0.4])
LABELS = np.array([0, 0, 1, 1, 1, 0])
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
RIGHT = [1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("kind", [ImageClassification, TextClassification])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1, 1)])
@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("scores", [LOGITS, PROBABILITIES])
def test_probabilities_and_logits_give_the_same_classes(kind, shape, batch, scores):
    """Batches of logits may lie in 0 to 1; all of them together decide."""
    outputs = {"p": scores.reshape(shape).astype(np.float32)}
    quality = measured(kind(), samples_of(2), outputs, LABELS, batch)
    np.testing.assert_array_equal(quality.scores, RIGHT)
    assert quality.values["top-1 accuracy"] == 0.5
    # By hand: 1 of 3 zeros and 2 of 3 ones are found; 1 of 2 zeros, 2 of 4 ones are right.
    assert quality.values["recall"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert quality.values["precision"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert quality.chance == 0.5


def test_a_threshold_that_is_given_counts():
    outputs = {"p": PROBABILITIES.astype(np.float32)}
    quality = measured(ImageClassification(threshold=0.65), samples_of(2), outputs, LABELS)
    np.testing.assert_array_equal(quality.scores, [1, 1, 1, 1, 0, 1])


def test_answers_that_are_no_numbers_are_wrong_in_both_classes():
    scores = {"p": np.array([np.nan, np.nan, 0.9, 0.1], np.float32)}
    quality = measured(ImageClassification(), samples_of(2), scores, np.array([0, 1, 1, 0]))
    np.testing.assert_array_equal(quality.scores, [0, 0, 1, 1])


def test_one_score_is_no_classification_of_three_classes():
    for shape in ((6,), (6, 1)):
        with pytest.raises(ConfigurationError, match=r"expected scores \(n, 3\) or integer"):
            measured(ImageClassification(), samples_of(3), {"p": np.zeros(shape)}, LABELS)


@pytest.mark.parametrize(
    ("operator", "threshold"),
    [
        ("Sigmoid", 0.5),
        ("HardSigmoid", 0.5),
        ("QLinearSigmoid", 0.5),
        ("Softmax", 0.5),
        ("Gemm", 0.0),
        ("Add", 0.0),
        ("Conv", 0.0),
        ("MatMulNBits", 0.0),
        ("Tanh", None),
        ("Custom", None),
        ("", None),
    ],
)
def test_the_last_operator_tells_the_threshold(operator, threshold):
    assert threshold_of(operator) == threshold
    assert ImageClassification().answered_by((operator,)).threshold == threshold
    assert ImageClassification(threshold=0.3).answered_by((operator,)).threshold == 0.3
    assert ImageClassification(output=1).answered_by((operator,)).threshold is None


ENDINGS = {
    "logits": [],
    "sigmoid": [("Sigmoid", {})],
    "sigmoid, cast": [("Sigmoid", {}), ("Cast", {"to": TensorProto.FLOAT})],
    "sigmoid, flatten": [("Sigmoid", {}), ("Flatten", {"axis": 1}), ("Identity", {})],
    "logits, flatten": [("Flatten", {"axis": 1})],
}


def _network(path: Path, ending: str, bias: float = 0.0):
    """x @ 1 + bias, then the ending."""
    nodes, last = [helper.make_node("Gemm", ["x", "w", "b"], ["v0"])], "v0"
    for k, (operator, attributes) in enumerate(ENDINGS[ending], 1):
        nodes.append(helper.make_node(operator, [last], [f"v{k}"], **attributes))
        last = f"v{k}"
    arrays = {"w": np.ones((1, 1), np.float32), "b": np.full(1, bias, np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return open_network(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_change_of_the_network_cannot_move_the_threshold(tmp_path, ending):
    """Logits that a change squeezed into 0 to 1 are still logits: the network itself decides."""
    network = _network(tmp_path / "m.onnx", ending)
    assert network.last_operators == ("Sigmoid" if "sigmoid" in ending else "Gemm",)
    samples = ArraySamples(
        {"x": LOGITS.astype(np.float32).reshape(-1, 1)}, LABELS, {"classes": ["no", "yes"]}
    )
    squeezed = network.with_weights({"w": np.full((1, 1), 1e-3)})
    task = task_for(Spec("image-classification"), network)
    for each in (network, squeezed):
        ask = wrapped(Running(each, SessionSettings(), 2).reading(task.reads()))
        quality = measure(ask, task, samples.fitted(each.inputs), 2)
        np.testing.assert_array_equal(quality.scores, RIGHT)


def test_a_task_of_a_configuration_takes_a_threshold():
    assert plugins.create(Task, Spec("text-classification", {"threshold": 0.7})).threshold == 0.7


def test_nineteen_of_twenty_in_one_class_are_no_network_that_knows_something():
    """Always answering the commonest class keeps accuracy, and loses half of the guard."""
    labels = np.repeat([0, 1], [95, 5])
    lazy = measured(ImageClassification(), samples_of(2), {"p": np.full(100, -9.0)}, labels)
    assert (lazy.values["top-1 accuracy"], lazy.values["recall"]) == (0.95, 0.5)
    assert lazy.chance == 0.95
