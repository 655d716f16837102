"""What is asked of a CUDA device, in one short program; without one the CPU is measured instead.

    python tests/benchmarks/bench_gpu.py [--device cuda|cpu] [--full]

Prints the module against torch, a step of the trainer against a loop written by hand, an epoch of
the size of CIFAR-10 on a network of 0.4 M weights, a step with a mark against one without, and an
evaluation of a network of the shape of ResNet-56 against one core. The images are random. On a CPU
sizes are small, unless `--full`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_torch_module import Block, exported, finish
from bench_torch_module import ratios as module_ratios
from ratios import Ratio, show
from torch import nn

import nnw_onnx
from nnw_onnx.inference import Session, SessionSettings, full_name
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.vocabulary import Job, Recipe
from nnw_onnx_torch.training import loop, surroundings
from nnw_onnx_torch.training.batches import Place

BATCH = 256


def small() -> nn.Module:
    """A network of 0.4 M weights for images (n, 3, 32, 32)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
        Block(64), nn.Conv2d(64, 128, 3, padding=1, stride=2), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Conv2d(128, 192, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 10),
    )  # fmt: skip


def resnet56() -> nn.Module:
    """27 blocks of two convolutions in three widths."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for width in (16, 32, 64):
        layers += [Block(width) for _ in range(9)]
        if width < 64:
            layers.append(nn.Conv2d(width, 2 * width, 3, padding=1, stride=2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def images(count: int) -> ArraySamples:
    """Random images of the size of CIFAR's, with classes."""
    rng = np.random.Generator(np.random.PCG64(0))
    return ArraySamples(
        {"x": rng.standard_normal((count, 3, 32, 32), np.float32)}, rng.integers(0, 10, count)
    )


def file_of(model: nn.Module, folder: Path) -> nnw_onnx.Network:
    """The network as an ONNX file."""
    return exported(model, torch.rand(4, 3, 32, 32), folder)._network


def clocked(task: Callable[[], object], device: torch.device) -> float:
    """Seconds of a task: by the clock on a device, of the processor on the CPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    finish(device)
    start = clock()
    task()
    finish(device)
    return clock() - start


def by_hand(model: nn.Module, samples: ArraySamples, recipe: Recipe, device: torch.device):
    """An epoch as one would write it: all data on the device, no waiting."""
    read = samples.read(np.arange(len(samples)))
    x = torch.from_numpy(read.feeds["x"]).to(device, memory_format=torch.channels_last)
    y = torch.from_numpy(np.asarray(read.targets)).to(device)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True, fused=True
    )

    def epoch() -> None:
        order = torch.randperm(len(x)).to(device)
        for k in range(0, len(x), recipe.batch_size):
            chosen = order[k : k + recipe.batch_size]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()

    return epoch


def training(device: torch.device, count: int, rounds: int) -> Iterator[Ratio]:
    """A step of the trainer over one of the loop by hand, and an epoch of CIFAR's size."""
    samples, model = images(count), small()
    steps = -(-count // BATCH)
    recipe = Recipe(epochs=rounds + 1, batch_size=BATCH, schedule="constant", weight_decay=0.0)
    with tempfile.TemporaryDirectory() as folder:
        network = file_of(model, Path(folder))
        with surroundings.set_for_training(device, 1, deterministic=False):
            job = Job(samples, recipe, "cross-entropy", 0)
            ours = loop.Training(network, job, Place(device, torch.channels_last))
            theirs = by_hand(model, samples, recipe, device)
            times = [
                (clocked(lambda: ours.epoch(None), device), clocked(theirs, device))
                for _ in range(rounds + 1)
            ][1:]
    mine, hand = (min(column) for column in zip(*times, strict=True))
    asked = 1.1 if device.type == "cuda" else None
    yield Ratio("trainer: a step", mine / steps * 1e3, "by hand", hand / steps * 1e3, "ms", asked)
    scaled, asked = mine * 50_000 / count, 1.0 if device.type == "cuda" else None
    yield Ratio(f"trainer: an epoch of 50,000, of {count:,}", scaled, "asked", 2.0, "s", asked)


def marking(device: torch.device, count: int, rounds: int) -> Iterator[Ratio]:
    """A step of the trainer with a term of the loss over one without."""
    samples = images(count)
    recipe = Recipe(epochs=rounds + 1, batch_size=BATCH, schedule="constant", weight_decay=0.0)
    with tempfile.TemporaryDirectory() as folder:
        network = file_of(small(), Path(folder))
        payload = nnw_onnx.Payload.from_hex("c0ffee" * 4)
        marked = nnw_onnx.make_mark(network, payload, method="uchida", seed=1).additions
        ways = {"with": marked, "numpy": replace(marked, anywhere=False), "without": None}
        with surroundings.set_for_training(device, 1, deterministic=False):
            place = Place(device, torch.channels_last)
            jobs = {
                w: Job(samples, recipe, "cross-entropy", 0, additions=a) for w, a in ways.items()
            }
            made = {way: loop.Training(network, job, place) for way, job in jobs.items()}
            times = [
                {way: clocked(partial(one.epoch, None), device) for way, one in made.items()}
                for _ in range(rounds + 1)
            ][1:]
    steps = -(-count // BATCH)
    best = {way: min(each[way] for each in times) / steps * 1e3 for way in ways}
    yield Ratio("trainer: a step with uchida", best["with"], "without", best["without"], "ms")
    yield Ratio("trainer: the same, in numpy", best["numpy"], "without", best["without"], "ms")


def evaluation(device: torch.device, count: int) -> Iterator[Ratio]:
    """A network of the shape of ResNet-56 on the device over one core."""
    if device.type != "cuda" or full_name("cuda") not in available():
        print("evaluation of ResNet-56 on a device: not measured, there is no CUDA device")
        return
    x = images(count).read(np.arange(count)).feeds["x"]
    with tempfile.TemporaryDirectory() as folder:
        network = file_of(resnet56(), Path(folder))
        seconds = []
        for providers in (("cuda", "cpu"), ("cpu",)):
            session = Session(network.runnable(), SessionSettings(providers))
            session.predict(x[:BATCH], BATCH)
            seconds.append(clocked(lambda run=session: run.predict(x, BATCH), device))
    yield Ratio("evaluation: ResNet-56", seconds[0], "one core", seconds[1], "s", 0.1)


def available() -> list[str]:
    """Providers that onnxruntime was built with."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def ratios(name: str = "auto", *, full: bool = False) -> Iterator[Ratio]:
    """The table; small on a CPU."""
    warnings.simplefilter("ignore")
    device = surroundings.device_named(name)
    on_cuda = device.type == "cuda"
    print("on " + (surroundings.label(device) if on_cuda else "the CPU: no CUDA device was used"))
    yield from module_ratios(device.type, 30 if on_cuda else 3)
    yield from training(device, 50_000 if on_cuda or full else 256, 4 if on_cuda else 1)
    yield from marking(device, 10_000 if on_cuda else 256, 2)
    yield from evaluation(device, 4096)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    show(ratios(given.device, full=given.full))


if __name__ == "__main__":
    main()
