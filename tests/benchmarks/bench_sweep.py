"""What a sweep costs: processor time over bare inference, and over a plain loop in PyTorch.

    python tests/benchmarks/bench_sweep.py [IMAGES [PAYLOADS [NETWORK ...]]]

The four Modifications of weights x 5 intensities x PAYLOADS, with quality on IMAGES random
pictures, of all layers and then of the carrier alone, which lies late, so that what comes before it
is computed once. NETWORK is fast (of models/cifar10; without one it is the only), resnet56 (random
weights) or an ONNX file that takes pictures of 32 x 32. All run on one thread with the same batch
size, bare onnxruntime with the one that a file fixes; it makes a session of each variant's bytes
and runs it. Two seconds of ours start
processes, plan and inject, which weigh less in a large sweep: 4000 images of fast take ten minutes.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ratios import Ratio, busy, show

from nnw_onnx.records import TrialRecord
from nnw_onnx.runs import evaluate
from nnw_onnx.runs.prepare import prepare
from nnw_onnx.runs.tables import Evaluation

ROOT = Path(__file__).resolve().parents[2]
BATCH, CLASSES, BITS = 256, 10, 64
SWEEP = {
    "gaussian-noise": (0.1, 0.2, 0.3, 0.5, 1.0),
    "l1-pruning": (10, 30, 50, 70, 90),
    "random-pruning": (1, 5, 10, 25, 50),
    "quantizing": (8, 6, 4, 3, 2),
}


@dataclass(frozen=True)
class Subject:
    """A network as a file, as a torch module where there is one, and where its mark lies."""

    name: str
    file: Path
    module: object = None
    carrier: str = ""


def ratios(images: int = 1024, payloads: int = 1, names: tuple[str, ...] = ()) -> Iterator[Ratio]:
    """Ours over bare inference and over PyTorch, without and with a shared beginning."""
    os.environ["NNW_CACHE"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        data = _pictures(Path(folder), images)
        for name in names or ("fast",):
            subject, bare = _subject(name, Path(folder)), None
            for layers in ("all", "carrier"):
                evaluation = _evaluation(subject, layers, data, payloads)
                told = _ours(evaluation, Path(folder) / f"{subject.name}-{layers}")
                bare = bare or busy(lambda: _bare(subject.file, data, told[1]))  # noqa: B023 - now
                yield from _compared(subject, layers, data, told, bare)


def _compared(
    subject: Subject, layers: str, data: Path, told: tuple[float, int], bare: float
) -> Iterator[Ratio]:
    seconds, variants = told
    what = f"{subject.name}: {variants} variants, {layers} layers"
    yield Ratio(what, seconds, "bare onnxruntime", bare, asked=1.1 if layers == "all" else 1.0)
    if subject.module is not None:
        loop = busy(lambda: _torch_loop(subject, layers, data, variants))
        yield Ratio(what, seconds, "loop in PyTorch", loop, asked=0.5 if layers == "all" else 0.33)


def _evaluation(subject: Subject, layers: str, data: Path, payloads: int) -> Evaluation:
    method = {"name": "uchida", **({"layer": subject.carrier} if subject.carrier else {})}
    return Evaluation.model_validate(
        {
            "networks": [str(subject.file)],
            "payloads": payloads,
            "dataset": {"name": "npz", "path": str(data)},
            "methods": [method],
            "modifications": [
                {"name": name, "intensities": list(values), "layers": layers}
                for name, values in SWEEP.items()
            ],
            "session": {"batch_size": BATCH},
            "cost": {"cells": 0},
            "control": {"wrong_keys": 0},
            "preview": {"samples": 0},
        }
    )


def _ours(evaluation: Evaluation, folder: Path) -> tuple[float, int]:
    """Seconds of plan, injections and trials, and number of networks with a quality."""
    found = []

    def run() -> None:
        prepared = prepare(evaluation, folder)
        evaluate.run(prepared, progress=False, tell=print)
        found.extend(prepared.context.store.records(TrialRecord))

    seconds = busy(run)
    return seconds, sum(bool(record.quality) for record in found)


def _bare(file: Path, data: Path, variants: int) -> None:
    import onnxruntime

    model, images = file.read_bytes(), _inputs(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for _ in range(variants):
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        wanted = session.get_inputs()[0]
        given = images if wanted.shape[1] == 3 else images.transpose(0, 2, 3, 1)
        batch = wanted.shape[0] if isinstance(wanted.shape[0], int) else BATCH
        for start in range(0, len(given), batch):
            session.run(None, {wanted.name: np.ascontiguousarray(given[start : start + batch])})


def _torch_loop(subject: Subject, layers: str, data: Path, variants: int) -> None:
    """Copy, modify, decode, test: what somebody writes who needs no more."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    labels = torch.from_numpy(np.load(data)["y_test"])
    samples = TensorDataset(torch.from_numpy(_inputs(data)), labels)
    loader = DataLoader(samples, batch_size=BATCH)
    name = subject.carrier.removesuffix(".weight")
    size = subject.module.get_submodule(name).weight[0].numel()
    matrix = torch.randn(BITS, size, generator=torch.Generator().manual_seed(0))
    cells = [(change, value) for change, values in SWEEP.items() for value in values]
    for index in range(variants):
        network = copy.deepcopy(subject.module)
        for path, layer in network.named_modules():
            kernel = getattr(layer, "weight", None)
            if kernel is not None and kernel.ndim > 1 and (layers == "all" or path == name):
                _torch_change(layer, *cells[index % len(cells)])
        (matrix @ network.get_submodule(name).weight.mean(0).flatten() > 0).sum().item()
        correct = 0
        with torch.no_grad():
            for batch, wanted in loader:
                correct += (network(batch).argmax(1) == wanted).sum().item()


