"""The trainer: against numpy and native loops; repeatability, checkpoints, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nnw_onnx import plugins
from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.testing.array_training import small_network
from nnw_onnx.vocabulary import (
    Additions,
    Batch,
    Epoch,
    Job,
    Recipe,
    Samples,
    Spec,
    Trained,
    Trainer,
)

from .small_networks import Data, convolutional, images, job, linear, normal

torch = pytest.importorskip("torch")

from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

FULL_BATCH = Recipe(epochs=6, batch_size=1000, learning_rate=0.1, schedule="constant")


@dataclass
class Kept:
    """A checkpoint in memory."""

    arrays: Mapping[str, NDArray[Any]] | None = None
    saved: int = field(default=0)

    def load(self) -> Mapping[str, NDArray[Any]] | None:
        return self.arrays

    def save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays, self.saved = arrays, self.saved + 1


def vectors(n: int = 12, classes: int = 3) -> Data:
    return Data(normal(n, 5, seed=5), np.arange(n, dtype=np.int64) % classes, classes)


def train(network: OnnxNetwork, wanted: Job, **how: Any) -> Trained:
    return TorchTrainer().train(network, wanted, **how)


def same(one: OnnxNetwork, other: OnnxNetwork) -> bool:
    return all(one.weights[x.name].tobytes() == other.weights[x.name].tobytes() for x in one.layers)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def descend(
    network: OnnxNetwork, data: Data, recipe: Recipe, targets: NDArray[Any], heat: float = 1
) -> tuple[dict[str, NDArray[np.float64]], list[float]]:
    """Full-batch training of x W + b written with its gradients, in float64; and its losses."""
    kernel = next(x.name for x in network.layers if x.role == "kernel")
    bias = next(x.name for x in network.layers if x.role != "kernel")
    w = {n: network.weights[n].astype(np.float64) for n in (kernel, bias)}
    first = {n: np.zeros_like(v) for n, v in w.items()}
    second = {n: np.zeros_like(v) for n, v in w.items()}
    x, losses = data.inputs.astype(np.float64), []
    for step in range(int(recipe.epochs)):
        p = softmax((x @ w[kernel].T + w[bias]) / heat)
        losses.append(-(heat**2) * float(np.mean(np.sum(targets * np.log(p), 1))))
        delta = heat * (p - targets) / len(x)
        gradient = {kernel: delta.T @ x + recipe.weight_decay * w[kernel], bias: delta.sum(0)}
        for n, g in gradient.items():
            if recipe.optimizer == "sgd":
                first[n] = recipe.momentum * first[n] + g
                change = g + recipe.momentum * first[n] if recipe.nesterov else first[n]
            else:
                first[n] = 0.9 * first[n] + 0.1 * g
                second[n] = 0.999 * second[n] + 0.001 * g**2
                root = np.sqrt(second[n] / (1 - 0.999 ** (step + 1))) + 1e-8
                change = first[n] / (1 - 0.9 ** (step + 1)) / root
            w[n] = w[n] - recipe.learning_rate * change
    return w, losses


@pytest.mark.parametrize(
    "recipe",
    [
        FULL_BATCH,
        replace(FULL_BATCH, nesterov=False, weight_decay=0.1),
        replace(FULL_BATCH, momentum=0.0),
        replace(FULL_BATCH, optimizer="adam", weight_decay=0.1),
        replace(FULL_BATCH, label_smoothing=0.2),
    ],
)
@pytest.mark.parametrize("ends", [False, True])
def test_steps_are_those_of_the_closed_form(tmp_path: Path, recipe: Recipe, ends: bool) -> None:
    network, data = linear(tmp_path / "m.onnx", softmax=ends), vectors()
    smooth = recipe.label_smoothing
    targets = (1 - smooth) * np.eye(3)[data.labels] + smooth / 3
    expected, losses = descend(network, data, recipe, targets)
    trained = train(network, job(data, recipe))
    for name, values in expected.items():
        np.testing.assert_allclose(trained.network.weights[name], values, rtol=2e-5, atol=2e-6)
    assert [e.loss for e in trained.epochs] == pytest.approx(losses, rel=1e-5)
    assert [e.number for e in trained.epochs] == [1, 2, 3, 4, 5, 6]
    assert trained.batches == 6
    assert trained.device == "cpu"
    assert trained.device_peak_bytes is None


@pytest.mark.parametrize("heat", [1.0, 3.0])
def test_soft_targets_are_learned_at_their_temperature(tmp_path: Path, heat: float) -> None:
    network, data = linear(tmp_path / "m.onnx"), vectors()
    targets = softmax(normal(12, 3, seed=8).astype(np.float64))
    expected, losses = descend(network, data, FULL_BATCH, targets, heat)
    soft = replace(data, labels=targets.astype(np.float32))
    trained = train(network, job(soft, FULL_BATCH, 0, "soft-cross-entropy", temperature=heat))
    for name, values in expected.items():
        np.testing.assert_allclose(trained.network.weights[name], values, rtol=2e-5, atol=2e-6)
    assert [e.loss for e in trained.epochs] == pytest.approx(losses, rel=1e-5)


class Native(torch.nn.Module):
    """`convolutional`, written in torch."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(16)
        self.fc = torch.nn.Linear(16, 4)
        given = {"conv.weight": "conv.w", "norm.weight": "bn.s", "norm.bias": "bn.b",
                 "norm.running_mean": "bn.m", "norm.running_var": "bn.v",
                 "fc.weight": "fc.w", "fc.bias": "fc.b"}  # fmt: skip
        state = {k: torch.tensor(weights[v]) for k, v in given.items()}
        self.load_state_dict(state, strict=False)
        self.names = {v: k for k, v in given.items()}

    def forward(self, x: Any) -> Any:
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def test_batch_statistics_are_those_of_a_native_module(tmp_path: Path) -> None:
    network, data = convolutional(tmp_path / "m.onnx"), images()
    recipe = replace(FULL_BATCH, epochs=4, weight_decay=0.01)
    native = Native(network.weights).train()
    decayed = [p for p in native.parameters() if p.ndim > 1]
    rest = [p for p in native.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(4):
        scores = native(torch.from_numpy(data.inputs))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.labels)).backward()
        optimizer.step()
    trained = train(network, job(data, recipe)).network
    state = native.state_dict()
    for name, theirs in native.names.items():
        np.testing.assert_allclose(
            trained.weights[name], state[theirs].numpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


FC = normal(4, 16, seed=4)
LONG = Recipe(epochs=2.5, batch_size=16, augmentation="crop-flip", schedule="triangular")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_seed_is_a_training(tmp_path: Path, optimizer: Any) -> None:
    network = convolutional(tmp_path / "m.onnx", dropout=0.3)
    wanted = job(images(), replace(LONG, optimizer=optimizer), 5)
    torch.manual_seed(1)
    first = train(network, wanted)
    torch.manual_seed(2)
    second = train(network, wanted)
    assert same(first.network, second.network)
    assert first.epochs == second.epochs
    assert not same(first.network, train(network, replace(wanted, seed=6)).network)
    # 60 samples make 4 batches, 2.5 epochs 10 steps
    assert (first.batches, len(first.epochs)) == (10, 3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_training_ends_the_same(tmp_path: Path, optimizer: Any, after: int) -> None:
    network = convolutional(tmp_path / "m.onnx", dropout=0.3)
    wanted = job(images(), replace(LONG, optimizer=optimizer), 5)
    whole, kept, told = train(network, wanted), Kept(), []

    def stop(epoch: Epoch) -> None:
        if epoch.number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network, wanted, checkpoint=kept, on_epoch=stop)
    resumed = train(network, wanted, checkpoint=kept, on_epoch=told.append)
    assert same(whole.network, resumed.network)
    assert resumed.epochs == whole.epochs
    assert [e.number for e in told] == list(range(after + 1, 4))
    assert resumed.batches == whole.batches
    again = train(network, wanted, checkpoint=kept)
    assert same(whole.network, again.network)
    assert kept.saved == 3


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    network, kept = convolutional(tmp_path / "m.onnx"), Kept()
    wanted = job(images(), replace(LONG, epochs=1), 5)
    trained = train(network, wanted, checkpoint=kept)
    others = {
        "seed": (network, replace(wanted, seed=6)),
        "recipe": (network, replace(wanted, recipe=replace(wanted.recipe, momentum=0.8))),
        "samples": (network, replace(wanted, samples=images(64).samples)),
        "layers that learn": (network, replace(wanted, trainable=("fc.w",))),
        "loss": (network, replace(wanted, loss="mse")),
        "watermark": (network, replace(wanted, additions=Additions(fixed={"fc.w": FC > 0}))),
        "network": (trained.network, wanted),
    }
    for what, (start, other) in others.items():
        with pytest.raises(TrainingError) as caught:
            train(start, other, checkpoint=kept)
        assert str(caught.value) == (
            f"checkpoint: expected one of this training, got one with another {what}; remove the "
            "checkpoint or repeat the training it is of"
        )


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    network, kept = convolutional(tmp_path / "m.onnx"), Kept()
    wanted = job(images(), replace(LONG, epochs=1), 5)
    train(network, wanted, checkpoint=kept)
    whole = dict(kept.arrays or {})
    start = "; remove the checkpoint and train from the start"
    for change, message in (
        ({"job": np.zeros(3, np.uint8)}, "got arrays without its description" + start),
        ({"weights:fc.w": np.zeros((2, 2), np.float32)}, "with another shape (2, 2)" + start),
        ({"optimizer.momentum_buffer:fc.w": np.zeros((4, 16), "U1")}, start),
        ({"epochs": np.zeros(3)}, start),
    ):
        with pytest.raises(TrainingError) as caught:
            train(network, wanted, checkpoint=Kept({**whole, **change}))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_global_is_left_behind(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    wanted = job(images(), LONG, 5)
    TorchTrainer(threads=2).train(convolutional(tmp_path / "m.onnx", dropout=0.2), wanted)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_each_step_is_told(tmp_path: Path) -> None:
    steps = []
    wanted = job(images(49), Recipe(epochs=2, batch_size=16), 5)
    trained = train(convolutional(tmp_path / "m.onnx"), wanted, on_batch=lambda: steps.append(1))
    # the 49th sample alone has no batch statistics
    assert len(steps) == trained.batches == 6


def test_only_the_layers_asked_for_learn(tmp_path: Path) -> None:
    network = convolutional(tmp_path / "m.onnx")
    trained = train(network, job(images(), LONG, 5, trainable=("fc.w",))).network
    changed = [
        x.name for x in network.layers
        if trained.weights[x.name].tobytes() != network.weights[x.name].tobytes()
    ]  # fmt: skip
    assert changed == ["fc.w"]
    frozen = replace(LONG, batch_norm="freeze")
    trained = train(network, job(images(), frozen, 5)).network
    for name in ("bn.m", "bn.v"):
        assert np.array_equal(trained.weights[name], network.weights[name])
    assert not np.array_equal(trained.weights["bn.s"], network.weights["bn.s"])


def test_bfloat16_and_memory_order_train_alike(tmp_path: Path) -> None:
    network, data = convolutional(tmp_path / "m.onnx"), images()
    wanted = job(data, Recipe(epochs=3, batch_size=16, learning_rate=0.1), 5)
    usual = train(network, wanted)
    half = train(network, replace(wanted, recipe=replace(wanted.recipe, precision="bfloat16")))
    flat = TorchTrainer(memory_format="contiguous").train(network, wanted)
    assert not same(usual.network, half.network)
    for other, tolerance in ((half, 0.05), (flat, 1e-4)):
        assert other.epochs[-1].loss == pytest.approx(usual.epochs[-1].loss, rel=tolerance)
    assert usual.epochs[-1].loss < usual.epochs[0].loss


def test_the_plug_in_is_found_and_checked(tmp_path: Path) -> None:
    made = plugins.create(Trainer, Spec("torch", {"threads": 1}))
    assert isinstance(made, TorchTrainer)
    made.check()
    assert [o.name for o in plugins.options(TorchTrainer)] == [
        "device", "threads", "memory_format", "deterministic", "cuda_graphs",
    ]  # fmt: skip
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="expected a CUDA device, got none that torch"):
            TorchTrainer(device="cuda").check()


def refusals(path: Path) -> list[tuple[Any, Job, str]]:
    network, data = linear(path), vectors()
    wanted = job(data, FULL_BATCH)
    wrong = replace(data, labels=data.labels + 1)
    soft = replace(data, labels=np.ones((12, 4), np.float32))
    few = job(replace(data, inputs=data.inputs[:0], labels=data.labels[:0]), FULL_BATCH)
    huge = replace(data, inputs=data.inputs * np.float32(1e30))
    ragged = ArraySamples({"x": data.inputs}, [np.zeros(1 + k % 2) for k in range(12)])
    smooth = replace(FULL_BATCH, label_smoothing=0.1)
    two = ArraySamples({"a": data.inputs, "b": data.inputs}, data.labels)
    return [
        (network, job(wrong, FULL_BATCH), "labels: expected classes from 0 to 2, got 1 to 3"),
        (network, few, "data: expected samples to train on, got none; correct the data"),
        (network, replace(wanted, output=1), "output: expected an index below 1, got 1; choose"),
        (network, replace(wanted, trainable=("W",)), "got 'W'"),
        (network, replace(wanted, trainable=()), "expected at least one layer of floating-point"),
        (network, job(soft, FULL_BATCH, loss="soft-cross-entropy"), "of the shape of the scores"),
        (network, job(soft, FULL_BATCH), "expected classes as integers, got an output (12, 3)"),
        (network, job(soft, FULL_BATCH, loss="mse"), "targets of the shape of the output for mse"),
        (network, job(huge, replace(FULL_BATCH, learning_rate=100.0, epochs=500)),
         "choose a smaller learning rate"),
        (network, job(replace(data, inputs=normal(12, 6)), FULL_BATCH),
         "got an error of torch (mat1 and mat2 shapes"),
        (network, job(data, replace(FULL_BATCH, augmentation="crop")), "(n, c, h, w)"),
        (network, replace(wanted, samples=ragged), "targets: expected numbers of one shape"),
        (network, replace(wanted, samples=two), "expected feeds for the inputs x, got a, b; give"),
        (network, job(data, smooth, loss="mse"), "label_smoothing: expected 0 for the loss 'mse'"),
        (small_network(), wanted, "network: expected one of an ONNX file, got a ArrayNetwork"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(15))
def test_what_cannot_be_trained(tmp_path: Path, number: int) -> None:
    network, wanted, message = refusals(tmp_path / "m.onnx")[number]
    with pytest.raises(TrainingError) as caught:
        train(network, wanted)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Lazy(Samples):
    """Samples that note what is read of them, and hold nothing."""

    def __init__(self) -> None:
        self.read_together: list[int] = []

    @property
    def digest(self) -> str:
        return "lazy"

    def __len__(self) -> int:
        return 10**9

    def read(self, indices: NDArray[np.int64]) -> Batch:
        self.read_together.append(len(indices))
        values = np.sin(indices[:, None] * np.arange(1, 6)).astype(np.float64)
        return Batch({"x": values}, indices % 3)


def test_samples_are_read_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion samples, of which only those of the steps are read; float64 becomes float32."""
    lazy = Lazy()
    monkeypatch.setattr(torch, "randperm", lambda n, generator: torch.arange(1000) * (n // 1000))
    recipe = Recipe(epochs=3 / (10**9 / 8), batch_size=8)
    trained = train(linear(tmp_path / "m.onnx"), Job(lazy, recipe, "cross-entropy", 0))
    assert trained.batches == 3
    assert lazy.read_together == [8, 8, 8]


def two_inputs(path: Path) -> OnnxNetwork:
    """Scores of token ids and of features, added: an embedding's mean and x W."""
    nodes = [
        helper.make_node("Gather", ["e", "ids"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["m", "p"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4]),
         helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(normal(7, 3, seed=1), "e"),
         numpy_helper.from_array(normal(5, 3, seed=2), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return open_network(path)


@pytest.mark.parametrize("names", [("ids", "x"), ("x", "ids"), ("first", "second")])
def test_several_inputs_of_any_type(tmp_path: Path, names: tuple[str, str]) -> None:
    """By name in any order, or by place; one step against the gradient written in numpy."""
    network = two_inputs(tmp_path / "m.onnx")
    ids = np.arange(24).reshape(6, 4) % 7
    x, labels = normal(6, 5, seed=3), np.arange(6) % 3
    by_name = {"ids": ids, "x": x, "first": ids, "second": x}
    samples = ArraySamples({name: by_name[name] for name in names}, labels)
    recipe = Recipe(epochs=1, batch_size=6, learning_rate=0.5, momentum=0, weight_decay=0)
    trained = train(network, Job(samples, recipe, "cross-entropy", 0)).network
    e, w = network.weights["e"].astype(float), network.weights["w"].T.astype(float)
    delta = (softmax(e[ids].mean(1) + x @ w) - np.eye(3)[labels]) / 6
    slope = np.zeros_like(e)
    for row, tokens in zip(delta, ids, strict=True):
        np.add.at(slope, tokens, row / 4)
    np.testing.assert_allclose(trained.weights["e"], e - 0.5 * slope, atol=1e-6)
    np.testing.assert_allclose(trained.weights["w"].T, w - 0.5 * x.T @ delta, atol=1e-6)


def test_each_epoch_is_watched(tmp_path: Path) -> None:
    seen: list[float] = []

    def watch(network: Any) -> float:
        assert isinstance(network, OnnxNetwork)
        seen.append(float(network.weights["w"].sum()))
        return seen[-1]

    trained = train(linear(tmp_path / "m.onnx"), job(vectors(), FULL_BATCH, watch=watch))
    assert [e.watched for e in trained.epochs] == seen
    assert len(set(seen)) == 6
    assert seen[-1] == float(trained.network.weights["w"].sum())


@pytest.mark.parametrize("ends", [False, True])
def test_the_gradient_by_inputs_is_that_of_finite_differences(tmp_path: Path, ends: bool) -> None:
    network, data = linear(tmp_path / "m.onnx", softmax=ends), vectors(3)
    told = TorchTrainer().gradient(network, {"x": data.inputs}, data.labels, "cross-entropy")
    (slope,) = told.values()
    session = Session(network.runnable())

    def loss(inputs: NDArray[np.float32]) -> float:
        (scores,) = session.predict({"x": inputs}).values()
        p = scores if ends else softmax(scores.astype(float))
        return -float(np.mean(np.log(p[np.arange(3), data.labels])))

    for place in np.ndindex(*data.inputs.shape):
        way = np.zeros_like(data.inputs)
        way[place] = 1e-2
        rise = loss(data.inputs + way) - loss(data.inputs - way)
        assert rise / 2e-2 == pytest.approx(float(slope[place]), rel=1e-3, abs=1e-4)


def test_the_gradient_is_that_of_inputs_of_real_numbers(tmp_path: Path) -> None:
    network = two_inputs(tmp_path / "m.onnx")
    feeds = {"ids": np.zeros((2, 4), np.int64), "x": normal(2, 5)}
    found = TorchTrainer().gradient(network, feeds, np.zeros(2, np.int64), "cross-entropy")
    assert list(found) == ["x"]
    with pytest.raises(TrainingError, match="output: expected an index below 1, got 2; choose"):
        TorchTrainer().gradient(network, feeds, np.zeros(2, np.int64), "cross-entropy", 2)
