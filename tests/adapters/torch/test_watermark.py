"""A watermark in a training loop of one's own: gradients, loops, triggers, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, TrainingError
from nnw_onnx.vocabulary import Payload

from .small_networks import MODELS, digits
from .test_trainer_marks import Shout, key_of

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch
from torch.nn import functional  # noqa: E402 - needs torch

from nnw_onnx_torch.module import OnnxModule  # noqa: E402 - needs torch
from nnw_onnx_torch.watermark import Watermark  # noqa: E402 - needs torch

PAYLOAD = Payload.from_text("mine")


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def mirrored() -> nn.Sequential:
    """A carrier whose stored layout is not the canonical one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(16, 24, 3)).double()


@pytest.mark.parametrize("make", [lambda: network().double(), mirrored])
def test_the_gradient_is_that_of_the_method(make: Any) -> None:
    model = make()
    mark = Watermark(model, PAYLOAD, seed=1)
    (name,) = mark.key.layers
    parameter = model.get_parameter(name)
    loss = 3 * mark.penalty()
    loss.backward()
    value, gradient = mark.method.weight_penalty(mark.network.weights, PAYLOAD, mark.key)
    assert loss.item() == pytest.approx(3 * value, rel=1e-14)
    axes = next(x.axes for x in mark.network.layers if x.name == name)
    found = parameter.grad.permute(axes).numpy()
    np.testing.assert_allclose(found, 3 * gradient[name], rtol=1e-12, atol=0)
    rng = np.random.Generator(np.random.PCG64(0))
    for flat in rng.integers(0, parameter.numel(), 10):
        place = np.unravel_index(int(flat), parameter.shape)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += step
                ends.append(3 * mark.penalty().item())
                parameter[place] -= step
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(parameter.grad[place].item(), rel=1e-4)


def test_gradients_add_up_scale_and_accumulate() -> None:
    model = network()
    mark = Watermark(model, PAYLOAD, seed=1)
    parameter = model.get_parameter(mark.key.layers[0])
    mark.penalty().backward()
    alone = parameter.grad.clone()
    parameter.grad = None
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(torch.zeros(4, 1, 8, 8)).float().square().mean() * 0 + mark.penalty()
    scaler.scale(loss).backward()
    torch.testing.assert_close(parameter.grad, 1024 * alone, rtol=1e-6, atol=0)
    parameter.grad = None
    for _ in range(4):
        (mark.penalty() / 4).backward()
    torch.testing.assert_close(parameter.grad, alone, rtol=1e-6, atol=0)
    assert mark.add_gradient() == pytest.approx(mark.penalty().item(), rel=1e-6)
    torch.testing.assert_close(parameter.grad, 2 * alone, rtol=1e-6, atol=0)
    mark.add_gradient(2.0)
    torch.testing.assert_close(parameter.grad, 4 * alone, rtol=1e-6, atol=0)


def loop(model: nn.Module, mark: Watermark, epochs: int, logits: Any = None) -> float:
    """A usual training on the digits; the share of them answered rightly in the end."""
    data = digits()
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(64):
            x, y = mark.extend(inputs[chosen], labels[chosen])
            loss = functional.cross_entropy((logits or model)(x), y) + mark.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return float(((logits or model)(inputs).argmax(1) == labels).float().mean())


def test_uchida_in_a_loop(tmp_path: Path) -> None:
    model = network()
    mark = Watermark(model, PAYLOAD, seed=1, options={"strength": 0.05})
    assert mark.symbol_error_rate() > 0.2
    assert loop(model, mark, 6) > 0.95
    assert mark.symbol_error_rate() == 0
    mark.save_key(tmp_path / "key.npz")
    key = nnw_onnx.load_key(tmp_path / "key.npz")
    assert key.payload == PAYLOAD
    again = Watermark(model, PAYLOAD, key=key)
    assert again.symbol_error_rate() == 0


def test_adi_in_a_loop() -> None:
    model, data = network(), digits()
    some = torch.from_numpy(data.inputs[:64])
    payload = Payload.from_hex("a55a")
    mark = Watermark(model, payload, "adi", seed=1, inputs=some, triggers_per_batch=6)
    assert mark.has_triggers
    assert mark.key.options["classes"] == 10
    assert mark.penalty().item() == 0
    assert loop(model, mark, 12) > 0.95
    assert mark.symbol_error_rate() == 0
    detection = mark.method.detect(mark.network, payload, mark.key)
    assert detection.detected


