"""The rows of Find the Lady: published numbers, the rule of shape, and the table as printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.inference import Session
from nnw_onnx.vocabulary import Dataset, Spec

from ..benchmarks import find_the_lady as lady  # noqa: TID252 - tests are no package

FILE = Path(__file__).parents[2] / "results" / "find-the-lady.txt"


@pytest.mark.shared_data
def test_published_errors_are_those_of_the_transcribed_table(shared_data):
    """oracles.json ftl.table1, which was read off the paper's table twice."""
    content = json.loads((shared_data.parent / "reference" / "oracles.json").read_text())
    (table,) = [entry for entry in content["oracles"] if entry["id"] == "ftl.table1"]
    rows = {"quantizing": "quantization_bits", "l1-pruning": "l1_pruning_percent", None: "noise"}
    found = {(r["modification"], r["intensity"]): r["metric"] for r in table["rows"]}
    for place, name in enumerate(("VGG16", "ResNet18")):
        assert table["columns"][place] == f"{name}_CIFAR10"
        for row, networks in lady.PUBLISHED.items():
            for intensity, error in networks[name].items():
                key = (rows[None], 0) if intensity is None else (rows[row], intensity)
                assert found[key][place] == error, (row, name, intensity)
    counted = {row: len([x for x in found if x[0] == rows[row]]) for row in lady.PUBLISHED}
    assert counted == {"quantizing": 5, "l1-pruning": 5}


def curve(*points):
    return lady.Curve(tuple(range(1, len(points) + 1)), points)


@pytest.mark.parametrize(
    ("points", "monotone", "knee"),
    [
        ((0.0, 1.0, 9.0), True, 3),
        ((0.0, 9.0, 8.6), True, 2),
        ((0.0, 9.0, 8.4), False, 2),
        ((-0.4, 0.0, 0.1), True, 2),
        ((-0.6, 0.0, 0.1), False, 2),
        ((5.0, 9.0, 13.0), True, 1),
    ],
)
def test_a_curve_rises_by_its_knee(points, monotone, knee):
    assert (curve(*points).monotone, curve(*points).knee) == (monotone, knee)


def test_ranks_are_of_half_points():
    theirs = curve(0.0, 0.01, 0.02, 0.81, 77.8)
    assert curve(0.2, -0.1, 0.1, 3.0, 50.0).rank(theirs) == pytest.approx(1)
    # 0 0 0 0 1 2 against 0 0 0 1 2 3: ranks 2.5 2.5 2.5 2.5 5 6 and 2 2 2 4 5 6, by hand.
    ours = curve(0.0, 0.1, 0.6, 3.0, 50.0).rank(theirs)
    mine, other = np.array([2, 2, 2, 4, 5, 6]) - 3.5, np.array([2.5, 2.5, 2.5, 2.5, 5, 6]) - 3.5
    expected = mine @ other / np.sqrt((mine @ mine) * (other @ other))
    assert ours == pytest.approx(expected)
    assert not curve(0.0, 0.1, 0.6, 3.0, 50.0).same(theirs)
    assert curve(0.2, -0.1, 0.1, 3.0, 50.0).same(theirs)


def test_points_are_what_a_modification_of_that_name_adds():
    """Beside `nnw.modify`, and errors counted one by one."""
    network = nnw.open(lady.MODELS / "digits" / "cnn-0.onnx")
    options = {"preprocessing": {"scale": 0.0625}}
    samples = plugins.create(Dataset, Spec("digits", options)).load("test")
    test = samples.fitted(network.inputs).read(np.arange(len(samples)))

    def wrong(one):
        scores = Session(one.runnable()).predict(test.feeds)
        told = [max(range(10), key=row.__getitem__) for row in next(iter(scores.values())).tolist()]
        return (
            100 * sum(a != b for a, b in zip(told, test.targets.tolist(), strict=True)) / len(told)
        )

    group = lady.Group("digits", (network,), test)
    for row, aim, intensities in (("quantizing", "all", (8, 2)), ("l1-pruning", "half", (50, 99))):
        found = lady.measured(group, row, aim, intensities)
        layers = None if aim == "all" else lady.aimed_at(network, aim)
        for intensity, points in zip(intensities, found.points, strict=True):
            done = nnw.modify(network, row, intensity, layers=layers)
            assert points == pytest.approx(wrong(done.network) - wrong(network))
        assert found.points[-1] > 1
        assert found.deviation is None
    twice = lady.measured(lady.Group("x", (network, network), test), "quantizing", "all", (2,))
    assert twice.deviation == (0.0,)


def test_the_kernel_at_half_the_depth_is_that_of_the_paper():
    """features.17 is the eighth of thirteen convolutions and three dense layers of VGG16."""
    assert (16 - 1) // 2 == 7
    network = nnw.open(sorted((lady.MODELS / "cifar10").glob("*.onnx"))[0])
    kernels = [layer.name for layer in network.layers if layer.role == "kernel"]
    assert lady.aimed_at(network, "all") == kernels
    (half,), (carrier,) = lady.aimed_at(network, "half"), lady.aimed_at(network, "carrier")
    assert kernels.index(half) == 3
    key = nnw.inject(network, "ab", method="uchida", seed=1).key
    assert key.layers == (carrier,)


def table():
    lines = [x for x in FILE.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    return [line.split("\t") for line in lines]


def test_every_verdict_of_the_table_follows_from_its_numbers():
    theirs, ours = {}, {}
    for row, what, name, kind, *cells in table():
        if what == "published":
            theirs[row, name] = [0.0, *map(float, cells)]
        elif kind == "points":
            ours[row, what, name] = [0.0, *map(float, cells)]
    assert {name for _, _, name in ours} == {"small", "fast", "resnet20", "resnet56"}
    told = [line for line in table() if line[3].startswith("as ")]
    assert len(told) == len(ours) * 2
    for row, aim, name, kind, monotone, rank, knee, shape in told:
        mine, other = ours[row, aim, name], theirs[row, kind.removeprefix("as ")]
        steps, halves = (
            np.diff(mine),
            [stats.rankdata(np.rint(2 * np.array(x))) for x in (mine, other)],
        )
        assert (monotone == "monotone") == (steps.min() >= -0.5)
        assert float(rank.removeprefix("rank ")) == pytest.approx(
            np.corrcoef(*halves)[0, 1], abs=6e-4
        )
        same = int(steps.argmax()) == int(np.diff(other).argmax())
        assert (len(set(knee.replace("knee ", "").split(", there "))) == 1) == same
        both = same and monotone == "monotone" and float(rank.removeprefix("rank ")) >= 0.9
        assert (shape == "same shape") == both


def test_the_table_says_how_it_is_made():
    text = FILE.read_text(encoding="utf-8")
    assert "# python -m tests.benchmarks.find_the_lady FOLDER_OF_SHARED_DATA\n" in text
    assert lady.RULE in text
