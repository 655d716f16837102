"""What Decoder and Detector see of a network, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.errors import CarrierNotFoundError, PluginError
from nnw_onnx.graph import open_network
from nnw_onnx.inference import Session, SessionSettings
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.runs import suspect
from nnw_onnx.runs.suspect import Examined, Running, asked, fitted, isolated, suspects, wrapped

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "cnn-0.onnx"
SETTINGS = SessionSettings()


@pytest.fixture(scope="module")
def network():
    return open_network(MODEL)


@pytest.fixture
def feeds(network, rng):
    return {network.inputs[0].name: rng.uniform(size=(5, 1, 8, 8)).astype(np.float32)}


class Asked:
    """Answers with the mean of each sample, and remembers each question."""

    def __init__(self):
        self.questions = []

    def __call__(self, feeds, layers=()):
        self.questions.append((dict(feeds), tuple(layers)))
        (values,) = feeds.values()
        mean = values.reshape(len(values), -1).mean(1)
        return {"y": mean, **dict.fromkeys(layers, mean)}


@pytest.mark.parametrize(
    ("access", "weights", "outputs", "inner"),
    [
        ("weights", True, False, False),
        ("activations", True, True, True),
        ("answers", False, True, False),
    ],
)
def test_a_method_sees_what_its_access_says(network, feeds, access, weights, outputs, inner):
    examined = Examined(network, access, Asked())
    attempts = {
        lambda: examined.weights["conv3.weight"]: weights,
        lambda: examined.layers: weights,
        lambda: examined.run(feeds): outputs,
        lambda: examined.run(feeds, ["conv1.weight"]): inner,
    }
    for attempt, allowed in attempts.items():
        if allowed:
            attempt()
        else:
            with pytest.raises(PluginError, match="expected a method .*; declare what it sees in"):
                attempt()
    assert examined.inputs == network.inputs


def test_equal_questions_are_asked_once(network, feeds):
    ask = Asked()
    examined = Examined(network, "activations", ask)
    first = examined.run(feeds)
    again = examined.run({name: values.copy() for name, values in feeds.items()})
    assert again is first
    examined.run(feeds, ["conv1.weight"])
    changed = {name: values + 1e-6 for name, values in feeds.items()}
    examined.run(changed)
    assert len(ask.questions) == 3


def test_what_is_remembered_has_an_end(network, feeds, monkeypatch):
    ask = Asked()
    examined = Examined(network, "answers", ask)
    monkeypatch.setattr(suspect, "REMEMBERED_BYTES", 5 * 4 * 2)
    for shift in (0, 1, 2, 0):
        examined.run({n: v + np.float32(shift) for n, v in feeds.items()})
    assert len(ask.questions) == 4


def test_methods_of_one_access_share_their_answers(network, feeds):
    ask = Asked()
    suspect_of = suspects(network, ask)

    class One:
        access = "answers"

    assert suspect_of(One()) is suspect_of(One())
    suspect_of(One()).run(feeds)
    suspect_of(One()).run(feeds)
    assert len(ask.questions) == 1


def test_wrappers_stand_before_the_network_the_newest_first(network, feeds):
    (name,) = feeds
    seen = []

    def adding(feeds, ask):
        seen.append("adding")
        return ask({name: feeds[name] + 1})

    def doubling(feeds, ask):
        seen.append("doubling")
        answer = ask({name: feeds[name] * 2})
        return {**answer, "y": answer["y"] * 10}

    ask = Asked()
    around = (doubling, adding)  # doubled first, and then one more
    values = Examined(network, "activations", ask, around).run(feeds, ["conv1.weight"])
    mean = feeds[name].reshape(5, -1).mean(1)
    assert seen == ["doubling", "adding"]
    assert np.allclose(values["y"], 10 * (2 * mean + 1))
    assert np.allclose(values["conv1.weight"], 2 * mean + 1)
    assert ask.questions[0][1] == ("conv1.weight",)
    assert np.allclose(wrapped(ask, around)(feeds)["y"], 10 * (2 * mean + 1))
    assert np.allclose(asked(ask, feeds)["y"], mean)


def test_feeds_find_their_inputs_by_name_or_by_place(network, feeds):
    (values,) = feeds.values()
    assert list(fitted(network, {"triggers": values})) == list(feeds)
    with pytest.raises(CarrierNotFoundError, match="expected inputs a, b, got a network that"):
        fitted(network, {"a": values, "b": values})
    with pytest.raises(CarrierNotFoundError, match=r"expected an input that takes shape \(5, 64\)"):
        fitted(network, {"x": values.reshape(5, 64)})
    ask = Asked()
    with pytest.raises(CarrierNotFoundError):
        Examined(network, "answers", ask).run({"x": values[:, :, :4]})
    assert ask.questions == []


def reference(feeds, outputs=None):
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    return session.run(outputs, dict(feeds))


def test_outputs_are_those_of_the_runtime(network, feeds):
    run = Running(network, SETTINGS, 2)
    told = run(feeds)
    assert list(told) == [info.name for info in network.outputs]
    assert np.allclose(next(iter(told.values())), reference(feeds)[0], atol=1e-6)


def test_inner_values_are_those_of_an_edited_copy(network, feeds):
    """Compared with the same model in which that value is an output."""
    layer = "conv2.weight"
    (value,) = network.inner([layer]).values()
    model = onnx.load(MODEL)
    model.graph.output.append(helper.make_empty_tensor_value_info(value))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run([value], dict(feeds))
    told = Running(network, SETTINGS, 2)(feeds, [layer])
    assert list(told) == [network.outputs[0].name, layer]
    assert np.allclose(told[layer], expected, atol=1e-6)


def test_one_session_serves_all_that_ask_for_the_same(network, feeds, monkeypatch):
    made = []
    real = Session.__init__
    monkeypatch.setattr(Session, "__init__", lambda self, *a: made.append(1) or real(self, *a))
    run = Running(network, SETTINGS, 2)
    assert made == []
    for layers in ((), (), ("conv1.weight",), ("conv1.weight",), ()):
        run(feeds, layers)
    assert len(made) == 2


def test_answers_do_not_depend_on_who_asked_for_inner_layers(network, feeds):
    (name,) = [info.name for info in network.outputs]
    alone = Running(network, SETTINGS, 2)(feeds)[name]
    run = Running(network, SETTINGS, 2)
    run(feeds, ["conv1.weight"])
    assert np.array_equal(run(feeds)[name], alone)


def test_a_layer_that_is_not_there_is_a_missing_carrier(network, feeds):
    examined = Examined(network, "activations", Running(network, SETTINGS, 2))
    with pytest.raises(CarrierNotFoundError, match="'gone'"):
        examined.run(feeds, ["gone"])


def test_a_process_of_its_own_answers_the_same(network, feeds):
    layer = "conv1.weight"
    told = isolated(network)(feeds, [layer])
    expected = Running(network, SETTINGS, 64)(feeds, [layer])
    assert list(told) == list(expected)
    assert all(np.array_equal(told[name], expected[name]) for name in told)


def test_several_inputs_are_matched_by_name(tmp_path, rng):
    tensors = [numpy_helper.from_array(np.float32([[2.0]]), "w")]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 1]) for n in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["c"]), helper.make_node("Sub", ["c", "b"], ["y"])],
        "g",
        infos,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    a, b = (rng.normal(size=(3, 1)).astype(np.float32) for _ in range(2))
    examined = Examined(network, "answers", Running(network, SETTINGS, 2))
    assert np.allclose(examined.run({"b": b, "a": a})["y"], 2 * a - b)
    assert np.allclose(examined.run({"first": a, "second": b})["y"], 2 * a - b)
    batch = ArraySamples({"a": a, "b": b}, np.zeros(3)).read(np.arange(3))
    assert np.allclose(examined.run(batch.feeds)["y"], 2 * a - b)
