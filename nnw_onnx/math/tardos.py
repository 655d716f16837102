"""Tardos' code with symmetric scores, for coalitions that choose Symbols and not weights.

Tardos, "Optimal probabilistic fingerprint codes", STOC 2003; symmetric scores by Skoric,
Katzenbeisser, Celik, "Symmetric Tardos fingerprinting codes for arbitrary alphabet sizes", Designs,
Codes and Cryptography 46 (2008). Each bit has a secret bias p_j; a coalition that sees at a place
one bit only has to show it (the marking assumption).

On weights that assumption gives nothing: colluders combine weights and not Symbols, and fair bits
with the soft scores of `math.tracing` take far fewer. This code is for comparison, and for marks
whose Symbols a coalition can choose, such as answers to triggers or least significant bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.vocabulary import Array


def cut_off(colluders: int) -> float:
    """Smallest bias t = 1 / (100 c) of a code against c colluders, Tardos' own choice."""
    return 0.01 / colluders


def biases(uniform: Array, cut: float) -> NDArray[np.float64]:
    """Biases p (m,) in [t, 1 - t]: sin^2 r, r uniform on [arcsin sqrt t, pi/2 - arcsin sqrt t].

    Args:
        uniform: (m,) independent uniform numbers in [0, 1).
        cut: t, above 0 and below 1/2.
    """
    least = math.asin(math.sqrt(cut))
    angles = least + np.asarray(uniform, np.float64) * (math.pi / 2 - 2 * least)
    return np.square(np.sin(angles))


def codewords(uniform: Array, bias: Array) -> NDArray[np.uint8]:
    """Codewords (N, m): bit j of each is 1 with probability p_j.

    Args:
        uniform: (N, m) independent uniform numbers in [0, 1).
        bias: (m,) of `biases`.
    """
    return (np.asarray(uniform) < bias).astype(np.uint8)


def scores(words: Array, read: Array, bias: Array) -> NDArray[np.float64]:
    """Sum (N,) over all bits of the symmetric score; of an innocent, mean 0 and variance m.

    sqrt((1-p)/p) where both bits are 1, sqrt(p/(1-p)) where both are 0; where they differ, minus
    the same of the codeword's bit.

    Args:
        words: (N, m) codewords.
        read: (m,) bits that were read.
        bias: (m,) of `biases`.
    """
    p = np.asarray(bias, np.float64)
    of_one, of_zero = np.sqrt((1 - p) / p), np.sqrt(p / (1 - p))
    weight = np.where(np.asarray(words) == 1, of_one, -of_zero)
    found: NDArray[np.float64] = weight @ (2.0 * np.asarray(read, np.float64) - 1.0)
    return found


def threshold(bits: int, false_accusation: float) -> float:
    """The score Z = z sqrt m above which a recipient is accused, by the normal tail.

    Unlike the p-values of `math.tracing` it is an approximation: rare biases near the cut-off make
    the tail heavier.
    """
    from scipy.special import ndtri

    return float(-ndtri(false_accusation)) * math.sqrt(bits)


def bits_for(colluders: int, false_accusation: float, power: float) -> int:
    """Bits with which each of c colluders is accused with this probability.

    m = (pi c / 2)^2 (z(false accusation) + z(power))^2, as a colluder's score has the mean
    2 m / (pi c) whatever the coalition does.
    """
    from scipy.special import ndtri

    needed = float(-ndtri(false_accusation)) + float(ndtri(power))
    return math.ceil((math.pi * colluders / 2 * needed) ** 2)
