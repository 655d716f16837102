"""Which blocks of a mark of integrity a Modification changed, and which of them are named.

A block is changed where its weights, as the Detector looks at them, are not bit by bit what they
were with the mark. It is named where the Detector finds less evidence in it than it did then.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.kit import candidates
from nnw_onnx.records import BlocksRecord
from nnw_onnx.runs.context import Context, claim_of, injected_network
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.verify import Verdict, verify
from nnw_onnx.vocabulary import Array, Found, Trial, Weighted

Block: TypeAlias = tuple[str, int, int]
"""Carrier in the words of its key, first weight, end (exclusive)."""


@dataclass(frozen=True)
class Vouched:
    """The blocks of a mark as it was put in.

    Attributes:
        evidence: block -> statistic of its place.
        contents: block -> digest of its weights, or None where its carrier is missing.
    """

    evidence: Mapping[Block, float]
    contents: Mapping[Block, bytes | None]


def changed_blocks(
    context: Context, trial: Trial, injection: str, verdict: Verdict, network: Weighted
) -> BlocksRecord | None:
    """What became of the blocks of an integrity mark; None of other methods and foreign marks.

    Args:
        context: of the run.
        trial: whose network is heard.
        injection: whose claim was heard.
        verdict: what was said.
        network: that network, after the Modifications of the trial.
    """
    if injection not in trial.parents:
        return None
    if plugins.method_of(verdict.claim.key).kind != "integrity":
        return None
    before = _as_put_in(context, trial.network, injection)
    return compared(before, vouched(network, verdict, before.evidence)) if before.evidence else None


def compared(before: Vouched, after: Vouched) -> BlocksRecord:
    """What was changed, and what is named, of the blocks that there were."""
    changed = {b for b, digest in before.contents.items() if after.contents.get(b) != digest}
    least = -math.inf
    named = {b for b, sure in before.evidence.items() if after.evidence.get(b, least) < sure}
    return BlocksRecord(
        blocks=len(before.evidence),
        changed=len(changed),
        named=len(named),
        right=len(changed & named),
    )


def vouched(network: Weighted, verdict: Verdict, blocks: Iterable[Block] = ()) -> Vouched:
    """The evidence of a verdict, and what the weights are that it is about.

    Args:
        network: that the verdict is on.
        verdict: on a claim of integrity.
        blocks: to look at; those that the verdict has evidence of where there are none.
    """
    places = () if verdict.detection is None else verdict.detection.places
    evidence = {(p.layer, p.start, p.stop): p.statistic for p in places}
    wanted = tuple(blocks) or tuple(evidence)
    layers = _layers(network, verdict, {name for name, _, _ in wanted})
    return Vouched(evidence, {b: _digest(layers.get(b[0]), *b[1:]) for b in wanted})


# Every setting and repetition asks about the same mark.
@lru_cache(maxsize=64)
def _as_put_in(context: Context, network: int, injection: str) -> Vouched:
    marked = injected_network(context, network, injection)
    run = Running(marked, context.settings, context.batch_size)
    claim, level = claim_of(context, injection), context.false_positive_rate
    (verdict,) = verify(suspects(marked, run), [claim], level)
    return vouched(marked, verdict)


def _layers(network: Weighted, verdict: Verdict, names: set[str]) -> dict[str, Array]:
    """The weights of these layers as the Detector saw them, flat; without those that are missing.

    Carriers are where they were found, under the names of the key; others have their own names.
    """
    key = verdict.claim.key
    shapes = dict(zip(key.layers, key.shapes, strict=False))
    told = {f.carrier: _carrier(network, shapes[f.carrier], f) for f in verdict.found}
    others = {layer.name for layer in network.layers} - shapes.keys()
    told |= {name: network.weights[name] for name in names & others}
    return {n: np.ascontiguousarray(w).reshape(-1) for n, w in told.items() if w is not None}


def _carrier(network: Weighted, shape: tuple[int, ...], found: Found) -> Array | None:
    layer = next(x for x in network.layers if x.name == found.layer)
    whole = candidates.as_it_is(layer, shape, found.way)
    ways = [*candidates.places_in(layer, shape, found.way), *([whole] if whole else [])]
    return next((way.of(network.weights) for way in ways if way.part == found.part), None)


def _digest(weights: Array | None, start: int, stop: int) -> bytes | None:
    """Of a block and its type; None where there is none."""
    if weights is None:
        return None
    content = weights[start:stop].tobytes()
    return hashlib.blake2b(f"{weights.dtype};".encode() + content, digest_size=16).digest()
