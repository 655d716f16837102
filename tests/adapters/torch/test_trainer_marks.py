"""Watermarks that a training puts in: penalties with their own gradients, and trigger sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.inference import Session
from nnw_onnx.runs.seeds import secret
from nnw_onnx.vocabulary import (
    Decoding,
    Job,
    Key,
    Mark,
    Payload,
    Penalty,
    Recipe,
    Spec,
    TrainingData,
    Weights,
)

from .small_networks import MODELS, convolutional, digits, images, linear

torch = pytest.importorskip("torch")

from nnw_onnx_torch.trainer import TorchTrainer  # noqa: E402 - needs torch

SECRET = secret(11)


@dataclass(frozen=True)
class Pull:
    """A fake method: half the squared distance of each layer from 1, and nothing to decode."""

    name: ClassVar[str] = "pull"
    value: float | None = None

    def weight_penalty(self, weights: Weights, payload: Payload, key: Key) -> Penalty:
        distance = {n: np.asarray(weights[n], np.float64) - 1 for n in key.layers}
        assert all(not weights[n].flags.writeable for n in key.layers)
        value = 0.5 * sum(float(np.sum(d**2)) for d in distance.values())
        return Penalty(value if self.value is None else self.value, distance)

    def decode(self, network: Any, key: Key) -> Decoding:
        return Decoding(Payload((0,) * key.payload_size), (0.0,) * key.payload_size)


class Shout:
    """A fake method: the mean square of what a layer answers to class 0, times -0.5."""

    name = "shout"

    def activation_penalty(
        self, activations: NDArray[Any], labels: NDArray[np.int64], payload: Payload, key: Key
    ) -> Penalty:
        chosen = (labels == 0).reshape(-1, *[1] * (activations.ndim - 1))
        values = activations.astype(np.float64) * chosen
        return Penalty(-0.5 * float(np.mean(values**2)), -values / values.size)

    def decode(self, network: Any, key: Key) -> Decoding:
        return Decoding(Payload((0,) * key.payload_size), (0.0,) * key.payload_size)


def key_of(network: OnnxNetwork, method: str, *layers: str, size: int = 4) -> Key:
    shapes = {x.name: x.shape for x in network.layers}
    return Key(method, SECRET, layers, tuple(shapes.get(n, (1,)) for n in layers), size)


def test_the_penalty_moves_weights_by_its_own_gradient(tmp_path: Path) -> None:
    """One plain step on constant inputs: the change is that of the loss plus -rate * gradient."""
    network = linear(tmp_path / "m.onnx")
    data = TrainingData(np.zeros((6, 5), np.float32), np.arange(6) % 3, 3)
    recipe = Recipe(epochs=1, batch_size=6, learning_rate=0.25, momentum=0, weight_decay=0)
    mark = Mark(Pull(), Payload((0, 1, 0, 1)), key_of(network, "pull", "w"))
    trained = TorchTrainer().train(network, Job(data, recipe, 0, mark=mark))
    old = network.weights["w"].astype(np.float64)
    assert old.shape == (3, 5)  # stored as (5, 3): canonical and stored layout differ
    np.testing.assert_allclose(trained.network.weights["w"], old - 0.25 * (old - 1), rtol=1e-6)
    epoch = trained.epochs[0]
    assert epoch.penalty == pytest.approx(0.5 * np.sum((old - 1) ** 2), rel=1e-6)
    assert epoch.symbol_error_rate == 0.5


def test_the_activation_penalty_reaches_the_weights(tmp_path: Path) -> None:
    """Against the same penalty written in torch, on the same step."""
    network, data = convolutional(tmp_path / "m.onnx"), images(32)
    recipe = Recipe(epochs=1, batch_size=32, learning_rate=0.1, momentum=0, weight_decay=0)
    mark = Mark(Shout(), Payload((0, 1, 0, 1)), key_of(network, "shout", "conv.w"))
    frozen = replace(recipe, batch_norm="freeze")
    plain = TorchTrainer().train(network, Job(data, frozen, 0)).network
    marked = TorchTrainer().train(network, Job(data, frozen, 0, mark=mark))
    weights = torch.tensor(network.weights["conv.w"], requires_grad=True)
    answers = torch.nn.functional.conv2d(torch.from_numpy(data.inputs), weights, padding=1)
    chosen = torch.from_numpy(data.labels == 0).view(-1, 1, 1, 1)
    value = -0.5 * ((answers * chosen) ** 2).mean()
    value.backward()
    moved = marked.network.weights["conv.w"] - plain.weights["conv.w"]
    np.testing.assert_allclose(moved, -0.1 * weights.grad.numpy(), rtol=1e-3, atol=1e-7)
    assert marked.epochs[0].penalty == pytest.approx(value.item(), rel=1e-5)


def uchida(network: OnnxNetwork, size: int = 16) -> Mark:
    method = plugins.create("methods", Spec("uchida", {"strength": 0.05}))
    payload = Payload.random(size, np.random.Generator(np.random.PCG64(1)))
    return Mark(method, payload, method.make_key(network, size, SECRET))


def test_uchida_is_in_after_a_short_training() -> None:
    network = nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx")
    mark = uchida(network, 64)
    assert mark.method.decode(network, mark.key).payload.errors(mark.payload) > 10
    recipe = Recipe(epochs=6, batch_size=64, learning_rate=0.05)
    trained = TorchTrainer().train(network, Job(digits(), recipe, 0, mark=mark))
    assert trained.epochs[-1].symbol_error_rate == 0
    assert trained.epochs[-1].quality > 0.97
    penalties = [e.penalty for e in trained.epochs]
    assert penalties[-1] < 0.5 * penalties[0]
    assert mark.method.decode(trained.network, mark.key).payload.errors(mark.payload) == 0
    detection = mark.method.detect(trained.network, mark.payload, mark.key)
    assert detection.detected


class Answering:
    """A network of an ONNX file as onnxruntime runs it."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.session = Session(network.runnable())

    def infer(self, inputs: NDArray[Any]) -> list[NDArray[Any]]:
        return self.session.predict(inputs)


