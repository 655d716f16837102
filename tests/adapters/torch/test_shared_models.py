"""Models that other people made: run as onnxruntime runs them, trained a step, written back."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnw_onnx
from nnw_onnx.inference import Session, SessionSettings

torch = pytest.importorskip("torch")

from nnw_onnx_torch.graph.module import OnnxModule  # noqa: E402 - needs torch

from .single_nodes import exact_products  # noqa: E402

pytestmark = pytest.mark.shared_data
SETTINGS = SessionSettings(optimization="disable")
SIZES = {
    "oww_melspectrogram.onnx": {"input": (1, 1280)},
    "silero_vad_16k_op15.onnx": {"input": (1, 576), "state": (2, 1, 128)},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
    "ch_PP-OCRv2_det_infer.onnx": {"x": (1, 3, 32, 32)},
    "ch_ppocr_mobile_v2.0_det_prune_infer.onnx": {"x": (1, 3, 32, 32)},
}
TOLERANCE = 1e-5
HALF = 5e-3
"""For a model in float16, whose own steps are 1e-3."""
TRAINED, RAN = 58, 63
NUMBERS = frozenset({"float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"})
DEPENDS_ON_DATA = frozenset({"oww_hey_jarvis_v0.1.onnx"})
SATURATED = frozenset({"model_int8.onnx"})
"""Models of which onnxruntime computes something else on a processor that lacks VNNI."""
"""Takes a branch that a score decides, which a device without data cannot tell."""
LEAST_SCALE = 0.1
"""Outputs smaller than this count as this large: onnxruntime's Sigmoid is right to 1e-7."""


@dataclass(frozen=True)
class Tried:
    """What came of a model: how far it got, why not further, and the largest differences.

    Differences are relative to the largest value of an output; `rounding` is that of onnxruntime
    from the same network in float64, where float32 alone explains more than `TOLERANCE`.
    """

    stage: str
    reason: str = ""
    before: float = 0.0
    after: float = 0.0
    rounding: float = 0.0


def feeds(session: Session, name: str) -> dict[str, NDArray[Any]] | None:
    """Made inputs, or None where an input or output is no tensor of numbers."""
    rng = np.random.Generator(np.random.PCG64(0))
    made: dict[str, NDArray[Any]] = {}
    if any("(" in info.dtype for info in (*session.inputs, *session.outputs)):
        return None
    for info in session.inputs:
        default = tuple(d if isinstance(d, int) and d > 0 else 1 for d in info.shape)
        shape = SIZES.get(name, {}).get(info.name, default)
        if info.dtype not in NUMBERS:
            return None
        dtype = np.dtype(info.dtype)
        made[info.name] = (
            rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        ).astype(dtype)
    return made


def difference(found: Any, wanted: NDArray[Any]) -> float:
    """Largest difference relative to the largest value; equal infinities and NaN are equal."""
    array, wide = np.asarray(found, np.float64), wanted.astype(np.float64)
    assert array.shape == wanted.shape
    unequal = ~((array == wide) | (np.isnan(array) & np.isnan(wide)))
    if not unequal.any():
        return 0.0
    return float(np.abs(array - wide)[unequal].max() / max(np.abs(wide).max(), LEAST_SCALE))


def largest(found: list[Any], wanted: list[Any]) -> float:
    """Largest difference of any output."""
    return max(difference(one, other) for one, other in zip(found, wanted, strict=True))


