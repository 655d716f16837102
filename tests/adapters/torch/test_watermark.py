"""A watermark in a training loop of one's own: gradients, loops, own samples, state, errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, TrainingError
from nnw_onnx.kit import evidence
from nnw_onnx.vocabulary import Additions, Moment, Payload, Penalty

from .small_networks import MODELS, dense, digits
from .test_trainer_additions import drifting, loud, pull

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch
from torch.nn import functional  # noqa: E402 - needs torch

from nnw_onnx_torch import OnnxModule, Watermark  # noqa: E402 - needs torch

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


def value_of(mark: Watermark) -> Penalty:
    """The method's own answer to the weights as they are."""
    additions = mark.method.additions(mark.network, mark.claim.payload, mark.key)
    weights = {name: mark.network.weights[name] for name in additions.carriers}
    nothing = np.zeros(0, bool)
    return additions.penalty(Moment(weights, {}, None, nothing, {}, 0, lambda w: w))


@pytest.mark.parametrize("make", [lambda: network().double(), mirrored])
def test_the_gradient_is_that_of_the_method(make: Any) -> None:
    model = make()
    mark = Watermark(model, PAYLOAD, seed=1)
    (name,) = mark.key.layers
    parameter = model.get_parameter(name)
    loss = 3 * mark.penalty()
    loss.backward()
    expected = value_of(mark)
    assert loss.item() == pytest.approx(3 * expected.value, rel=1e-14)
    axes = next(x.axes for x in mark.network.layers if x.name == name)
    found = parameter.grad.permute(axes).numpy()
    np.testing.assert_allclose(found, 3 * expected.weights[name], rtol=1e-12, atol=0)
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


def loop(
    model: nn.Module, mark: Watermark, epochs: int, rate: float = 0.05, size: int = 64
) -> float:
    """A usual training on the digits; the share of them answered rightly in the end."""
    data = digits()
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(size):
            x, y = mark.extend(inputs[chosen], labels[chosen])
            loss = functional.cross_entropy(model(x), y) + mark.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mark.after_step()
    model.eval()
    with torch.no_grad():
        return float((model(inputs).argmax(1) == labels).float().mean())


def test_uchida_in_a_loop(tmp_path: Path) -> None:
    model = network()
    mark = Watermark(model, PAYLOAD, seed=1, options={"strength": 0.05})
    assert mark.symbol_error_rate() > 0.2
    assert loop(model, mark, 6) > 0.95
    assert mark.symbol_error_rate() == 0
    assert mark.decode().payload == PAYLOAD
    mark.save_key(tmp_path / "key.npz")
    claim = nnw_onnx.load_key(tmp_path / "key.npz")
    assert claim.payload == PAYLOAD
    again = Watermark(model, claim=claim)
    assert again.symbol_error_rate() == 0
    assert again.payload == PAYLOAD


def test_adi_in_a_loop() -> None:
    model, data = network(), digits()
    some = torch.from_numpy(data.inputs[:64])
    payload = Payload.from_hex("a55a")
    mark = Watermark(model, payload, "adi", seed=1, inputs=some, own_per_batch=6)
    assert mark.has_own_samples
    assert mark.key.facts["classes"] == 10
    assert mark.penalty().item() == 0
    assert loop(model, mark, 12) > 0.95
    assert mark.symbol_error_rate() == 0
    read = mark.decode().payload
    assert read.alphabet == 10
    assert evidence.matched(read, payload).decided(1e-6)


