"""What a report says about Robustness: technology, Modification, aim, Intensity."""

from __future__ import annotations

from typing import Any, Literal

from nnw_onnx.measures.limits import (
    Failure,
    Measured,
    MeasuredProportion,
    MeasuredValue,
    NotMeasured,
    ResultModel,
)


class Counts(ResultModel):
    """Networks (times repetitions) by what became of them."""

    expected: int
    done: int
    failed: int
    skipped: int
    not_applicable: int
    """Networks in which the carrier does not exist: the Detector answers No, and there is no
    Symbol Error Rate."""
    absent: int
    """Networks of which there is no record: injection failed, or the run is incomplete."""

    @property
    def answered(self) -> int:
        """Networks whose Detector answered."""
        return self.done + self.not_applicable


class NetworkResult(ResultModel):
    """One network after one Modification."""

    network: int
    payload_index: int | None
    """None for the unwatermarked network."""
    repetition: int
    status: str
    reason: str | None
    carrier_exists: bool | None = None
    """Whether the carrier (for an unwatermarked network: that of any key) is in the network; where
    it is not, the Detector answers No. None where nothing was decoded."""
    symbol_error_rate: float | None
    """For an unwatermarked network the mean over the keys."""
    log10_p: float | None
    """For an unwatermarked network the smallest of the keys."""
    detected: bool | None
    """For an unwatermarked network any of its keys, after the Sidak correction."""
    keys: int
    """Number of keys whose carrier could be read."""
    quality: float | None
    loss: float | None
    """Quality of the same network before the Modification minus quality after it."""


class RobustnessPoint(ResultModel):
    """One technology after one Modification at one Intensity, over M x (D + 1) networks."""

    intensity: float | None
    """None where nothing was modified."""
    outside_standard_range: bool
    watermarked: Counts
    unwatermarked: Counts
    complete: bool
    """Whether every network, watermarked or not, was tested."""
    false_alarms: int
    """FP: unwatermarked networks in which a watermark was found, in any repetition."""
    missed_detections: int
    """FN: watermarked networks in which it was not found, in any repetition."""
    fp_ratio: MeasuredProportion
    """FP / [M (D + 1)]."""
    fn_ratio: MeasuredProportion
    """FN / [M (D + 1)]."""
    p_fa: MeasuredProportion
    """FP / M with Clopper-Pearson limits."""
    p_md: MeasuredProportion
    """FN / (M D) with Clopper-Pearson limits."""
    ser_watermarked: Measured
    """Symbol Error Rate over the M x D watermarked networks."""
    ser_unwatermarked: Measured
    """Symbol Error Rate over the M x D pairs of an unwatermarked network and a Payload."""
    ser_all: MeasuredValue
    """The standard's mean over M (D + 1) networks: (D watermarked + unwatermarked) / (D + 1)."""
    ser_new_marks: Measured
    """Of an overwriting, the Symbol Error Rate of the further watermarks: mean over watermarked
    networks of the mean over their further watermarks, all read in the end."""
    ser_last_new_mark: Measured
    """Likewise of the last one, which nothing was put on top of."""
    void: NotMeasured | None
    """Why this point tells nothing of survival: an overwriting that is not in is none."""
    quality_watermarked: Measured
    quality_unwatermarked: Measured
    quality_of: str | None
    """The data set that quality was measured on, where it is not the evaluation's own."""
    quality_loss: Measured
    """Loss of the watermarked networks against themselves before the Modification."""
    usable: bool | None
    """Whether that loss is at most 5 points; None where it was not measured."""
    survived: bool | None
    """Whether at least 95 % of the watermarks were detected, in every repetition; None where too
    few could be tested to tell, or where the point is void."""
    change: Measured
    """RMS change of the modified layers of the watermarked networks / their standard deviation."""
    facts: dict[str, float | str]
    """What a Modification that trains says of itself: means over networks, words where all say the
    same."""
    networks: tuple[NetworkResult, ...]
    failures: tuple[Failure, ...]


class ParameterRange(ResultModel):
    """Parameter of a Modification in the standard's table."""

    letter: str
    meaning: str
    unit: str
    low: float
    high: float
    """Largest Intensity in the table for the layers aimed at."""
    stronger: str
    """"up" where a larger Intensity changes more, else "down"."""


class Sweep(ResultModel):
    """One technology under one Modification and aim, from weak to strong Intensity."""

    group: int
    label: str
    modification: str
    options: dict[str, Any]
    """Options of the Modification other than the Intensity."""
    aim: str
    single_layer: bool
    parameter: ParameterRange | None
    """None where the Modification is not in the standard's table."""
    points: tuple[RobustnessPoint, ...]
    survives_to: float | None
    """Strongest Intensity up to which at least 95 % of the watermarks were always detected."""
    lost_at: float | None
    """Weakest Intensity at which fewer were."""


class GroupRobustness(ResultModel):
    """Robustness of one technology."""

    group: int
    label: str
    workflow: Literal["NNW-NIR", "NNW-WIR"]
    """No Inference or With Inference Robustness."""
    not_asked: NotMeasured | None = None
    """Why there are no numbers, where the plan leaves out the workflow."""
    headline: str | None
    rate: bool
    """Whether quality is a rate of right answers, in 0 ... 1."""
    detectable: bool
    """Whether a Payload without errors reaches the false-positive rate at all."""
    unmodified: RobustnessPoint | None
    """Without Modification."""
    sweeps: tuple[Sweep, ...]
