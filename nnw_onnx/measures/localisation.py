"""Localisation: how well a method of integrity names the blocks that a Modification changed."""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.limits import Nested, rate
from nnw_onnx.measures.results import Localisation
from nnw_onnx.measures.run import Test
from nnw_onnx.records import BlocksRecord

UNCHANGED = "no block was changed"
UNNAMED = "no block was named"


def localisation(tests: Sequence[Test]) -> Localisation | None:
    """Of the claims on networks that carry them; None where no record tells of blocks."""
    told = [(test, test.verdict.blocks) for test in tests if test.verdict.blocks is not None]
    if not told:
        return None
    blocks = [b for _, b in told]
    changed, untouched = [b for b in blocks if b.changed], [b for b in blocks if not b.changed]
    recalls = [(t, b.right, b.changed) for t, b in told if b.changed]
    precisions = [(t, b.right, b.named) for t, b in told if b.named]
    return Localisation(
        changed_tests=len(changed),
        detected=_named(changed),
        untouched_tests=len(untouched),
        alarms=_named(untouched),
        blocks=sum(b.blocks for b in blocks),
        changed=sum(b.changed for b in blocks),
        named=sum(b.named for b in blocks),
        right=sum(b.right for b in blocks),
        recall=rate(_shares(recalls), UNCHANGED),
        precision=rate(_shares(precisions), UNNAMED),
    )


def _named(blocks: Sequence[BlocksRecord]) -> int:
    """Tests in which any block was named."""
    return sum(b.named > 0 for b in blocks)


def _shares(counted: Sequence[tuple[Test, int, int]]) -> Nested:
    return Nested.of((t.trial.network, t.unit, part / of) for t, part, of in counted)
