"""Attackers who know a method: facts, guesses at the carrier; samples without labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import knowing, unlabelled
from nnw_onnx.testing import ArrayBench, ArrayNetwork, run, small_network, small_samples
from nnw_onnx.vocabulary import Modified, Spec, Step


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_steps_in_words():
    assert knowing.step("a", b=1) == Step(Spec("a", {"b": 1}))
    assert knowing.aimed("@last", "a", b=1) == Step(Spec("a", {"b": 1}), ("@last",))


def test_what_a_modification_tells_itself_is_kept():
    done = Modified(small_network(), facts={"data": "all", "more": 1})
    told = knowing.told(done, "method", "none", {"more": 2, "rest": 3})
    assert told.facts == {"knows": "method", "data": "all", "more": 1, "rest": 3}
    assert told.network is done.network


def kernels(**changes):
    """Kernels (name -> shape): the largest, the last ample convolution, and a classifier."""
    shapes = {"wide": (64, 64, 3, 3), "last": (32, 32, 3, 3), "small": (8, 32, 3, 3),
              "head": (10, 40)}  # fmt: skip
    weights = {n: generator(i).standard_normal(s) for i, (n, s) in enumerate(shapes.items())}
    return ArrayNetwork.of({n: changes.get(n, w) for n, w in weights.items()})


def test_guesses_leave_out_what_no_method_takes():
    assert knowing.guessed(kernels(), "@largest") == "wide"
    # Of "small" the filters are too few, of "head" the weights a filter.
    assert knowing.guessed(kernels(), "@last") == "last"
    constant = kernels(wide=np.ones((64, 64, 3, 3)), last=np.ones((32, 32, 3, 3)))
    assert knowing.guessed(constant, "@largest") == "small"
    assert knowing.guessed(constant, "@last") == "small"
    with pytest.raises(NotApplicableError, match=r"layers: expected a kernel .* \(@largest\), got"):
        knowing.guessed(ArrayNetwork.of({"bias": np.ones(5)}), "@largest")


def test_scores_become_probabilities_once(rng):
    scores = rng.standard_normal((7, 5)) * 3
    found = unlabelled.probabilities(scores)
    np.testing.assert_allclose(found, softmax(scores, axis=1), atol=1e-6)
    np.testing.assert_allclose(unlabelled.probabilities(found), found, atol=1e-6)


def test_samples_are_drawn_and_asked_without_their_labels():
    samples = small_samples()
    asked = unlabelled.asked("x", small_network(), ArrayBench(samples=samples, run=run), 70,
                             generator())  # fmt: skip
    whole = samples.read(np.arange(200)).feeds["x"]
    places = [int(np.flatnonzero((whole == x).all(axis=(1, 2, 3)))[0]) for x in asked.inputs]
    assert len(set(places)) == 70
    np.testing.assert_allclose(
        asked.scores, run(small_network(), {"x": whole[places]})["scores"], rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 1, 1)])
def test_axes_of_size_one_behind_the_scores_are_none(shape):
    told = {"a": np.zeros((4, 2)), "b": np.arange(24.0).reshape(shape)}
    np.testing.assert_array_equal(unlabelled.scores("x", told, 1), np.arange(24.0).reshape(4, 6))


@pytest.mark.parametrize(
    "answer", [np.zeros((4, 1)), np.zeros((4, 3), np.int64), np.zeros(4), np.zeros((4, 3, 2))]
)
def test_what_is_no_score_of_classes_is_told(answer):
    with pytest.raises(NotApplicableError, match="^x: expected a classifier of one input of real"):
        unlabelled.scores("x", {"a": answer}, 0)