def _torch_change(layer, change: str, value: float) -> None:
    import torch
    from torch.nn.utils import prune

    if change == "l1-pruning":
        prune.remove(prune.l1_unstructured(layer, "weight", value / 100), "weight")
    elif change == "random-pruning":
        prune.remove(prune.random_unstructured(layer, "weight", value / 100), "weight")
    else:
        with torch.no_grad():
            weight = layer.weight
            if change == "gaussian-noise":
                weight.add_(torch.randn_like(weight) * weight.std() * value)
            else:
                low, step = weight.min(), (weight.max() - weight.min()) / (2**value - 1)
                weight.copy_(((weight - low) / step).round() * step + low)


def _pictures(folder: Path, images: int) -> Path:
    rng = np.random.Generator(np.random.PCG64(0))
    pixels = rng.integers(0, 256, (images, 32, 32, 3), np.uint8)
    path = folder / "pictures.npz"
    np.savez(path, x_test=pixels, y_test=np.arange(images) % CLASSES)
    return path


def _inputs(data: Path):
    return np.ascontiguousarray(np.load(data)["x_test"].transpose(0, 3, 1, 2), np.float32) / 255


def _subject(name: str, folder: Path) -> Subject:
    known: dict[str, Callable[[Path], Subject]] = {"fast": _fast, "resnet56": _resnet}
    return known[name](folder) if name in known else Subject(Path(name).stem, Path(name))


def _fast(folder: Path) -> Subject:
    import onnx
    import torch

    sys.path.insert(0, str(ROOT / "models"))
    from train_cifar10 import Fast

    file = ROOT / "models" / "cifar10" / "fast-0.onnx"
    module = Fast(24)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    weights = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
    module.load_state_dict(weights, strict=False)
    return Subject("fast", file, module.eval(), "block3.conv2.weight")


def _resnet(folder: Path) -> Subject:
    import torch
    from torch.onnx import TrainingMode

    torch.manual_seed(0)
    module, file = _residual().eval(), folder / "resnet56.onnx"
    torch.onnx.export(
        module, (torch.zeros(2, 3, 32, 32),), file, dynamo=False, opset_version=17,
        input_names=["image"], dynamic_axes={"image": [0]}, do_constant_folding=False,
        training=TrainingMode.PRESERVE,
    )  # fmt: skip
    return Subject("resnet56", file, module, "blocks.26.conv2.weight")


def _residual():
    """ResNet-56 for CIFAR-10 (He et al. 2016) with shortcuts of zeros."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before: int, width: int) -> None:
            super().__init__()
            self.more, self.stride = (width - before) // 2, 1 if width == before else 2
            self.conv1 = nn.Conv2d(before, width, 3, self.stride, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

        def forward(self, now):
            made = self.norm2(self.conv2(self.norm1(self.conv1(now)).relu()))
            if self.more:
                now = functional.pad(now[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
            return (made + now).relu()

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(16)
            widths = [16] * 10 + [32] * 9 + [64] * 9
            self.blocks = nn.Sequential(*map(Block, widths[:-1], widths[1:]))
            self.head = nn.Linear(64, CLASSES)

        def forward(self, images):
            now = self.blocks(self.norm(self.conv(images)).relu())
            return self.head(now.mean((2, 3)))

    return Residual()


if __name__ == "__main__":
    show(ratios(*(map(int, sys.argv[1:3])), names=tuple(sys.argv[3:])))
