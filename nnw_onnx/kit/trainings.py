"""What Modifications that train share: recipes and rates, some of the samples, seeds, facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nnw_onnx.kit.samples import Drawn
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Job,
    Json,
    Layer,
    Modified,
    Network,
    Recipe,
    Samples,
    Trained,
)

_FLOATING = ("float64", "float32", "float16", "bfloat16")
_NAMED = 6
"""Layers that are named in a line; the others are counted."""
_DECADES = (0.1, 1.0, 10.0)
"""Learning rates that are tried where none is given, times that of the recipe."""
_HIGHEST_RATE = 100.0


def changed(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with every change that is not None."""
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(recipe, **given)  # type: ignore[arg-type]  # each of its own type


def some(samples: Samples, count: int | None, rng: np.random.Generator) -> Samples:
    """So many samples drawn without replacement, or all where there are not more (or None)."""
    if count is None or count >= len(samples):
        return samples
    return Drawn(samples, np.sort(rng.permutation(len(samples))[:count]))


def rates(recipe: Recipe) -> tuple[Mapping[str, Json], ...]:
    """Settings that a Modification which trains stands for where no learning rate is given.

    The rate decides what survives a training, so that one alone says little: a tenth of the
    recipe's, the recipe's, and ten times it.
    """
    tried = (float(f"{factor * recipe.learning_rate:.12g}") for factor in _DECADES)
    return tuple({"learning_rate": rate} for rate in tried if rate <= _HIGHEST_RATE)


def facts_of(job: Job, trained: Trained, layers: Sequence[Layer]) -> dict[str, Json]:
    """What a report should say of a training.

    Args:
        job: what was asked for.
        trained: what came of it.
        layers: of the network that it began with.
    """
    return {
        "epochs": job.recipe.epochs,
        "samples": float(len(job.samples)),
        "learning rate": job.recipe.learning_rate,
        "schedule": job.recipe.schedule,
        "last loss": trained.epochs[-1].loss,
        "layers": str(learning(layers, job.trainable)),
    }


def resumed(
    network: Network,
    samples: Samples,
    recipe: Recipe,
    bench: Bench,
    rng: np.random.Generator,
    additions: Additions | None = None,
) -> Modified:
    """The network after a training of the task that begins with its weights as they are.

    Args:
        network: where it starts.
        samples: what it learns.
        recipe: how.
        bench: who trains.
        rng: gives the seed.
        additions: such as weights that stay as they are.

    Raises:
        TrainingError: the network cannot be trained.
    """
    job = Job(samples, recipe, bench.loss, seed(rng), additions=additions)
    trained = bench.train(network, job)
    return Modified(trained.network, facts=facts_of(job, trained, network.layers))


def seed(rng: np.random.Generator) -> int:
    """A seed for a training."""
    return int(rng.integers(1 << 62))


class Learning(NamedTuple):
    """What a training of a network changes by gradients, and what it leaves as it is.

    Attributes:
        trained: names of layers.
        frozen: names of the others, such as masks, statistics and layers that nobody asked for.
    """

    trained: tuple[str, ...]
    frozen: tuple[str, ...]

    def __str__(self) -> str:
        kept = f"; {_listed(self.frozen)} stay as they are" if self.frozen else ""
        return f"{_listed(self.trained)} learn{kept}"


def learning(layers: Sequence[Layer], trainable: Collection[str] | None = None) -> Learning:
    """Which layers learn: those of floating-point numbers that outputs depend on.

    Args:
        layers: of the network.
        trainable: names of layers that alone shall learn; all that can if None.
    """
    trained = tuple(
        layer.name
        for layer in layers
        if layer.learns
        and layer.live
        and layer.quantization is None
        and layer.dtype in _FLOATING
        and (trainable is None or layer.name in trainable)
    )
    return Learning(trained, tuple(x.name for x in layers if x.name not in set(trained)))


def _listed(names: Sequence[str]) -> str:
    """The number of layers, and the first of their names."""
    if not names:
        return "no layers"
    more = ", ..." if len(names) > _NAMED else ""
    noun = "layer" if len(names) == 1 else "layers"
    return f"{len(names)} {noun} ({', '.join(names[:_NAMED])}{more})"
