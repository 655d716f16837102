"""A training away from the CPU, in a process of its own: see `test_on_a_device`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx
from nnw_onnx.errors import TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Additions, Job, Payload, Recipe, Trained

from .small_networks import Data, convolutional, images, job, linear, normal

torch = pytest.importorskip("torch", minversion="2.10")

from nnw_onnx_torch.training import loop, sources, surroundings  # noqa: E402 - needs torch
from nnw_onnx_torch.training.batches import Place  # noqa: E402 - needs torch

from .fake_device import counting, device  # noqa: E402 - needs torch

FREE = {"kept": 1 << 30, "read batch by batch": 0}


def trained(network, wanted: Job, place: torch.device) -> tuple[Trained, Counter[str]]:
    with counting() as waits:
        result = loop.run(
            network, wanted, Place(place, torch.contiguous_format),
            on_epoch=lambda epoch: None, on_batch=None, checkpoint=None,
        )  # fmt: skip
    return result, waits


def own() -> ArraySamples:
    return ArraySamples({"own": normal(5, 3, 8, 8, seed=9)}, np.arange(5) % 4)


def with_unknown() -> Data:
    data = images()
    return Data(data.inputs, np.where(np.arange(len(data)) % 7, data.labels, -1))


JOBS = {
    "plain": (images, Recipe(batch_size=10), {}),
    "augmented": (images, Recipe(batch_size=10, augmentation="crop-flip"), {}),
    "adam": (images, Recipe(batch_size=10, optimizer="adam", label_smoothing=0.1), {}),
    "own samples": (images, Recipe(batch_size=10, own_per_batch=3), {"additions": own}),
    "targets without a class": (with_unknown, Recipe(batch_size=10), {}),
}


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("name", JOBS)
def test_the_device_is_waited_for_as_often_in_few_steps_as_in_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, free: str
) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: FREE[free])
    network = convolutional(tmp_path / "network.onnx")
    data, recipe, more = JOBS[name]
    additions = {k: Additions(samples=v()) for k, v in more.items()}
    long = job(data(), recipe, **additions)
    short = job(Data(data().inputs[:20], data().labels[:20]), recipe, **additions)
    found, waits = trained(network, long, device())
    expected, _ = trained(network, long, torch.device("cpu"))
    for key, values in expected.network.stored.items():
        np.testing.assert_allclose(found.network.stored[key], values, rtol=1e-4, atol=1e-5)
    assert found.epochs[0].loss == pytest.approx(expected.epochs[0].loss, rel=1e-5)
    assert found.batches == 6
    assert waits == trained(network, short, device())[1]


def marked(network: OnnxNetwork, method: str) -> Additions:
    payload = Payload.from_bits("011010")
    return nnw_onnx.make_mark(network, payload, method=method, layer="conv.w", seed=1).additions


@pytest.mark.parametrize("method", ["uchida", "deepmarks", "passports", "st-dm"])
def test_a_term_of_weights_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: 1 << 30)
    network = convolutional(tmp_path / "network.onnx")
    additions, recipe = marked(network, method), Recipe(batch_size=10)
    long = job(images(), recipe, additions=additions)
    few = Data(images().inputs[:20], images().labels[:20])
    found, waits = trained(network, long, device())
    assert waits == trained(network, job(few, recipe, additions=additions), device())[1]
    expected, _ = trained(network, long, torch.device("cpu"))
    assert found.epochs[0].penalty == pytest.approx(expected.epochs[0].penalty, rel=1e-5)
    for key, values in expected.network.stored.items():
        np.testing.assert_allclose(found.network.stored[key], values, rtol=1e-4, atol=1e-5)


def test_a_term_in_numpy_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: 1 << 30)
    network = convolutional(tmp_path / "network.onnx")
    there = job(images(), Recipe(batch_size=10), additions=marked(network, "uchida"))
    _, waits = trained(network, there, device())
    in_numpy = replace(there, additions=replace(there.additions, anywhere=False))
    assert trained(network, in_numpy, device())[1].total() > waits.total()


@pytest.mark.parametrize("free", FREE)
def test_samples_are_moved_once_where_they_fit(monkeypatch: pytest.MonkeyPatch, free: str) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: FREE[free])
    samples = ArraySamples({"x": normal(2500, 3)}, np.arange(2500) % 5)
    with counting():
        source = sources.Source(samples, ["x"], device(), keep=True)
        assert source.kept == (free == "kept")
        order = source.placed(torch.arange(2499, -1, -1))
        read = source.read(order[:100])
        assert read.inputs[0].device == device()
        assert np.array_equal(
            read.inputs[0].cpu().numpy(), samples.read(np.arange(2499, 2399, -1)).feeds["x"]
        )
    assert read.span == (0, 4)


def test_samples_whose_shape_hangs_on_the_batch_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: 1 << 30)

    class Padded(ArraySamples):
        def read(self, indices):
            read = super().read(indices)
            width = 1 + int(max(indices)) % 3
            return type(read)({"x": read.feeds["x"][:, :width]}, read.targets)

    with counting():
        padded = Padded({"x": normal(9, 3)}, np.arange(9))
        assert not sources.Source(padded, ["x"], device(), keep=True).kept
    cpu = sources.Source(padded, ["x"], torch.device("cpu"), keep=True)
    assert not cpu.kept


def test_a_class_that_the_network_has_not_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "free_memory", lambda device: 1 << 30)
    data = Data(normal(9, 5), np.arange(9) % 4)
    with pytest.raises(TrainingError, match="expected classes from 0 to 2, got 0 to 3"):
        trained(linear(tmp_path / "linear.onnx"), job(data, Recipe()), device())
