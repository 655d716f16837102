"""Kernels that touch every weight, over copying the weights and over torch, wall time.

Run: python tests/benchmarks/bench_kernels.py [millions of weights, 10] [rounds, 5]

Ours use the cores there are, torch its own threads. Wall time, because both may use several
threads; the least of the rounds, in which all take turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from ratios import Ratio, full, show
from torch.nn.utils import prune

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Modification, Spec

Call = Callable[[], object]
RNG = np.random.Generator(np.random.PCG64(1))
OURS = {
    "L1 pruning, 50 %": Spec("l1-pruning", {"intensity": 50}),
    "L1 pruning, 99 %": Spec("l1-pruning", {"intensity": 99}),
    "random pruning, 10 %": Spec("random-pruning", {"intensity": 10}),
    "Gaussian noise": Spec("gaussian-noise", {"intensity": 0.1}),
    "quantizing, 4 bits": Spec("quantizing", {"intensity": 4}),
    "quantizing, int8": Spec("quantizing", {"intensity": 8, "scheme": "symmetric"}),
    "clipping": Spec("clipping", {"intensity": 2}),
}


def theirs(weights: torch.Tensor) -> dict[str, tuple[str, Call]]:
    """What torch has for the same, or the usual expression."""
    return {
        "L1 pruning, 50 %": ("torch l1_unstructured", lambda: pruned(weights, 0.5)),
        "L1 pruning, 99 %": ("torch l1_unstructured", lambda: pruned(weights, 0.99)),
        "random pruning, 10 %": ("torch random_unstructured", lambda: at_random(weights)),
        "Gaussian noise": ("torch w + s * randn_like(w)", lambda: noisy(weights)),
        "quantizing, 4 bits": ("torch expression", lambda: rounded(weights)),
        "quantizing, int8": ("torch fake_quantize", lambda: fake(weights)),
        "clipping": ("torch clamp of mean, std", lambda: clamped(weights)),
    }


def module(weights: torch.Tensor) -> torch.nn.Module:
    """A module whose only parameter the weights are."""
    made = torch.nn.Module()
    made.weight = torch.nn.Parameter(weights, requires_grad=False)
    return made


def pruned(weights: torch.Tensor, share: float) -> torch.Tensor:
    """By torch.nn.utils.prune."""
    return prune.l1_unstructured(module(weights), "weight", amount=share).weight


def at_random(weights: torch.Tensor) -> torch.Tensor:
    """By torch.nn.utils.prune."""
    return prune.random_unstructured(module(weights), "weight", amount=0.1).weight


def noisy(weights: torch.Tensor) -> torch.Tensor:
    """The usual expression."""
    return weights + 0.1 * weights.std(unbiased=False) * torch.randn_like(weights)


def rounded(weights: torch.Tensor) -> torch.Tensor:
    """The usual expression for 4 bits between minimum and maximum."""
    low, high = weights.min(), weights.max()
    step = (high - low) / 15
    return torch.round((weights - low) / step) * step + low


def fake(weights: torch.Tensor) -> torch.Tensor:
    """Symmetric, one scale."""
    scale = float(weights.abs().max()) / 127
    return torch.fake_quantize_per_tensor_affine(weights, scale, 0, -127, 127)


def clamped(weights: torch.Tensor) -> torch.Tensor:
    """At two standard deviations from the mean."""
    mean, most = weights.mean(), 2 * weights.std(unbiased=False)
    return weights.clamp(mean - most, mean + most)


def ratios(count: int = 0, rounds: int = 0) -> Iterator[Ratio]:
    """Each kernel over a copy, and over torch's."""
    count, rounds = count or (100_000_000 if full() else 10_000_000), rounds or (3 if full() else 5)
    weights = 0.05 * RNG.standard_normal(count, dtype=np.float32)
    others = theirs(torch.from_numpy(weights))
    for name, spec in OURS.items():
        kernel = plugins.create(Modification, spec)
        baseline, other = others[name]
        calls: list[Call] = [
            weights.copy,
            lambda kernel=kernel: kernel.modify_weights({"w": weights}, RNG),
            other,
        ]
        copy, ours, torchs = least(calls, rounds)
        what = f"{name} of {count / 1e6:g} M weights"
        yield Ratio(what, ours, "a copy", copy, asked=8)
        # Clipping is a mean, a deviation and two comparisons in either: nothing is asked of it.
        yield Ratio(what, ours, baseline, torchs, asked=None if name == "clipping" else 0.5)


def least(calls: list[Call], rounds: int) -> list[float]:
    """Seconds of wall time of each call, the least of so many rounds in which they take turns."""
    times = [[seconds(call) for call in calls] for _ in range(rounds)]
    return [min(each) for each in zip(*times, strict=True)]


def seconds(call: Call) -> float:
    """Wall time of a call; what it gives is thrown away before the next."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    millions, turns = [*given, *(10, 5)[len(given) :]]
    show(ratios(millions * 1_000_000, turns))
