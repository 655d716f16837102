"""Computational Cost of a technology over its watermarked networks.

Clause "Computational Cost" of NNW-NNT. Of injection it asks for four elements: memory footprint,
time of an epoch divided by its batches, epochs needed where training injects, and inference time.
Limits are over networks, which differ more than the payloads of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nnw_onnx.measures.limits import Nested, cost, failures
from nnw_onnx.measures.results import Cost, Value
from nnw_onnx.measures.run import Run
from nnw_onnx.records import CostRecord, TechnologyRecord

_STATIC = "not applicable: the method injects without training"
_TRAINED = "not applicable: the watermark is put in by training"
_OTHER = "does not apply to this operation"


def cost_of(run: Run, technology: TechnologyRecord, costs: Sequence[CostRecord]) -> Cost:
    """What injecting, detecting, decoding and inference take."""
    own = [c for c in costs if c.technology == technology.index]
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
        epochs=cost(Nested.of(needed), never if trained else _STATIC),
        never_in=len(trainings) - len(needed),
        trainings=len(trainings),
        memory=mean("injection", lambda c: c.peak_bytes),
        device_memory=mean("injection", lambda c: c.device_peak_bytes),
        detection=mean("detection", lambda c: c.seconds),
        decoding=mean("decoding", lambda c: c.seconds),
        detection_memory=mean("detection", lambda c: c.peak_bytes),
        decoding_memory=mean("decoding", lambda c: c.peak_bytes),
        inference=mean("inference", lambda c: c.seconds),
        inference_plain=mean("inference", lambda c: c.baseline_seconds),
        inference_ratio=mean("inference", lambda c: c.ratio),
        cells=len({(c.network, c.payload_index) for c in own if c.status == "done"}),
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
    singles = ((c.network, c.payload_index, float(x)) for c in done if (x := field(c)) is not None)
    refused = next((c.reason for c in tried if c.reason), "no measurement succeeded")
    reason = _OTHER if done else refused if tried else "it was not measured"
    return cost(Nested.of(singles), reason)
