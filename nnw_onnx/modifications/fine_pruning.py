"""Fine-pruning: channels that the samples leave asleep are cut off, and training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import channels, trainings
from nnw_onnx.kit.samples import batches
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Additions,
    Array,
    Bench,
    Family,
    HiddenAxis,
    Modification,
    Modified,
    Need,
    Network,
    Parameter,
    Samples,
)

_BATCH = 256


@dataclass(frozen=True)
class FinePruning(Modification):
    """The channels of least mean activation are cut off and stay so while training goes on.

    Liu, Dolan-Gavitt, Garg, "Fine-pruning", RAID 2018: what only triggers wake is asleep on the
    samples. The activation of a channel is the mean, over samples and places, of the positive part
    of what its last operator before the next layer answers, which for ReLU is what that layer gets.
    A channel is cut off by zeros in all weights that take it. In the toolbox of Lukas et al., IEEE
    S&P 2022, single places of the activations are masked instead, 96 % of one layer, which no
    weights of a file can do. Channels that several layers make together, as those of a residual
    stream, are left alone. What is not given here is as in the recipe of the evaluation.
    """

    name: ClassVar[str] = "fine-pruning"
    summary: ClassVar[str] = "channels of little activation cut off, then training goes on"
    family: ClassVar[Family] = "removal"
    parameter: ClassVar[Parameter] = Parameter("P", "share of the channels that is cut off", "%")

    intensity: Annotated[float, Gt(0), Lt(100)] = option(
        help="P: percentage of the channels that is cut off; one at least stays"
    )
    scope: Literal["last", "all"] = option(
        "last", help="the last channels before the output, or those of every hidden layer"
    )
    epochs: Annotated[float, Ge(0), Le(10_000)] = option(10.0, help="epochs after it; 0 for none")
    learning_rate: Annotated[float, Gt(0), Le(100)] | None = option(
        None, help="largest learning rate; by default that of the recipe"
    )
    samples: Annotated[int, Ge(1)] | None = option(
        None, help="how many training samples the attacker has; by default all"
    )

    def needed(self) -> tuple[Need, ...]:
        """Samples, and a trainer where training goes on."""
        return ("data", "trainer") if self.epochs else ("data",)

    def modify(self, network: Network, bench: Bench, rng: np.random.Generator) -> Modified:
        """The network with fewer channels that do anything, in the shape that it had.

        Raises:
            NotApplicableError: there are no channels that one layer makes for others.
            TrainingError: the network cannot be trained.
        """
        axes = self._axes(network)
        data = trainings.some(bench.samples(), self.samples, rng)
        levels = _levels(network, axes, data, bench)
        asleep = [_least(level, self.intensity) for level in levels]
        masks = _masks(network, axes, asleep)
        cut = {name: np.where(mask, 0, network.weights[name]) for name, mask in masks.items()}
        facts = {"channels cut off": float(sum(map(len, asleep)))}
        pruned = network.with_weights(cut)
        if not self.epochs:
            return Modified(pruned, facts=facts)
        recipe = trainings.changed(
            bench.recipe, epochs=self.epochs, learning_rate=self.learning_rate
        )
        done = trainings.resumed(pruned, data, recipe, bench, rng, Additions(fixed=masks))
        return Modified(done.network, facts={**facts, **done.facts})

    def _axes(self, network: Network) -> list[HiddenAxis]:
        layers = {layer.name: layer for layer in network.layers}
        found = [
            axis
            for axis in channels.usable(network)
            if axis.size > 1 and [s.direction for s in axis.strands].count("out") == 1
            if all(layers[s.layer].replaceable for s in axis.strands if s.direction == "in")
        ]
        if not found:
            raise NotApplicableError(
                f"{self.name}: expected channels that one layer makes for others, got none that "
                "the graph proves; leave it out for this network"
            )
        found.sort(key=lambda axis: layers[axis.name].position)
        return found[-1:] if self.scope == "last" else found


def _levels(
    network: Network, axes: Sequence[HiddenAxis], data: Samples, bench: Bench
) -> list[NDArray[np.float64]]:
    """Mean positive activation of each channel, by axis."""
    names = [_last(network, axis) for axis in axes]
    sums = [np.zeros(axis.size) for axis in axes]
    for batch in batches(data, _BATCH):
        answers = bench.run(network, batch.feeds, tuple(dict.fromkeys(names)))
        for k, (name, axis) in enumerate(zip(names, axes, strict=True)):
            rows = np.moveaxis(answers[name], _place(answers[name], axis), 0)
            woken = np.maximum(rows, 0).reshape(axis.size, -1)
            sums[k] += woken.mean(axis=1, dtype=np.float64) * len(batch)
    return [total / len(data) for total in sums]


def _last(network: Network, axis: HiddenAxis) -> str:
    """The layer on the way of the channels that is computed last before others take them."""
    positions = {layer.name: layer.position for layer in network.layers}
    on_the_way = [s.layer for s in axis.strands if s.direction != "in"]
    return max(on_the_way, key=lambda name: positions[name])


def _place(answers: Array, axis: HiddenAxis) -> int:
    """The axis of (n, ...) answers that counts the channels: the second, or the last one."""
    fitting = [k for k in range(1, answers.ndim) if answers.shape[k] == axis.size]
    if not fitting:
        raise NotApplicableError(
            f"fine-pruning: expected answers of {axis.size} channels, got shape {answers.shape}; "
            "leave it out for this network"
        )
    return fitting[-1] if answers.ndim == 3 else fitting[0]


def _least(levels: NDArray[np.float64], percent: float) -> NDArray[np.int64]:
    """The channels of least activation; ties by their number."""
    count = min(len(levels) - 1, round(percent * len(levels) / 100))
    return np.argsort(levels, kind="stable")[:count]


def _masks(
    network: Network, axes: Sequence[HiddenAxis], asleep: Sequence[NDArray[np.int64]]
) -> dict[str, NDArray[np.bool_]]:
    """Layer -> True for each weight that takes one of these channels."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for axis, chosen in zip(axes, asleep, strict=True):
        for strand in (s for s in axis.strands if s.direction == "in"):
            mask = masks.get(strand.layer, np.zeros(network.weights[strand.layer].shape, np.bool_))
            parts = channels.by_channel(mask, strand, axis.size)
            parts[chosen] = True
            masks[strand.layer] = channels.with_channels(mask, strand, parts)
    return masks
