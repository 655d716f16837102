"""Task `language-modelling`: the next token of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from nnw_onnx.errors import ConfigurationError, InferenceError
from nnw_onnx.kit.meters import answers_to
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import (
    Array,
    Loss,
    Measure,
    Meter,
    Quality,
    Samples,
    Targets,
    Task,
    Values,
)

MOST_BITS = 1000.0
"""Bits of a token that the network held for impossible: a finite number beyond all others."""

MOST_PERPLEXITY = 1e15
"""Perplexity of a network that tells nothing, a number that records can hold."""


@dataclass(frozen=True)
class LanguageModelling(Task):
    """Cross-entropy of the next token in bits, perplexity, and the share of tokens told rightly.

    Cross-entropy is total bits over total tokens: each place tells the token that follows, and
    windows of more tokens weigh more. Perplexity is 2 to the power of it, so a loss of 0.2 bits is
    15 % more perplexity whatever the network; that is why limits are set in bits. Guessing is to
    know how often each token occurs in these texts, and nothing of what stands before it.
    """

    name: ClassVar[str] = "language-modelling"
    summary: ClassVar[str] = "cross-entropy and perplexity of the next token, share told rightly"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("cross-entropy", "bits", "lower", low=0, negligible=0.01, usable_loss=0.2),
        Measure("perplexity", better="lower", low=1, negligible=0.05, usable_loss=1.0),
        Measure("next-token accuracy", "%", low=0, high=1),
    )
    loss: ClassVar[Loss | None] = "next-token"

    output: Annotated[int, Ge(0)] = option(
        0, help="index of the output that holds the scores of tokens"
    )

    def reads(self) -> tuple[int, ...]:
        """The one output."""
        return (self.output,)

    def meter(self, samples: Samples) -> Meter:
        """A new meter."""
        return _TokenMeter(self)


class _TokenMeter:
    """Adds up bits, right answers and tokens of each sample."""

    def __init__(self, task: LanguageModelling) -> None:
        self._task = task
        self._bits: list[float] = []
        self._tokens: list[int] = []
        self._right = 0
        self._counts = np.zeros(0, np.int64)
        self._vocabulary = 0

    def add(self, outputs: Values, targets: Targets) -> None:
        """Take scores (n, length, vocabulary) for token ids (n, length); negative ones are left."""
        scores = answers_to(self._task.name, outputs, self._task.output, targets)
        tokens = np.asarray(targets)
        self._check(scores, tokens)
        self._vocabulary = scores.shape[2]
        # One sample at a time: probabilities of a batch would be twice its scores in memory.
        for answer, own in zip(scores, tokens, strict=True):
            places = np.flatnonzero(own[1:] >= 0)
            following = own[1:][places]
            bits, best = _bits(answer[:-1][places], following)
            self._bits.append(float(bits.sum()))
            self._tokens.append(len(places))
            self._right += int((best == following).sum())
            self._count(following)

    def result(self) -> Quality:
        """Cross-entropy first, with bits and tokens of each sample."""
        total = sum(self._tokens)
        if not total:
            raise InferenceError(
                f"{self._task.name}: expected at least one token that follows another, got none; "
                "add longer texts"
            )
        bits = sum(self._bits) / total
        perplexity = min(2.0**bits, MOST_PERPLEXITY)
        values = (bits, perplexity, self._right / total)
        named = {m.name: v for m, v in zip(self._task.measures, values, strict=True)}
        return Quality(
            named,
            np.array(self._bits, np.float64),
            np.array(self._tokens, np.float64),
            chance=self._guessed(),
        )

    def _check(self, scores: Array, tokens: Array) -> None:
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise ConfigurationError(
                f"{self._task.name}: expected data whose targets are token ids (n, length), got "
                f"{tokens.dtype} {tokens.shape}; choose the data set running-text"
            )
        if scores.ndim != 3 or scores.shape[:2] != tokens.shape or scores.dtype.kind != "f":
            raise ConfigurationError(
                f"{self._task.name}: expected scores (n, {tokens.shape[1]}, vocabulary), got "
                f"{scores.dtype} {scores.shape}; choose another output, or another task"
            )
        if tokens.max(initial=0) >= scores.shape[2]:
            raise ConfigurationError(
                f"{self._task.name}: expected token ids below {scores.shape[2]}, which the network "
                f"has scores for, got {tokens.max()}; use the tokenizer of the network"
            )

    def _count(self, tokens: NDArray[np.int64]) -> None:
        counts = np.bincount(tokens, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts

    def _guessed(self) -> float:
        """Bits of a token for who knows the frequencies, corrected for few tokens (Miller 1955)."""
        counts = self._counts[self._counts > 0]
        shares = counts / counts.sum()
        entropy = float(-(shares * np.log2(shares)).sum())
        correction = (len(counts) - 1) / (2 * counts.sum() * np.log(2))
        return float(min(entropy + correction, np.log2(self._vocabulary)))


def _bits(
    scores: Array, tokens: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Bits of each token (k,) under its scores (k, vocabulary), and the token held most likely.

    Where a score is no number, nothing was told.
    """
    values = scores.astype(np.float64)
    broken = np.isnan(values).any(axis=1) | ~np.isfinite(values.max(axis=1, initial=-np.inf))
    values[broken] = 0
    values -= values.max(axis=1, keepdims=True, initial=-np.inf)
    own = np.take_along_axis(values, tokens[:, np.newaxis], axis=1)[:, 0]
    bits = (np.log(np.exp(values).sum(axis=1)) - own) / np.log(2)
    best = np.where(broken, -1, values.argmax(axis=1)) if len(values) else tokens
    return np.where(broken, MOST_BITS, np.minimum(bits, MOST_BITS)), best.astype(np.int64)
