"""Export: every weight under its name with its value, the same answers, the watermark readable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import nnw_onnx
from nnw_onnx.errors import ModelFileError
from nnw_onnx.inference import Session
from nnw_onnx.vocabulary import Payload

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402 - needs torch

from nnw_onnx_torch.exporting import Exported, export  # noqa: E402 - needs torch
from nnw_onnx_torch.watermark import Watermark  # noqa: E402 - needs torch

PAYLOAD = Payload.from_hex("c0de")


class Block(nn.Module):
    """Two convolutions with BatchNorm and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(inner)))


class Residual(nn.Module):
    """A small ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Encoder(nn.Module):
    """A small transformer of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.encoder(self.tokens(tokens)).mean(1))


class Memory(nn.Module):
    """A small LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(6, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.memory(x)[0][:, -1])


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(),
                         nn.Linear(32, 2))  # fmt: skip


MODELS = {
    "perceptron": (perceptron, lambda: torch.randn(1, 40), "2.weight"),
    "residual": (Residual, lambda: torch.randn(3, 3, 8, 8), "blocks.1.conv2.weight"),
    "encoder": (Encoder, lambda: torch.randint(0, 20, (2, 7)), "encoder.layers.1.linear2.weight"),
    "memory": (Memory, lambda: torch.randn(2, 5, 6), "head.weight"),
}


def marked(model: nn.Module, layer: str) -> Watermark:
    """A watermark that is in after nothing but its own penalty."""
    payload = Payload.from_hex("c0de"[:2]) if layer == "head.weight" else PAYLOAD
    mark = Watermark(model, payload, layer=layer, seed=1, options={"strength": 1.0})
    optimizer = torch.optim.SGD([model.get_parameter(layer)], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        mark.penalty().backward()
        optimizer.step()
    assert mark.symbol_error_rate() == 0
    return mark


def made(name: str) -> tuple[nn.Module, Any, str]:
    torch.manual_seed(0)
    make, examples, layer = MODELS[name]
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
    return model, examples(), layer


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_and_watermark_survive(tmp_path: Path, name: str) -> None:
    model, examples, layer = made(name)
    mark = marked(model, layer)
    model.train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    exported = export(model, examples, tmp_path / "m.onnx")
    assert isinstance(exported, Exported)
    wanted = [n for n, t in model.state_dict().items() if t.is_floating_point()]
    assert list(exported.kept) == wanted
    assert exported.changed == {}
    assert 0 <= exported.max_difference < 1e-5
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    opened = nnw_onnx.open(tmp_path / "m.onnx")
    assert nnw_onnx.decode(opened, mark.claim).payload == mark.payload
    for n in exported.kept:
        if n in opened.weights and mark.network.weights[n].shape == opened.weights[n].shape:
            assert np.array_equal(opened.weights[n], mark.network.weights[n])
    many = torch.cat([examples] * 5)
    model.eval()
    with torch.no_grad():
        expected = model(many).numpy()
    (found,) = Session(opened.runnable()).predict(many.numpy()).values()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def optimized(path: Path) -> Counter[str]:
    """Operators that are left when onnxruntime has optimised a file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def test_the_runtime_fuses_as_with_the_default_export(tmp_path: Path) -> None:
    model, examples, _ = made("residual")
    export(model, examples, tmp_path / "ours.onnx")
    torch.onnx.export(
        model.eval(), (examples,), tmp_path / "theirs.onnx", dynamo=True, external_data=False,
        verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    ours, theirs = optimized(tmp_path / "ours.onnx"), optimized(tmp_path / "theirs.onnx")
    assert ours["BatchNormalization"] == theirs["BatchNormalization"] == 0
    assert ours.total() <= theirs.total() + 1


class Tied(nn.Module):
    """Two names of one tensor, a tensor that nothing needs, and two inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.idle = nn.Linear(3, 3)

    def forward(self, left: Any, right: Any = None) -> Any:
        return {"sum": self.second(torch.relu(self.first(left))) + right, "left": left * 2}


def test_what_became_of_weights_that_are_not_kept(tmp_path: Path) -> None:
    examples = {"left": torch.randn(2, 8), "right": torch.randn(2, 8)}
    exported = export(Tied(), examples, tmp_path / "m.onnx", dynamic_batch=False)
    # which of the two names it gets is the exporter's choice
    (kept,) = exported.kept
    other = {"first.weight": "second.weight", "second.weight": "first.weight"}[kept]
    assert exported.changed == {
        other: f"shared: stored as {kept}",
        "idle.weight": "not in the file: nothing that is computed needs it",
        "idle.bias": "not in the file: nothing that is computed needs it",
    }
    assert [i.shape for i in exported.network.inputs] == [(2, 8), (2, 8)]


class Random(nn.Module):
    """It answers something else each time."""

    def forward(self, x: Any) -> Any:
        return x + torch.rand_like(x)


class Branching(nn.Module):
    """What it computes depends on the values of its input."""

    def forward(self, x: Any) -> Any:
        return x + 1 if float(x.sum()) > 0 else x - 1


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    cases = [
        (Random(), torch.rand(2, 3), tmp_path / "m.onnx", "as the model gives it, got one that"),
        (Branching(), torch.rand(2, 3), tmp_path / "m.onnx", "expected a model that torch exports"),
        (nn.Linear(3, 2), torch.rand(2, 3), tmp_path / "no" / "m.onnx", "expected a folder where"),
    ]
    for model, examples, path, message in cases:
        with pytest.raises(ModelFileError) as caught:
            export(model, examples, path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        assert model.training


def test_a_file_that_is_there_stays_when_the_export_fails(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(ModelFileError):
        export(Random(), torch.rand(2, 3), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"


def test_half_types_have_their_own_tolerance(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).half()
    exported = export(model, torch.rand(4, 64).half(), tmp_path / "m.onnx")
    assert set(exported.kept) == set(model.state_dict())
    assert exported.max_difference < 4e-3


def test_the_public_name_is_the_function() -> None:
    import nnw_onnx_torch

    assert nnw_onnx_torch.Exported is Exported
    assert nnw_onnx_torch.export is export
    assert set(nnw_onnx_torch.__all__) == {
        "Exported", "HuggingFaceCallback", "OnnxModule", "TorchNetwork", "TorchTrainer",
        "Watermark", "WatermarkCallback", "export", "rekey",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="module 'nnw_onnx_torch' has no attribute 'nothing'"):
        _ = nnw_onnx_torch.nothing
