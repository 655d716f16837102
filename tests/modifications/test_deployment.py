"""What deployment tools make of a network: that they did it, what stays, and marks read back."""

from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import (
    ConfigurationError,
    InferenceError,
    NotApplicableError,
)
from nnw_onnx.graph import expect_changed, makeup, newest_known, open_network, smallest_model
from nnw_onnx.inference import Session, newest_opset
from nnw_onnx.kit import candidates
from nnw_onnx.math.quantizing import fake_quantize
from nnw_onnx.vocabulary import Modification

from ..runs.resnets import residual_network  # noqa: TID252 - shared by two rooms' tests
from .deployed import (
    ALL,
    answers,
    apply,
    difference,
    name_of,
    samples_for,
    workbench,
)

STORAGE = (
    "initializers-to-constants", "constants-to-initializers", "external-data", "dropped-names",
)  # fmt: skip
KEEPS_VALUES = (*STORAGE, "opset-conversion", "constant-folding", "re-export")
PAYLOAD = nnw.Payload.from_hex("0123456789abcdef")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The network that all of them change, its samples and its answers."""
    network = workbench(tmp_path_factory.mktemp("workbench") / "net.onnx")
    samples = samples_for(network)
    return network, samples, answers(network, samples)


@pytest.fixture(scope="module")
def made(bench):
    """Transformation -> what becomes of the network, made once."""
    network, samples, _ = bench
    kept: dict[str, object] = {}

    def one(pair):
        if name_of(pair) not in kept:
            kept[name_of(pair)] = apply(network, pair[0], samples, **pair[1])
        return kept[name_of(pair)]

    return one


def preserves(name: str) -> float | None:
    return plugins.load(Modification, name).preserves


def kernels(network) -> dict[str, np.ndarray]:
    return {x.name: network.weights[x.name] for x in network.layers if x.role == "kernel"}


@pytest.mark.parametrize("pair", ALL, ids=name_of)
def test_each_changes_the_file_and_keeps_its_promise(bench, made, pair):
    network, samples, before = bench
    done = made(pair)
    assert done.digest != network.digest
    found = difference(before, answers(done, samples))
    promised = preserves(pair[0])
    assert found <= (0.1 if promised is None else promised)
    if promised is None:  # what rounds weights cannot leave every answer as it was
        assert found > 0
    standard = {kind for kind in makeup(done.path).operators if ":" not in kind}
    if len(standard) == len(makeup(done.path).operators):
        onnx.checker.check_model(str(done.path))


@pytest.mark.parametrize("pair", ALL, ids=name_of)
def test_each_is_refused_where_it_has_nothing_left_to_do(bench, made, pair):
    _, samples, _ = bench
    if pair[0] == "re-export":
        pytest.skip("every export gives names of its own")
    with pytest.raises(NotApplicableError, match=f"^{pair[0]}: expected .*, got .*; .*leave it ou"):
        apply(made(pair), pair[0], samples, **pair[1])


PROMISES = {
    "bn-folding": 1e-4, "graph-optimization": 1e-4, "simplification": 1e-4, "re-export": 1e-4,
    "constant-folding": 1e-5, "opset-conversion": 1e-5, "float16": None, "bfloat16": None,
    "int8": None, "int4": None, **dict.fromkeys(STORAGE, 0.0),
}  # fmt: skip


def test_promises_are_those_of_the_table():
    assert {name: preserves(name) for name, _ in ALL} == PROMISES


@pytest.mark.parametrize(
    "pair", [p for p in ALL if p[0] in KEEPS_VALUES and p[0] != "re-export"], ids=name_of
)
def test_weights_keep_every_bit(bench, made, pair):
    old, new = kernels(bench[0]), kernels(made(pair))
    assert len(old) == len(new) == 4
    for given, found in zip(old.values(), new.values(), strict=True):
        np.testing.assert_array_equal(found, given)


def test_a_module_of_torch_has_the_weights_under_other_names(bench, made):
    old, new = kernels(bench[0]), kernels(made(("re-export", {})))
    assert not set(old) & set(new)
    for given in old.values():
        assert any(np.array_equal(found, given) for found in new.values())


def test_initializers_and_constants_are_where_they_shall_be(made):
    nodes = onnx.load(made(("initializers-to-constants", {})).path).graph
    assert not nodes.initializer
    assert sum(n.op_type == "Constant" for n in nodes.node) == 10
    stored = onnx.load(made(("constants-to-initializers", {})).path).graph
    assert "Constant" not in {n.op_type for n in stored.node}
    assert {"offset", "factor"} <= {t.name for t in stored.initializer}
    assert len(stored.initializer) == 10


def test_values_lie_in_a_data_file(made):
    path = made(("external-data", {})).path
    outside = [
        t.name for t in onnx.load(path, load_external_data=False).graph.initializer
        if t.data_location == onnx.TensorProto.EXTERNAL
    ]  # fmt: skip
    assert outside == ["c1.weight", "c2.weight", "fc1.weight", "fc2.weight"]
    assert path.with_name("net.onnx.data").stat().st_size >= 4 * (32 * 72 + 48 * 288 + 64 * 58)


def test_no_name_is_left_in_the_file(bench, made):
    network = bench[0]
    old = onnx.load(network.path).graph
    names = {t.name for t in old.initializer} | {n.name for n in old.node if n.name}
    content = made(("dropped-names", {})).path.read_bytes()
    assert not [name for name in names if name.encode() in content]
    assert [v.name for v in onnx.load_from_string(content).graph.input] == ["x"]


def test_names_inside_branches_and_functions_are_dropped_too(tmp_path):
    """An If whose branches read a value of outside, one of them through a name that both have."""
    network = branching(tmp_path / "branching.onnx")
    samples = samples_for(network)
    for name in ("dropped-names", "initializers-to-constants", "bfloat16"):
        done = apply(network, name, samples)
        expected = answers(network, samples)
        if name == "bfloat16":
            assert 0 < difference(expected, answers(done, samples)) <= 5e-2
        else:
            np.testing.assert_array_equal(answers(done, samples), expected)
        text = done.path.read_bytes()
        assert (b"secret" in text) == (name != "dropped-names")
    inside = onnx.load(apply(network, "initializers-to-constants", samples).path)
    branches = [a.g for n in inside.graph.node if n.op_type == "If" for a in n.attribute]
    assert [len(b.initializer) for b in branches] == [0, 0]


def branching(path):
    rng = np.random.Generator(np.random.PCG64(3))
    make, info = helper.make_node, helper.make_tensor_value_info
    weights = numpy_helper.from_array(rng.normal(size=(6, 5)).astype(np.float32), "secret.w")
    inner = numpy_helper.from_array(rng.normal(size=(6, 5)).astype(np.float32), "secret.inner")
    yes = helper.make_graph(
        [make("MatMul", ["x", "secret.w"], ["secret.yes"])], "secret.then", [],
        [info("secret.yes", 1, None)],
    )  # fmt: skip
    no = helper.make_graph(
        [make("MatMul", ["x", "secret.inner"], ["secret.no"])], "secret.else", [],
        [info("secret.no", 1, None)], [inner],
    )  # fmt: skip
    double = helper.make_function(
        "own", "Double", ["secret.in"], ["secret.out"],
        [make("Add", ["secret.in", "secret.in"], ["secret.out"], "secret.node")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        make("ReduceSum", ["x"], ["secret.sum"], keepdims=0),
        make("Less", ["secret.sum", "secret.zero"], ["secret.test"]),
        make("If", ["secret.test"], ["secret.if"], "secret.choice", then_branch=yes,
             else_branch=no),
        make("MatMul", ["x", "secret.w"], ["secret.straight"]),
        make("Add", ["secret.if", "secret.straight"], ["secret.both"]),
        make("Double", ["secret.both"], ["y"], "secret.call", domain="own"),
    ]  # fmt: skip
    zero = numpy_helper.from_array(np.float32(0), "secret.zero")
    graph = helper.make_graph(
        nodes, "secret.graph", [info("x", 1, ["n", 6])], [info("y", 1, ["n", 5])],
        [weights, zero],
    )  # fmt: skip
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=9, functions=[double])
    onnx.save(model, path)
    return open_network(path)


@pytest.mark.parametrize("tool", ["onnxslim", "onnxsim"])
def test_simplifiers_fold_a_normalisation(bench, made, tool):
    """Against the closed form of folding."""
    network = bench[0]
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(network.path).graph.initializer}
    factor = stored["bn.weight"] / np.sqrt(stored["bn.var"] + 1e-5)
    expected = stored["c2.weight"] * factor[:, None, None, None]
    done = made(("simplification", {"tool": tool}))
    assert "BatchNormalization" not in makeup(done.path).operators
    (found,) = [w for w in kernels(done).values() if w.shape == expected.shape]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_constant_folding_computes_the_transpose_and_nothing_else(bench, made):
    before = makeup(bench[0].path).operators
    after = makeup(made(("constant-folding", {})).path).operators
    gone = {kind: n - after.get(kind, 0) for kind, n in before.items() if n != after.get(kind, 0)}
    assert gone == {"Transpose": 1, "Constant": 2}


def test_blocks_of_channels_are_put_in_order(bench, made):
    network = bench[0]
    done = made(("graph-optimization", {"level": "all"}))
    if "com.microsoft.nchwc:Conv" not in makeup(done.path).operators:
        pytest.skip("this processor has no such form")
    given = network.weights["c1.weight"]
    places = candidates.everywhere(done, given.shape)
    assert any(np.array_equal(place.of(done.weights), given) for place in places)


def test_the_newest_operator_set_that_the_runtime_takes_is_asked_of_it(bench):
    network = bench[0]
    newest = newest_opset(newest_known(), smallest_model)
    assert apply(network, "opset-conversion").opset[""] == newest
    once = apply(network, "opset-conversion", opset=newest)
    assert apply(once, "opset-conversion").opset[""] == newest - 1
    with pytest.raises(InferenceError, match=r"^onnxruntime: expected one that takes an operator"):
        newest_opset(3, lambda opset: b"no model")


def test_what_onnx_cannot_convert_is_one_line(bench):
    with pytest.raises(
        InferenceError, match=r"^model: expected one that onnx can bring to opset 5"
    ):
        apply(bench[0], "opset-conversion", opset=5)


def test_bfloat16_answers_are_those_of_rounded_weights(bench, made):
    """The network with the weights rounded by another library, computed in float32."""
    network, samples, _ = bench
    done = made(("bfloat16", {}))
    old, new = kernels(network), kernels(done)
    assert list(new) == list(old)
    for name, given in old.items():
        assert new[name].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(new[name], given.astype(ml_dtypes.bfloat16))
    layers = [x.name for x in network.layers if x.role in ("kernel", "norm", "bias")]
    rounded = {n: network.weights[n].astype(ml_dtypes.bfloat16).astype(np.float32) for n in layers}
    expected = answers(network.with_weights(rounded), samples)
    assert difference(expected, answers(done, samples)) < 1e-6


def test_numbers_too_large_for_bfloat16_become_its_largest(bench):
    network = bench[0]
    weights = network.weights["c1.weight"].copy()
    weights[0, 0, 0, :2] = np.finfo(np.float32).max * np.array([1, -1])
    found = apply(network.with_weights({"c1.weight": weights}), "bfloat16").weights["c1.weight"]
    top = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    np.testing.assert_array_equal(found[0, 0, 0, :2].astype(np.float64), [top, -top])


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_int8_weights_are_the_rounded_ones(bench, made, form, per_channel):
    options = {} if form == "qdq" else {"form": form}
    options |= {} if per_channel else {"per_channel": False}
    old, new = kernels(bench[0]), kernels(made(("int8", options)))
    for name in ("c1.weight", "c2.weight"):
        expected = fake_quantize(old[name], 8, symmetric=True, axis=0 if per_channel else None)
        (found,) = [w for n, w in new.items() if n.startswith(name)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    kind = "QLinearConv" if form == "qoperator" else "DequantizeLinear"
    assert makeup(made(("int8", options)).path).operators[kind] >= 2


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_scales_of_a_matrix(bench, made, per_channel):
    options = {"mode": "dynamic"} | ({"per_channel": True} if per_channel else {})
    old, new = kernels(bench[0])["fc2.weight"], kernels(made(("int8", options)))
    expected = fake_quantize(old, 8, symmetric=True, axis=0 if per_channel else None)
    (found,) = [w for n, w in new.items() if n.startswith("fc2.weight")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("block", [16, 32, 64])
def test_int4_weights_are_what_the_runtime_multiplies_by(tmp_path, form, block):
    """A product with the unit matrix is the matrix; and rounding is half a step of its block."""
    rng = np.random.Generator(np.random.PCG64(5))
    given = rng.normal(size=(64, 24)).astype(np.float32)
    ports = [helper.make_tensor_value_info(n, 1, ["n", k]) for n, k in (("x", 64), ("y", 24))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:],
        [numpy_helper.from_array(given, "w")],
    )  # fmt: skip
    sets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), tmp_path / "m.onnx")
    done = apply(open_network(tmp_path / "m.onnx"), "int4", form=form, block_size=block)
    (found,) = kernels(done).values()
    told = Session(done.runnable()).predict({"x": np.eye(64, dtype=np.float32)})
    np.testing.assert_allclose(found.T, told["y"], rtol=0, atol=1e-5)
    blocks = given.reshape(64 // block, block, 24)
    steps = (np.maximum(blocks.max(1), 0) - np.minimum(blocks.min(1), 0)) / 15
    errors = np.abs(found.T.reshape(blocks.shape) - blocks).max(1)
    assert (errors <= steps).all()
    assert errors.max() > 0.2 * steps.max()


@pytest.mark.parametrize(
    ("name", "options", "package"),
    [("simplification", {}, "onnxslim"), ("simplification", {"tool": "onnxsim"}, "onnxsim"),
     ("constant-folding", {}, "onnxslim"), ("re-export", {}, "torch")],
)  # fmt: skip
def test_an_absent_package_is_one_line(bench, monkeypatch, name, options, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=r"expected .*, got: .*; pip install 'nnw-onnx\["):
        apply(bench[0], name, **options)


def test_the_quantizer_to_four_bits_says_what_it_needs(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization.matmul_nbits_quantizer", None)
    with pytest.raises(ConfigurationError, match=r"^quantizer: expected onnx-ir, .*deployment"):
        apply(bench[0], "int4")


def test_what_half_precision_leaves_is_not_promised_but_measured(tmp_path):
    """Answers that are the small difference of large numbers do not survive it."""
    rng = np.random.Generator(np.random.PCG64(9))
    one = rng.normal(size=(8, 5)).astype(np.float32)
    other = (one + 1e-5 * rng.normal(size=one.shape)).astype(np.float32)
    ports = [helper.make_tensor_value_info(n, 1, ["n", k]) for n, k in (("x", 8), ("y", 5))]
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["a"]),
        helper.make_node("MatMul", ["x", "other"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    stored = [numpy_helper.from_array(w, n) for n, w in (("one", one), ("other", other))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    sets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8), tmp_path / "m.onnx")
    network = open_network(tmp_path / "m.onnx")
    samples = samples_for(network)
    done = apply(network, "float16", samples)
    assert difference(answers(network, samples), answers(done, samples)) > 0.02


def test_a_tool_that_writes_no_model_is_told(bench, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x08 nothing")
    with pytest.raises(InferenceError, match=r"^tool: expected a model that can be opened from th"):
        expect_changed("tool", bench[0].path, tmp_path / "broken.onnx", lambda m: m.opset, "x")


METHODS = ("uchida", "block-spread")


def bit_errors(network, claim) -> int:
    """Wrong bits of 64; all of them where the carrier is not found."""
    verdict = nnw.verify(network, claim)
    return 64 if verdict.errors is None else verdict.errors


@pytest.fixture(scope="module")
def marked(bench):
    """Method -> the workbench with 64 bits in a kernel that nothing is folded into."""
    return {m: nnw.inject(bench[0], PAYLOAD, method=m, layer="c1.weight", seed=1) for m in METHODS}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pair", ALL, ids=name_of)
def test_marks_are_read_back(bench, marked, method, pair):
    """Under other names, in blocks of channels, in half precision and as integers."""
    given = marked[method]
    done = apply(given.network, pair[0], bench[1], **pair[1])
    assert bit_errors(done, given.claim) == 0


@pytest.mark.parametrize(("method", "layer"), [("st-dm", "c1.weight"), ("spread-spectrum", None)])
def test_blocks_of_channels_change_nothing_that_is_read(bench, method, layer):
    """By projections of one kernel, and by all kernels: as without the blocks, by level "basic"."""
    factors = {"bn.weight": np.abs(bench[0].weights["bn.weight"])}  # as training leaves them
    network = bench[0].with_weights(factors)
    given = nnw.inject(network, PAYLOAD, method=method, layer=layer, seed=1)
    plain, blocks = (
        apply(given.network, "graph-optimization", bench[1], level=level)
        for level in ("basic", "all")
    )
    if "com.microsoft.nchwc:Conv" not in makeup(blocks.path).operators:
        pytest.skip("this processor has no such form")
    one, other = nnw.verify(plain, given.claim), nnw.verify(blocks, given.claim)
    assert not any(found.part for found in one.found)
    assert sum("put in order" in found.part for found in other.found) == 1 + (layer is None)
    assert one.decoding.payload == other.decoding.payload
    assert other.detection.p_value < 1e-4


@pytest.mark.shared_data
@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.parametrize("method", METHODS)
def test_marks_of_real_networks_are_read_back(shared_data, tmp_path, depth, method):
    """Every transformation that leaves the weights: no wrong bit, found wherever they have gone."""
    network = open_network(
        residual_network(shared_data, f"resnet{depth}", tmp_path / "resnet.onnx")
    )
    given = nnw.inject(network, PAYLOAD, method=method, seed=1)
    samples = samples_for(network, 8)
    before = answers(given.network, samples, 4)
    for name in ("initializers-to-constants", "external-data", "dropped-names", "opset-conversion"):
        done = apply(given.network, name, samples)
        assert bit_errors(done, given.claim) == 0, name
        assert difference(before, answers(done, samples, 4)) <= (preserves(name) or 0), name
