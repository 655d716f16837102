"""The quantizing and pruning rows of Find the Lady on networks at hand, beside the published ones.

    python -m tests.benchmarks.find_the_lady FOLDER_OF_SHARED_DATA > results/find-the-lady.txt

De Sousa Trias et al., AAAI 2024, arXiv 2312.14182, Table 1: top-1 error of VGG16 and ResNet18 on
CIFAR-10. As there, quantizing is of all kernels and pruning of one: the carrier of the preset
find-the-lady, and the kernel at half the depth, as features.17 is in VGG16.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.inference import Session
from nnw_onnx.kit import knowing
from nnw_onnx.vocabulary import Batch, Dataset, Modification, Spec

from ..runs.resnets import pictures, residual_network  # noqa: TID252 - shared with tests

MODELS = Path(__file__).parents[2] / "models"
TESTED = 2000
PUBLISHED = {
    "quantizing": {
        "VGG16": {None: 9.96, 16: 9.96, 8: 9.97, 6: 9.98, 4: 10.77, 2: 87.73},
        "ResNet18": {None: 7.03, 16: 7.03, 8: 7.05, 6: 7.14, 4: 7.76, 2: 88.2},
    },
    "l1-pruning": {
        "VGG16": {None: 9.96, 91: 10.87, 95: 12.11, 98: 17.53, 99: 26.71},
        "ResNet18": {None: 7.03, 91: 9.67, 95: 12.88, 98: 21.71, 99: 28.16},
    },
}
"""Modification -> network -> Intensity -> top-1 error in percent; None is before it."""
RULE = """\
# points: top-1 error that is added, of groups of networks the mean; deviation: its standard
# deviation over networks. Half a point is the least that counts: about two deviations of the
# published networks before any Modification.
# monotone: no Intensity adds less than the weaker one before it, by more than half a point.
# rank: Spearman's correlation of points in half points, from none on, with the published ones.
# knee: the Intensity with the largest step from the one before it.
# same shape: monotone, rank of .9 or more, and the knee at the same Intensity.
"""


@dataclass(frozen=True)
class Group:
    """Networks of one architecture with the samples that they are tested on."""

    name: str
    networks: tuple[nnw.OnnxNetwork, ...]
    test: Batch

    @functools.cached_property
    def errors(self) -> tuple[float, ...]:
        """Top-1 error of each in percent, before any Modification."""
        return tuple(error(network, self.test) for network in self.networks)


@dataclass(frozen=True)
class Curve:
    """Points of error by Intensity, from the weakest on.

    Attributes:
        points: mean over the networks.
        deviation: over them; None for a single network.
    """

    intensities: tuple[int, ...]
    points: tuple[float, ...]
    deviation: tuple[float, ...] | None = None

    @property
    def monotone(self) -> bool:
        """Whether more of the Modification never helps by more than half a point."""
        return bool((np.diff((0.0, *self.points)) >= -0.5).all())

    @property
    def knee(self) -> int:
        """The Intensity with the largest step."""
        return self.intensities[int(np.argmax(np.diff((0.0, *self.points))))]

    def rank(self, other: Curve) -> float:
        """Correlation of the order of what counts."""
        mine, theirs = (np.rint(2 * np.array((0.0, *c.points))) for c in (self, other))
        return float(stats.spearmanr(mine, theirs).statistic)

    def same(self, other: Curve) -> bool:
        """Whether the shape is that of another one, by the rule above."""
        return self.monotone and self.rank(other) >= 0.9 and self.knee == other.knee


def published(row: str) -> dict[str, Curve]:
    """Points of the published networks."""
    return {
        name: Curve(
            tuple(x for x in errors if x is not None),
            tuple(round(e - errors[None], 2) for x, e in errors.items() if x is not None),
        )
        for name, errors in PUBLISHED[row].items()
    }


def measured(group: Group, row: str, aim: str, intensities: Sequence[int]) -> Curve:
    """What a Modification at its Intensities adds to the errors of a group."""
    added = []
    for network, before in zip(group.networks, group.errors, strict=True):
        names = aimed_at(network, aim)
        given = {name: network.weights[name] for name in names}
        rng = np.random.Generator(np.random.PCG64(0))  # neither draws anything
        found = []
        for intensity in intensities:
            change = plugins.create(Modification, Spec(row, {"intensity": intensity}))
            changed = network.with_weights(change.modify_weights(given, rng))
            found.append(error(changed, group.test) - before)
        added.append(found)
    deviation = tuple(np.std(added, axis=0, ddof=1).tolist()) if len(added) > 1 else None
    return Curve(tuple(intensities), tuple(np.mean(added, axis=0).tolist()), deviation)


def aimed_at(network: nnw.OnnxNetwork, aim: str) -> list[str]:
    """All kernels, the carrier, or the kernel at half the depth."""
    if aim == "carrier":
        return [knowing.guessed(network, "@last")]
    kernels = [layer.name for layer in network.layers if layer.role == "kernel"]
    return kernels if aim == "all" else [kernels[(len(kernels) - 1) // 2]]


def error(network: nnw.OnnxNetwork, test: Batch) -> float:
    """Top-1 error in percent."""
    scores = next(iter(Session(network.runnable()).predict(test.feeds).values()))
    return 100 * float(np.mean(scores.argmax(axis=1) != test.targets))


def groups(shared_data: Path, folder: Path) -> Iterator[Group]:
    """The project's own networks on what they were trained on, and two that others trained."""
    scale = {"scale": 1 / 255, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
    data = str(shared_data / "cifar10" / "cifar10_jpeg_imagefolder.tar.gz")
    options = {"path": data, "limit": TESTED, "preprocessing": scale}
    own = plugins.create(Dataset, Spec("cifar10", options)).load("test")
    other = pictures(shared_data, "test")
    for name, files in {
        "small": sorted((MODELS / "comparison" / "compared").glob("*.onnx")),
        "fast": sorted((MODELS / "cifar10").glob("*.onnx")),
    }.items():
        networks = tuple(nnw.open(file) for file in files)
        yield Group(name, networks, own.fitted(networks[0].inputs).read(np.arange(len(own))))
    for name in ("resnet20", "resnet56"):
        network = nnw.open(residual_network(shared_data, name, folder / f"{name}.onnx"))
        test = other.fitted(network.inputs).read(np.arange(len(other)))
        yield Group(name, (network,), test)


def lines(group: Group, row: str, aim: str) -> Iterator[tuple[str, ...]]:
    """A row of the table for one group: its points, and how they compare."""
    theirs = published(row)
    ours = measured(group, row, aim, next(iter(theirs.values())).intensities)
    spread = (
        ["–"] * len(ours.points) if ours.deviation is None else map("{:.2f}".format, ours.deviation)
    )
    yield (row, aim, group.name, "points", *map("{:.2f}".format, ours.points))
    yield (row, aim, group.name, "deviation", *spread)
    for name, curve in theirs.items():
        yield (
            row, aim, group.name, f"as {name}", "monotone" if ours.monotone else "not monotone",
            f"rank {ours.rank(curve):.3f}", f"knee {ours.knee}, there {curve.knee}",
            "same shape" if ours.same(curve) else "another shape",
        )  # fmt: skip


def main(shared_data: Path) -> None:
    """Print the table, tab between columns."""
    print("# Find the Lady, AAAI 2024, Table 1: rows quantizing and pruning, ours beside published")
    print("# python -m tests.benchmarks.find_the_lady FOLDER_OF_SHARED_DATA")
    print(RULE, end="")
    with tempfile.TemporaryDirectory() as folder:
        found = list(groups(shared_data, Path(folder)))
        for group in found:
            count, images = len(group.networks), len(group.test)
            plain = np.mean(group.errors)
            print(f"# {group.name}: networks {count}, images {images}, error {plain:.2f} % before")
        for row, aims in {"quantizing": ("all",), "l1-pruning": ("carrier", "half")}.items():
            for name, curve in published(row).items():
                print("\t".join([row, "intensity", name, "", *map(str, curve.intensities)]))
                print(
                    "\t".join(
                        [row, "published", name, "points", *map("{:.2f}".format, curve.points)]
                    )
                )
            for aim in aims:
                for group in found:
                    for line in lines(group, row, aim):
                        print("\t".join(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
