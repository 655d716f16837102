"""What a Modification leaves of a layer, against a published experiment.

De Sousa Trias et al., "Find the Lady: Permutation and Re-synchronization of Deep Neural Networks",
AAAI 2024, arXiv 2312.14182, Table 1: one layer of VGG16 is modified, its 512 neurons are permuted,
and each is put back to that of the original layer with the largest cosine. Psi is the share (%)
that gets to its place. Here on N(0, 1) weights of the shape of that layer, without any training.
"""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.methods.independence import matched
from nnw_onnx.vocabulary import Modification, Spec

# Modification, Intensity, Psi of VGG16 and of ResNet18 on CIFAR-10.
TABLE = [
    ("gaussian-noise", 1, (100, 100)),
    ("gaussian-noise", 2, (100, 100)),
    ("gaussian-noise", 7, (99.88, 99.90)),
    ("gaussian-noise", 10, (93.50, 94.90)),
    ("quantizing", 16, (100, 100)),
    ("quantizing", 8, (100, 100)),
    ("quantizing", 6, (100, 100)),
    ("quantizing", 4, (100, 100)),
    ("quantizing", 2, (100, 100)),
    ("l1-pruning", 91, (100, 100)),
    ("l1-pruning", 95, (100, 100)),
    ("l1-pruning", 98, (100, 100)),
    ("l1-pruning", 99, (99.90, 99.63)),
]


def directions(weights):
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def layer():
    """Weights of features.17 of VGG16: 512 filters of 256 x 3 x 3."""
    return np.random.Generator(np.random.PCG64(0)).standard_normal((512, 256, 3, 3))


@pytest.mark.parametrize(("name", "intensity", "published"), TABLE)
def test_neurons_are_put_back_as_often_as_in_find_the_lady(layer, name, intensity, published):
    """Within 0.5 points of the two networks; noise of 10 within 3 of its deviations, 0.98."""
    rng = np.random.Generator(np.random.PCG64(1))
    change = plugins.create(Modification, Spec(name, {"intensity": intensity}))
    order = rng.permutation(512)
    found = change.modify_weights({"layer": layer}, rng)["layer"][order]
    cosines = directions(layer) @ directions(found).T
    psi = 100 * np.mean(cosines.argmax(axis=0) == order)
    allowed = 3.0 if intensity == 10 else 0.5
    assert min(published) - allowed <= psi <= max(published) + allowed


def test_an_assignment_puts_back_what_the_largest_cosine_does_not(layer):
    """Noise of 10 costs 5 to 6 of 100 neurons one by one, and none where each is taken once."""
    rng = np.random.Generator(np.random.PCG64(2))
    change = plugins.create(Modification, Spec("gaussian-noise", {"intensity": 10}))
    order = rng.permutation(512)
    found = change.modify_weights({"layer": layer}, rng)["layer"][order]
    assert np.mean(matched(directions(found), directions(layer)) == order) > 0.99
