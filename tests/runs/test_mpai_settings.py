"""The settings of NNW-TEC, forecast on stand-ins laid out as the data sets lay their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import nnw_onnx
from nnw_onnx.datasets.cifar10 import CLASSES
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs.evaluation import read_evaluation, shipped

pytestmark = pytest.mark.xdist_group("settings of NNW-TEC")

RNG = np.random.Generator(np.random.PCG64(0))
NAMES = sorted(name for name in shipped() if name.startswith("mpai-"))


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _photo(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _cifar10(folder: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        for name in CLASSES:
            for i in range(count):
                _save(folder / split / name / f"{i}.png", _photo(32, 32))


def _cityscapes(folder: Path) -> None:
    """Photographs with train ids and colours; the split test has no labels, as the real one."""
    for split in ("train", "val", "test"):
        for city in ("aachen", "bonn"):
            stem = f"{split}/{city}/{city}_000000_000019"
            _save(folder / f"leftImg8bit/{stem}_leftImg8bit.png", _photo(64, 128))
            ids = RNG.integers(0, 19, (64, 128), dtype=np.uint8)
            ids[:4] = 255
            if split == "test":
                ids[:] = 255
            _save(folder / f"gtFine/{stem}_gtFine_labelTrainIds.png", ids)
            _save(folder / f"gtFine/{stem}_gtFine_color.png", _photo(64, 128))
            _save(folder / f"gtFine/{stem}_gtFine_instanceIds.png", ids)


def _div2k(folder: Path) -> None:
    for split in ("train", "valid"):
        for i in range(3):
            height, width = 52 + 8 * i, 70 - 8 * i
            _save(folder / f"DIV2K_{split}_HR/{i:04}.png", _photo(height, width))
            low = _photo(height // 2, width // 2)
            _save(folder / f"DIV2K_{split}_LR_bicubic/X2/{i:04}x2.png", low)


def _network(path: Path, last: int, ending: list[tuple[str, dict]], shape: list) -> None:
    """Two convolutions, the second to `last` channels, and operators on what comes out."""
    sizes = {"first": (16, 3, 3, 3), "second": (64, 16, 3, 3), "third": (last, 64, 1, 1)}
    weights = [
        numpy_helper.from_array((0.1 * RNG.normal(size=size)).astype(np.float32), name)
        for name, size in sizes.items()
    ]
    nodes, above = [], "image"
    for name, size in sizes.items():
        pads = [size[2] // 2] * 4
        nodes.append(helper.make_node("Conv", [above, name], [f"{name}/conv"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"{name}/conv"], [f"{name}/relu"]))
        above = f"{name}/conv" if name == "third" else f"{name}/relu"
    for place, (operator, attributes) in enumerate(ending):
        after = "answer" if place == len(ending) - 1 else f"ending{place}"
        nodes.append(helper.make_node(operator, [above], [after], **attributes))
        above = after
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, path.stem, [image], [answer], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


IMAGE = ["n", 3, "x", "y"]
CLASSIFIER = (10, [("GlobalAveragePool", {}), ("Flatten", {})], ["n", 10])
SETTINGS: dict[str, tuple[Callable[[Path], None], tuple, dict, int]] = {
    "mpai-vgg16-cifar10": (_cifar10, CLASSIFIER, {}, 20),
    "mpai-resnet8-cifar10": (_cifar10, CLASSIFIER, {}, 20),
    "mpai-pix2pix-cityscapes": (
        _cityscapes, (3, [("Tanh", {})], IMAGE), {"dataset.size": [32, 64]}, 2,
    ),
    "mpai-deeplabv3-cityscapes": (
        _cityscapes, (19, [("Identity", {})], ["n", 19, "x", "y"]), {"dataset.size": [32, 64]}, 2,
    ),
    "mpai-rdn-div2k": (
        _div2k, (12, [("DepthToSpace", {"blocksize": 2})], IMAGE), {"dataset.crop": [48, 52]}, 3,
    ),
}  # fmt: skip
"""Name -> data, (channels, operators and shape at the end), changes, samples of the test."""


def test_all_of_them_are_tried():
    assert sorted(SETTINGS) == NAMES


@pytest.mark.parametrize("name", SETTINGS)
def test_each_reads_networks_and_data_of_the_user(name, tmp_path, monkeypatch):
    """Networks lie in the current folder; every setting is counted, and a step of each is timed."""
    made, network, changes, samples = SETTINGS[name]
    made(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    stem = name.split("-")[1]
    for i in range(2):
        _network(tmp_path / f"{stem}-{i}.onnx", *network)
    settings = {"cost.cells": 0, "control.wrong_keys": 0, "payloads": 2, **changes}
    found = nnw_onnx.forecast(name, data=tmp_path / "data", settings=settings)
    trains = name != "mpai-pix2pix-cityscapes"
    assert (found.networks, found.payloads, found.samples) == (2, 2, samples)
    assert found.technologies == (3 if name.endswith("cifar10") else 2)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["injections"].count > 0
    assert (stages["trials"].untimed > 0) == trains
    # Seven Modifications, or the four that need no training.
    first = {label.split()[0].lower() for label in found.by_setting}
    assert {"gaussian", "l1", "random", "quantizing"} <= first
    assert ("distillation" in " ".join(found.by_setting).lower()) == trains


@pytest.mark.parametrize("name", SETTINGS)
def test_networks_that_are_missing_are_told(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    made = read_evaluation(shipped()[name], tmp_path / "data")
    assert made.folder == tmp_path
    with pytest.raises(
        ConfigurationError, match=rf"expected an ONNX file for '{tmp_path}/.*\*.onn"
    ):
        nnw_onnx.forecast(name, data=tmp_path / "data")
