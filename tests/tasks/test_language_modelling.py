"""Language modelling: against scipy's log-softmax, closed forms, and torch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.samples import ArraySamples
from nnw_onnx.tasks.language_modelling import MOST_BITS, LanguageModelling
from nnw_onnx.testing import check_task
from nnw_onnx.vocabulary import Spec, Task

from .conftest import measured, samples_of

NAMES = ["cross-entropy", "perplexity", "next-token accuracy"]


def _random(n=5, length=7, vocabulary=11, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    scores = 3 * rng.normal(size=(n, length, vocabulary)).astype(np.float32)
    tokens = rng.integers(0, vocabulary, (n, length))
    tokens[rng.random(tokens.shape) < 0.2] = -1
    return scores, tokens


def _quality(scores, tokens, batch=None, **options):
    return measured(LanguageModelling(**options), samples_of(), {"y": scores}, tokens, batch)


@pytest.mark.parametrize("seed", range(5))
def test_bits_are_those_of_scipy(seed):
    scores, tokens = _random(seed=seed)
    logs = log_softmax(scores.astype(np.float64), axis=2) / np.log(2)
    told = [
        (i, -logs[i, t, tokens[i, t + 1]], logs[i, t].argmax() == tokens[i, t + 1])
        for i in range(5)
        for t in range(6)
        if tokens[i, t + 1] >= 0
    ]
    quality = _quality(scores, tokens, batch=2)
    assert list(quality.values) == NAMES == [m.name for m in LanguageModelling.measures]
    bits = np.mean([b for _, b, _ in told])
    expected = dict(zip(NAMES, (bits, 2**bits, np.mean([r for *_, r in told])), strict=True))
    assert quality.values == pytest.approx(expected, rel=1e-9)
    sums = [sum(b for i, b, _ in told if i == sample) for sample in range(5)]
    np.testing.assert_allclose(quality.scores, sums)
    np.testing.assert_allclose(quality.scores.sum() / quality.weights.sum(), bits)


def test_perplexity_is_that_of_torch():
    torch = pytest.importorskip("torch")
    scores, tokens = _random(seed=9)
    mean = torch.nn.functional.cross_entropy(
        torch.tensor(scores[:, :-1]).flatten(0, 1),
        torch.tensor(tokens[:, 1:]).flatten(),
        ignore_index=-1,
    )
    assert _quality(scores, tokens).values["perplexity"] == pytest.approx(float(mean.exp()), 1e-5)


def test_a_network_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    _, tokens = _random(vocabulary=16)
    quality = _quality(np.zeros((5, 7, 16), np.float16), tokens)
    assert quality.values["cross-entropy"] == pytest.approx(4)
    assert quality.values["perplexity"] == pytest.approx(16)


def test_chance_is_to_know_the_frequencies():
    """Tokens 0 and 1 with shares 3/4 and 1/4: 0.8113 bits, and Miller's (2 - 1) / 2N ln 2."""
    tokens = np.tile([0, 0, 0, 1], (250, 1)).reshape(1, -1)
    tokens = np.concatenate([[[0]], tokens], axis=1)
    quality = _quality(np.zeros((1, 1001, 9)), tokens)
    assert quality.chance == pytest.approx(0.811278 + 1 / (2000 * np.log(2)), abs=1e-6)
    few = _quality(np.zeros((1, 5, 4)), np.array([[0, 0, 1, 2, 3]]))
    assert few.chance == 2  # no more than the vocabulary


def test_what_was_impossible_or_no_number_has_finite_bits():
    scores = np.zeros((1, 3, 4))
    scores[0, 0, 2] = -np.inf
    scores[0, 1] = np.nan
    quality = _quality(scores, np.array([[0, 2, 0]]))
    assert quality.scores.tolist() == [2 * MOST_BITS]
    assert quality.values["perplexity"] == 1e15
    assert quality.values["next-token accuracy"] == 0
    assert _quality(np.full((1, 3, 4), np.inf), np.array([[0, 2, 0]])).scores[0] == 2 * MOST_BITS


def test_samples_without_a_token_weigh_nothing():
    scores, tokens = _random()
    tokens[2, 1:] = -1
    quality = _quality(scores, tokens)
    assert (quality.scores[2], quality.weights[2]) == (0, 0)
    with pytest.raises(InferenceError, match=r"at least one token that follows another, got none"):
        _quality(scores[2:3], tokens[2:3])


@pytest.mark.parametrize(
    ("scores", "tokens", "message"),
    [
        (np.zeros((2, 3, 4)), np.zeros(2), r"targets are token ids \(n, length\), got float64"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), r"expected scores \(n, 3, vocabulary\), got f"),
        (np.zeros((2, 4, 4)), np.zeros((2, 3), int), r"expected scores \(n, 3, vocabulary\)"),
        (np.zeros((2, 3, 4)), np.full((2, 3), 4), r"token ids below 4, which .* got 4; use the to"),
    ],
)
def test_what_does_not_fit_is_refused(scores, tokens, message):
    with pytest.raises(ConfigurationError, match=rf"language-modelling: .*{message}"):
        _quality(scores, tokens)


def test_the_output_is_chosen_by_its_index():
    scores, tokens = _random()
    task = plugins.create(Task, Spec("language-modelling", {"output": 1}))
    both = measured(task, samples_of(), {"z": np.zeros(5), "y": scores}, tokens)
    assert both.values == _quality(scores, tokens).values


def _case():
    scores, tokens = _random(n=9)
    right = np.eye(11, dtype=np.float32)[np.maximum(np.roll(tokens, -1, axis=1), 0)] * 9 + scores
    return check_task(
        LanguageModelling(), ArraySamples({"ids": np.maximum(tokens, 0)}, tokens), {"y": right}
    )


@pytest.mark.parametrize("check", _case(), ids=str)
def test_the_contract_holds(check):
    check()
