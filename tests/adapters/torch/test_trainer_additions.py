"""What a method adds to a training: penalties, arrays of its own, own samples, fixed weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import Session
from nnw_onnx.kit import evidence, optimizers
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Decodes,
    Epoch,
    Job,
    Key,
    Method,
    Moment,
    Payload,
    Penalty,
    Recipe,
    Samples,
    Spec,
    Suspect,
    Trained,
    Trains,
    Values,
    Weights,
)

from .small_networks import MODELS, Data, convolutional, dense, digits, images, job, linear
from .test_trainer import Kept, same

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

SECRET = bytes(range(32))
PLAIN = Recipe(epochs=1, batch_size=64, learning_rate=0.1, momentum=0, weight_decay=0)


def train(network: OnnxNetwork, data: Data, recipe: Recipe, **changes: Any) -> Trained:
    return TorchTrainer().train(network, job(data, recipe, **changes))


def pull(*layers: str, value: float | None = None) -> Additions:
    """Half the squared distance of each layer from 1."""

    def penalty(now: Moment) -> Penalty:
        assert set(now.weights) == set(layers)
        assert not any(w.flags.writeable for w in now.weights.values())
        distance = {n: np.asarray(w, np.float64) - 1 for n, w in now.weights.items()}
        found = 0.5 * sum(float(np.sum(d**2)) for d in distance.values())
        return Penalty(found if value is None else value, distance)

    return Additions(penalty, carriers=layers)


def test_the_penalty_moves_weights_by_its_own_gradient(tmp_path: Path) -> None:
    """One plain step on constant inputs: the change is that of the loss plus -rate * gradient."""
    network = linear(tmp_path / "m.onnx")
    data = Data(np.zeros((6, 5), np.float32), np.arange(6) % 3)
    recipe = replace(PLAIN, batch_size=6, learning_rate=0.25)
    trained = train(network, data, recipe, additions=pull("w"))
    old = network.weights["w"].astype(np.float64)
    assert old.shape == (3, 5)  # stored as (5, 3): canonical and stored layout differ
    np.testing.assert_allclose(trained.network.weights["w"], old - 0.25 * (old - 1), rtol=1e-6)
    assert trained.epochs[0].penalty == pytest.approx(0.5 * np.sum((old - 1) ** 2), rel=1e-6)


def loud(*layers: str) -> Additions:
    """The mean square of what each layer answers to class 0, times -0.5."""

    def penalty(now: Moment) -> Penalty:
        value, gradients = 0.0, {}
        for name in layers:
            answers = now.activations[name]
            assert not answers.flags.writeable
            chosen = (np.asarray(now.targets) == 0).reshape(-1, *[1] * (answers.ndim - 1))
            values = answers.astype(np.float64) * chosen
            value -= 0.5 * float(np.mean(values**2))
            gradients[name] = -values / values.size
        return Penalty(value, activations=gradients)

    return Additions(penalty, activations=layers)


def test_penalties_on_several_activations_reach_the_weights(tmp_path: Path) -> None:
    """Against the same penalty written in torch, on the same step."""
    network, data = convolutional(tmp_path / "m.onnx"), images(32)
    frozen = replace(PLAIN, batch_norm="freeze")
    plain = train(network, data, frozen).network
    marked = train(network, data, frozen, additions=loud("conv.w", "fc.w"))
    weights = {n: torch.tensor(network.weights[n]).requires_grad_() for n in ("conv.w", "fc.w")}
    first = torch.nn.functional.conv2d(torch.from_numpy(data.inputs), weights["conv.w"], padding=1)
    norm = {k: torch.tensor(network.weights[f"bn.{k}"]) for k in "sbmv"}
    y = torch.nn.functional.batch_norm(first, norm["m"], norm["v"], norm["s"], norm["b"])
    last = y.relu().mean((2, 3)) @ weights["fc.w"].T + torch.tensor(network.weights["fc.b"])
    chosen = torch.from_numpy(data.labels == 0)
    value = -0.5 * ((first * chosen.view(-1, 1, 1, 1)) ** 2).mean()
    value = value - 0.5 * ((last * chosen.view(-1, 1)) ** 2).mean()
    value.backward()
    for name, weight in weights.items():
        moved = marked.network.weights[name] - plain.weights[name]
        np.testing.assert_allclose(moved, -0.1 * weight.grad.numpy(), rtol=1e-3, atol=1e-6)
    assert marked.epochs[0].penalty == pytest.approx(value.item(), rel=1e-5)


def drifting(network: OnnxNetwork) -> Additions:
    """A centre of its own follows a layer by Adam; the layer is drawn to the centre."""

    def penalty(now: Moment) -> Penalty:
        apart = np.asarray(now.weights["fc.w"], np.float64) - now.state["centre"]
        state = optimizers.adam(now.state, {"centre": -apart}, 0.01)
        counted = {"calls": now.state["calls"] + 1}
        assert int(now.state["calls"]) == now.step
        return Penalty(0.5 * float(np.sum(apart**2)), {"fc.w": apart}, state={**state, **counted})

    centre = np.zeros(network.weights["fc.w"].shape)
    state = {**optimizers.adam_state({"centre": centre}), "calls": np.zeros((), np.int64)}
    return Additions(penalty, carriers=("fc.w",), state=state)


@pytest.mark.parametrize("after", [1, 2])
def test_arrays_of_its_own_are_kept_and_taken_up_again(tmp_path: Path, after: int) -> None:
    network, data = convolutional(tmp_path / "m.onnx", dropout=0.2), images(60)
    recipe = Recipe(epochs=2.5, batch_size=16, augmentation="crop-flip")
    additions = replace(
        drifting(network), samples=images(5, seed=3).samples, fixed={"conv.w": mask(network)}
    )
    wanted = job(data, recipe, 5, additions=additions)
    whole, kept = TorchTrainer().train(network, wanted), Kept()
    assert int(whole.state["calls"]) == whole.batches == 10
    assert np.abs(whole.state["centre"]).max() > 0.01
    assert int(additions.state["calls"]) == 0

    def stop(epoch: Epoch) -> None:
        if epoch.number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TorchTrainer().train(network, wanted, checkpoint=kept, on_epoch=stop)
    resumed = TorchTrainer().train(network, wanted, checkpoint=kept)
    assert same(whole.network, resumed.network)
    assert whole.epochs == resumed.epochs
    assert set(whole.state) == set(resumed.state)
    for name, values in whole.state.items():
        assert values.tobytes() == resumed.state[name].tobytes()


def mask(network: OnnxNetwork) -> NDArray[np.bool_]:
    """Every third weight of the first kernel."""
    shape = network.weights["conv.w"].shape
    return np.arange(np.prod(shape)).reshape(shape) % 3 == 0


def test_fixed_weights_stay_and_start_values_are_where_it_begins(tmp_path: Path) -> None:
    """With momentum and decay, which move weights without a gradient too; in canonical layout."""
    network, data = linear(tmp_path / "m.onnx"), Data(np.ones((6, 5), np.float32), np.arange(6) % 3)
    start = np.arange(15, dtype=np.float64).reshape(3, 5) / 8
    fixed = start > 1
    additions = Additions(start={"w": start}, fixed={"w": fixed})
    recipe = Recipe(epochs=4, batch_size=6, learning_rate=0.1, weight_decay=0.1)
    trained = train(network, data, recipe, additions=additions).network
    found = trained.weights["w"]
    assert np.array_equal(found[fixed], start[fixed])
    assert not np.any(found[~fixed] == start[~fixed])
    begun = train(network.with_weights({"w": start}), data, recipe).network
    started = train(network, data, recipe, additions=Additions(start={"w": start})).network
    assert same(begun, started)
    assert np.array_equal(network.weights["w"], linear(tmp_path / "m.onnx").weights["w"])


def probing(found: dict[str, Array], at: Weights) -> Additions:
    """A penalty that asks for the gradient of the task elsewhere, and adds nothing."""

    def penalty(now: Moment) -> Penalty:
        if not found and len(now.own):
            found.update(now.task_gradient(at))
            found["activations"] = now.activations["conv.w"].copy()
        return Penalty(0.0)

    return Additions(penalty, activations=("conv.w",))


def test_the_gradient_of_the_task_elsewhere_disturbs_nothing(tmp_path: Path) -> None:
    """Against torch alone, on the same batch; the training goes on as without asking."""
    network, data = convolutional(tmp_path / "m.onnx"), images(32)
    recipe = replace(PLAIN, batch_size=32, epochs=2)
    at = {"conv.w": network.weights["conv.w"] + np.float32(0.1)}
    found: dict[str, Array] = {}
    asked = train(network, data, recipe, additions=probing(found, at))
    assert same(asked.network, train(network, data, recipe).network)
    weights = torch.tensor(at["conv.w"], requires_grad=True)
    norm = {k: torch.tensor(network.weights[f"bn.{k}"]) for k in "sbmv"}
    head = {k: torch.tensor(network.weights[f"fc.{k}"]) for k in "wb"}
    x = torch.nn.functional.conv2d(torch.from_numpy(data.inputs), weights, padding=1)
    x = torch.nn.functional.batch_norm(x, norm["m"], norm["v"], norm["s"], norm["b"], True)
    scores = x.relu().mean((2, 3)) @ head["w"].T + head["b"]
    torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.labels)).backward()
    np.testing.assert_allclose(found["conv.w"], weights.grad.numpy(), rtol=1e-3, atol=1e-6)


def test_own_samples_count_as_samples_of_the_batch(tmp_path: Path) -> None:
    """With one batch of everything the step is that of a plain training on both together."""
    network, data, own = convolutional(tmp_path / "m.onnx"), images(24), images(8, seed=3)
    recipe = Recipe(epochs=2, batch_size=24, learning_rate=0.1, own_per_batch=8)
    both = Data(
        np.concatenate([data.inputs, own.inputs]), np.concatenate([data.labels, own.labels])
    )
    additions = Additions(samples=own.samples)
    marked = train(network, data, recipe, additions=additions)
    plain = train(network, both, replace(recipe, batch_size=32)).network
    for layer in network.layers:
        np.testing.assert_allclose(
            marked.network.weights[layer.name], plain.weights[layer.name], rtol=1e-3, atol=1e-6
        )
    assert marked.epochs[-1].penalty is None


def test_a_moment_tells_which_samples_are_its_own(tmp_path: Path) -> None:
    network, data, own = convolutional(tmp_path / "m.onnx"), images(24), images(5, seed=3)
    steps = []

    def penalty(now: Moment) -> Penalty:
        assert now.own.tolist() == [False] * 8 + [True] * 2
        assert len(now.activations["fc.w"]) == 10
        assert np.isin(np.asarray(now.targets)[8:], own.labels).all()
        steps.append(now.step)
        return Penalty(0.0)

    additions = Additions(penalty, activations=("fc.w",), samples=own.samples)
    recipe = Recipe(epochs=2, batch_size=8, own_per_batch=2)
    train(network, data, recipe, additions=additions)
    assert steps == [0, 1, 2, 3, 4, 5]


def test_own_targets_of_another_kind_come_sample_by_sample(tmp_path: Path) -> None:
    """Classes of its own in a distillation."""
    network, own = convolutional(tmp_path / "m.onnx"), images(4, seed=3)
    soft = Data(images(8).inputs, np.full((8, 4), 0.25, np.float32))

    def penalty(now: Moment) -> Penalty:
        assert [np.shape(t) for t in now.targets or ()] == [(4,)] * 8 + [()] * 4
        return Penalty(0.0)

    additions = Additions(penalty, activations=("fc.w",), samples=own.samples)
    recipe = Recipe(epochs=1, batch_size=8, own_per_batch=4)
    train(network, soft, recipe, loss="soft-cross-entropy", temperature=2.0, additions=additions)


@dataclass(frozen=True)
class Bare:
    """A bench of data and of a network that runs in torch."""

    data: Samples
    layers: tuple[str, ...] = ()

    def samples(self, of: str = "task") -> Samples:
        return self.data

    def run(self, network: Any, feeds: Mapping[str, Array], layers: Any = ()) -> Values:
        return OnnxModule(network).run(feeds, layers)


def marked(
    name: str, network: OnnxNetwork, data: Data, size: int, **options: Any
) -> tuple[Trains, Key, Payload]:
    method = plugins.trains(plugins.create(Method, Spec(name, options)))
    assert method is not None
    bench: Any = Bare(data.samples)
    payload = Payload.random(size, np.random.Generator(np.random.PCG64(1)))
    return method, method.make_key(network, size, SECRET, bench), payload


METHODS: list[tuple[str, int, Recipe, dict[str, Any]]] = [
    ("uchida", 64, Recipe(epochs=6, batch_size=64, learning_rate=0.05), {"strength": 0.05}),
    ("adi", 20, Recipe(epochs=8, batch_size=64, learning_rate=0.1, own_per_batch=10), {}),
    ("deepsigns", 8, Recipe(epochs=12, batch_size=32, learning_rate=0.1), {"closeness": 0.5}),
]


@pytest.mark.parametrize(("name", "size", "recipe", "options"), METHODS)
def test_a_watermark_is_in_after_a_short_training(
    tmp_path: Path, name: str, size: int, recipe: Recipe, options: dict[str, Any]
) -> None:
    """One of weights, one of own samples, and one of activations with arrays of its own."""
    network, data = open_network(MODELS / "digits" / "cnn-1.onnx"), digits()
    if name == "deepsigns":
        network = dense(tmp_path / "m.onnx")
    method, key, payload = marked(name, network, data, size, **options)
    assert isinstance(method, Decodes)

    def errors(suspect: Suspect) -> float:
        return payload.errors(method.decode(suspect, key).payload) / size  # type: ignore[attr-defined]

    before = errors(OnnxModule(network))
    additions = method.additions(network, payload, key)
    trained = TorchTrainer().train(
        network,
        job(data, recipe, additions=additions, watch=lambda now: errors(OnnxModule(now))),  # type: ignore[arg-type]
    )
    assert before > 0.2
    assert trained.epochs[-1].watched == 0
    assert set(trained.state) == set(additions.state)
    assert trained.epochs[-1].loss < 0.4
    read = method.decode(OnnxModule(trained.network), key).payload  # type: ignore[arg-type]
    assert evidence.matched(read, payload).decided(0.01)
    (scores,) = Session(trained.network.runnable()).predict(data.inputs).values()  # type: ignore[attr-defined]
    assert np.mean(scores.argmax(1) == data.labels) > 0.9


def refused(network: OnnxNetwork) -> list[tuple[Additions, dict[str, Any], str]]:
    shape = network.weights["conv.w"].shape

    def answering(**found: Any) -> Callable[[Moment], Penalty]:
        return lambda now: Penalty(0.0, **found)

    wrong = images(8, classes=9)
    return [
        (pull("gone"), {}, "expected a network with the layer 'gone' of the key, got one without"),
        (Additions(fixed={"gone": np.ones(3, bool)}), {}, "the layer 'gone' of the key, got one"),
        (pull("conv.w"), {"trainable": ("fc.w",)}, "expected layer 'conv.w' to learn, got one"),
        (pull("conv.w", value=float("nan")), {}, "expected a penalty that is a number, got nan"),
        (Additions(samples=wrong.samples), {}, "labels of the own samples: expected classes"),
        (Additions(answering(weights={"fc.w": np.zeros((4, 16))}), carriers=("conv.w",)), {},
         "gradients of the weights that the method asked for, got one of 'fc.w'; name the layer"),
        (Additions(answering(weights={"conv.w": np.zeros((4, 16))}), carriers=("conv.w",)), {},
         "expected an array (16, 3, 3, 3) for layer 'conv.w', got one (4, 16); keep the canonical"),
        (Additions(answering(activations={"fc.w": np.zeros((3, 4))}), activations=("fc.w",)), {},
         "expected an array (16, 4) for layer 'fc.w', got one (3, 4)"),
        (Additions(start={"conv.w": np.zeros(shape[1:])}), {}, "(16, 3, 3, 3) for layer 'conv.w'"),
        (Additions(start={"bn.x": np.ones(1)}), {}, "a network with the layer 'bn.x' of the key"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(10))
def test_what_cannot_be_added(tmp_path: Path, number: int) -> None:
    network = convolutional(tmp_path / "m.onnx")
    additions, changes, message = refused(network)[number]
    with pytest.raises(TrainingError) as caught:
        train(network, images(16), Recipe(batch_size=16), additions=additions, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_payload_is_refused(tmp_path: Path) -> None:
    """The payload is in no field of the additions, but in what they answer."""
    network, data, kept = open_network(MODELS / "digits" / "cnn-0.onnx"), digits(), Kept()
    method, key, payload = marked("uchida", network, data, 16)
    recipe = Recipe(epochs=0.2, batch_size=64)
    other = Payload(tuple(1 - s for s in payload.symbols))

    def wanted(carried: Payload) -> Job:
        return job(data, recipe, additions=method.additions(network, carried, key))

    TorchTrainer().train(network, wanted(payload), checkpoint=kept)
    TorchTrainer().train(network, wanted(payload), checkpoint=kept)
    with pytest.raises(TrainingError, match="got one with another watermark; remove the checkp"):
        TorchTrainer().train(network, wanted(other), checkpoint=kept)
