"""A linear detector that judges each network by what all the others taught it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PENALTY = 0.1
"""Of the squared weights of the detector, for each example it is trained on."""


def held_out(features: ArrayLike, networks: ArrayLike) -> NDArray[np.float64]:
    """(N, N) matrix that turns labels into scores: ridge regression on standardised features.

    Row i is what the label of every example adds to the score of example i; those of its own
    network add nothing. That the scores are linear in the labels makes a permutation test cheap,
    which logistic regression would not be: it does not have to be trained again.

    Args:
        features: (N, F) of the examples.
        networks: (N,) which network each is of; two different ones at least.
    """
    x = np.asarray(features, dtype=np.float64)
    groups = np.asarray(networks)
    scores = np.zeros((len(x), len(x)))
    for network in np.unique(groups):
        own = groups == network
        known = x[~own]
        mean, deviation = known.mean(axis=0), known.std(axis=0)
        # What is the same in all training examples tells nothing of the others.
        usable = deviation > 1e-9 * np.maximum(1.0, np.abs(mean))
        trained = (known - mean)[:, usable] / deviation[usable]
        asked = (x[own] - mean)[:, usable] / deviation[usable]
        gram = trained.T @ trained + _PENALTY * len(known) * np.eye(int(usable.sum()))
        centred = trained - trained.mean(axis=0)
        scores[np.ix_(own, ~own)] = asked @ np.linalg.solve(gram, centred.T)
    return scores


def areas(scores: ArrayLike, marked: ArrayLike) -> NDArray[np.float64]:
    """(K,) area under the curve: chance that a marked example scores above one that is not.

    Args:
        scores: (K, N); ties count half.
        marked: (K, N) bool, the same number of them in each row.
    """
    from scipy.stats import rankdata

    labels = np.atleast_2d(np.asarray(marked, dtype=bool))
    # What rounding tells apart is tied.
    told = np.round(np.atleast_2d(np.asarray(scores, dtype=np.float64)), 9)
    count = labels.sum(axis=1)
    ranks = np.where(labels, rankdata(told, axis=1), 0.0).sum(axis=1)
    rest = labels.shape[1] - count
    found: NDArray[np.float64] = (ranks - count * (count + 1) / 2) / (count * rest)
    return found


def balanced(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K, N) labels whose two kinds weigh the same: their sum is 0 in each row."""
    share = marked.mean(axis=1, keepdims=True)
    labels: NDArray[np.float64] = np.where(marked, 1 - share, -share)
    return labels
