"""CUDA graphs as an option of the trainer, with a capture that captures nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Recipe

from .small_networks import convolutional, images, job

torch = pytest.importorskip("torch")

from nnw_onnx_torch.training import loop  # noqa: E402 - needs torch
from nnw_onnx_torch.training.batches import Place  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

CPU = torch.device("cpu")


def trained(path: Path, graphs: bool):
    wanted = job(images(), Recipe(batch_size=25, epochs=2))
    return loop.run(
        convolutional(path), wanted, Place(CPU, torch.contiguous_format, graphs),
        on_epoch=lambda epoch: None, on_batch=None, checkpoint=None,
    ).network.stored  # fmt: skip


def test_a_graph_is_made_for_the_shape_of_the_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, run = [], []

    def capture(module, samples):
        made.append(samples[0].shape)
        for _ in range(3):
            module(*samples)  # as the real one warms up
        return lambda *inputs: run.append(len(inputs[0])) or module(*inputs)

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    found = trained(tmp_path / "a.onnx", True)
    for name, values in trained(tmp_path / "b.onnx", False).items():
        np.testing.assert_array_equal(found[name], values)
    assert made == [(25, 3, 8, 8)]
    assert run == [25] * 4, "not the last batch of 10"


def test_what_cannot_be_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(module, samples):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture)
    with pytest.raises(
        TrainingError, match="got: CUDA error.*set the option cuda_graphs"
    ) as caught:
        trained(tmp_path / "a.onnx", True)
    assert "\n" not in str(caught.value)


def test_graphs_are_of_cuda(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cuda_graphs: expected a CUDA device, got cpu"):
        TorchTrainer(cuda_graphs=True).train(
            convolutional(tmp_path / "a.onnx"), job(images(), Recipe())
        )
