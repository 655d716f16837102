"""Repetition: the payload several times, read by a soft majority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Code, Payload


@dataclass(frozen=True)
class Repetition(Code):
    """Whole payloads one after the other, so that copies of a bit lie far apart in the carrier.

    Each copy of a bit votes with its confidence; equal confidence is a plain majority.
    """

    name = "repetition"
    summary = "the payload so many times, decoded by a majority weighted by confidence"

    times: Annotated[int, Ge(2), Le(1001)] = option(3, help="copies of the payload")

    def length(self, size: int) -> int:
        """`times` x `size` bits."""
        return self.times * size

    def encode(self, payload: Payload) -> Payload:
        """The copies, one after the other."""
        return Payload(payload.symbols * self.times)

    def decode(self, read: Payload, confidence: tuple[float, ...], size: int) -> Payload | None:
        """The side with more confidence of each bit; None where both have the same.

        Where nothing is said for either side, their numbers of votes decide.
        """
        signs = 2 * read.array().reshape(self.times, size) - 1
        weights = np.array(confidence, np.float64).reshape(self.times, size)
        soft, votes = (signs * weights).sum(axis=0), signs.sum(axis=0)
        decided = np.where(weights.any(axis=0), soft, votes)
        if not decided.all():
            return None
        return Payload(tuple((decided > 0).astype(int).tolist()))
