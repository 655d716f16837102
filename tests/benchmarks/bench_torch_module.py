"""What OnnxModule costs against the same network written in torch, in runs that alternate.

python tests/benchmarks/bench_torch_module.py [DEVICE]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from ratios import Ratio, show
from torch import nn

import nnw_onnx
from nnw_onnx_torch.graph.module import OnnxModule

ROUNDS = 40


class Block(nn.Module):
    """Two convolutions with BatchNorm and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(inner)))


class Attention(nn.Module):
    """A layer of a transformer, its normalization first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def networks() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Networks with a batch of inputs."""
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    blocks = [Block(32) for _ in range(3)]
    resnet = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 10),
    )  # fmt: skip
    transformer = nn.Sequential(*[Attention(128, 4) for _ in range(4)], nn.Linear(128, 50))
    return {
        "mlp, batch 16": (mlp, torch.rand(16, 784)),
        "mlp, batch 256": (mlp, torch.rand(256, 784)),
        "resnet, batch 8": (resnet, torch.rand(8, 3, 32, 32)),
        "resnet, batch 64": (resnet, torch.rand(64, 3, 32, 32)),
        "transformer, batch 4": (transformer, torch.rand(4, 32, 128)),
        "transformer, batch 32": (transformer, torch.rand(32, 32, 128)),
    }


def exported(model: nn.Module, x: torch.Tensor, folder: Path) -> OnnxModule:
    """The network by way of an ONNX file."""
    path = folder / "model.onnx"
    shapes = {"x" if not isinstance(model, nn.Sequential) else "input": {0: "batch"}}
    torch.onnx.export(
        model.eval(), (x,), path, dynamo=True, optimize=False, external_data=False,
        dynamic_shapes=tuple(shapes.values()), verbose=False,
    )  # fmt: skip
    return OnnxModule(nnw_onnx.open(path))


def forward(model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        model(x)


def both(model: nn.Module, x: torch.Tensor) -> None:
    model.zero_grad()
    model(x).square().mean().backward()


def times(
    one: nn.Module, other: nn.Module, x: torch.Tensor, task: Callable[..., None], rounds: int
) -> tuple[float, float]:
    """Median times in ms of both, in turn: of the processor, or on an accelerator by the clock."""
    found: tuple[list[float], list[float]] = ([], [])
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    for k in range(rounds + 3):
        for model, kept in zip((one, other), found, strict=True):
            finish(x.device)
            start = clock()
            task(model, x)
            finish(x.device)
            if k >= 3:
                kept.append(clock() - start)
    first, second = (statistics.median(kept) * 1e3 for kept in found)
    return first, second


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratios(device: str = "cpu", rounds: int = 10) -> Iterator[Ratio]:
    """OnnxModule over the same network written in torch; at most 1.1 is asked on CUDA."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for name, (native, x) in networks().items():
            module = exported(native, x, Path(folder)).to(device)
            native.to(device)
            given = x.to(device)
            for task in (forward, both):
                native.train(), module.train()
                label = "forward" if task is forward else "forward+backward"
                theirs, ours = times(native, module, given, task, rounds)
                asked = 1.1 if device != "cpu" else None
                yield Ratio(f"module: {name}, {label}", ours, "torch", theirs, "ms", asked)


if __name__ == "__main__":
    show(ratios(*sys.argv[1:2], rounds=ROUNDS))
