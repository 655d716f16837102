"""Whether two technologies cost the same quality: without that, robustness is bought, not won."""

from __future__ import annotations

from collections.abc import Iterator

from nnw_onnx.measures.attacks import Entry
from nnw_onnx.measures.compared import Equality, QualityPair
from nnw_onnx.measures.results import Value
from nnw_onnx.measures.scores import Pair, quality_loss
from nnw_onnx.records import TrialRecord

_NONE = "no two watermarked networks were measured"


def quality_pair(first: Entry, second: Entry) -> QualityPair:
    """Two one-sided tests of the quality of the watermarked networks, network by network.

    Both are the same network with another watermark, answering the same samples, so that they are
    compared with each other and not each with the network before.
    """
    run = first.named.run
    difference = quality_loss(list(_pairs(first, second)), run.headline, _NONE, run.book)
    return QualityPair(
        first=first.number,
        second=second.number,
        equality=_equality(difference, run.headline.negligible),
        difference=difference,
    )


def _equality(difference: Value, margin: float) -> Equality:
    if difference.value is None:
        return "not measured"
    if difference.low is None or difference.high is None:
        return "not shown"
    if -margin < difference.low and difference.high < margin:
        return "equal"
    beyond = difference.low > margin or difference.high < -margin
    return "unequal" if beyond else "not shown"


def _pairs(first: Entry, second: Entry) -> Iterator[Pair]:
    marked = dict(_marked(second))
    for (network, payload), before in _marked(first):
        after = marked.get((network, payload))
        if after is not None:
            yield Pair(network, str(payload), before, after)


def _marked(entry: Entry) -> Iterator[tuple[tuple[int, int], TrialRecord]]:
    """((network of the first run, Payload), watermarked network without Modification)."""
    run = entry.named.run
    for mark in run.marks(entry.technology.index):
        trial = run.unmodified.get((mark.network, mark.identity))
        if trial is not None and trial.status == "done":
            yield (entry.named.networks[mark.network], mark.payload_index), trial
