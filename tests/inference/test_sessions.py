"""Sessions: weights, providers, batches, element types and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import Session, SessionSettings, _pieces, check_providers, sessions
from nnw_onnx.inference.sessions import PROBE
from nnw_onnx.vocabulary import TensorInfo

from .graphs import Graph, convolution_with_batch_norm, external, graph_of, simple


def test_variants_are_bit_identical_to_loading_the_changed_file():
    rng = np.random.Generator(np.random.PCG64(1))
    model = convolution_with_batch_norm(rng)
    skeleton = external(model, ["w"])
    x = rng.normal(size=(5, 3, 8, 8)).astype(np.float32)
    for _ in range(3):
        weights = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
        expected = Session(Graph(changed.SerializeToString())).predict(x)["y"]
        session = Session(Graph(skeleton, {"w": weights}))
        weights[...] = 0
        np.testing.assert_array_equal(session.predict(x)["y"], expected)
        assert np.abs(expected).max() > 1


def test_optimization_levels_agree_and_are_what_was_asked(monkeypatch):
    rng = np.random.Generator(np.random.PCG64(2))
    graph = Graph(convolution_with_batch_norm(rng).SerializeToString())
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    seen = []
    original = onnxruntime.InferenceSession

    def watched(model, options, **rest):
        seen.append(options)
        return original(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    values = [
        Session(graph, SessionSettings(threads=2, optimization=level)).predict(x)["y"]
        for level in ("disable", "basic", "extended", "all")
    ]
    for value in values:
        np.testing.assert_allclose(value, values[0], rtol=1e-5, atol=1e-5)
    levels = onnxruntime.GraphOptimizationLevel
    assert [o.graph_optimization_level for o in seen] == [
        levels.ORT_DISABLE_ALL,
        levels.ORT_ENABLE_BASIC,
        levels.ORT_ENABLE_EXTENDED,
        levels.ORT_ENABLE_ALL,
    ]
    assert {(o.intra_op_num_threads, o.inter_op_num_threads) for o in seen} == {(2, 1)}
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_half_and_bfloat16_weights_keep_their_bits():
    values = np.array([[1.0, -2.5, 3.25]])
    for dtype, kind in ((np.float16, 10), (ml_dtypes.bfloat16, 16)):
        stored = values.astype(dtype)
        tensor = helper.make_tensor("w", kind, stored.shape, stored.tobytes(), raw=True)
        nodes = [
            helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "f"], ["y"]),
        ]
        model = graph_of(nodes, {"x": ["n", 3]}, {"y": ["n", 3]})
        model.graph.initializer.append(tensor)
        graph = Graph(external(model, ["w"]), {"w": stored})
        np.testing.assert_array_equal(Session(graph).predict(np.ones((1, 3)))["y"], values)


def test_an_initializer_that_the_runtime_cannot_take_is_named():
    with pytest.raises(InferenceError, match=r"initializer 'w': expected numbers.*got int4; leave"):
        Session(replace(simple("Relu", [1], [1]), initializers={"w": np.zeros(2, ml_dtypes.int4)}))


def test_external_tensors_are_found_in_the_folder(tmp_path: Path):
    weights = np.arange(3, dtype=np.float32)
    (tmp_path / "none").write_bytes(weights.tobytes())
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = graph_of([node], {"x": ["n", 3]}, {"y": ["n", 3]}, {"w": weights})
    graph = Graph(external(model, ["w"]), folder=tmp_path)
    np.testing.assert_array_equal(Session(graph).predict(np.zeros((1, 3)))["y"], [weights])


def test_inputs_outputs_and_providers_are_told():
    session = Session(simple("Relu", ["batch", 3, None], ["batch", 3, None], TensorProto.DOUBLE))
    assert session.inputs == (TensorInfo("x", ("batch", 3, None), "float64"),)
    assert session.outputs[0].name == "y"
    assert session.providers == ("CPUExecutionProvider",)


def test_a_provider_that_is_not_compiled_in_is_refused():
    with pytest.raises(InferenceError, match=r"expected some of .*CPU.*; got NoSuchProvider; cor"):
        Session(simple("Relu", [1], [1]), SessionSettings(("NoSuchProvider",)))
    with pytest.raises(InferenceError, match=r"expected some of .*; got none; correct"):
        Session(simple("Relu", [1], [1]), SessionSettings(()))


def test_a_silent_fall_back_to_the_cpu_is_refused(monkeypatch):
    asked = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(asked))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    original = onnxruntime.InferenceSession

    def falls_back(model, options, providers):
        assert providers == list(asked)
        return original(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    message = (
        "providers: expected CUDAExecutionProvider, CPUExecutionProvider, got "
        "CPUExecutionProvider: onnxruntime could not start CUDAExecutionProvider; install"
    )
    with pytest.raises(InferenceError, match=message):
        Session(simple("Relu", [1], [1]), SessionSettings(asked))
    with pytest.raises(InferenceError, match=message):
        check_providers(asked)


def test_the_probe_is_one_relu():
    assert simple("Relu", [1], [1]).model == PROBE
    onnx.checker.check_model(onnx.load_from_string(PROBE), full_check=True)


def test_providers_are_checked_without_a_model():
    assert check_providers(("CPUExecutionProvider",)) is None
    with pytest.raises(InferenceError, match=r"providers: expected some of .*; got none; correct"):
        check_providers(())
    with pytest.raises(InferenceError, match=r"got NoSuchProvider; correct the name, or install"):
        check_providers(("CPUExecutionProvider", "NoSuchProvider"))


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime has CUDA",
)
def test_cuda_is_refused_where_the_runtime_lacks_it():
    with pytest.raises(InferenceError, match=r"expected some of .*; got CUDAExecutionProvider; co"):
        check_providers(("CUDAExecutionProvider",))


def test_a_provider_that_fails_when_it_runs_is_refused(monkeypatch):
    class Failing:
        def __init__(self, model, options, providers):
            assert model == PROBE

        def run(self, names, feeds):
            raise RuntimeError("CUDA failure 100:\nno CUDA-capable device is detected")

    asked = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(asked))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing)
    message = (
        "providers: expected CUDAExecutionProvider, CPUExecutionProvider to run a model of one "
        "node, got: CUDA failure 100: no CUDA-capable device is detected; install its driver and "
        "libraries (for CUDA: 'pip install nnw-onnx[cuda]'), or ask for CPUExecutionProvider"
    )
    with pytest.raises(InferenceError) as caught:
        check_providers(asked)
    assert str(caught.value) == message


def test_threads_below_one_are_refused():
    with pytest.raises(InferenceError, match=r"threads: expected at least 1, got 0; correct"):
        Session(simple("Relu", [1], [1]), SessionSettings(threads=0))


@pytest.mark.parametrize("batch", ["n", 1, 4, 7, 100])
@pytest.mark.parametrize("samples", [1, 6, 7, 8])
def test_batches_answer_each_sample_once(batch, samples):
    session = Session(simple("Neg", [batch, 3], [batch, 3]))
    x = np.random.Generator(np.random.PCG64(3)).normal(size=(samples, 3)).astype(np.float32)
    np.testing.assert_array_equal(session.predict(x, batch_size=3)["y"], -x)


def test_pieces_have_the_size_asked_for(monkeypatch):
    sizes = []
    original = Session.run

    def watched(self, feeds, outputs=None):
        sizes.append(len(feeds["x"]))
        return original(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", watched)
    Session(simple("Neg", ["n", 3], ["n", 3])).predict(np.zeros((7, 3)), 3)
    Session(simple("Neg", [4, 3], [4, 3])).predict(np.zeros((7, 3)), 3)
    assert sizes == [3, 3, 1, 4, 4]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT, np.float32),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT64, np.int64),
        (TensorProto.BOOL, np.bool_),
    ],
)
def test_samples_get_the_element_type_of_the_input(kind, dtype):
    session = Session(simple("Identity", ["n", 2], ["n", 2], kind))
    answer = session.predict(np.array([[0.0, 1.0]], np.float32))["y"]
    assert answer.dtype == dtype
    np.testing.assert_array_equal(answer.astype(np.float32), [[0, 1]])


@pytest.mark.parametrize("values", [[[0.5, 1]], [[0, 256]], [[-1, 3]], [[np.nan, 1]]])
def test_values_that_a_whole_number_input_would_lose_are_refused(values):
    session = Session(simple("Identity", ["n", 2], ["n", 2], TensorProto.UINT8))
    with pytest.raises(InferenceError, match=r"whole numbers from 0 to 255 \(uint8\), got float32"):
        session.predict(np.array(values, np.float32))


def test_an_input_of_texts_is_refused():
    session = Session(simple("Identity", ["n", 2], ["n", 2], TensorProto.STRING))
    with pytest.raises(InferenceError, match=r"expected an element type of numpy, got string"):
        session.predict(np.zeros((1, 2)))


def added() -> Session:
    """Two inputs and their sum; the second one has whole numbers."""
    nodes = [
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    model = graph_of(nodes, {"a": ["n", 2], "b": ["n", 2]}, {"y": ["n", 2]})
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT32
    return Session(Graph(model.SerializeToString()))


A = np.arange(10.0).reshape(5, 2)
B = np.arange(10).reshape(5, 2) * 1000


@pytest.mark.parametrize("feeds", [{"b": B, "a": A}, {"first": A, "second": B}])
def test_several_inputs_are_fed_by_name_or_by_place(feeds):
    answers = added().predict(feeds, 2)
    assert list(answers) == ["y"]
    np.testing.assert_array_equal(answers["y"], (A + B).astype(np.float32))


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        (A, r"^model: expected one input without a default value, got 2 \(a \(n, 2\), b \(n, 2\)"),
        ({"a": A}, r"^feeds: expected values for 2 inputs \(a .*, b .*\), got those for a; give"),
        ({"a": A, "c": B}, r"got those for a, c; give each input"),
        ({"a": A, "b": B, "c": B}, r"got those for a, b, c; give each input"),
        ({"a": A, "b": B[:3]}, r"same number of samples for every input, got 5 for 'a', 3 for 'b'"),
        (
            {"a": A, "b": B + 0.5},
            r"input 'b': expected whole numbers from .* \(int32\), got float64",
        ),
        ({"a": A, "b": B.astype(np.int64) << 40}, r"input 'b': expected whole numbers from"),
        (
            {"a": (B + 2**24).astype(np.int64), "b": B},
            r"up to 16777216, which float32 holds, got in",
        ),
        ({"a": A * 1j, "b": B}, r"^input 'a': expected real numbers, got complex128; convert"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_in_one_line(feeds, words):
    with pytest.raises(InferenceError, match=words) as caught:
        added().predict(feeds)
    assert "\n" not in str(caught.value)


def test_batch_sizes_that_contradict_each_other_are_refused():
    node = helper.make_node("Add", ["a", "b"], ["y"])
    model = graph_of([node], {"a": [4, 2], "b": [1, 2]}, {"y": [4, 2]})
    with pytest.raises(InferenceError, match=r"one batch size for all inputs, got 4 for 'a', 1 fo"):
        Session(Graph(model.SerializeToString())).predict({"a": A, "b": A})


def test_an_input_without_a_batch_axis_takes_one_sample_at_a_time():
    """As the sampling rate of a speech model does: a scalar beside a signal of batch one."""
    node = helper.make_node("Mul", ["a", "rate"], ["y"])
    model = graph_of([node], {"a": [1, 2], "rate": []}, {"y": [1, 2]})
    rates = np.array([1.0, 2, 3, 4, 5])
    answers = Session(Graph(model.SerializeToString())).predict({"a": A, "rate": rates})
    np.testing.assert_array_equal(answers["y"], A * rates[:, None])


def test_a_graph_without_any_batch_axis_answers_on_a_new_one():
    session = Session(simple("Transpose", [3, 2], [2, 3], perm=[1, 0]))
    x = np.random.Generator(np.random.PCG64(5)).random((4, 3, 2), np.float32)
    np.testing.assert_array_equal(session.predict(x)["y"], x.transpose(0, 2, 1))


def test_an_input_with_a_default_value_does_not_count():
    node = helper.make_node("Add", ["a", "b"], ["y"])
    arrays = {"b": np.ones((1, 2), np.float32)}
    model = graph_of([node], {"a": ["n", 2], "b": [1, 2]}, {"y": ["n", 2]}, arrays)
    answer = Session(Graph(model.SerializeToString())).predict(np.zeros((3, 2)))["y"]
    np.testing.assert_array_equal(answer, np.ones((3, 2)))


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1), (2,)])
def test_samples_of_another_shape_are_refused_in_our_words(shape):
    session = Session(simple("Neg", ["n", 3], ["n", 3]))
    with pytest.raises(InferenceError, match=r"expected samples of shape \(n, 3\), got \(2"):
        session.predict(np.zeros(shape))


def test_no_samples_and_no_batch_size_are_refused():
    session = Session(simple("Neg", ["n", 3], ["n", 3]))
    with pytest.raises(InferenceError, match=r"expected at least one sample, got none"):
        session.predict(np.zeros((0, 3)))
    with pytest.raises(InferenceError, match=r"batch size: expected at least 1, got 0"):
        session.predict(np.zeros((1, 3)), 0)


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("size", [1, 2, 256])
@pytest.mark.parametrize("samples", [1, 3, 7])
def test_an_output_without_batch_axis_answers_each_sample_by_itself(batch, size, samples):
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=0),
        helper.make_node("Neg", ["x"], ["y"]),
    ]
    outputs = {"total": [], "mean": [3], "y": [batch, 3]}
    model = graph_of(nodes, {"x": [batch, 3]}, outputs)
    session = Session(Graph(model.SerializeToString()))
    x = np.random.Generator(np.random.PCG64(6)).normal(size=(samples, 3)).astype(np.float32)
    for _ in range(2):
        found = session.predict(x, size)
        assert list(found) == ["total", "mean", "y"]
        np.testing.assert_allclose(
            found["total"], x.sum(axis=1) * (batch if batch != "n" else 1), rtol=1e-5, atol=1e-6
        )
        if batch != 3:  # with a fixed batch of 3 the three means look like three answers
            np.testing.assert_allclose(found["mean"], x, rtol=1e-6)
        np.testing.assert_array_equal(found["y"], -x)


def test_a_wrong_declaration_of_the_batch_axis_changes_nothing():
    """Exporters write 1 where the batch is free; the runtime warns and goes on."""
    session = Session(simple("Neg", ["n", 3], [1, 3]))
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.testing.assert_array_equal(session.predict(x, 2)["y"], -x)
    np.testing.assert_array_equal(session.predict(x[:1])["y"], -x[:1])


def test_answers_of_different_shapes_are_kept_apart():
    session = Session(simple("NonZero", ["n", 3], [2, "found"], out_dtype=TensorProto.INT64))
    found = session.predict(np.array([[1, 0, 0], [1, 1, 0]]))["y"]
    assert (found.dtype, found.shape) == (object, (2,))
    assert [value.tolist() for value in found] == [[[0], [0]], [[0, 0], [0, 1]]]


def test_batches_of_different_shapes_are_refused():
    session = Session(simple("Identity", ["n", "t"], ["n", "t"]))
    pieces = [np.zeros((2, 3)), np.zeros((2, 4))]
    with pytest.raises(
        InferenceError, match=r"output 'y': expected answers of one shape, got \(2,"
    ):
        _pieces.joined(session.outputs[0].name, pieces, alone=False)


def test_only_the_outputs_asked_for_are_needed():
    nodes = [
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
    ]
    model = graph_of(nodes, {"x": ["n", 3]}, {"y": ["n", 3], "total": []})
    answers = Session(Graph(model.SerializeToString())).predict(np.ones((2, 3)), outputs=["y"])
    assert {name: a.shape for name, a in answers.items()} == {"y": (2, 3)}


def test_an_output_that_is_a_sequence_is_refused():
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([node], "g", [x], [sequence])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(InferenceError, match=r"output 'y': expected a tensor, got a list; export"):
        Session(Graph(model.SerializeToString())).predict(np.ones((2, 3)))


@pytest.mark.parametrize("model", [b"", b"no model", b"\x08\x08"])
def test_a_broken_model_is_one_line(model, capfd):
    with pytest.raises(InferenceError) as caught:
        Session(Graph(model))
    assert str(caught.value).startswith("model: expected a graph that onnxruntime runs, got: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_failing_run_is_one_line_and_says_nothing_on_stderr(capfd):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = graph_of(nodes, {"x": ["n", 3]}, {"y": [5]}, {"s": np.array([5])})
    session = Session(Graph(model.SerializeToString()))
    with pytest.raises(InferenceError) as caught:
        session.predict(np.zeros((2, 3)))
    message = str(caught.value)
    assert message.startswith("model: expected it to run, got: ")
    assert "Reshape" in message
    assert "\n" not in message
    assert "onnxruntime_src" not in message
    assert capfd.readouterr() == ("", "")


def test_unknown_feeds_are_refused():
    session = Session(simple("Neg", ["n", 3], ["n", 3]))
    with pytest.raises(InferenceError, match=r"model: expected it to run, got: .*x"):
        session.run({"wrong": np.zeros((1, 3), np.float32)})


def test_source_code_of_the_runtime_is_left_out_of_messages():
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : Load failed: /src/onnxruntime/core/graph/model.cc:245 "
        "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&) Unknown\n"
        "model version."
    )
    expected = "1 : FAIL : Load failed: Unknown model version."
    assert sessions._clean(RuntimeError(text)) == expected


def test_lack_of_memory_is_said_in_words():
    assert sessions._clean(RuntimeError("std::bad_alloc")) == "too little memory for it"


def test_a_mnist_file_of_batch_one_answers_as_the_runtime_does(shared_data: Path):
    path = shared_data / "models" / "mnist" / "vnn21_mnist-net_256x2.onnx"
    x = np.random.Generator(np.random.PCG64(4)).random((5, 784, 1), np.float32)
    reference = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = reference.get_inputs()[0].name
    expected = np.concatenate([reference.run(None, {name: x[i : i + 1]})[0] for i in range(5)])
    (answer,) = Session(Graph(path.read_bytes())).predict(x).values()
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)