def test_an_onnx_module_is_a_model_too() -> None:
    opened = nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx")
    module = OnnxModule(opened)
    mark = Watermark(module, PAYLOAD, seed=1, options={"strength": 0.05})
    assert loop(module, mark, 4) > 0.95
    assert nnw_onnx.decode(module.network(), mark.key).payload == PAYLOAD


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in that is not installed."""
    monkeypatch.setattr(plugins, "method_of", lambda key: Shout())


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("kind", ["native", "onnx"])
def test_a_penalty_on_activations(kind: str) -> None:
    opened = nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx")
    module = OnnxModule(opened)
    native = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1))
    with torch.no_grad():
        native[0].weight.copy_(module.canonical("conv1.weight"))
        native[0].bias.copy_(module.canonical("conv1.bias"))
    name = {"native": "0.weight", "onnx": "conv1.weight"}[kind]
    model = {"native": native, "onnx": module}[kind]
    mark = Watermark(model, Payload((0, 1, 0, 1)), key=key_of(opened, "shout", name))
    with pytest.raises(TrainingError, match="and a class for each sample, got none; run the net"):
        mark.penalty()
    data = digits()
    inputs, labels = torch.from_numpy(data.inputs[:40]), torch.from_numpy(data.labels[:40])
    answers = functional.conv2d(
        inputs, native[0].weight.detach().requires_grad_(), native[0].bias.detach(), padding=1
    )
    model.train()
    model(inputs)
    term = mark.penalty(labels)
    chosen = (labels == 0).view(-1, 1, 1, 1)
    assert term.item() == pytest.approx(-0.5 * ((answers * chosen) ** 2).mean().item(), rel=1e-6)
    term.backward()
    weight = native[0].weight.detach().clone().requires_grad_()
    again = functional.conv2d(inputs, weight, native[0].bias.detach(), padding=1)
    (-0.5 * ((again * chosen) ** 2).mean()).backward()
    found = native[0].weight.grad if kind == "native" else module.parameter(name).grad
    torch.testing.assert_close(found, weight.grad, rtol=1e-4, atol=1e-7)
    with pytest.raises(TrainingError, match="got one that looks at activations; add Watermark"):
        mark.add_gradient()


def test_batches_grow_by_triggers() -> None:
    some = torch.rand(4, 1, 8, 8)
    mark = Watermark(
        network(), Payload.from_bits("10110"), "adi", seed=1, inputs=some, classes=10,
        triggers_per_batch=3,
    )  # fmt: skip
    images, classes = mark.triggers
    seen = []
    for _ in range(5):
        inputs, labels = mark.extend(some.half(), torch.zeros(4, dtype=torch.int32))
        assert (inputs.shape, inputs.dtype) == ((7, 1, 8, 8), torch.float16)
        assert labels.dtype == torch.int32
        seen += labels[4:].tolist()
    assert seen == classes.tolist() * 3
    soft = mark.extend(some, torch.zeros(4, 10))[1]
    assert soft[4:].argmax(1).tolist() == classes[:3].tolist()
    assert soft[4:].sum(1).tolist() == [1.0, 1.0, 1.0]
    plain = Watermark(network(), PAYLOAD, seed=1)
    assert plain.extend(some, soft) == (some, soft)
    assert not plain.has_triggers
    assert len(plain.triggers[1]) == 0
    np.testing.assert_array_equal(images, mark.key.arrays["triggers"])


def test_what_a_watermark_refuses() -> None:
    model, some = network(), torch.rand(4, 1, 8, 8)
    frozen = network().requires_grad_(False)
    mark = Watermark(model, PAYLOAD, "adi", seed=1, inputs=some, classes=10)
    cases: list[tuple[type[Exception], Any, str]] = [
        (ConfigurationError, lambda: Watermark(model, PAYLOAD, "adi"), "got none; give both"),
        (ConfigurationError, lambda: Watermark(model, PAYLOAD, "block-spread"), "use for example"),
        (TrainingError, lambda: Watermark(frozen, PAYLOAD), "to learn, got one that is frozen"),
        (InjectionError, lambda: Watermark(model, PAYLOAD, layer="x"), "name of a layer of this"),
        (TrainingError, lambda: mark.extend(some[..., :4], torch.zeros(4)), "expected samples of"),
        (TrainingError, lambda: mark.extend(some, torch.zeros(4)), "labels: expected classes (n,)"),
        (TrainingError, lambda: Watermark(model, PAYLOAD, "adi", inputs=some, triggers_per_batch=0),
         "triggers_per_batch: expected at least 1, got 0; correct it"),
    ]  # fmt: skip
    for error, call, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
