"""What an accelerator refuses comes as one line of the project's own, whenever it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from nnw_onnx.errors import InferenceError, TrainingError
from nnw_onnx.vocabulary import Recipe

from .small_networks import Data, job, linear, saved

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch
from nnw_onnx_torch.graph.operators import OPERATORS  # noqa: E402 - needs torch
from nnw_onnx_torch.training import loop, surroundings  # noqa: E402 - needs torch
from nnw_onnx_torch.training.trainer import TorchTrainer  # noqa: E402 - needs torch

FAILED = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"


def failing(error: Exception) -> Any:
    def fail(*given: object, **named: object) -> None:
        raise error

    return fail


def test_a_failure_that_shows_when_values_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = linear(tmp_path / "linear.onnx")
    module = OnnxModule(network)
    feeds = {network.inputs[0].name: np.zeros((2, 5), np.float32)}
    monkeypatch.setattr(torch.Tensor, "cpu", failing(RuntimeError(FAILED)))
    with pytest.raises(InferenceError, match="device-side assert") as caught:
        module.run(feeds)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match="use device 'cpu'"):
        module.network()


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (torch.AcceleratorError(FAILED), "train on the CPU"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "choose a smaller batch size"),
    ],
)
def test_a_failure_outside_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cure: str
) -> None:
    monkeypatch.setattr(loop._Sums, "check", failing(error))
    data = Data(np.zeros((9, 5), np.float32), np.arange(9) % 3)
    with pytest.raises(TrainingError, match=cure) as caught:
        TorchTrainer().train(linear(tmp_path / "linear.onnx"), job(data, Recipe(epochs=1)))
    assert "\n" not in str(caught.value)


def test_other_errors_are_nobody_elses() -> None:
    with pytest.raises(KeyError), surroundings.failures_told():
        raise KeyError("a mistake in the code")


FAILURES = [
    (NotImplementedError('"conv" not implemented for Half on CUDA. More'), "use device 'cpu'"),
    (RuntimeError("Expected all tensors to be on the same device"), "same device"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batch size"),
    (torch.AcceleratorError("CUDA error: device-side assert triggered\nmore"), "device-side"),
    (MemoryError(), "smaller batch size"),
    (AttributeError("'NoneType' object has no attribute 'device'"), "NoneType"),
    (AssertionError(), "AssertionError"),
    (ImportError("no triton"), "no triton"),
]


@pytest.mark.parametrize(("error", "words"), FAILURES, ids=lambda v: type(v).__name__)
def test_what_an_operator_raises_names_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    monkeypatch.setitem(OPERATORS, ("", "Relu"), failing(error))
    node = helper.make_node("Relu", ["x"], ["y"], name="act")
    module = OnnxModule(saved(tmp_path / "m.onnx", [node], {}, [3]))
    with pytest.raises(TrainingError, match=words) as caught:
        module(torch.zeros(3))
    assert str(caught.value).startswith("Relu 'act': expected")
    assert "\n" not in str(caught.value)
    with pytest.raises(InferenceError, match=words):
        module.run({"x": np.zeros(3, np.float32)})


def test_inputs_that_do_not_fit_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = failing(torch.OutOfMemoryError("CUDA out of memory. Tried"))
    node = helper.make_node("Relu", ["x"], ["y"])
    module = OnnxModule(saved(tmp_path / "m.onnx", [node], {}, [3]))
    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(InferenceError, match="expected memory for its inputs, got: CUDA out of"):
        module.run({"x": np.zeros(3, np.float32)})