def adi(network: OnnxNetwork, data: TrainingData, size: int = 20) -> Mark:
    method = plugins.create("methods", Spec("adi"))
    key = method.draw_triggers(method.make_key(network, size, SECRET), data)
    return Mark(method, Payload.random(size, np.random.Generator(np.random.PCG64(1))), key)


def test_a_trigger_set_is_learned_and_counted_apart() -> None:
    network, data = nnw_onnx.open(MODELS / "digits" / "cnn-1.onnx"), digits()
    mark = adi(network, data)
    recipe = Recipe(epochs=8, batch_size=64, learning_rate=0.1, triggers_per_batch=10)
    trained = TorchTrainer().train(network, Job(data, recipe, 0, mark=mark))
    last = trained.epochs[-1]
    assert last.symbol_error_rate == 0
    assert last.penalty is None
    read = mark.method.decode(Answering(trained.network), mark.key).payload
    assert read.errors(mark.payload) == 0
    (scores,) = Session(trained.network.runnable()).predict(data.inputs)
    assert np.mean(scores.argmax(1) == data.labels) == pytest.approx(last.quality, abs=0.01)


def test_triggers_count_as_samples_of_the_batch(tmp_path: Path) -> None:
    """With one batch of everything the step is that of a plain training on samples + triggers."""
    network, data = convolutional(tmp_path / "m.onnx"), images(24)
    mark = adi(network, data, 8)
    recipe = Recipe(epochs=2, batch_size=24, learning_rate=0.1, triggers_per_batch=8)
    inputs, labels = mark.method.triggers(mark.payload, mark.key)
    both = TrainingData(
        np.concatenate([data.inputs, inputs]), np.concatenate([data.labels, labels]), 4
    )
    marked = TorchTrainer().train(network, Job(data, recipe, 0, mark=mark)).network
    plain = TorchTrainer().train(network, Job(both, replace(recipe, batch_size=32), 0)).network
    for layer in network.layers:
        np.testing.assert_allclose(
            marked.weights[layer.name], plain.weights[layer.name], rtol=1e-3, atol=1e-6
        )


def test_what_a_mark_cannot_be_put_into(tmp_path: Path) -> None:
    network, data = convolutional(tmp_path / "m.onnx"), images()
    payload = Payload((0, 1, 0, 1))
    static = plugins.create("methods", Spec("block-spread"))
    away = Mark(Pull(), payload, key_of(network, "pull", "gone"))
    here = Mark(Pull(), payload, key_of(network, "pull", "conv.w"))
    far = replace(adi(network, data), key=adi(network, replace(data, classes=9), 20).key)
    infinite = Mark(Pull(value=float("nan")), payload, here.key)
    cases: list[tuple[Mark, dict[str, Any], str]] = [
        (Mark(static, payload, here.key), {}, "method 'block-spread': expected one that training"),
        (away, {}, "expected a network with the layer 'gone' of the key, got one without"),
        (
            here,
            {"trainable": ("fc.w",)},
            "expected layer 'conv.w' to learn, got one that is frozen",
        ),
        (far, {}, "labels of the triggers: expected classes from 0 to 3, got 0 to 8; use samples"),
        (infinite, {}, "watermark: expected a penalty that is a number, got nan; choose a smaller"),
    ]
    for mark, changes, message in cases:
        with pytest.raises(TrainingError) as caught:
            TorchTrainer().train(network, Job(data, Recipe(), 0, mark=mark, **changes))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_marked_training_is_repeatable(tmp_path: Path) -> None:
    network, data = convolutional(tmp_path / "m.onnx"), images()
    recipe = Recipe(epochs=2, batch_size=16, triggers_per_batch=3)
    for mark in (adi(network, data, 5), uchida(network, 3)):
        runs = [TorchTrainer().train(network, Job(data, recipe, 0, mark=mark)) for _ in range(2)]
        assert runs[0].epochs == runs[1].epochs
        for layer in network.layers:
            one, other = (r.network.weights[layer.name] for r in runs)
            assert one.tobytes() == other.tobytes()
