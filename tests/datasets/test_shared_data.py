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
from nnw_onnx.datasets.cifar10 import CLASSES, Cifar10
from nnw_onnx.datasets.image_folder import ImageFolder
from nnw_onnx.datasets.mnist import Mnist
from nnw_onnx.datasets.npz import Npz
from nnw_onnx.inference import Session
from nnw_onnx.kit.meters import chance_check
from nnw_onnx.kit.preprocessing import Preprocessing
from nnw_onnx.kit.samples import batches
from nnw_onnx.tasks.image_classification import ImageClassification
from nnw_onnx.vocabulary import Dataset, Quality, Spec

from .conftest import raw

pytestmark = pytest.mark.shared_data

ACCURACY = ImageClassification.measures[0]


@dataclass(frozen=True)
class Graph:
    """What a session is made of, without the graph room."""

    model: bytes
    folder: Path | None = None
    initializers: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def _quality(model: Path, dataset: Dataset) -> Quality:
    session = Session(Graph(model.read_bytes(), folder=model.parent))
    samples = dataset.load("test").fitted(session.inputs)
    meter = ImageClassification().meter(samples)
    for batch in batches(samples, 256):
        meter.add(session.predict(batch.feeds), batch.targets)
    return meter.result()


def test_the_whole_of_mnist(shared_data: Path):
    train = Mnist(shared_data / "mnist").load("train")
    test = plugins.create(Dataset, Spec("mnist", {"path": str(shared_data / "mnist")})).load("test")
    assert train.shape == (60_000, 28, 28, 1)
    assert test.shape == (10_000, 28, 28, 1)
    train_labels, test_labels = raw(train)[1], raw(test)[1]
    # Counts of the digits as published for MNIST's test set.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(test_labels).tolist() == counts
    assert (train_labels[:5].tolist(), test_labels[:5].tolist()) == (
        [5, 0, 4, 1, 9],
        [7, 2, 1, 0, 4],
    )


def test_cifar10_as_a_tar_of_images(shared_data: Path):
    folder = shared_data / "cifar10"
    found = Cifar10(folder, limit=100).load("test")
    images, labels, classes = raw(found)
    assert classes == list(CLASSES)
    assert np.bincount(labels).tolist() == [10] * 10
    archive = folder / "cifar10_jpeg_imagefolder.tar.gz"
    assert ImageFolder(archive, limit=100).load("test").digest == found.digest
    digest = hashlib.sha256(b"|u1 (100, 32, 32, 3);" + images.tobytes())
    digest.update(b"<i8 (100,);" + labels.tobytes())
    assert found.digest == digest.hexdigest()


def test_cifar10_as_arrays(shared_data: Path):
    found = Npz(shared_data / "cifar10" / "cifar10_lossless_subset.npz").load("test")
    assert found.shape == (1017, 32, 32, 3)
    assert len(found.facts["classes"]) == 10


@pytest.mark.parametrize(
    "name", ["vnn21_mnist-net_256x2", "vnn21_ffnnSIGMOID_6x200", "java_cnn_mnist_pytorch"]
)
def test_mnist_networks_of_batch_one_know_their_digits(shared_data: Path, name):
    model = shared_data / "models" / "mnist" / f"{name}.onnx"
    usual = (Preprocessing(), Preprocessing(mean=(0.1307,), std=(0.3081,)))
    found = [_quality(model, Mnist(shared_data / "mnist", 500, used)) for used in usual]
    best = max(found, key=lambda quality: quality.values["top-1 accuracy"])
    assert best.values["top-1 accuracy"] > 0.9
    assert chance_check(best, ACCURACY) is None


def test_a_wrong_scale_is_caught_by_the_check_against_chance(shared_data: Path):
    model = shared_data / "models" / "mnist" / "vnn21_ffnnSIGMOID_6x200.onnx"
    wrong = Mnist(shared_data / "mnist", limit=500, preprocessing=Preprocessing(scale=-1e-3))
    assert chance_check(_quality(model, wrong), ACCURACY) is not None


def test_a_cifar10_network_knows_its_images(shared_data: Path):
    npz = shared_data / "cifar10" / "cifar10_lossless_subset.npz"
    usual = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616))
    model = shared_data / "models" / "cifar10" / "vnn21_resnet_4b.onnx"
    found = _quality(model, Npz(npz, limit=200, preprocessing=usual))
    assert found.values["top-1 accuracy"] > 0.4