def multilayer() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.parametrize("kind", ["native", "onnx"])
def test_a_method_of_activations_in_a_loop(tmp_path: Path, kind: str) -> None:
    """DeepSigns, whose centres are learnt with the network and end up in the key."""
    model: Any = multilayer() if kind == "native" else OnnxModule(dense(tmp_path / "m.onnx"))
    data = digits()
    mark = Watermark(
        model, Payload.from_bits("10110010"), "deepsigns", seed=1,
        inputs=data.inputs, targets=data.labels, classes=10,
    )  # fmt: skip
    assert not mark.adds_gradient
    assert loop(model, mark, 12, rate=0.02, size=32) > 0.85
    assert mark.symbol_error_rate() == 0
    mark.save_key(tmp_path / "key.npz")
    claim = nnw_onnx.load_key(tmp_path / "key.npz")
    assert mark.state
    for name, values in mark.state.items():
        assert np.array_equal(claim.key.arrays[name], values)
    again = Watermark(model, claim=claim)
    assert again.symbol_error_rate() == 0
    assert all(np.array_equal(again.state[n], v) for n, v in mark.state.items())


def test_an_onnx_module_is_a_model_too() -> None:
    opened = nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx")
    module = OnnxModule(opened)
    mark = Watermark(module, PAYLOAD, seed=1, options={"strength": 0.05})
    assert loop(module, mark, 4) > 0.95
    assert nnw_onnx.decode(module.network(), mark.claim).payload == PAYLOAD


def test_a_code_stands_between_payload_and_symbols() -> None:
    mark = Watermark(
        network(), Payload.from_bits("10110"), seed=1, code="repetition", layer="3.weight",
        code_options={"times": 3},
    )  # fmt: skip
    assert mark.payload == Payload.from_bits("10110")
    assert (mark.key.carries, mark.key.size) == (5, 15)
    assert len(mark.decode().payload) == 15
    assert mark.key.layers == ("3.weight",)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Additions]], None]:
    """Lets the method "uchida" add something else to a training."""

    def use(make: Callable[[Any], Additions]) -> None:
        from nnw_onnx.methods.uchida import Uchida

        monkeypatch.setattr(Uchida, "additions", lambda self, network, payload, key: make(network))

    return use


@pytest.mark.parametrize("kind", ["native", "onnx"])
def test_a_penalty_on_activations(kind: str, fake: Any) -> None:
    module = OnnxModule(nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx"))
    native = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1))
    with torch.no_grad():
        native[0].weight.copy_(module.canonical("conv1.weight"))
        native[0].bias.copy_(module.canonical("conv1.bias"))
    name = {"native": "0.weight", "onnx": "conv1.weight"}[kind]
    model: Any = {"native": native, "onnx": module}[kind]
    fake(lambda network: loud(name))
    mark = Watermark(model, Payload.from_bits("0101"), seed=1)
    with pytest.raises(TrainingError, match="each sample of the batch, got none; run the network"):
        mark.penalty()
    data = digits()
    inputs, labels = torch.from_numpy(data.inputs[:40]), torch.from_numpy(data.labels[:40])
    model.train()
    model(inputs)
    mark.network.run({"x": data.inputs[:3]}, [name])  # somebody else asks in between
    term = mark.penalty(labels)
    chosen = (labels == 0).view(-1, 1, 1, 1)
    weight = native[0].weight.detach().clone().requires_grad_()
    again = functional.conv2d(inputs, weight, native[0].bias.detach(), padding=1)
    expected = -0.5 * ((again * chosen) ** 2).mean()
    assert term.item() == pytest.approx(expected.item(), rel=1e-6)
    term.backward()
    expected.backward()
    found = native[0].weight.grad if kind == "native" else module.parameter(name).grad
    torch.testing.assert_close(found, weight.grad, rtol=1e-4, atol=1e-7)
    with pytest.raises(TrainingError, match="got one that looks at activations; add Watermark"):
        mark.add_gradient()
    with pytest.raises(TrainingError, match="each sample of the batch, got 40 answers; run the"):
        mark.penalty(labels[:3])


def head(names: str, additions: Additions) -> Additions:
    """The same additions for a layer of another name."""
    old = additions.carriers[0]

    def penalty(now: Moment) -> Penalty:
        found = additions.penalty(replace(now, weights={old: now.weights[names]}))
        return replace(found, weights={names: found.weights[old]})

    return replace(additions, carriers=(names,), penalty=penalty)


class Sized:
    """A network as far as `drifting` looks at it."""

    weights: ClassVar = {"fc.w": np.zeros((10, 128), np.float32)}


