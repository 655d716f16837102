"""New weights of networks larger than memory wait in a file until they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import ModelFileError
from nnw_onnx.graph import open_network, overlay
from nnw_onnx.vocabulary import Modification, Spec, WeightModification

from .large_models import products

KERNEL = 4 * 160**2


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return products(tmp_path / "m.onnx", 4, 160)


def _held(network) -> int:
    values = network._replaced._held.values()
    return sum(v.nbytes for v in values if isinstance(v, np.ndarray))


def test_what_came_before_waits_in_a_file(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = open_network(model)
    usual = network.with_weights({n: 2 * w for n, w in network.weights.items()})
    monkeypatch.setattr(overlay, "_KEPT", KERNEL + 1)
    steps = [network]
    for name in network.weights:
        steps.append(steps[-1].with_weights({name: 2 * network.weights[name]}))
        assert _held(steps[-1]) == KERNEL
    assert steps[-1].replaced == usual.replaced == set(network.weights)
    for name, values in usual.weights.items():
        np.testing.assert_array_equal(steps[-1].weights[name], values)
        assert not steps[-1].weights[name].flags.writeable
        np.testing.assert_array_equal(steps[0].weights[name], values / 2)
    assert steps[-1].digest == usual.digest != network.digest


def test_a_value_that_is_replaced_again_is_the_newest(model: Path, monkeypatch) -> None:
    monkeypatch.setattr(overlay, "_KEPT", 1)
    network = open_network(model)
    for factor in (2, 3):
        for name in ("w0", "w1"):
            network = network.with_weights({name: np.full((160, 160), factor, np.float32)})
    assert all((network.weights[name] == 3).all() for name in ("w0", "w1"))


def test_a_full_temporary_folder_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overlay, "_KEPT", 1)
    monkeypatch.setattr(overlay, "_Room", full)
    network = open_network(model)
    with pytest.raises(
        ModelFileError,
        match="room for new weights in '.*', got No space left on device; set TMPDIR",
    ):
        network.with_weights({n: 2 * w for n, w in network.weights.items()})


def _one_by_one() -> list[str]:
    kinds = {name: plugins.load(Modification, name) for name in plugins.names("modifications")}
    found = [n for n, k in kinds.items() if issubclass(k, WeightModification) and k.layer_by_layer]
    return [*found, "random-pruning"]


@pytest.mark.parametrize("name", _one_by_one())
def test_layers_modified_one_by_one_are_those_modified_together(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind = plugins.load(Modification, name)
    parameter = kind.parameter
    together = _together(model, Spec(name, {} if parameter is None else {parameter.option: 2}))
    monkeypatch.setattr(overlay, "_KEPT", 1)
    modified = nnw.modify(model, name, None if parameter is None else 2, seed=3).network
    modified.save(tmp_path / "out.onnx")
    read = open_network(tmp_path / "out.onnx")
    for layer, values in together.items():
        np.testing.assert_array_equal(read.weights[layer], values)


def _together(model: Path, spec: Spec):
    from nnw_onnx.runs.seeds import generator

    network, made = open_network(model), plugins.create(Modification, spec)
    rng = generator(purpose="modify", seed=3, network=network.sha256)
    return network.with_weights(made.modify_weights(dict(network.weights), rng)).weights
