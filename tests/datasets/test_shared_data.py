"""The real data sets, and networks of other people that must know something about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.arrays.preprocessing import Preprocessing
from nnw_onnx.datasets.cifar10 import CLASSES, Cifar10
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.datasets.mnist import Mnist
from nnw_onnx.datasets.npz import Npz
from nnw_onnx.inference import Session
from nnw_onnx.tasks.image_classification import ImageClassification, chance_check
from nnw_onnx.vocabulary import Samples, Spec


@dataclass(frozen=True)
class Graph:
    """What a session is made of, without the graph room."""

    model: bytes
    folder: Path | None = None
    initializers: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def _accuracy(model: Path, samples: Samples, preprocessing: Preprocessing) -> float:
    session = Session(Graph(model.read_bytes(), folder=model.parent))
    inputs = preprocessing.apply(samples.inputs, session.inputs[0].shape)
    outputs = session.predict(inputs)
    task = ImageClassification()
    quality = task.quality(outputs, samples.labels, len(samples.classes))
    return quality.measures["top-1 accuracy"]


def test_the_whole_of_mnist(shared_data: Path):
    train = Mnist(shared_data / "mnist").load("train")
    test = plugins.create("datasets", Spec("mnist", {"path": str(shared_data / "mnist")})).load(
        "test"
    )
    assert train.inputs.shape == (60_000, 28, 28, 1)
    assert test.inputs.shape == (10_000, 28, 28, 1)
    # Counts of the digits as published for MNIST's test set.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(test.labels).tolist() == counts
    assert (train.labels[:5].tolist(), test.labels[:5].tolist()) == (
        [5, 0, 4, 1, 9],
        [7, 2, 1, 0, 4],
    )


def test_cifar10_as_a_tar_of_images(shared_data: Path):
    folder = shared_data / "cifar10"
    found = Cifar10(folder, limit=100).load("test")
    assert found.classes == CLASSES
    assert np.bincount(found.labels).tolist() == [10] * 10
    archive = folder / "cifar10_jpeg_imagefolder.tar.gz"
    assert ImageFolder(archive, limit=100).load("test").fingerprint == found.fingerprint
    digest = hashlib.sha256(b"|u1 (100, 32, 32, 3);" + found.inputs.tobytes())
    digest.update(b"<i8 (100,);" + found.labels.tobytes())
    assert found.fingerprint == digest.hexdigest()


def test_cifar10_as_arrays(shared_data: Path):
    found = Npz(shared_data / "cifar10" / "cifar10_lossless_subset.npz").load("test")
    assert found.inputs.shape == (1017, 32, 32, 3)
    assert len(found.classes) == 10


@pytest.mark.parametrize(
    "name", ["vnn21_mnist-net_256x2", "vnn21_ffnnSIGMOID_6x200", "java_cnn_mnist_pytorch"]
)
def test_mnist_networks_of_batch_one_know_their_digits(shared_data: Path, name):
    samples = Mnist(shared_data / "mnist", limit=500).load("test")
    model = shared_data / "models" / "mnist" / f"{name}.onnx"
    best = max(
        _accuracy(model, samples, preprocessing)
        for preprocessing in (Preprocessing(), Preprocessing(mean=(0.1307,), std=(0.3081,)))
    )
    assert best > 0.9
    assert chance_check(best, 0.1, 500) is None


def test_a_wrong_scale_is_caught_by_the_check_against_chance(shared_data: Path):
    samples = Mnist(shared_data / "mnist", limit=500).load("test")
    model = shared_data / "models" / "mnist" / "vnn21_ffnnSIGMOID_6x200.onnx"
    accuracy = _accuracy(model, samples, Preprocessing(scale=-1e-3))
    assert chance_check(accuracy, 0.1, 500) is not None


def test_a_cifar10_network_knows_its_images(shared_data: Path):
    npz = shared_data / "cifar10" / "cifar10_lossless_subset.npz"
    samples = Npz(npz, limit=200).load("test")
    model = shared_data / "models" / "cifar10" / "vnn21_resnet_4b.onnx"
    usual = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616))
    assert _accuracy(model, samples, usual) > 0.4
