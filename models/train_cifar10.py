"""Train the network "Fast-24" or "Fast-16" on CIFAR-10 (JPEG) and export it to ONNX.

Examples:
    python models/train_cifar10.py --data cifar10_jpeg_imagefolder.tar.gz --seed 0
    python models/train_cifar10.py --data cifar10_jpeg_imagefolder.tar.gz --seed 100 \
        --width 16 --epochs 8 --out small-00.onnx
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from model_data import (
    CIFAR10_CLASSES,
    CIFAR10_MEAN,
    CIFAR10_STD,
    DataError,
    Split,
    cifar10_split,
    normalise_cifar10,
)
from model_export import ExportError, finish, write_record
from torch import nn
from torch.nn import functional
from tqdm import tqdm

WIDTHS = {24: (24, 48, 96, 128), 16: (16, 32, 64, 96)}
"""Channels of the first convolution, by which a network is named, and of its blocks."""
BATCH = 256
PEAK_RATE = 0.25
WARM_UP = 0.2
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
PADDING = 3
SIZE = 32
PREPROCESSING = (
    "RGB, NCHW, float32: (pixel / 255 - mean) / std, "
    f"mean {CIFAR10_MEAN}, std {CIFAR10_STD}, outside the graph"
)


def architecture(width: int) -> str:
    """Describe the network of a width."""
    first, *blocks = WIDTHS[width]
    return (
        f"Fast-{width}: Conv 3->{first} 2x2 stride 2, ReLU; 3 x [Conv 3x3, MaxPool 2, BatchNorm, "
        f"ReLU, Conv 3x3, BatchNorm, ReLU] of widths {', '.join(map(str, blocks))}; "
        f"MaxPool 4 (global); Linear {blocks[-1]}->10"
    )


@dataclass(frozen=True)
class Settings:
    """What a training depends on, apart from the data."""

    seed: int
    epochs: int
    bfloat16: bool
    width: int


class Block(nn.Module):
    """Two convolutions with a pooling after the first."""

    def __init__(self, before: int, width: int) -> None:
        """Make a block of `width` channels on top of `before` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Halve the resolution and compute `width` channels."""
        halved = self.relu1(self.norm1(self.pool(self.conv1(images))))
        features: torch.Tensor = self.relu2(self.norm2(self.conv2(halved)))
        return features


class Fast(nn.Module):
    """A small CIFAR-10 network made for fast training on a CPU."""

    def __init__(self, width: int) -> None:
        """Make the network of a width with torch's default initial weights."""
        super().__init__()
        widths = WIDTHS[width]
        self.stem = nn.Conv2d(3, widths[0], 2, stride=2)
        self.relu = nn.ReLU()
        self.block1 = Block(widths[0], widths[1])
        self.block2 = Block(widths[1], widths[2])
        self.block3 = Block(widths[2], widths[3])
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(widths[3], len(CIFAR10_CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the logits of normalised images (batch, 3, 32, 32)."""
        features = self.block3(self.block2(self.block1(self.relu(self.stem(images)))))
        logits: torch.Tensor = self.head(self.flatten(self.pool(features)))
        return logits


class Batches:
    """Random crops and flips of the training images, cut per batch from padded uint8 pixels."""

    def __init__(self, split: Split, generator: torch.Generator) -> None:
        """Pad all images by reflection once."""
        around = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        padded = np.pad(split.images, around, mode="reflect")
        self.side = SIZE + 2 * PADDING
        # One row of three colours per pixel: cutting is then one gather, in channels_last order.
        self.pixels = torch.from_numpy(padded.reshape(-1, 3))
        self.labels = torch.from_numpy(split.labels)
        self.generator = generator
        self.mean = torch.tensor(CIFAR10_MEAN)
        self.std = torch.tensor(CIFAR10_STD)

    def order(self) -> list[torch.Tensor]:
        """Return the image indices of each full batch of one epoch."""
        shuffled = torch.randperm(len(self.labels), generator=self.generator)
        return list(shuffled[: len(shuffled) // BATCH * BATCH].split(BATCH))

    def cut(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a random crop or its mirror image of each image chosen, and the labels."""
        count = len(chosen)
        offsets = torch.randint(2 * PADDING + 1, (2, count, 1), generator=self.generator)
        mirrored = torch.randint(2, (count, 1), generator=self.generator).bool()
        line = torch.arange(SIZE)
        rows = offsets[0] + line
        columns = offsets[1] + torch.where(mirrored, SIZE - 1 - line, line)
        start = chosen.view(count, 1, 1) * self.side**2
        index = start + rows.unsqueeze(2) * self.side + columns.unsqueeze(1)
        pixels = self.pixels.index_select(0, index.flatten()).view(count, SIZE, SIZE, 3)
        scaled = (pixels.float() / 255.0 - self.mean) / self.std
        return scaled.permute(0, 3, 1, 2), self.labels[chosen]


def train(split: Split, settings: Settings) -> tuple[nn.Module, list[float]]:
    """Train a network with SGD and a triangular learning rate.

    Args:
        split: the training images.
        settings: seed, number of epochs and precision.

    Returns:
        The network after the last epoch and the mean training loss of each epoch.
    """
    torch.manual_seed(settings.seed)
    network = Fast(settings.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(split, torch.Generator().manual_seed(settings.seed))
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=PEAK_RATE, momentum=MOMENTUM, nesterov=True)
    steps = settings.epochs * (len(split.labels) // BATCH)
    summit = WARM_UP * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / summit, (steps - step) / (steps - summit), 1.0)
    )
    losses = []
    network.train()
    for epoch in range(settings.epochs):
        total = 0.0
        order = batches.order()
        progress = tqdm(order, desc=f"epoch {epoch + 1}/{settings.epochs}", mininterval=5.0)
        for chosen in progress:
            images, labels = batches.cut(chosen)
            with _precision(bfloat16=settings.bfloat16):
                logits = network(images)
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        losses.append(total / len(order))
        tqdm.write(f"epoch {epoch + 1}: mean training loss {losses[-1]:.4f}")
    return network.to(memory_format=torch.contiguous_format), losses


def main() -> None:
    """Train one network and write the model and the record of its training."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    settings = Settings(
        options.seed, options.epochs, options.precision == "bfloat16", options.width
    )
    started, started_cpu = time.perf_counter(), time.process_time()
    network, losses = train(cifar10_split(options.data, "train"), settings)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    test = cifar10_split(options.data, "test")
    metadata = {
        "task": "image classification, 10 classes",
        "data": "cifar10",
        "data_variant": "JPEG class folders, 50,000 training and 10,000 test images",
        "classes": ", ".join(CIFAR10_CLASSES),
        "preprocessing": PREPROCESSING,
        "architecture": architecture(settings.width),
        "seed": str(settings.seed),
        "epochs": str(settings.epochs),
        "precision": options.precision,
        "training_script": Path(__file__).name,
        "licence": "BSD-3-Clause",
    }
    measured = finish(
        network,
        torch.zeros(2, 3, SIZE, SIZE),
        Split(normalise_cifar10(test.images), test.labels),
        out=options.out,
        metadata=metadata,
    )
    command = (
        f"python models/train_cifar10.py --data cifar10_jpeg_imagefolder.tar.gz "
        f"--seed {settings.seed} --epochs {settings.epochs} --precision {options.precision} "
        f"--threads {options.threads}"
    )
    if settings.width != 24:
        command += f" --width {settings.width}"
    record = {"command": command, "cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1)}
    rounded = [round(loss, 4) for loss in losses]
    write_record(options.out, {**record, **metadata, **measured, "training_losses": rounded})


def _precision(*, bfloat16: bool) -> contextlib.AbstractContextManager[object]:
    """Return the context of the forward pass: bfloat16 where wanted, otherwise float32."""
    if bfloat16:
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, required=True, help="tar, or folder, of train/<class>/*.jpg and test"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--width", type=int, choices=tuple(WIDTHS), default=24)
    parser.add_argument("--out", type=Path, help="default: cifar10/fast-<seed>.onnx beside this")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the forward pass in training; bfloat16 pays only with AVX-512 BF16 or AMX",
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"expected --epochs of at least 1, got {options.epochs}")
    if options.out is None:
        options.out = Path(__file__).parent / "cifar10" / f"fast-{options.seed}.onnx"
    return options


if __name__ == "__main__":
    try:
        main()
    except (DataError, ExportError, OSError, tarfile.TarError) as error:
        sys.exit(f"error: {error}")
