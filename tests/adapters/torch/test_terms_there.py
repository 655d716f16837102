"""Terms of the loss that are computed where the weights are: as numpy computes them."""

from __future__ import annotations

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx import plugins
from nnw_onnx.errors import NnwError
from nnw_onnx.vocabulary import Additions, Moment, Payload, Penalty

from .small_networks import MODELS, normal

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch
from nnw_onnx_torch.training.additions import Addition, Seen  # noqa: E402 - needs torch

METHODS = ("deepmarks", "neuralmark", "passports", "st-dm", "uchida")
SEEN = Seen({}, None, 0, lambda weights: weights)


@pytest.fixture(scope="module")
def network() -> nnw_onnx.Network:
    return nnw_onnx.open(MODELS / "digits" / "cnn-0.onnx")


def additions_of(network: nnw_onnx.Network, method: str) -> Additions:
    payload = Payload.from_bits("0110100110010110")
    return nnw_onnx.make_mark(network, payload, method=method, seed=3).additions


def found(network: nnw_onnx.Network, additions: Additions) -> tuple[float, list[np.ndarray]]:
    """The value of a term, and its gradients by the tensors of the module."""
    module = OnnxModule(network)
    addition = Addition(additions, {x.name: x for x in module.layers}, module)
    term = addition.term(SEEN)
    assert term is not None
    term.backward()
    pairs = addition.gradients(addition.penalty(SEEN), SEEN)
    assert addition.step == 2
    return float(term.detach()), [pair.tensor.grad.numpy() for pair in pairs]


def anywhere(network: nnw_onnx.Network) -> list[str]:
    """Methods whose term is computed wherever the weights are."""
    names = []
    for name in plugins.names("methods"):
        try:
            names += [name] if additions_of(network, name).anywhere else []
        except NnwError:
            continue
    return names


def test_which_methods_have_one(network: nnw_onnx.Network) -> None:
    assert tuple(anywhere(network)) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_value_and_gradient_are_those_of_numpy(
    network: nnw_onnx.Network, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    additions = additions_of(network, method)
    value, gradients = found(network, additions)
    monkeypatch.setattr(Addition, "stays_there", property(lambda addition: True))
    there, slopes = found(network, additions)
    assert there == pytest.approx(value, rel=1e-6)
    assert len(slopes) == len(gradients) == 1
    largest = abs(gradients[0]).max()
    assert largest > 0
    np.testing.assert_allclose(slopes[0], gradients[0], rtol=1e-6, atol=1e-6 * largest)


def test_the_term_is_of_the_library_that_the_moment_names(network: nnw_onnx.Network) -> None:
    additions = additions_of(network, "uchida")
    (name,) = additions.carriers
    assert additions.penalty is not None
    weights = torch.from_numpy(np.array(network.weights[name]))
    moment = Moment(
        {name: weights}, {}, None, np.zeros(0, np.bool_), {}, 0, lambda given: given,
        torch, lambda array: torch.from_numpy(np.array(array)),
    )  # fmt: skip
    told = additions.penalty(moment)
    assert isinstance(told.value, torch.Tensor)
    assert isinstance(told.weights[name], torch.Tensor)
    assert told.weights[name].shape == weights.shape


def test_on_the_cpu_numpy_computes(network: nnw_onnx.Network) -> None:
    seen = []

    def penalty(now: Moment) -> Penalty:
        seen.append((now.xp, now.constant(seen) is seen))
        return Penalty(1.0, {name: np.ones_like(now.weights[name])})

    (name,) = additions_of(network, "uchida").carriers
    found(network, Additions(penalty, (name,), anywhere=True))
    assert seen == [(np, True)] * 2


def test_constants_are_moved_once_and_few_are_kept(network: nnw_onnx.Network) -> None:
    module = OnnxModule(network)
    layers = {x.name: x for x in module.layers}
    addition = Addition(additions_of(network, "uchida"), layers, module)
    one, cpu = normal(3), torch.device("cpu")
    assert addition._constant(cpu, one) is addition._constant(cpu, one)
    for k in range(40):
        addition._constant(cpu, normal(3, seed=k))
    assert len(addition._moved) <= 16
