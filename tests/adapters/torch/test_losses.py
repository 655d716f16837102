"""The losses, against what numpy makes of their definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Loss, Recipe

from .small_networks import Data, job, normal, saved

torch = pytest.importorskip("torch")

from nnw_onnx_torch.training.losses import loss_of  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

Numbers = NDArray[np.float64]


def log_softmax(scores: Numbers) -> Numbers:
    """Over the last axis."""
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def entropy(scores: Numbers, classes: NDArray[np.int64], smoothing: float = 0.0) -> float:
    """Mean over the places whose class is not negative; scores (..., classes)."""
    logs, count = log_softmax(scores), scores.shape[-1]
    wanted = np.eye(count)[np.maximum(classes, 0)] * (1 - smoothing) + smoothing / count
    each = -(wanted * logs).sum(-1)
    return float(each[classes >= 0].mean()) if (classes >= 0).any() else 0.0


def told(name: Loss, output: Numbers, targets: np.ndarray, **how: float) -> float:
    return float(loss_of(name, torch.from_numpy(output), torch.from_numpy(targets), **how))


def scores(*shape: int) -> Numbers:
    return 3 * normal(*shape, seed=3).astype(np.float64)


def classes(*shape: int, count: int = 5, low: int = 0) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(1)).integers(low, count, shape)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("low", [0, -2])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(shape: tuple[int, ...], low: int, smoothing: float) -> None:
    """Of any number of places; those of negative classes do not count."""
    output, targets = scores(6, 5, *shape), classes(6, *shape, low=low)
    expected = entropy(np.moveaxis(output, 1, -1), targets, smoothing)
    found = told("cross-entropy", output, targets, label_smoothing=smoothing)
    assert found == pytest.approx(expected, rel=1e-12)


def test_nothing_that_counts_is_nothing_to_learn() -> None:
    output = torch.from_numpy(scores(3, 5)).requires_grad_()
    loss = loss_of("cross-entropy", output, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(output.grad, torch.zeros(3, 5, dtype=torch.float64))


def test_axes_of_one_element_do_not_matter() -> None:
    output, targets = scores(6, 5, 1, 1), classes(6)
    assert told("cross-entropy", output, targets) == told(
        "cross-entropy", output[..., 0, 0], targets
    )
    assert told("mse", scores(6, 1), scores(6)) == 0


@pytest.mark.parametrize("heat", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(), (3, 4)])
def test_soft_cross_entropy(heat: float, shape: tuple[int, ...]) -> None:
    output = scores(6, 5, *shape)
    wanted = np.exp(log_softmax(np.moveaxis(scores(6, 5, *shape)[::-1], 1, -1)))
    expected = -(wanted * log_softmax(np.moveaxis(output, 1, -1) / heat)).sum(-1).mean() * heat**2
    found = told("soft-cross-entropy", output, np.moveaxis(wanted, -1, 1).copy(), temperature=heat)
    assert found == pytest.approx(expected, rel=1e-12)


def test_classes_are_learned_hard_beside_soft_targets() -> None:
    """At a temperature too, which is that of the teacher's answers."""
    output, targets = scores(6, 5), classes(6)
    found = told("soft-cross-entropy", output, targets, temperature=4.0)
    assert found == pytest.approx(entropy(output, targets), rel=1e-12)


@pytest.mark.parametrize("low", [0, -2])
def test_next_token(low: int) -> None:
    output, tokens = scores(3, 7, 5), classes(3, 7, low=low)
    found = told("next-token", output, tokens)
    assert found == pytest.approx(entropy(output[:, :-1], tokens[:, 1:]), rel=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (3, 4)])
def test_losses_of_each_element(shape: tuple[int, ...]) -> None:
    output, targets = scores(6, *shape), np.random.Generator(np.random.PCG64(2)).random((6, *shape))
    assert told("mse", output, targets) == pytest.approx(np.mean((output - targets) ** 2))
    assert told("mae", output, targets) == pytest.approx(np.mean(np.abs(output - targets)))
    p = 1 / (1 + np.exp(-output))
    expected = -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    assert told("bce", output, targets) == pytest.approx(expected)
    assert told("bce", output, (targets > 0.5).astype(np.int64)) == pytest.approx(
        -np.mean(np.where(targets > 0.5, np.log(p), np.log(1 - p)))
    )


