"""Classes appended to a classifier, or cut off it: the others keep their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import InjectionError
from nnw_onnx.graph import narrow_classifier, open_network, widen_classifier

from .handmade import make, node, run_path, values

MODELS = Path(__file__).resolve().parents[2] / "models"
FEED, CLASSES = (5, 4), 3
W, B = values(4, CLASSES), values(CLASSES, seed=1)


def scoring(*nodes, output=(5, CLASSES), inner=(), **arrays):
    """A model of scores "y", whose graph tells the shapes of outputs and of inner values."""
    model = make(nodes, arrays, FEED, opset=15)
    told = [onnx.helper.make_tensor_value_info(name, 1, output) for name in inner]
    model.graph.value_info.extend(told)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, output))
    return model


def forms() -> dict[str, onnx.ModelProto]:
    matmul, add = node("MatMul", ["x", "w"], ["k"]), node("Add", ["k", "b"], ["y"])
    constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(W, "w"))
    listed = scoring(node("Gemm", ["x", "w", "b"], ["y"]), w=W, b=B)
    listed.ir_version = 3
    listed.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, 1, array.shape)
        for name, array in (("w", W), ("b", B))
    )
    return {
        "gemm": scoring(node("Gemm", ["x", "w"], ["y"]), w=W),
        "gemm with factors": scoring(
            node("Gemm", ["x", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0), w=W.T, b=B
        ),
        "gemm with one bias": scoring(node("Gemm", ["x", "w", "b"], ["y"]), w=W, b=B[:1]),
        "gemm, initializers as inputs": listed,
        "matmul": scoring(node("MatMul", ["x", "w"], ["y"]), w=W),
        "matmul, add": scoring(matmul, add, inner=["k"], w=W, b=B),
        "matmul of a Constant, bias first": scoring(
            constant, matmul, node("Add", ["b", "k"], ["y"]), b=B[None]
        ),
        "matmul, sub": scoring(matmul, node("Sub", ["k", "b"], ["y"]), w=W, b=B),
        "scaled, then two biases": scoring(
            matmul, node("Mul", ["s", "k"], ["m"]), node("Add", ["m", "b"], ["a"]),
            node("Add", ["a", "c"], ["i"]), node("Identity", ["i"], ["y"]),
            inner=["k", "m", "a"], w=W, b=B, c=2 * B, s=values(1),
        ),
    }  # fmt: skip


def widened(model: onnx.ModelProto, folder: Path, classes: int) -> tuple[Path, Path]:
    source, target = folder / "m.onnx", folder / "wide.onnx"
    onnx.save(model, source)
    before = source.read_bytes()
    widen_classifier(source, target, 0, classes)
    assert source.read_bytes() == before
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(onnx.load(target), strict_mode=True))
    return source, target


@pytest.mark.parametrize("form", forms())
@pytest.mark.parametrize("more", [1, 2])
def test_old_scores_stay_and_new_ones_are_their_mean(tmp_path, form, more):
    source, target = widened(forms()[form], tmp_path, CLASSES + more)
    x = {"x": values(*FEED, seed=9)}
    old, new = run_path(source, x)[0], run_path(target, x)[0]
    assert new.shape == (5, CLASSES + more)
    np.testing.assert_allclose(new[:, :CLASSES], old, rtol=0, atol=1e-6)
    mean = np.repeat(old.mean(axis=1, keepdims=True), more, axis=1)
    np.testing.assert_allclose(new[:, CLASSES:], mean, rtol=0, atol=1e-6)
    assert (new.argmax(axis=1) == old.argmax(axis=1)).all()
    assert open_network(target).outputs[0].shape == (5, CLASSES + more)


def test_a_softmax_keeps_the_order(tmp_path):
    nodes = [node("Gemm", ["x", "w", "b"], ["k"]), node("Softmax", ["k"], ["y"])]
    source, target = widened(scoring(*nodes, inner=["k"], w=W, b=B), tmp_path, 4)
    x = {"x": values(*FEED, seed=9)}
    old, new = run_path(source, x)[0], run_path(target, x)[0]
    np.testing.assert_allclose(new.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(new[:, :3] / new[:, :1], old / old[:, :1], rtol=1e-5)
    assert (new.argmax(axis=1) == old.argmax(axis=1)).all()


@pytest.mark.parametrize("name", ["digits/cnn-0", "digits/cnn-1", "cifar10/fast-0"])
def test_shipped_networks(tmp_path, name):
    """All images, also those far from any data: the scores of the ten classes do not move."""
    source, target = widened(onnx.load(MODELS / f"{name}.onnx"), tmp_path, 11)
    old, new = open_network(source), open_network(target)
    (image,) = old.inputs
    x = {image.name: values(64, *image.shape[1:], seed=3)}
    before, after = run_path(source, x)[0], run_path(target, x)[0]
    assert after.shape == (64, 11)
    assert np.abs(after[:, :10] - before).max() <= 1e-6 * np.abs(before).max()
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    assert new.outputs[0].shape == (old.outputs[0].shape[0], 11)
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    changed = [n for n in old.weights if not np.array_equal(old.weights[n], new.weights[n])]
    assert changed == ["head.weight", "head.bias"]
    assert np.array_equal(new.weights["head.weight"][:10], old.weights["head.weight"])


def test_a_network_that_has_the_classes_keeps_its_own(tmp_path):
    source, target = widened(scoring(node("MatMul", ["x", "w"], ["y"]), w=W), tmp_path, 2)
    x = {"x": values(*FEED, seed=9)}
    assert np.array_equal(run_path(source, x)[0], run_path(target, x)[0])


def narrowed(source: Path, target: Path, classes: int) -> int:
    before = source.read_bytes()
    there = narrow_classifier(source, target, 0, classes)
    assert source.read_bytes() == before
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(onnx.load(target), strict_mode=True))
    return there


@pytest.mark.parametrize("form", forms())
@pytest.mark.parametrize("left", [1, 2, 3, 4])
def test_the_last_classes_are_cut_off_and_the_others_stay(tmp_path, form, left):
    onnx.save(forms()[form], tmp_path / "m.onnx")
    assert narrowed(tmp_path / "m.onnx", tmp_path / "n.onnx", left) == CLASSES
    x = {"x": values(*FEED, seed=9)}
    old, new = (run_path(tmp_path / name, x)[0] for name in ("m.onnx", "n.onnx"))
    np.testing.assert_allclose(new, old[:, :left], rtol=0, atol=1e-6)
    assert open_network(tmp_path / "n.onnx").outputs[0].shape == (5, min(left, CLASSES))


def test_narrowing_undoes_widening(tmp_path):
    source, wide = widened(onnx.load(MODELS / "digits" / "cnn-0.onnx"), tmp_path, 13)
    assert narrowed(wide, tmp_path / "n.onnx", 10) == 13
    old, new = open_network(source), open_network(tmp_path / "n.onnx")
    for name, weights in old.weights.items():
        np.testing.assert_array_equal(new.weights[name], weights)


def refusals() -> dict[str, tuple[onnx.ModelProto, str]]:
    matmul = node("MatMul", ["x", "w"], ["k"])
    twice = [matmul, node("Relu", ["k"], ["r"]), node("Add", ["k", "b"], ["y"])]
    shown = scoring(matmul, node("Identity", ["k"], ["y"]), w=W)
    shown.graph.output.append(onnx.ValueInfoProto(name="k"))
    tied = [node("MatMul", ["x", "w"], ["z"]), node("Gemm", ["z", "w"], ["y"], transB=1)]
    computed = [node("Neg", ["w"], ["v"]), node("MatMul", ["x", "v"], ["y"])]
    return {
        "used twice": (scoring(*twice, w=W, b=B), "a value that is used elsewhere too"),
        "shown": (shown, "a value that is used elsewhere too"),
        "tied": (scoring(*tied, output=(5, 4), w=W), "weights that another operator has too"),
        "computed": (scoring(*computed, w=W), "weights that are computed"),
        "no linear operator": (scoring(node("Relu", ["x"], ["y"])), "got Relu"),
        "a factor for each class": (
            scoring(matmul, node("Mul", ["k", "b"], ["y"]), w=W, b=B),
            "Mul with a number for each class",
        ),
        "a bias for each sample": (
            scoring(matmul, node("Add", ["k", "b"], ["y"]), w=W, b=values(5, 3)),
            "a bias that is computed, or that differs by sample",
        ),
        "two values": (scoring(matmul, node("Sub", ["b", "k"], ["y"]), w=W, b=B), "Sub of two"),
        "a stack": (
            scoring(node("MatMul", ["x", "w"], ["y"]), w=values(2, 4, 3), output=(2, 5, 3)),
            "weights of other than two axes",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("form", refusals())
def test_what_cannot_be_widened_is_told(tmp_path, form):
    model, words = refusals()[form]
    with pytest.raises(InjectionError, match=f"expected scores from a Gemm or MatMul .*{words}"):
        widened(model, tmp_path, 9)
    with pytest.raises(InjectionError, match=f"whose classes can be changed, .*{words}"):
        narrow_classifier(tmp_path / "m.onnx", tmp_path / "n.onnx", 0, 1)


def test_an_output_that_is_not_there_is_told(tmp_path):
    onnx.save(scoring(node("MatMul", ["x", "w"], ["y"]), w=W), tmp_path / "m.onnx")
    with pytest.raises(InjectionError, match="output: expected one below 1, got 2; correct the"):
        widen_classifier(tmp_path / "m.onnx", tmp_path / "w.onnx", 2, 4)
