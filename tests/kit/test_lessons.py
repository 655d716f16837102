"""What a student is to answer, as each loss takes it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from nnw_onnx.kit.lessons import probabilities, targets_for


@pytest.mark.parametrize(
    ("loss", "answers", "expected"),
    [
        ("cross-entropy", [[0.1, 3, 2], [5, 4, 3]], [1, 0]),
        ("cross-entropy", [[[[0.1]], [[3]]], [[[5]], [[4]]]], [1, 0]),
        ("cross-entropy", [[[1, 9], [2, 3]]], [[1, 0]]),
        ("next-token", [[[1, 2], [4, 3], [0, 9]]], [[1, 1, 0]]),
        ("bce", [[-1.0, 0.0, 2.0]], [[0, 0, 1]]),
        ("mse", [[-1.5, 2.0]], [[-1.5, 2.0]]),
        ("mae", [[-1.5, 2.0]], [[-1.5, 2.0]]),
    ],
)
def test_what_is_learnt_of_answers_follows_from_the_loss(loss, answers, expected):
    found = targets_for(loss, np.array(answers, np.float32))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == (np.int64 if loss in ("cross-entropy", "next-token") else np.float32)


def test_a_pixel_has_probabilities_of_its_own(rng):
    scores = rng.normal(size=(2, 5, 3, 4))
    found = targets_for("soft-cross-entropy", scores, 2.0)
    np.testing.assert_allclose(found, softmax(scores / 2, axis=1), rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_probabilities_stand_for_their_logarithms(temperature, rng):
    scores = rng.normal(size=(20, 6))
    given = softmax(scores, axis=1).astype(np.float32)
    found = probabilities(given, temperature)
    np.testing.assert_allclose(found, softmax(scores / temperature, axis=1), rtol=1e-4)
