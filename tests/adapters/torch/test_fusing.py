"""Chains that torch has one function for answer as node by node, with the same gradients."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from nnw_onnx.errors import TrainingError

from .small_networks import normal, saved

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph import program  # noqa: E402 - needs torch
from nnw_onnx_torch.graph.chains import Whole  # noqa: E402 - needs torch
from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch

Graph = tuple[list, dict]
HEADS = np.array([0, 6, 2, 4], np.int64)


def node(kind: str, inputs: str, output: str, **attributes: object) -> object:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def attention(scaling: str, masked: bool) -> tuple[list, dict]:
    """Self-attention of 6 tokens of width 8 with 2 heads, as exporters write it."""
    nodes = []
    for name in "qkv":
        nodes += [
            node("MatMul", f"x w{name}", f"{name}0"),
            node("Add", f"{name}0 b{name}", f"{name}1"),
            node("Reshape", f"{name}1 heads", f"{name}2"),
        ]
    nodes += [node("Transpose", f"{n}2", f"{n}3", perm=[0, 2, 1, 3]) for n in "qv"]
    nodes += [node("Transpose", "k2", "k3", perm=[0, 2, 3, 1])]
    if scaling == "both":
        nodes += [node("Mul", "q3 root", "q4"), node("Mul", "k3 root", "k4")]
    nodes += [node("MatMul", "q4 k4" if scaling == "both" else "q3 k3", "s")]
    last = "s"
    if scaling == "after":
        nodes += [node("Div", "s four", "s1")]
        last = "s1"
    if masked:
        nodes += [node("Add", f"{last} mask", "s2")]
        last = "s2"
    nodes += [
        node("Softmax", last, "p", axis=-1), node("MatMul", "p v3", "o"),
        node("Transpose", "o", "o1", perm=[0, 2, 1, 3]), node("Reshape", "o1 flat", "y"),
    ]  # fmt: skip
    stored = {
        **{f"w{n}": normal(8, 8, seed=k) for k, n in enumerate("qkv")},
        **{f"b{n}": normal(8, seed=k + 5) for k, n in enumerate("qkv")},
        "heads": HEADS, "flat": np.array([0, 0, 8], np.int64),
        "root": np.array(0.5, np.float32), "four": np.array(2.0, np.float32),
        "mask": np.triu(np.full((6, 6), -1e4, np.float32), 1),
    }  # fmt: skip
    return nodes, stored


def answers(module: OnnxModule, x: torch.Tensor) -> list[np.ndarray]:
    """Output and every gradient."""
    module.zero_grad()
    given = x.clone().requires_grad_()
    out = module(given)
    (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
    found = {n: t.grad for n, t in module.tensors.items() if t.grad is not None}
    return [out.detach().numpy(), given.grad.numpy(), *(found[n].numpy() for n in sorted(found))]


def wholes(module: OnnxModule) -> list[str]:
    plans = module._program.block.plans.values()
    return [t.step.label for p in plans for t in p.steps if isinstance(t.operator, Whole)]


@pytest.mark.parametrize("scaling", ["none", "both", "after"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_one_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scaling: str, masked: bool
) -> None:
    network = saved(tmp_path / "a.onnx", *attention(scaling, masked), feed=["n", 6, 8])
    x = torch.from_numpy(normal(3, 6, 8, seed=20))
    module = OnnxModule(network)
    with monkeypatch.context() as patched:
        patched.setattr(program, "fused", lambda steps, *given: steps)
        expected = answers(OnnxModule(network), x)
    asked = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention",
        lambda *a, **k: asked.append(k["scale"]) or real(*a, **k),
    )  # fmt: skip
    for one, other in zip(answers(module, x), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert len(expected) >= 5
    assert asked == [pytest.approx({"none": 1.0, "both": 0.25, "after": 0.5}[scaling])]
    assert [label.split()[0] for label in wholes(module)] == ["Add"] * 3 + ["MatMul"]


def test_what_somebody_looks_at_is_computed(tmp_path: Path) -> None:
    nodes, stored = attention("both", masked=True)
    module = OnnxModule(saved(tmp_path / "a.onnx", nodes, stored, ["n", 6, 8]))
    x = torch.from_numpy(normal(3, 6, 8, seed=20))
    found = module.compute({"x": x}, ["p", "y", "q0"])
    assert torch.allclose(found["p"].sum(-1), torch.ones(3, 2, 6), atol=1e-5)
    assert torch.allclose(found["y"], module(x), atol=1e-5)
    with module.capturing("wq") as captured:
        module(x)
    assert torch.allclose(captured["wq"], found["q0"] + module.tensors["bq"], atol=1e-5)


def test_a_factor_that_learns_keeps_its_gradient(tmp_path: Path) -> None:
    nodes = [
        node("Mul", "x root", "q"), node("MatMul", "q w", "s"),
        node("Softmax", "s", "p", axis=-1), node("MatMul", "p w", "y"),
    ]  # fmt: skip
    stored = {"root": np.array([0.5], np.float32), "w": normal(1, 4, 4)}
    module = OnnxModule(saved(tmp_path / "a.onnx", nodes, stored, ["n", 4, 4]))
    root = next(t for t in module._bound() if t.numel() == 1).requires_grad_()
    module(torch.from_numpy(normal(1, 4, 4, seed=2))).square().sum().backward()
    assert root.grad is not None
    assert float(root.grad.abs().sum()) > 0


def test_shapes_that_do_not_fit_name_the_node_that_they_do_not_fit(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    stored = {"w": normal(3, 4), "b": normal(4)}
    module = OnnxModule(saved(tmp_path / "a.onnx", nodes, stored, ["n", "m"]))
    with pytest.raises(TrainingError, match="MatMul 'm': expected inputs that it can compute"):
        module(torch.zeros(2, 5))


def norm(root: str, square: str, *, scale: bool = True, bias: bool = True, axis: int = -1) -> Graph:
    """LayerNormalization of x in pieces."""
    nodes = [
        node("ReduceMean", "x", "mean", axes=[axis]), node("Sub", "x mean", "d"),
        node("Mul", "d d", "p") if square == "Mul" else node("Pow", "d two", "p"),
        node("ReduceMean", "p", "v", axes=[axis]), node("Add", "v eps", "e"),
        node("Sqrt", "e", "s"),
    ]  # fmt: skip
    if root == "Div":
        nodes += [node("Div", "d s", "n")]
    else:
        nodes += [node("Reciprocal", "s", "r"), node("Mul", "d r", "n")]
    last = "n"
    if scale:
        nodes, last = [*nodes, node("Mul", f"{last} w", "m")], "m"
    if bias:
        nodes, last = [*nodes, node("Add", f"b {last}", "a")], "a"
    stored = {"w": normal(8), "b": normal(8, seed=1), "two": np.float32(2), "eps": np.float32(1e-3)}
    return [*nodes, node("Identity", last, "y")], {k: np.asarray(v) for k, v in stored.items()}


def gelu(form: str) -> Graph:
    """GELU of x, as exporters write it."""
    cubes = {
        "pow": [node("Pow", "x three", "c")],
        "product": [node("Mul", "x x", "q"), node("Mul", "q x", "c")],
    }
    inner = {
        "erf": [node("Div", "x root", "u"), node("Erf", "u", "t")],
        "factor": [node("Mul", "x inverse", "u"), node("Erf", "u", "t")],
    }
    for name, cube in cubes.items():
        more = [node("Mul", "c k", "ck"), node("Add", "x ck", "i"), node("Mul", "i cut", "u")]
        inner[name] = [*cube, *more, node("Tanh", "u", "t")]
    first = form in ("factor", "product")
    outer = (
        [node("Mul", "half x", "h"), node("Add", "t one", "o"), node("Mul", "h o", "g")]
        if first
        else [node("Add", "t one", "o"), node("Mul", "x o", "h"), node("Mul", "h half", "g")]
    )
    stored = {
        "root": 2**0.5, "inverse": 0.5**0.5, "three": 3, "k": 0.044715, "cut": (2 / np.pi) ** 0.5,
        "one": 1, "half": 0.5,
    }  # fmt: skip
    arrays = {name: np.array(value, np.float32) for name, value in stored.items()}
    return [*inner[form], *outer, node("Mul", "g w", "y")], {**arrays, "w": normal(8, seed=3)}


def both_ways(
    path: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch, opset: int = 17
) -> list[str]:
    """Labels of what one function stands for, after answers and gradients were compared."""
    nodes, stored = graph
    network = saved(path, nodes, stored, ["n", 5, 8], opset=opset)
    x = torch.from_numpy(normal(3, 5, 8, seed=20))
    module = OnnxModule(network)
    with monkeypatch.context() as patched:
        patched.setattr(program, "fused", lambda steps, *given: steps)
        expected = answers(OnnxModule(network), x)
    for one, other in zip(answers(module, x), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return wholes(module)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("root", ["Div", "Reciprocal"])
def test_a_norm_in_pieces_is_one_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, square: str
) -> None:
    asked = []
    real = torch.nn.functional.layer_norm
    monkeypatch.setattr(
        torch.nn.functional, "layer_norm", lambda *a, **k: asked.append(a[1:]) or real(*a, **k)
    )
    whole = both_ways(tmp_path / "a.onnx", norm(root, square), monkeypatch)
    assert whole == ["Add 'a'"]
    ((sizes, weight, bias, epsilon),) = asked
    assert (list(sizes), epsilon) == ([8], pytest.approx(1e-3))
    assert weight is not None
    assert bias is not None


def test_a_norm_may_lack_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, scaled = norm("Div", "Pow", scale=False, bias=False), norm("Div", "Pow", bias=False)
    assert both_ways(tmp_path / "a.onnx", plain, monkeypatch) == ["Div 'n'"]
    assert both_ways(tmp_path / "b.onnx", scaled, monkeypatch) == ["Mul 'm'"]


def test_axes_may_be_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, stored = norm("Div", "Pow")
    for one in nodes:
        if one.op_type == "ReduceMean":
            del one.attribute[:]
            one.input.append("axes")
    stored["axes"] = np.array([2], np.int64)
    called = []
    real = torch.nn.functional.layer_norm
    monkeypatch.setattr(
        torch.nn.functional, "layer_norm", lambda *a, **k: called.append(1) or real(*a, **k)
    )
    assert both_ways(tmp_path / "a.onnx", (nodes, stored), monkeypatch, 18) == ["Add 'a'"]
    assert called == [1]


@pytest.mark.parametrize("form", ["erf", "factor", "pow", "product"])
def test_gelu_in_pieces_is_one_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    asked = []
    real = torch.nn.functional.gelu
    monkeypatch.setattr(
        torch.nn.functional, "gelu", lambda x, approximate: asked.append(approximate)
        or real(x, approximate=approximate),
    )  # fmt: skip
    (whole,) = both_ways(tmp_path / "a.onnx", gelu(form), monkeypatch)
    assert whole.startswith("Mul ")
    assert asked == ["none" if form in ("erf", "factor") else "tanh"]


def test_what_only_looks_like_them_runs_node_by_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object, **named: object) -> torch.Tensor:
        raise AssertionError("expected it not to be asked")

    monkeypatch.setattr(torch.nn.functional, "layer_norm", never)
    monkeypatch.setattr(torch.nn.functional, "gelu", never)
    strange: list[Graph] = [norm("Div", "Pow", scale=False, bias=False, axis=1)]
    for form, name, value in (
        ("erf", "root", 1.5), ("pow", "three", 2), ("product", "k", 0.05), ("factor", "half", 0.6)
    ):  # fmt: skip
        nodes, stored = gelu(form)
        strange.append((nodes, {**stored, name: np.array(value, np.float32)}))
    nodes, stored = norm("Div", "Pow")
    strange.append((nodes, {**stored, "two": np.array(4, np.float32)}))
    strange.append((nodes, {**stored, "eps": np.full(5, 0.1, np.float32)[:, None]}))
    for k, graph in enumerate(strange):
        both_ways(tmp_path / f"{k}.onnx", graph, monkeypatch)
    # Somebody else reads the difference.
    nodes, stored = norm("Div", "Pow")
    nodes[-1] = node("Add", "a d", "y")
    assert both_ways(tmp_path / "d.onnx", (nodes, stored), monkeypatch) == []


def test_an_old_export_is_recognised(tmp_path: Path) -> None:
    import nnw_onnx

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.LayerNorm(8))
    path, x = tmp_path / "old.onnx", torch.from_numpy(normal(3, 5, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (x,), str(path), dynamo=False, opset_version=13)
    module = OnnxModule(nnw_onnx.open(path))
    assert torch.allclose(module(x), net(x), atol=1e-5)
    assert [label.split()[0] for label in wholes(module)] == ["Add", "Mul", "Add"]


def reshaping() -> tuple[list, dict]:
    """Rows of all but the last axis, by way of the shape."""
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape last", "width"),
        node("Concat", "rest width", "sizes", axis=0), node("Reshape", "x sizes", "r"),
        node("Shape", "r", "again"), node("Cast", "again", "f", to=1),
        node("ReduceSum", "f", "total", keepdims=0), node("Mul", "r total", "y"),
    ]  # fmt: skip
    return nodes, {"last": np.array([-1], np.int64), "rest": np.array([-1], np.int64)}


def test_shapes_are_folded_once_and_others_are_seen(tmp_path: Path) -> None:
    module = OnnxModule(saved(tmp_path / "r.onnx", *reshaping(), feed=["n", "m", "k"]))
    for _ in range(2):
        for shape in ((2, 3, 4), (5, 3, 4), (2, 3, 6)):
            x = torch.from_numpy(normal(*shape))
            total = x.numel() // shape[-1] + shape[-1]
            expected = x.reshape(-1, shape[-1]) * total
            assert torch.allclose(module(x), expected)
    (plan,) = module._program.block.plans.values()
    left = {len(folded.steps) for folded in plan.folded.values()}
    assert len(plan.steps) == 8
    assert len(plan.folded) == 3
    assert left == {3}, "Reshape, a look at its shape, Mul"


def test_many_shapes_are_run_without_being_kept(tmp_path: Path) -> None:
    module = OnnxModule(saved(tmp_path / "r.onnx", *reshaping(), feed=["n", "m", "k"]))
    for n in range(1, 20):
        assert module(torch.ones(n, 2, 4)).shape == (2 * n, 4)
    (plan,) = module._program.block.plans.values()
    assert len(plan.folded) == program._MOST_FOLDED


def test_shapes_that_hang_on_values_are_not_folded(tmp_path: Path) -> None:
    nodes = [
        node("Greater", "x zero", "above"), node("NonZero", "above", "places"),
        node("Shape", "places", "shape"), node("Gather", "shape one", "count"),
        node("Cast", "count", "f", to=1), node("Mul", "x f", "y"),
    ]  # fmt: skip
    stored = {"zero": np.array(0, np.float32), "one": np.array(1, np.int64)}
    module = OnnxModule(saved(tmp_path / "n.onnx", nodes, stored, ["n"]))
    for values in ([1.0, 2.0, -1.0], [1.0, -2.0, -1.0], [3.0, 2.0, 1.0], [1.0, 1.0, -1.0]):
        x = torch.tensor(values)
        assert torch.equal(module(x), x * (x > 0).sum())


def test_another_type_is_seen_by_what_is_folded(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape one", "width"),
        node("CastLike", "width x", "f"), node("Mul", "x w", "m"), node("Mul", "m f", "y"),
    ]  # fmt: skip
    stored = {"w": normal(4), "one": np.array([1], np.int64)}
    module = OnnxModule(saved(tmp_path / "c.onnx", nodes, stored, ["n", 4]))
    x = torch.ones(2, 4)
    assert module(x).dtype == torch.float32
    assert module(x).dtype == torch.float32
    assert module.double()(x.double()).dtype == torch.float64
