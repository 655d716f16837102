"""Computational Cost of a technology over its watermarked networks.

Clause "Computational Cost" of NNW-NNT. Of injection it asks for four elements: memory footprint,
time of an epoch divided by its batches, epochs needed where training injects, and inference time.
Limits are over networks and sessions, which differ more than the payloads of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnw_onnx.measures.limits import Nested, cost, count, failures
from nnw_onnx.measures.results import Cost, Value
from nnw_onnx.measures.run import Run
from nnw_onnx.records import CostRecord, TechnologyRecord

_STATIC = "not applicable: the method injects without training"
_TRAINED = "not applicable: the watermark is put in by training"
_OTHER = "does not apply to this operation"


def cost_of(run: Run, technology: TechnologyRecord, costs: Sequence[CostRecord]) -> Cost:
    """What injecting, detecting, decoding and inference take."""
    own = [c for c in costs if c.technology == technology.index]
    loads = [c.load for c in own if c.load is not None]
    trained = technology.training is not None
    trainings = [
        (i, i.training)
        for i in run.marks(technology.index)
        if i.status == "done" and i.training is not None
    ]
    needed = [
        (i.network, i.identity, float(t.epochs_to_inject))
        for i, t in trainings
        if t.epochs_to_inject is not None
    ]
    never = "the watermark was in at the end of no training that was recorded"

    def mean(
        operation: str, field: Callable[[CostRecord], float | None], unless: str | None = None
    ) -> Value:
        return Value.missing(unless) if unless else _mean(own, operation, field)

    static, batch = (_TRAINED, None) if trained else (None, _STATIC)
    return Cost(
        injection=mean("injection", lambda c: c.seconds, static),
        batch=mean("injection", lambda c: c.seconds, batch),
        batch_plain=mean("injection", lambda c: c.baseline_seconds, batch),
        batch_ratio=mean("injection", lambda c: c.ratio, batch),
        epochs=count(Nested.of(needed), never if trained else _STATIC),
        never_in=len(trainings) - len(needed),
        trainings=len(trainings),
        memory=mean("injection", _memory),
        device_memory=mean("injection", lambda c: c.device_peak_bytes),
        detection=mean("detection", lambda c: c.seconds),
        decoding=mean("decoding", lambda c: c.seconds),
        detection_memory=mean("detection", _memory),
        decoding_memory=mean("decoding", _memory),
        inference=mean("inference", lambda c: c.seconds),
        inference_plain=mean("inference", lambda c: c.baseline_seconds),
        inference_ratio=mean("inference", lambda c: c.ratio),
        cells=len({(c.network, c.payload_index) for c in own if c.status == "done"}),
        sessions=max((c.session for c in own), default=0) + 1,
        session_ratio=_session_ratio(own),
        load=(min(loads), max(loads)) if loads else None,
        repetitions=tuple(sorted({c.repetitions for c in own if c.repetitions is not None})),
        batches=tuple(sorted({c.batch for c in own if c.batch is not None})),
        devices=tuple(sorted({c.device for c in own if c.status == "done"})),
        failures=failures((c.status, c.reason) for c in own),
    )


def _mean(
    costs: Sequence[CostRecord], operation: str, field: Callable[[CostRecord], float | None]
) -> Value:
    tried = [c for c in costs if c.operation == operation]
    done = [c for c in tried if c.status == "done"]
    refused = next((c.reason for c in tried if c.reason), "no measurement succeeded")
    reason = _OTHER if done else refused if tried else "it was not measured"
    return cost(_by_session(done, field), reason)


def _by_session(
    done: Sequence[CostRecord], field: Callable[[CostRecord], float | None]
) -> dict[int, Nested]:
    return {
        session: Nested.of(
            (c.network, c.payload_index, float(x))
            for c in done
            if c.session == session
            if (x := field(c)) is not None
        )
        for session in sorted({c.session for c in done})
    }


def _memory(record: CostRecord) -> int | None:
    """What the resident set shows, or what was counted where that is more."""
    known = [x for x in (record.peak_bytes, record.allocated_bytes) if x is not None]
    return max(known, default=None)


def _session_ratio(own: Sequence[CostRecord]) -> float | None:
    """How far the sessions are from each other where they are farthest."""
    ratios = []
    for operation in sorted({c.operation for c in own}):
        done = [c for c in own if c.operation == operation and c.status == "done"]
        sessions = _by_session(done, lambda c: c.seconds).values()
        means = [sum(n.means) / len(n.means) for n in sessions if n.means]
        if len(means) > 1 and min(means) > 0:
            ratios.append(max(means) / min(means))
    return max(ratios, default=None)
