"""Regression against scikit-learn's measures, and a figure that scikit-learn publishes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.meters import chance_check
from nnw_onnx.kit.samples import ArraySamples, batches
from nnw_onnx.plugins import create
from nnw_onnx.tasks.regression import FARTHEST, Regression
from nnw_onnx.testing import check_task
from nnw_onnx.vocabulary import Dataset, Spec, Task

from .conftest import measured, samples_of


def _measured(answers, targets, batch=None):
    return measured(Regression(), samples_of(), {"y": np.asarray(answers)}, targets, batch)


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 3), (40, 2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_scikit_learn(shape, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    targets = 3 + rng.standard_normal(shape) * np.arange(1, 1 + np.prod(shape[1:])).reshape(
        shape[1:]
    )
    answers = (targets + rng.standard_normal(shape)).astype(np.float32)
    flat, told = targets.reshape(40, -1), answers.reshape(40, -1)
    quality = _measured(answers, targets, batch=7)
    assert list(quality.values) == [m.name for m in Regression.measures]
    assert quality.values["R2"] == pytest.approx(r2_score(flat, told), abs=1e-12)
    assert quality.values["RMSE"] ** 2 == pytest.approx(mean_squared_error(flat, told))
    assert quality.values["MAE"] == pytest.approx(mean_absolute_error(flat, told))
    # As a ratio of sums over samples it has limits like any other.
    assert quality.scores.sum() / quality.weights.sum() == pytest.approx(quality.values["R2"])
    assert quality.weights.sum() == pytest.approx(1)


def test_the_mean_as_every_answer_is_no_better_than_chance():
    targets = np.arange(10.0)
    quality = _measured(np.full(10, 4.5), targets)
    assert quality.values["R2"] == pytest.approx(0, abs=1e-12)
    assert "R2 AT CHANCE: expected clearly more than 0, got " in chance_check(
        _measured(np.full(10, 5.0), targets), Regression.measures[0]
    )
    assert chance_check(_measured(targets + 0.1, targets), Regression.measures[0]) is None


def test_what_is_no_number_is_the_farthest_target():
    targets = np.array([0.0, 1.0, 10.0])
    quality = _measured([np.nan, 1.0, np.nan], targets)
    assert quality.values == _measured([10.0, 1.0, 0.0], targets).values
    assert _measured([0.0, np.inf, 10.0], targets).values["MAE"] == pytest.approx(
        (targets.mean() + FARTHEST * targets.std() - 1) / 3
    )
    low = _measured([-3e38, 3e38, -3e38], targets)
    assert -1e9 < low.values["R2"] < -1e6
    assert np.isfinite(low.scores.astype(np.float32)).all()


def test_outputs_whose_targets_are_all_equal_are_left_out_of_r2():
    targets = np.stack([np.arange(5.0), np.full(5, 2.0)], axis=1)
    answers = targets + np.array([0, 1])
    quality = _measured(answers, targets)
    assert quality.values == {"R2": 1, "RMSE": pytest.approx(np.sqrt(0.5)), "MAE": 0.5}
    with pytest.raises(InferenceError, match=r"regression: expected targets that differ .* all 3"):
        _measured(np.zeros(3), np.ones(3))
    with pytest.raises(InferenceError, match=r"expected at least one answer, got none; add data"):
        Regression().meter(samples_of()).result()


@pytest.mark.parametrize(
    ("answers", "targets"),
    [(np.zeros((3, 2)), np.zeros(3)), (np.full(3, "a"), np.zeros(3))],
)
def test_answers_of_another_form_are_refused(answers, targets):
    with pytest.raises(ConfigurationError, match=r"regression: expected numbers of shape"):
        _measured(answers, targets)


def _case():
    rng = np.random.Generator(np.random.PCG64(0))
    targets = rng.standard_normal((20, 2))
    samples = ArraySamples({"x": np.zeros((20, 1))}, targets)
    return Regression(), samples, {"y": targets + 0.1 * rng.standard_normal((20, 2))}


@pytest.mark.parametrize("check", check_task(*_case()), ids=str)
def test_it_keeps_the_contract_of_tasks(check):
    check()


def _linear(path, weights, bias):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    arrays = {"w": weights.astype(np.float32).reshape(-1, 1), "b": np.float32([bias])}
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_figure_that_scikit_learn_publishes(tmp_path):
    """Its page "Ordinary Least Squares": on the last 20 of diabetes, error 2548.07 and R2 0.47."""
    data = load_diabetes()
    bmi, target = data.data[:, [2]], data.target
    model = LinearRegression().fit(bmi[:-20], target[:-20])
    _linear(tmp_path / "line.onnx", model.coef_, model.intercept_)
    header = ",".join([*data.feature_names, "target"])
    (tmp_path / "diabetes").mkdir()
    for name, part in (("train", slice(-20)), ("test", slice(-20, None))):
        table = np.column_stack([data.data, target])[part]
        path = tmp_path / "diabetes" / f"{name}.csv"
        np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.17g")
    spec = Spec(
        "csv",
        {"path": str(tmp_path / "diabetes"), "targets": ["target"], "features": ["bmi"]},
    )
    session = Session(open_network(tmp_path / "line.onnx").runnable())
    samples = create(Dataset, spec).load("test").fitted(session.inputs)
    meter = create(Task, Spec("regression")).meter(samples)
    for batch in batches(samples, 8):
        meter.add(session.predict(batch.feeds), batch.targets)
    values = meter.result().values
    assert values["RMSE"] ** 2 == pytest.approx(2548.07, abs=0.01)
    assert values["R2"] == pytest.approx(0.47, abs=0.005)
