"""Which networks a worker runs in two parts, of which the first is computed once for all of them.

That is so where a network has other weights than the unwatermarked one in late layers only. What
it answers is the same in either way, see `inference.sharing`, and so are all records.
"""

from __future__ import annotations

from collections import OrderedDict

from nnw_onnx.errors import InferenceError
from nnw_onnx.graph import Cut, OnnxNetwork
from nnw_onnx.inference import (
    Head,
    LiftedSession,
    Session,
    SessionSettings,
    SharedSession,
    is_worthwhile,
)

MOST_HEADS = 4
MOST_BYTES = 1 << 30
"""Answers of all heads of a worker that are kept before another head is made."""

_Question = tuple[str, SessionSettings, Cut]
_heads: OrderedDict[_Question, Head | None] = OrderedDict()


def session_of(network: OnnxNetwork, base: OnnxNetwork, settings: SessionSettings) -> Session:
    """A session that answers as the network does, in one piece or in two.

    Args:
        network: what is run.
        base: the unwatermarked network, whose head is shared.
        settings: how it is run. On other devices than the CPU nothing is shared: there one session
            need not answer as another one does.

    Raises:
        InferenceError: the network does not run.
    """
    for cut in network.cuts(base) if settings.providers == ("CPUExecutionProvider",) else ():
        head = _head(base, cut, settings)
        if head is None or head.refuted:
            continue
        tail, inputs = network.tail(cut, head.given), [info.name for info in network.inputs]
        try:
            return SharedSession(head, tail, network.runnable, inputs, settings)
        except InferenceError:
            head.refuted = True
    if is_worthwhile(settings):
        try:
            return LiftedSession(network.lifted(), settings)
        except InferenceError:
            # Some operators take constants alone; then every network has a session of its own.
            return Session(network.runnable(), settings)
    return Session(network.runnable(), settings)


def _head(base: OnnxNetwork, cut: Cut, settings: SessionSettings) -> Head | None:
    """The head before a cut; None where it does not run by itself."""
    question = base.digest, settings, cut
    if question not in _heads:
        while _heads and (len(_heads) >= MOST_HEADS or _size() > MOST_BYTES):
            _heads.popitem(last=False)
        try:
            _heads[question] = Head(base.head(cut), settings)
        except InferenceError:
            _heads[question] = None
    _heads.move_to_end(question)
    return _heads[question]


def _size() -> int:
    return sum(head.nbytes for head in _heads.values() if head is not None)
