"""BatchNormalization folded into what comes before it, against the runtime and the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import fold_batch_norms, fold_normalisations, open_network, to_plain_form

from .handmade import make, node, run_path, values

NORM = ["scale", "shift", "mean", "var"]


def statistics(channels: int) -> dict[str, np.ndarray]:
    """Scale (of either sign), shift, mean and variance."""
    found = {name: values(channels, seed=k + 7) for k, name in enumerate(NORM)}
    return {**found, "var": np.abs(found["var"]) + np.float32(0.1)}


def model_of(before: list, arrays: dict, feed: tuple, channels: int, **norm: object):
    """The nodes, which end in "c", a BatchNormalization and a Relu."""
    after = [
        node("BatchNormalization", ["c", *NORM], ["z"], **{"epsilon": 1e-3, **norm}),
        node("Relu", ["z"], ["y"]),
    ]
    return make([*before, *after], {**arrays, **statistics(channels)}, feed, opset=15)


def linear(*nodes, feed: tuple, channels: int, **arrays: np.ndarray):
    return lambda: (model_of(list(nodes), arrays, feed, channels), feed)


W = values(6, 4, 3, 3)
FORMS = {
    "conv": linear(node("Conv", ["x", "w"], ["c"]), feed=(2, 4, 5, 5), channels=6, w=W),
    "conv with bias": linear(
        node("Conv", ["x", "w", "b"], ["c"]), feed=(2, 4, 5, 5), channels=6, w=W, b=values(6)
    ),
    "grouped conv": linear(
        node("Conv", ["x", "w"], ["c"], group=2), feed=(2, 8, 5, 5), channels=6, w=W
    ),
    "conv in one dimension": linear(
        node("Conv", ["x", "w"], ["c"]), feed=(2, 4, 5), channels=6, w=values(6, 4, 3)
    ),
    "conv, add": linear(
        node("Conv", ["x", "w"], ["k"]), node("Add", ["k", "b"], ["c"]),
        feed=(2, 4, 5, 5), channels=6, w=W, b=values(1, 6, 1, 1),
    ),
    "transposed conv": linear(
        node("ConvTranspose", ["x", "w"], ["c"]), feed=(2, 6, 5, 5), channels=4, w=W
    ),
    "grouped transposed conv": linear(
        node("ConvTranspose", ["x", "w", "b"], ["c"], group=3),
        feed=(2, 6, 5, 5), channels=12, w=W, b=values(12),
    ),
    "gemm": linear(node("Gemm", ["x", "w"], ["c"]), feed=(5, 4), channels=3, w=values(4, 3)),
    "gemm with factors": linear(
        node("Gemm", ["x", "w", "b"], ["c"], transB=1, alpha=0.5, beta=2.0),
        feed=(5, 4), channels=3, w=values(3, 4), b=values(3),
    ),
    "gemm with one bias for all": linear(
        node("Gemm", ["x", "w", "b"], ["c"]), feed=(5, 4), channels=3, w=values(4, 3), b=values(1)
    ),
    "matmul": linear(node("MatMul", ["x", "w"], ["c"]), feed=(5, 4), channels=3, w=values(4, 3)),
    "matmul, add": linear(
        node("MatMul", ["x", "w"], ["k"]), node("Add", ["b", "k"], ["c"]),
        feed=(5, 4), channels=3, w=values(4, 3), b=values(3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_folded_networks_answer_the_same(tmp_path: Path, form: str) -> None:
    model, feed = FORMS[form]()
    source, target = tmp_path / "m.onnx", tmp_path / "folded.onnx"
    onnx.save(model, source)
    before = source.read_bytes()
    assert fold_batch_norms(source, target) == 1
    assert source.read_bytes() == before
    folded = onnx.load(target)
    inferred = onnx.shape_inference.infer_shapes(folded, strict_mode=True)
    onnx.checker.check_model(inferred)
    assert "BatchNormalization" not in {n.op_type for n in folded.graph.node}
    left = {t.name for t in folded.graph.initializer}
    assert not left & set(NORM)
    x = {"x": values(*feed, seed=9)}
    np.testing.assert_allclose(run_path(target, x)[0], run_path(source, x)[0], rtol=1e-4, atol=1e-5)
    old, new = open_network(source), open_network(target)
    assert [n.name for n in new.layers if n.role == "kernel"] == ["w"]
    given = statistics(model.graph.initializer[-1].dims[0])
    factors = (given["scale"] / np.sqrt(given["var"] + 1e-3)).astype(np.float64)
    if "grouped transposed" not in form:  # its output channels are spread over two axes
        expected = old.weights["w"] * factors.reshape(-1, *[1] * (old.weights["w"].ndim - 1))
        np.testing.assert_allclose(new.weights["w"], expected, rtol=1e-6)
    assert (factors < 0).any()


def refusals() -> dict:
    conv = node("Conv", ["x", "w"], ["c"])
    feed = (2, 4, 5, 5)
    twice = model_of([conv], {"w": W}, feed, 6)
    twice.graph.node[2].CopyFrom(node("Add", ["z", "c"], ["y"]))
    shown = model_of([conv], {"w": W}, feed, 6)
    shown.graph.output.append(onnx.ValueInfoProto(name="c"))
    learned = model_of([conv], {"w": W}, feed, 6)
    learned.graph.node[1].CopyFrom(
        node("BatchNormalization", ["c", *NORM], ["z", "m2", "v2"], training_mode=1)
    )
    computed = model_of(
        [node("Neg", ["w"], ["v"]), node("Conv", ["x", "v"], ["c"])], {"w": W}, feed, 6
    )
    lone = model_of([node("Relu", ["x"], ["c"])], {}, (2, 6, 5, 5), 6)
    places = [node("MatMul", ["x", "w"], ["c"])]
    sequence = model_of(places, {"w": values(4, 3)}, (2, 3, 4), 3)
    rows = [node("Gemm", ["x", "w", "b"], ["c"])]
    by_row = model_of(rows, {"w": values(4, 3), "b": values(5, 3)}, (5, 4), 3)
    huge = model_of([conv], {"w": W}, feed, 6)
    huge.graph.initializer[-1].CopyFrom(
        onnx.numpy_helper.from_array(np.full(6, -1e-3, np.float32), "var")
    )
    return {
        "its output is used twice": twice, "its output is shown": shown, "learns": learned,
        "computed weights": computed, "no linear operator": lone, "other channels": sequence,
        "a bias for each sample": by_row, "no finite result": huge,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["conv with bias", "conv, add", "conv"])
def test_what_went_into_what_is_told(tmp_path: Path, form: str) -> None:
    """Kernel and bias of the folded network are those that the formula gives."""
    model, _ = FORMS[form]()
    onnx.save(model, tmp_path / "plain.onnx")
    (told,) = fold_normalisations(tmp_path / "plain.onnx", tmp_path / "folded.onnx")
    assert (told.kernel, told.scale, told.shift) == ("w", "scale", "shift")
    assert (told.mean, told.variance, told.epsilon) == ("mean", "var", pytest.approx(1e-3))
    plain = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    folded = open_network(tmp_path / "folded.onnx")
    factors = plain["scale"] / np.sqrt(plain["var"] + 1e-3)
    np.testing.assert_allclose(
        folded.weights[told.folded], plain["w"] * factors[:, None, None, None], rtol=1e-5
    )
    before = np.ravel(plain.get("b", np.zeros(6)))
    np.testing.assert_allclose(
        np.ravel(folded.weights[told.bias]),
        factors * (before - plain["mean"]) + plain["shift"],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("case", refusals())
def test_what_would_change_answers_is_left(tmp_path: Path, case: str) -> None:
    model = refusals()[case]
    onnx.save(model, tmp_path / "m.onnx")
    assert fold_batch_norms(tmp_path / "m.onnx", tmp_path / "folded.onnx") == 0
    assert onnx.load(tmp_path / "folded.onnx").graph == model.graph


def test_a_kernel_that_others_use_stays_for_them(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("BatchNormalization", ["c", *NORM], ["z"]),
        node("Conv", ["x", "w"], ["d"]),
        node("Add", ["z", "d"], ["y"]),
    ]
    model = make(nodes, {"w": W, **statistics(6)}, (1, 4, 5, 5), opset=15)
    onnx.save(model, tmp_path / "m.onnx")
    assert fold_batch_norms(tmp_path / "m.onnx", tmp_path / "f.onnx") == 1
    x = {"x": values(1, 4, 5, 5)}
    one, other = run_path(tmp_path / "m.onnx", x), run_path(tmp_path / "f.onnx", x)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)
    network = open_network(tmp_path / "f.onnx")
    np.testing.assert_array_equal(network.weights["w"], W)
    assert "w_folded" in network.weights


def test_constant_nodes_and_old_files_are_folded_too(tmp_path: Path) -> None:
    """Weights as Constant nodes; and IR version 3, where initializers are inputs."""
    constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(W))
    model = model_of([constant, node("Conv", ["x", "w"], ["c"])], {}, (2, 4, 5, 5), 6)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)
    onnx.save(model, tmp_path / "m.onnx")
    assert fold_batch_norms(tmp_path / "m.onnx", tmp_path / "f.onnx") == 1
    folded = onnx.load(tmp_path / "f.onnx")
    assert {i.name for i in folded.graph.input} == {"x", "w_bias"}
    x = {"x": values(2, 4, 5, 5)}
    one, other = run_path(tmp_path / "m.onnx", x), run_path(tmp_path / "f.onnx", x)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)


def test_the_plain_form_shows_every_constant(tmp_path: Path) -> None:
    constant = node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(W))
    nodes = [constant, node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["y"])]
    model = make(nodes, {"b": values(6)}, (2, 4, 5, 5), opset=9)
    model.ir_version = 3
    model.graph.input.append(onnx.helper.make_tensor_value_info("b", 1, [6]))
    onnx.save(model, tmp_path / "m.onnx")
    to_plain_form(tmp_path / "m.onnx", tmp_path / "p.onnx")
    plain = onnx.load(tmp_path / "p.onnx")
    assert {t.name for t in plain.graph.initializer} == {"w", "b"}
    assert [i.name for i in plain.graph.input] == ["x"]
    assert [n.op_type for n in plain.graph.node] == ["Conv", "Relu"]
    assert {o.domain: o.version for o in plain.opset_import}[""] == 13
    x = {"x": values(2, 4, 5, 5)}
    one, other = run_path(tmp_path / "m.onnx", x), run_path(tmp_path / "p.onnx", x)
    np.testing.assert_array_equal(one[0], other[0])
    old, new = open_network(tmp_path / "m.onnx"), open_network(tmp_path / "p.onnx")
    assert {n: w.tolist() for n, w in new.weights.items()} == {
        n: w.tolist() for n, w in old.weights.items()
    }


def test_external_data_of_a_folded_network_are_read(tmp_path: Path) -> None:
    model, feed = FORMS["conv"]()
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    target = tmp_path / "folder"
    target.mkdir()
    assert fold_batch_norms(tmp_path / "m.onnx", target / "f.onnx") == 1
    x = {"x": values(*feed)}
    one, other = run_path(tmp_path / "m.onnx", x), run_path(target / "f.onnx", x)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    model, _ = FORMS["conv"]()
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"^model: expected a place that can be written, got:"):
        fold_batch_norms(tmp_path / "m.onnx", tmp_path / "none" / "f.onnx")


@pytest.mark.shared_data
def test_networks_of_other_people_answer_the_same_after_folding(shared_data, tmp_path) -> None:
    names = {
        "ultraface_version-slim-320.onnx": 25,
        "stm32_mobilenet_v2_128_0.5.onnx": 7,
        "ch_ppocr_mobile_v2.0_cls_infer.onnx": 35,
    }
    for path in sorted((shared_data / "models").rglob("*.onnx")):
        if path.name not in names:
            continue
        assert fold_batch_norms(path, tmp_path / "f.onnx") == names[path.name]
        (info,) = open_network(path).inputs
        sizes = tuple(
            d if isinstance(d, int) else (1, 3, 64, 64)[k] for k, d in enumerate(info.shape)
        )
        x = {info.name: values(*sizes)}
        before, after = run_path(path, x), run_path(tmp_path / "f.onnx", x)
        for one, other in zip(before, after, strict=True):
            assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max(), path.name
        kernels = [
            {n.name for n in open_network(p).layers if n.role == "kernel"}
            for p in (path, tmp_path / "f.onnx")
        ]
        assert kernels[0] == kernels[1]
