"""Train a small convolutional network on scikit-learn's 8x8 digits and export it to ONNX.

Example:
    python models/train_digits.py --seed 0
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from model_data import Split, digits_split
from model_export import ExportError, finish, write_record
from torch import nn
from torch.nn import functional
from tqdm import tqdm

SIZE = 8
CLASSES = 10
BATCH = 32
PEAK_RATE = 3e-3
WEIGHT_DECAY = 0.1
LABEL_SMOOTHING = 0.1
PREPROCESSING = "grey, (batch, 1, 8, 8), float32: pixel / 16, in [0, 1]"
ARCHITECTURE = (
    "Conv 1->16 3x3, ReLU, Conv 16->32 3x3, ReLU, MaxPool 2, Conv 32->64 3x3, ReLU, "
    "MaxPool 4 (global), Linear 64->10"
)


@dataclass(frozen=True)
class Settings:
    """What a training depends on, apart from the data."""

    seed: int
    epochs: int


class DigitsNetwork(nn.Module):
    """Three convolutions, global max pooling and one linear layer; no normalisation."""

    def __init__(self) -> None:
        """Make the network with torch's default initial weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.pool2 = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the logits of images (batch, 1, 8, 8) in [0, 1]."""
        fine = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        coarse = self.relu3(self.conv3(self.pool1(fine)))
        logits: torch.Tensor = self.head(self.flatten(self.pool2(coarse)))
        return logits


def train(split: Split, settings: Settings) -> tuple[nn.Module, list[float]]:
    """Train a network with AdamW and a rate that falls from its peak to zero along a cosine.

    Args:
        split: the training images.
        settings: seed and number of epochs.

    Returns:
        The network after the last epoch and the mean training loss of each epoch.
    """
    torch.manual_seed(settings.seed)
    network = DigitsNetwork()
    generator = torch.Generator().manual_seed(settings.seed)
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    steps = settings.epochs * -(-len(labels) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    network.train()
    progress = tqdm(range(settings.epochs), desc="training", unit="epoch")
    for _ in progress:
        total = 0.0
        for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = functional.cross_entropy(
                network(images[chosen]), labels[chosen], label_smoothing=LABEL_SMOOTHING
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(labels))
        progress.set_postfix(loss=f"{losses[-1]:.4f}")
    return network, losses


def main() -> None:
    """Train one network and write the model and the record of its training."""
    options = _options()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    settings = Settings(options.seed, options.epochs)
    started, started_cpu = time.perf_counter(), time.process_time()
    network, losses = train(digits_split("train"), settings)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    metadata = {
        "task": "image classification, 10 classes",
        "data": "digits",
        "data_variant": "sklearn.datasets.load_digits, even indices train, odd indices test",
        "classes": ", ".join(str(digit) for digit in range(CLASSES)),
        "preprocessing": PREPROCESSING,
        "architecture": ARCHITECTURE,
        "seed": str(settings.seed),
        "epochs": str(settings.epochs),
        "precision": "float32",
        "training_script": Path(__file__).name,
        "licence": "BSD-3-Clause",
    }
    example = torch.zeros(2, 1, SIZE, SIZE)
    measured = finish(network, example, digits_split("test"), out=options.out, metadata=metadata)
    command = f"python models/train_digits.py --seed {settings.seed} --epochs {settings.epochs}"
    record = {"command": command, "cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1)}
    rounded = [round(loss, 4) for loss in losses]
    write_record(options.out, {**record, **metadata, **measured, "training_losses": rounded})


def _options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, help="default: digits/cnn-<seed>.onnx beside this")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"expected --epochs of at least 1, got {options.epochs}")
    if options.out is None:
        options.out = Path(__file__).parent / "digits" / f"cnn-{options.seed}.onnx"
    return options


if __name__ == "__main__":
    try:
        main()
    except (ExportError, OSError) as error:
        sys.exit(f"error: {error}")