def test_arrays_of_its_own_go_on_where_a_checkpoint_left_them(fake: Any) -> None:
    fake(lambda network: head("6.weight", drifting(Sized())))  # type: ignore[arg-type]

    def begun() -> tuple[nn.Module, Watermark, Any]:
        model = network()
        mark = Watermark(model, Payload.from_bits("0101"), seed=1)
        return model, mark, torch.optim.SGD(model.parameters(), lr=0.01)

    def steps(mark: Watermark, optimizer: Any, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            mark.penalty().backward()
            optimizer.step()

    model, mark, optimizer = begun()
    steps(mark, optimizer, 3)
    saved = mark.state_dict(), {n: v.clone() for n, v in model.state_dict().items()}
    steps(mark, optimizer, 4)
    other, again, second = begun()
    other.load_state_dict(saved[1])
    again.load_state_dict(saved[0])
    steps(again, second, 4)
    assert torch.equal(model[6].weight, other[6].weight)
    assert int(again.state["calls"]) == 7
    assert all(np.array_equal(mark.state[n], again.state[n]) for n in mark.state)
    with pytest.raises(TrainingError, match="expected the state of a watermark, got another; give"):
        again.load_state_dict({"step": 3})


def test_start_values_and_fixed_weights(fake: Any) -> None:
    values = np.arange(1280, dtype=np.float64).reshape(10, 128) / 1280
    fixed = values > 0.5
    fake(lambda network: Additions(start={"6.weight": values}, fixed={"6.weight": fixed}))
    model = network()
    mark = Watermark(model, Payload.from_bits("0101"), seed=1)
    started = values.astype(np.float32)
    assert np.array_equal(model[6].weight.detach().numpy(), started)
    loop(model, mark, 1)
    found = model[6].weight.detach().numpy()
    assert np.array_equal(found[fixed], started[fixed])
    assert np.mean(found[~fixed] != started[~fixed]) > 0.5


@pytest.mark.parametrize("kind", ["native", "onnx"])
def test_the_gradient_of_the_task_elsewhere_disturbs_nothing(
    tmp_path: Path, kind: str, fake: Any
) -> None:
    model: Any = multilayer() if kind == "native" else OnnxModule(dense(tmp_path / "m.onnx"))
    first, last = ("1.weight", "3.weight") if kind == "native" else ("first.w", "last.w")
    found: dict[str, Any] = {}

    def penalty(now: Moment) -> Penalty:
        found["at"] = now.weights[last] + 0.1
        found["slope"] = now.task_gradient({last: found["at"]})[last]
        return Penalty(0.0, {last: np.ones((10, 32))}, {first: np.ones((20, 32))})

    fake(lambda network: Additions(penalty, carriers=(last,), activations=(first,)))
    mark = Watermark(model, Payload.from_bits("0101"), seed=1)
    data, ran = digits(), []
    mark_heard = model.register_forward_hook(lambda *told: ran.append(1))
    model.train()
    inputs, labels = torch.from_numpy(data.inputs[:20]), torch.from_numpy(data.labels[:20])
    model(inputs)
    with pytest.raises(TrainingError, match="expected the batch, whose gradient it asks for, got"):
        mark.penalty(labels)
    model(mark.extend(inputs, labels)[0])
    mark.penalty().backward()
    mark_heard.remove()
    tensors = {n: mark.network.weights[n] for n in (first, last)}
    biases = {x.name: torch.tensor(mark.network.weights[x.name])
              for x in mark.network.layers if x.role != "kernel"}  # fmt: skip
    weight = torch.tensor(found["at"], requires_grad=True)
    one, other = (b for b in biases.values())
    hidden = (inputs.flatten(1) @ torch.tensor(tensors[first]).T + one).relu()
    functional.cross_entropy(hidden @ weight.T + other, labels).backward()
    np.testing.assert_allclose(found["slope"], weight.grad.numpy(), rtol=1e-4, atol=1e-6)
    grads = {n: t.grad for n, t in model.named_parameters() if t.grad is not None}
    # What the method answers of the activations of the loop's own forward reaches the first layer.
    expected = torch.ones(20, 32).T @ inputs.flatten(1)
    stored = next(g for g in grads.values() if g.shape == expected.shape)
    torch.testing.assert_close(stored, expected)


def test_batches_grow_by_own_samples() -> None:
    some = torch.rand(4, 1, 8, 8)
    mark = Watermark(
        network(), Payload.from_bits("10110"), "adi", seed=1, inputs=some, classes=10,
        own_per_batch=3,
    )  # fmt: skip
    own = mark.own_samples.read(np.arange(5))
    seen = []
    for _ in range(5):
        inputs, labels = mark.extend(some.half(), torch.zeros(4, dtype=torch.int32))
        assert (inputs.shape, inputs.dtype) == ((7, 1, 8, 8), torch.float16)
        assert labels.dtype == torch.int32
        seen += labels[4:].tolist()
    assert seen == np.asarray(own.targets).tolist() * 3
    soft = mark.extend(some, torch.zeros(4, 10))[1]
    assert soft[4:].argmax(1).tolist() == own.targets[:3].tolist()
    assert soft[4:].sum(1).tolist() == [1.0, 1.0, 1.0]
    named, _ = mark.extend({"pixels": some}, torch.zeros(4, dtype=torch.int64))
    assert set(named) == {"pixels"}
    assert len(named["pixels"]) == 7
    plain = Watermark(network(), PAYLOAD, seed=1)
    assert plain.extend(some, soft) == (some, soft)
    assert not plain.has_own_samples
    assert plain.own_samples is None


def test_a_frozen_layer_is_chosen_by_nobody_and_refused_where_it_comes_with_a_key() -> None:
    model = network()
    claim = Watermark(model, PAYLOAD, seed=1).claim
    assert claim.key.layers == ("3.weight",)
    model[3].requires_grad_(False)
    assert Watermark(model, Payload.from_hex("c0"), seed=1).key.layers != ("3.weight",)
    with pytest.raises(TrainingError, match="to learn, got one that is frozen"):
        Watermark(model, claim=claim)


def test_what_a_watermark_refuses(fake: Any) -> None:
    model, some = network(), torch.rand(4, 1, 8, 8)
    frozen = network().requires_grad_(False)
    mark = Watermark(model, PAYLOAD, "adi", seed=1, inputs=some, classes=10)
    claim = mark.claim
    cases: list[tuple[type[Exception], Any, str]] = [
        (ConfigurationError, lambda: Watermark(model, PAYLOAD, "adi"), "samples: expected some of"),
        (ConfigurationError, lambda: Watermark(model, PAYLOAD, "block-spread"), "training can put"),
        (InjectionError, lambda: Watermark(frozen, PAYLOAD), "it is a constant, or frozen"),
        (InjectionError, lambda: Watermark(model, PAYLOAD, layer="x"), "name of a layer of this"),
        (TrainingError, lambda: mark.extend(some[..., :4], torch.zeros(4)), "expected samples of"),
        (TrainingError, lambda: mark.extend(some, torch.zeros(4)), "targets: expected () of int64"),
        (TrainingError, lambda: Watermark(model, PAYLOAD, "adi", inputs=some, own_per_batch=0),
         "own_per_batch: expected at least 1, got 0; correct it"),
        (ConfigurationError, lambda: Watermark(model, claim=replace(claim, payload=None)),
         "claim: expected the payload with its key, got the key alone; give a claim that has it"),
        (ConfigurationError, lambda: Watermark(model, claim=replace(claim, key=replace(
            claim.key, method=plugins.create(plugins.Method, plugins.Spec("levels")).spec()))),
         "training: expected a method that training can put in, got levels; leave the"),
    ]  # fmt: skip
    for error, call, message in cases:
        with pytest.raises(error) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    fake(lambda network: pull("nowhere"))
    with pytest.raises(nnw_onnx.NnwError, match="nowhere"):
        Watermark(model, PAYLOAD, seed=1)
