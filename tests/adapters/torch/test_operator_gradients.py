"""Gradients of operators against finite differences, and what has no values to compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.operators import OPERATORS  # noqa: E402

from .single_nodes import assert_same, call_of, gradients_hold  # noqa: E402

RNG = np.random.Generator(np.random.Philox(8))
TORCH = torch.Generator().manual_seed(8)


def real(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64, generator=TORCH)


def whole(values: Any) -> Any:
    return torch.tensor(values)


RECURRENT: list[tuple[str, int, dict[str, Any], bool]] = [
    ("LSTM", 4, {}, True),
    ("LSTM", 4, {"direction": "bidirectional"}, False),
    ("LSTM", 4, {"direction": "reverse", "input_forget": 1}, False),
    ("GRU", 3, {}, True),
    ("GRU", 3, {"linear_before_reset": 1}, False),
    ("GRU", 3, {"linear_before_reset": 1, "direction": "bidirectional"}, True),
    ("RNN", 1, {"direction": "reverse"}, False),
    ("RNN", 1, {"activations": ["Softsign"]}, True),
]


@pytest.mark.parametrize(("name", "gates", "attributes", "lengths"), RECURRENT)
def test_recurrent(name: str, gates: int, attributes: dict[str, Any], lengths: bool) -> None:
    d = 2 if attributes.get("direction") == "bidirectional" else 1
    states = [real(d, 2, 3) for _ in range(1 + (name == "LSTM"))]
    peepholes = [real(d, 9)] if name == "LSTM" and lengths else []
    inputs = [real(4, 2, 2), real(d, gates * 3, 2), real(d, gates * 3, 3), real(d, 2 * gates * 3),
              whole([4, 2]) if lengths else None, *states, *peepholes]  # fmt: skip
    outputs = 1 + len(states)
    assert gradients_hold(name, inputs, outputs=outputs, hidden_size=3, **attributes)


INDEXING: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Gather", [real(3, 4), whole([[0, -1], [0, 2]])], {"axis": 1}),
    ("GatherElements", [real(3, 4), whole([[0, -1], [3, 3]])], {"axis": 1}),
    ("GatherND", [real(3, 4), whole([[0, 1], [-1, 2], [0, 1]])], {}),
    ("ScatterElements", [real(3, 4), whole([[0, -1]]), real(1, 2)], {"axis": 1}),
    *(("ScatterElements", [real(3, 4), whole([[0, 0, 3]]), real(1, 3)],
       {"axis": 1, "reduction": r}) for r in ("add", "mul", "min", "max")),
    ("ScatterND", [real(3, 4), whole([[0], [-1]]), real(2, 4)], {}),
    *(("ScatterND", [real(3, 4), whole([[0, 1], [0, 1], [2, 2]]), real(3)], {"reduction": r})
      for r in ("add", "mul", "min", "max")),
    ("Compress", [real(3, 4), whole([True, False, True])], {"axis": 0}),
    ("ReverseSequence", [real(3, 4), whole([1, 3, 2, 3])], {}),
    ("TensorScatter", [real(2, 4, 3), real(2, 2, 3), whole([1, 3])], {"mode": "circular"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"), INDEXING, ids=[f"{k}-{c[0]}" for k, c in enumerate(INDEXING)]
)
def test_indexing(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    assert gradients_hold(name, inputs, **attributes)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("how", ["half_pixel", "align_corners", "tf_crop_and_resize"])
def test_resize(mode: str, how: str) -> None:
    x, roi = real(1, 1, 4, 5), torch.tensor([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1])
    for target in ([1.0, 1.0, 1.5, 0.6], [1.0, 1.0, 2.0, 2.0]):
        attributes = {"mode": mode, "coordinate_transformation_mode": how}
        inputs = [x, roi, torch.tensor(target)]
        assert gradients_hold("Resize", inputs, **attributes)
    if mode != "nearest":
        inputs = [x, None, torch.tensor([1.0, 1.0, 0.3, 0.6])]
        assert gradients_hold("Resize", inputs, mode=mode, antialias=1)


def test_sampling() -> None:
    grid = 0.6 * real(1, 2, 3, 2)
    assert gradients_hold("GridSample", [real(1, 2, 4, 5), grid], mode="linear")
    assert gradients_hold("GridSample", [real(1, 2, 5), 0.6 * real(1, 3, 1)], mode="cubic")
    assert gradients_hold("AffineGrid", [real(1, 2, 3), whole([1, 1, 2, 3])])
    rois = torch.tensor([[0.0, 0, 5, 4], [1.2, 0.5, 3.1, 3.3]])
    for mode in ("avg", "max"):
        assert gradients_hold("RoiAlign", [real(1, 2, 5, 6), rois.float(), whole([0, 0])],
                              output_height=2, output_width=2, mode=mode)  # fmt: skip
    assert gradients_hold("Col2Im", [real(1, 8, 6), whole([3, 4]), whole([2, 2])])
    assert gradients_hold("CenterCropPad", [real(3, 4), whole([5, 2])])


ATTENTION: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("Attention", [real(1, 2, 3, 4), real(1, 1, 3, 4), real(1, 1, 3, 5)], {"is_causal": 1}, ""),
    ("Attention", [real(1, 2, 3, 4), real(1, 2, 3, 4), real(1, 2, 3, 4), real(3, 3)],
     {"softcap": 0.7}, ""),
    ("Attention", [real(1, 3, 8), real(1, 2, 4), real(1, 2, 4), None, real(1, 1, 2, 4),
                   real(1, 1, 2, 4)], {"is_causal": 1, "q_num_heads": 2, "kv_num_heads": 1}, ""),
    ("RotaryEmbedding", [real(1, 2, 3, 4), real(5, 2), real(5, 2), whole([[0, 4, 2]])], {}, ""),
    ("LinearAttention", [real(1, 3, 4), real(1, 3, 2), real(1, 3, 2), None, real(1, 3, 1),
                         real(1, 3, 1)], {"q_num_heads": 2, "kv_num_heads": 1}, ""),
    ("Attention", [real(1, 3, 2), real(2, 12), real(12)],
     {"num_heads": 2, "unidirectional": 1}, "com.microsoft"),
    ("MultiHeadAttention", [real(1, 3, 4), real(1, 2, 4), real(1, 2, 4), real(12)],
     {"num_heads": 2}, "com.microsoft"),
    ("GroupQueryAttention", [real(1, 3, 8), real(1, 3, 4), real(1, 3, 4), None, None, whole([2]),
                             whole(3), real(4, 2), real(4, 2)],
     {"num_heads": 2, "kv_num_heads": 1, "do_rotary": 1}, "com.microsoft"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "domain"),
    ATTENTION,
    ids=[f"{k}-{c[0]}" for k, c in enumerate(ATTENTION)],
)
def test_attention(name: str, inputs: list[Any], attributes: dict[str, Any], domain: str) -> None:
    assert gradients_hold(name, inputs, 24, domain, outputs=1, **attributes)


def test_a_query_without_a_key_has_neither_answer_nor_gradient() -> None:
    q, k, v = (real(1, 1, 2, 4).requires_grad_() for _ in range(3))
    mask = torch.tensor([[False, False], [True, False]])
    y, *_ = OPERATORS["", "Attention"](call_of({}), q, k, v, mask)
    assert y[0, 0, 0].tolist() == [0.0] * 4
    y.sum().backward()
    assert q.grad[0, 0, 0].tolist() == [0.0] * 4
    assert all(bool(torch.isfinite(x.grad).all()) for x in (q, k, v))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("clip", [None, 3.0])
def test_lower_precision_of_the_input_is_no_obstacle(name: str, clip: float | None) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[name]
    weights = [real(1, gates * 6, 4), real(1, gates * 6, 6), real(1, 2 * gates * 6)]
    weights = [w.float().requires_grad_() for w in weights]
    x = real(5, 3, 4).float()
    attributes = {"hidden_size": 6} if clip is None else {"hidden_size": 6, "clip": clip}
    expected = OPERATORS["", name](call_of(attributes), x, *weights)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = OPERATORS["", name](call_of(attributes), x.bfloat16(), *weights)[0]
    torch.testing.assert_close(y.float(), expected, atol=0.05, rtol=0.05)
    y.float().sum().backward()
    assert all(w.grad is not None for w in weights)


PRODUCTS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Einsum", [real(2, 3), real(3, 4)], {"equation": "ij, jk -> ki"}),
    ("Einsum", [real(2, 3, 3)], {"equation": "...ii->...i"}),
    ("Einsum", [real(2, 1, 3), real(4, 3)], {"equation": "b...d,kd"}),
    ("Det", [real(2, 3, 3)], {}),
    ("DFT", [real(1, 4, 2)], {}),
    ("DFT", [real(1, 4, 1)], {"onesided": 1}),
    ("STFT", [real(1, 9, 1), whole(2), real(4), whole(4)], {}),
    ("SoftmaxCrossEntropyLoss", [real(4, 3), whole([0, 2, 1, 1])], {}),
    ("NegativeLogLikelihoodLoss", [real(2, 3, 2), whole([[0, 2], [1, 1]])],
     {"ignore_index": 1, "reduction": "sum"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"), PRODUCTS, ids=[f"{k}-{c[0]}" for k, c in enumerate(PRODUCTS)]
)
def test_products_and_losses(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    assert gradients_hold(name, inputs, **attributes)


def test_class_weights_may_be_trainable_but_are_not_learned() -> None:
    weights = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    scores, classes = torch.randn(4, 3, generator=TORCH, requires_grad=True), whole([0, 2, 1, 1])
    loss, _ = OPERATORS["", "SoftmaxCrossEntropyLoss"](call_of({}), scores, classes, weights)
    expected = torch.nn.functional.cross_entropy(scores, classes, weights.detach())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert scores.grad is not None
    assert weights.grad is None


@pytest.mark.parametrize("equation", ["ij,jk->ik", "bij , bjk", "ii->i", "ij->", "i,j->ij"])
def test_einsum(equation: str) -> None:
    sizes = {"i": 3, "j": 3, "k": 4, "b": 2}
    terms = equation.replace(" ", "").split("->")[0].split(",")
    inputs = [RNG.standard_normal([sizes[c] for c in term]).astype(np.float32) for term in terms]
    assert_same("Einsum", inputs, {"equation": equation}, opset=12)


RANDOM: list[tuple[str, list[Any], dict[str, Any], tuple[int, ...], Any]] = [
    ("RandomNormal", [], {"shape": [2, 3]}, (2, 3), torch.float32),
    ("RandomUniform", [], {"shape": [4], "dtype": 11, "low": 2.0, "high": 3.0}, (4,),
     torch.float64),
    ("RandomNormalLike", [torch.zeros(2, 5, dtype=torch.float16)], {}, (2, 5), torch.float16),
    ("RandomUniformLike", [torch.zeros(3, dtype=torch.int64)], {"dtype": 1}, (3,), torch.float32),
    ("Bernoulli", [torch.full((4, 4), 0.5)], {"dtype": 7}, (4, 4), torch.int64),
    ("Multinomial", [torch.zeros(2, 6)], {"sample_size": 9}, (2, 9), torch.int32),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "attributes", "shape", "dtype"), RANDOM)
def test_random(
    name: str, inputs: list[Any], attributes: dict[str, Any], shape: tuple[int, ...], dtype: Any
) -> None:
    function = OPERATORS["", name]
    torch.manual_seed(1)
    drawn = function(call_of(attributes), *inputs)
    assert drawn.shape == shape
    assert drawn.dtype == dtype
    again = function(call_of(attributes), *inputs)
    torch.manual_seed(1)
    assert torch.equal(drawn, function(call_of(attributes), *inputs))
    assert not torch.equal(drawn, again)
    if name == "RandomUniform":
        assert 2 <= float(drawn.min()) <= float(drawn.max()) <= 3


def test_sequences() -> None:
    def run(name: str, *inputs: Any, **attributes: Any) -> Any:
        return OPERATORS["", name](call_of(attributes), *inputs)

    a, b, c = (torch.full((2,), float(k)) for k in range(3))
    (made,) = run("SequenceConstruct", a, b)
    assert run("SequenceEmpty") == ([],)
    assert int(run("SequenceLength", made)) == 2
    assert run("SequenceAt", made, torch.tensor(-1)) is b
    (longer,) = run("SequenceInsert", made, c, torch.tensor(-1))
    assert [float(t[0]) for t in longer] == [0, 2, 1]
    assert [float(t[0]) for t in run("SequenceInsert", made, c)[0]] == [0, 1, 2]
    assert [float(t[0]) for t in run("SequenceErase", longer)[0]] == [0, 2]
    assert [float(t[0]) for t in run("SequenceErase", longer, torch.tensor(0))[0]] == [2, 1]
    assert run("ConcatFromSequence", longer, axis=0).tolist() == [0, 0, 2, 2, 1, 1]
    assert run("ConcatFromSequence", longer, axis=1, new_axis=1).tolist() == [[0, 2, 1]] * 2
    x = torch.arange(6.0).reshape(3, 2)
    assert [t.shape for t in run("SplitToSequence", x)[0]] == [(1, 2)] * 3
    assert [t.shape for t in run("SplitToSequence", x, keepdims=0)[0]] == [(2,)] * 3
    parts = run("SplitToSequence", x, torch.tensor(2))[0]
    assert [t.shape for t in parts] == [(2, 2), (1, 2)]
    parts = run("SplitToSequence", x, torch.tensor([1, 2]))[0]
    assert [t.shape for t in parts] == [(1, 2), (2, 2)]
    body = lambda x, y: [x + y, x * y]  # noqa: E731
    sums, products = run("SequenceMap", made, longer[:2], body=body)
    assert [float(t[0]) for t in (*sums, *products)] == [0, 3, 0, 2]
    assert bool(run("OptionalHasElement", run("Optional", a)[0]))
    assert not bool(run("OptionalHasElement", run("Optional")[0]))
    assert run("OptionalGetElement", a)[0] is a