def test_half_types_are_summed_in_single() -> None:
    output = torch.from_numpy(scores(6, 5)).to(torch.bfloat16)
    found = loss_of("cross-entropy", output, torch.from_numpy(classes(6)))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "output", "targets", "message"),
    [
        ("cross-entropy", (6, 5), (6, 2), "expected scores (n, classes, ...) and classes (n, ...)"),
        ("next-token", (6, 5), (6, 5), "scores (n, length, vocabulary) and token ids (n, length)"),
        ("next-token", (6, 1, 5), (6, 1), "of at least two tokens, got an output (6, 1, 5)"),
        ("mae", (6, 2), (6,), "targets of the shape of the output for mae, got an output (6, 2)"),
    ],
)
def test_what_does_not_fit(
    name: Loss, output: tuple[int, ...], targets: tuple[int, ...], message: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        told(name, scores(*output), classes(*targets))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def ending(path: Path, *ends: onnx.NodeProto) -> OnnxNetwork:
    """A 1 x 1 convolution with an end of one's own."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["p"]), *ends]
    return saved(path, nodes, {"w": normal(5, 3, 1, 1, seed=1)}, ["n", 3, 4, 4])


ENDS: list[tuple[Loss, str, dict[str, int]]] = [
    ("cross-entropy", "Softmax", {"axis": 1}),
    ("cross-entropy", "LogSoftmax", {"axis": 1}),
    ("bce", "Sigmoid", {}),
    ("mse", "Sigmoid", {}),
]


@pytest.mark.parametrize(("loss", "operator", "attributes"), ENDS)
def test_a_network_is_trained_by_its_loss(
    tmp_path: Path, loss: Loss, operator: str, attributes: dict[str, int]
) -> None:
    """One step, against the gradient of the loss of the network's own answers in torch."""
    end = helper.make_node(operator, ["p"], ["y"], **attributes)
    network = ending(tmp_path / "m.onnx", end)
    images = normal(8, 3, 4, 4, seed=5)
    labels: np.ndarray = classes(8, 4, 4, low=-1)
    if loss != "cross-entropy":
        labels = (normal(8, 5, 4, 4, seed=6) > 0).astype(np.float32)
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.5, momentum=0, weight_decay=0)
    wanted = job(Data(images, labels), recipe, loss=loss)
    weights = torch.tensor(network.weights["w"], requires_grad=True)
    answers = torch.nn.functional.conv2d(torch.from_numpy(images), weights)
    targets = torch.from_numpy(labels)
    if loss == "cross-entropy":
        by_hand = torch.nn.functional.cross_entropy(answers, targets, ignore_index=-1)
    elif loss == "bce":
        by_hand = torch.nn.functional.binary_cross_entropy(answers.sigmoid(), targets)
    else:
        by_hand = ((answers.sigmoid() - targets) ** 2).mean()
    by_hand.backward()
    trained = TorchTrainer().train(network, wanted)
    assert trained.epochs[0].loss == pytest.approx(by_hand.item(), rel=1e-5)
    expected = (weights - 0.5 * weights.grad).detach().numpy()
    np.testing.assert_allclose(trained.network.weights["w"], expected, rtol=1e-5, atol=1e-6)


def test_images_of_places_can_be_augmented(tmp_path: Path) -> None:
    """A target that is a channel of the image stays one however the two are cropped."""
    network = ending(tmp_path / "m.onnx", helper.make_node("Identity", ["p"], ["y"]))
    exact = network.with_weights({"w": np.eye(5, 3, dtype=np.float32)[:, :, None, None]})
    images = normal(8, 3, 4, 4, seed=5)
    data = Data(images, np.concatenate([images, 0 * images[:, :2]], 1))
    recipe = Recipe(epochs=2, batch_size=8, augmentation="crop-flip", padding=1, weight_decay=0)
    trained = TorchTrainer().train(exact, job(data, recipe, loss="mse"))
    assert [e.loss for e in trained.epochs] == [0, 0]
    turned = replace(data, labels=data.labels[:, ::-1].copy())
    assert TorchTrainer().train(exact, job(turned, recipe, loss="mse")).epochs[0].loss > 0.1


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_score_of_two_classes(shape: tuple[int, ...], smoothing: float) -> None:
    """Reference: cross-entropy of the scores 0 and z, of which the second has sigmoid(z)."""
    logits, targets = scores(5), np.array([0, 1, 1, -1, 0])
    found = told("cross-entropy", logits.reshape(shape), targets, label_smoothing=smoothing)
    expected = entropy(np.stack([np.zeros(5), logits], axis=1), targets, smoothing)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_network_of_one_probability_learns_classes(tmp_path: Path) -> None:
    """One step, against the gradient of the binary cross-entropy of its own answers in torch."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["y"]),
    ]
    network = saved(tmp_path / "m.onnx", nodes, {"w": normal(6, 1, seed=1)}, ["n", 6])
    inputs, labels = normal(8, 6, seed=5), classes(8, count=2)
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.5, momentum=0, weight_decay=0)
    weights = torch.tensor(network.weights["w"], requires_grad=True)
    answers = (torch.from_numpy(inputs) @ weights.T).sigmoid()[:, 0]
    by_hand = torch.nn.functional.binary_cross_entropy(answers, torch.from_numpy(labels).float())
    by_hand.backward()
    trained = TorchTrainer().train(network, job(Data(inputs, labels), recipe))
    assert trained.epochs[0].loss == pytest.approx(by_hand.item(), rel=1e-5)
    expected = (weights - 0.5 * weights.grad).detach().numpy()
    np.testing.assert_allclose(trained.network.weights["w"], expected, rtol=1e-5, atol=1e-6)


def test_several_probabilities_of_a_sigmoid_are_scores_as_they_are(tmp_path: Path) -> None:
    network = ending(tmp_path / "m.onnx", helper.make_node("Sigmoid", ["p"], ["y"]))
    images, labels = normal(8, 3, 4, 4, seed=5), classes(8, 4, 4)
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.5, momentum=0, weight_decay=0)
    weights = torch.from_numpy(np.array(network.weights["w"]))
    answers = torch.nn.functional.conv2d(torch.from_numpy(images), weights).sigmoid()
    by_hand = torch.nn.functional.cross_entropy(answers, torch.from_numpy(labels))
    trained = TorchTrainer().train(network, job(Data(images, labels), recipe))
    assert trained.epochs[0].loss == pytest.approx(by_hand.item(), rel=1e-5)