def tried(path: Path) -> Tried:
    """Open, compare, train a step, write back, compare."""
    try:
        network = nnw_onnx.open(path)
        session = Session(network.runnable(), SETTINGS)
    except nnw_onnx.NnwError as error:
        return Tried("not run by onnxruntime", str(error))
    inputs = feeds(session, path.name)
    if inputs is None:
        return Tried("not run by onnxruntime", "inputs or outputs that are no numbers")
    wanted = session.run(inputs)
    try:
        module = OnnxModule(network, batch_norm="freeze")
    except nnw_onnx.NnwError as error:
        return Tried("not supported", str(error))
    if path.name not in DEPENDS_ON_DATA:
        run_without_data(module, inputs)
    before = largest(ran(module, inputs), wanted)
    rounding = exactly(module, inputs, wanted) if before > TOLERANCE else 0.0
    if not list(module.parameters()):
        return Tried("ran", "no weights to train", before, 0.0, rounding)
    if not step(module, inputs):
        return Tried("ran", "no gradient reaches the weights", before, 0.0, rounding)
    written = module.network()
    assert written.replaced
    wanted = Session(written.runnable(), SETTINGS).run(inputs)
    after = largest(ran(module, inputs), wanted)
    if after > TOLERANCE:
        rounding = max(rounding, exactly(module, inputs, wanted))
    return Tried("trained", "", before, after, rounding)


def exactly(module: Any, inputs: dict[str, NDArray[Any]], wanted: list[Any]) -> float:
    """How far outputs are from those computed in float64 with the same weights."""
    if any(p.dtype == torch.float16 for p in module.parameters()):
        return HALF / 2
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    return largest(ran(copy.deepcopy(module).double(), wide), wanted)


def run_without_data(module: Any, inputs: dict[str, NDArray[Any]]) -> None:
    """Run and differentiate on the device "meta": shapes must be computed on the CPU.

    It has no data, so reading a number from it fails, as does mixing devices, like on a GPU.
    """
    elsewhere = copy.deepcopy(module).to("meta")
    found = elsewhere.compute({k: torch.from_numpy(v).to("meta") for k, v in inputs.items()})
    tensors = [v for v in found.values() if isinstance(v, torch.Tensor)]
    assert all(v.device.type == "meta" for v in tensors)
    losses = [v.float().mean() for v in tensors if v.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()


def ran(module: Any, inputs: dict[str, NDArray[Any]]) -> list[Any]:
    """Outputs in evaluation mode."""
    module.eval()
    with torch.no_grad():
        return list(module.compute({k: torch.from_numpy(v) for k, v in inputs.items()}).values())


def step(module: Any, inputs: dict[str, NDArray[Any]]) -> bool:
    """A step of SGD on a random projection of the outputs; whether a gradient reached weights."""
    module.train()
    outputs = module.compute({k: torch.from_numpy(v) for k, v in inputs.items()})
    generator = torch.Generator().manual_seed(0)
    losses = [
        (value.float() * torch.randn(value.shape, generator=generator)).mean()
        for value in outputs.values()
        if isinstance(value, torch.Tensor) and value.requires_grad
    ]
    if not losses:
        return False
    torch.stack(losses).sum().backward()
    given = [p for p in module.parameters() if p.grad is not None]
    size = sum(float(p.grad.float().square().sum()) for p in given) ** 0.5
    assert np.isfinite(size)
    with torch.no_grad():
        for p in given:
            # A step of a fixed length, so that no model leaves what float32 can hold.
            p.sub_(p.grad * (0.01 / max(size, 1e-12)))
    return size > 0


def test_models_run_and_train_as_they_do_in_onnxruntime(shared_data):
    torch.set_num_threads(1)
    found = {path: tried(path) for path in sorted((shared_data / "models").rglob("*.onnx"))}
    stages = Counter(result.stage for result in found.values())
    for path, result in found.items():
        print(f"{path.name}: {result.stage} {result.reason}")
    print(dict(stages))
    for path, result in found.items():
        assert "\n" not in result.reason
        if path.name in SATURATED and not exact_products():
            continue
        # Two programs may both be right, and each be unlucky in another element.
        allowed = max(TOLERANCE, 10 * result.rounding)
        assert max(result.before, result.after) <= allowed, (path, result)
        assert result.rounding <= HALF / 2, (path, result)
    assert stages["trained"] >= TRAINED
    assert stages["ran"] + stages["trained"] >= RAN
