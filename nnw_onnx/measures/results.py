"""What an evaluation came to, as values: everything that a report shows is one of these.

Numbers are in the units of the records: shares from 0 to 1, seconds, bytes, quality and its losses
in the measure's own numbers. A loss is always before - after of a measure where more is better, so
that positive is worse. How a number is named and printed is declared in `reports.columns`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from nnw_onnx.records import (
    EpochRecord,
    Family,
    ParameterRecord,
    RecordModel,
    Status,
    StepRecord,
    TechnologyRecord,
)

LimitsMethod = Literal[
    "student-t",
    "two-way",
    "samples",
    "cluster-beta",
    "no-event",
    "approximate",
    "sign-flip",
]
Scope = Literal["other networks", "the networks tested"]
Usability = Literal["usable", "unusable", "undecided", "elsewhere", "n/a", "differs"]
Loudness = Literal["negligible", "noticeable", "not shown", "not measured"]
Seen = Literal["seen", "not seen", "not measured"]
PointStatus = Literal[
    "survives",
    "lost",
    "noticed",
    "unnoticed",
    "undecided",
    "undetectable",
    "void",
    "failed",
    "not run",
    "n/a",
]
CellStatus = Literal[
    "outlives",
    "survives",
    "partly",
    "lost",
    "noticed",
    "unnoticed",
    "undecided",
    "unusable",
    "undetectable",
    "void",
    "failed",
    "not run",
    "n/a",
]


class ResultModel(RecordModel):
    """Base of everything in a report; the sentence below each field goes into its JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """What differs from the defaults; of long tuples and tables only how much it is."""
        for name, value in super().__repr_args__():
            about = type(self).model_fields.get(name or "")
            if about is not None and not about.is_required() and value == about.get_default():
                continue
            long = isinstance(value, tuple | dict) and len(value) > _FEW
            yield name, _Many(len(value)) if long else value


class _Many(int):
    """So many, in place of all of them."""

    def __repr__(self) -> str:
        return f"<{int(self)} entries>"


_FEW = 3


class Value(ResultModel):
    """A number with what is known of its precision, or the reason why there is none."""

    value: float | None = None
    """Mean over networks, each of which is the mean over its Payloads and repetitions."""
    low: float | None = None
    """Lower limit; None where there is none that holds."""
    high: float | None = None
    """Upper limit, likewise."""
    confidence: float | None = None
    """Of the limits: 0.95, or 0.90 for losses of quality, by which they are judged; None for
    approximate ones, of costs, which cover less than the standard's 95 % where costs are uneven."""
    method: LimitsMethod | None = None
    """How the limits were made; "no-event" is a one-sided 95 % limit."""
    networks: int = 0
    """Networks that it is a mean over."""
    individual: tuple[float, ...] = ()
    """The value of each network, where there are fewer than ten."""
    reason: str | None = None
    """Why there is no number; where there is one, why it has no limits."""

    @model_validator(mode="after")
    def _a_number_or_a_reason(self) -> Self:
        if self.value is None and self.reason is None:
            raise ValueError("expected a value or the reason why there is none")
        return self

    def __repr__(self) -> str:
        if self.value is None:
            return f"Value(none: {self.reason})"
        limits = "" if self.limits is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"Value({self.value:.4g}{limits}, {self.networks} networks)"

    @classmethod
    def missing(cls, reason: str) -> Value:
        """No number, and why."""
        return cls(reason=reason)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Both limits, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class Failure(ResultModel):
    """What was not done, why, and how often."""

    status: Status
    reason: str
    count: int


class DatasetSize(ResultModel):
    """The standard's rule on data-set size for one network: ten entries for each Weight."""

    network: int
    weights: int
    """Trainable Weights (kernels)."""
    samples_per_weight: Value
    """Samples / Weights."""
    scalars_per_weight: Value
    """Scalars of all samples / Weights."""

    @property
    def enough(self) -> bool | None:
        """Whether both quotients reach ten; None where one is not known."""
        found = (self.samples_per_weight.value, self.scalars_per_weight.value)
        return None if None in found else all(v is not None and v >= 10 for v in found)


class BaseQuality(ResultModel):
    """The unwatermarked networks before anything is done to them, by one measure."""

    measure: str
    quality: Value
    lowest: float | None
    """Of a network."""
    highest: float | None
    chance: float | None
    """What guessing reaches, where that is known."""


class Level(ResultModel):
    """A setting at one Intensity, as the unwatermarked networks take it; for all technologies."""

    intensity: float | None
    """None where nothing is swept."""
    outside: bool
    """Whether it is outside the range of the standard's table."""
    standard: Literal["inside", "outside"] | None = None
    """Where it is to that range; None where the standard's table has no such Modification."""
    usability: Usability
    """From the 90 % limits of the loss against the largest that counts as usable; without limits
    it is undecided. "elsewhere" where quality was measured on another data set (it then counts with
    the usable ones); "n/a" where the Modification cannot do anything to these networks; "differs"
    where it is another for other technologies, see `own`."""
    loss: Value
    """Of the unwatermarked networks, in the headline measure."""
    guard_loss: Value | None = None
    """Likewise in the measure that a collapsed network cannot keep."""
    quality: Value
    """Of the unwatermarked networks after it."""
    quality_of: str | None = None
    """The other data set that quality was measured on."""
    reason: str | None = None
    """Why it is not usable, or undecided."""
    own: tuple[Level, ...] = ()
    """The same by technology, in the order of the plan, where the Modification does something else
    to the networks for each of them: aimed at the carrier, or by the method itself. Else empty."""

    @property
    def counts(self) -> bool:
        """Whether it is in the denominator of all technologies."""
        return self.usability in ("usable", "elsewhere")

    @property
    def applies(self) -> bool:
        """Whether the Modification can do anything to the networks."""
        return self.usability != "n/a"

    def of(self, technology: int) -> Level:
        """The level as a technology meets it."""
        return self.own[technology] if self.own else self


class Setting(ResultModel):
    """A Modification, or a stack of them, with its Intensities from weak to strong."""

    index: int
    """Of the plan's setting, and its place in `Report.settings`."""
    code: str
    """Short name in figures: 0, 1a, D1, F1, A1, R1; S1 for a stack."""
    label: str
    family: Family
    """Group of the report. A stack is where all of its steps are, but never the standard's; one
    that a method under test names as the attack of who knows it is adaptive; others are
    "removal"."""
    steps: tuple[StepRecord, ...]
    parameter: ParameterRecord | None
    copies: int
    trains: bool
    levels: tuple[Level, ...]
    adaptive: tuple[int, ...] = ()
    """Technologies whose methods name it as the attack of somebody who knows them."""
    preset: str = ""
    """Name of the preset that brought it; "" where the configuration has it itself."""

    def of(self, technology: int) -> Setting:
        """The setting with its levels as a technology meets them."""
        if not any(level.own for level in self.levels):
            return self
        levels = tuple(level.of(technology) for level in self.levels)
        return self.model_copy(update={"levels": levels})


class Share(ResultModel):
    """Events among units; no probability, so without limits."""

    events: float
    """A network counts by the share of its keys and repetitions in which it happened."""
    of: int
    value: float | None
    """events / of."""


class PlaceCount(ResultModel):
    """How often a layer was named first: as evidence, or by an integrity method as changed."""

    layer: str
    tests: int


class Localisation(ResultModel):
    """How well an integrity method names the blocks that a Modification changed.

    Counts are sums over tests (network x Payload x repetition); shares are means over networks.
    """

    changed_tests: int
    """Tests in which a block was changed."""
    detected: int
    """Of them, those in which any block was named: the change is detected."""
    untouched_tests: int
    """Tests in which every block was as it was with the mark."""
    alarms: int
    """Of them, those in which any block was named all the same: false alarms."""
    blocks: int
    changed: int
    named: int
    right: int
    """Blocks that were changed and named."""
    recall: Value
    """Share of the changed blocks that are named."""
    precision: Value
    """Share of the named blocks that were changed."""


class Point(ResultModel):
    """One technology in one setting at one Intensity: M x (D + 1) networks."""

    technology: int
    setting: int | None
    """None for networks that nothing was done to."""
    level: int | None
    """Place in `Setting.levels`."""
    intensity: float | None
    status: PointStatus
    reason: str | None = None
    """Why there is no verdict."""
    found: int
    """Tests (network x Payload x repetition) in which the watermark was found."""
    tested: int
    """Tests that were answered; one on a network without the carrier is answered No."""
    expected: int
    """Tests that the plan asks for."""
    gone: int = 0
    """Tests on networks in which the carrier does not exist."""
    innocents: int | None = None
    """Claims heard of recipients whose copies are not in a mixture; None where nothing is mixed."""
    accused: int | None = None
    """How many of them were found all the same."""
    noticed: int | None = None
    """Tests in which an integrity method told that the network was changed; None of others."""
    found_rate: Value
    """Share of watermarks found."""
    missed_rate: Value
    """1 - found_rate: FN / (M D)."""
    false_alarm_rate: Value
    """FP / M: of an unwatermarked network the share of its keys that find a watermark, each key at
    the same level as the watermarked networks are tested."""
    fn_ratio: Share
    """FN / [M (D + 1)], the standard's."""
    fp_ratio: Share
    """FP / [M (D + 1)], the standard's."""
    alarms: tuple[int, ...] = ()
    """Unwatermarked networks in which any key found a watermark."""
    marks: float | None = None
    """Effective number of marks M D / (1 + (D - 1) ICC) behind the rate of those found."""
    icc: float | None = None
    """Intraclass correlation of finding the Payloads of one network."""
    ser: Value
    """Symbol Error Rate of the watermarked networks: raw, before any code."""
    ser_unwatermarked: Value
    """Of the unwatermarked networks of this technology, read with its keys."""
    ser_all: Value
    """The standard's mean over M (D + 1) networks: (D ser + ser_unwatermarked) / (D + 1)."""
    bit_errors: Value
    """Share of Payload bits wrong after the code; that of a code which gave up is 1."""
    log10_p: Value
    """Median over tests of the decimal logarithm of the p-value."""
    log10_p_unwatermarked: Value
    """Likewise of the unwatermarked networks."""
    loss: Value
    """Of the watermarked networks: their quality before the Modification minus that after it."""
    loss_unwatermarked: Value
    """Likewise of the unwatermarked networks of this technology (by training: of its twins, where
    they were modified)."""
    quality: Value
    """Headline quality of the watermarked networks after it."""
    quality_of: str | None = None
    """The other data set that quality was measured on."""
    change: Value
    """RMS change of the layers aimed at / their standard deviation."""
    ser_new_marks: Value
    """Of an overwriting: Symbol Error Rate of the further watermarks."""
    ser_last_new_mark: Value
    """Likewise of the last of them, by which it is void or not."""
    places: tuple[PlaceCount, ...] = ()
    """Layers that the method named, most often first."""
    place_right: Value | None = None
    """Share of the places named that are in a layer aimed at; of integrity methods only."""
    localisation: Localisation | None = None
    """Which blocks were changed and which named; of integrity methods only, where records tell."""
    facts: dict[str, float | str] = Field(default_factory=dict)
    """What the Modification says of itself."""
    failures: tuple[Failure, ...] = ()


class Cell(ResultModel):
    """A technology under a Modification: one entry of the matrix."""

    technology: int
    setting: int
    status: CellStatus
    level: int | None = None
    """Place in `Setting.levels` of what is shown: strongest survived; lost: the weakest that loses
    it; undecided: the strongest survived or, where `survived` is None, the one that is undecided;
    unusable, undetectable, noticed: the strongest tested; unnoticed: the strongest unnoticed. None
    where there is nothing to show."""
    survived: int | None = None
    """Place of the strongest Intensity up to which all usable ones are survived."""
    lost_at: int | None = None
    """Place of the weakest usable Intensity that loses it."""
    note: int | None = None
    """Number (from 1) of the reason in `Report.notes`."""


class Tally(ResultModel):
    """Settings of a technology: survived + lost + undecided + without_result = usable.

    Of an integrity method: noticed + unnoticed + undecided + without_result = usable.
    """

    usable: int
    """Settings (Modification x Intensity) that leave the unwatermarked networks usable."""
    survived: int
    lost: int
    noticed: int = 0
    unnoticed: int = 0
    undecided: int
    without_result: int
    """Not run, failed, void, not applicable, undetectable."""


class Weakest(ResultModel):
    """Where least of a watermark is found: the strongest attack that leaves the network usable."""

    setting: int
    level: int
    """Place in `Setting.levels`."""
    found: float
    """Share of watermarks found there: mean over networks."""


class Resistance(ResultModel):
    """What a technology survives of some settings, and the least that is found in them.

    The least over the usable settings is the robustness: who attacks chooses.
    """

    tally: Tally
    weakest: Weakest | None
    """None where no usable setting has a result."""


class FamilyResult(ResultModel):
    """A technology under one family of Modifications.

    A setting that the technology's method names as the attack of somebody who knows it is adaptive,
    whatever its family; it counts there too.
    """

    family: Family
    plain: Resistance
    """As the network is found."""
    resynchronised: Resistance | None = None
    """As it is put back into the order of the unwatermarked one; None where that was not tried."""


class Detectability(ResultModel):
    """What the Detector of a technology can ever say."""

    ever: bool
    """Whether any network could be found at the level of the evaluation."""
    log10_least: float | None
    """Smallest log10 p that any network could reach; None without a bound."""
    level: float
    """At which it is decided: that of the evaluation, or 1 / (negatives + 1) if that is more."""
    attained: float | None = None
    """Chance of a Yes that the Detector really has at that level, where its null is a count."""
    null: str
    """Name of the null distribution, such as "Bin(64, 1/2)"."""
    negatives: int | None = None
    """Statistics of networks that cannot carry the watermark, which it is calibrated on where no
    null is known; 0 for one that lacks what is asked for, once a network."""
    ser_limit: float | None = None
    """Largest Symbol Error Rate at which it is still found, where the null counts Symbols."""
    reason: str | None = None
    """Why it can never say Yes, or what its answers rest on."""
    own_threshold: bool = False
    """Whether the Detector decides by a threshold of its own, at no level that anybody knows."""


class ControlLevel(ResultModel):
    """Wrong keys whose p-value is at most a level."""

    level: float
    count: int
    expected: float
    p_value: float
    """Chance of so many or more in the worst setting, times the number of settings."""


class Control(ResultModel):
    """Wrong keys of one technology, over all networks and settings: counts against expectation."""

    keys: int
    detected: int
    expected: float
    """keys x level."""
    p_value: float
    """Chance of so many or more in the worst setting, times the number of settings."""
    levels: tuple[ControlLevel, ...]
    log10_least: float | None
    """Smallest of all p-values."""
    ser: float | None
    """Share of Symbols read wrongly with a wrong key."""
    ser_expected: float | None
    """1 - 1 / alphabet."""


class QualityRow(ResultModel):
    """One measure without and with the watermark."""

    measure: str
    before: Value
    after: Value
    loss: Value


class PairResult(ResultModel):
    """One network without and with one watermark."""

    network: int
    payload_index: int
    before: float
    after: float
    loss: float
    lost: int | None = None
    """Samples answered rightly before and wrongly after, where answers are right or wrong."""
    gained: int | None = None
    """The reverse."""
    mcnemar_p: float | None = None
    """Exact two-sided McNemar test."""
    change: float | None = None
    """RMS change of the carrier / its standard deviation."""


class Imperceptibility(ResultModel):
    """What the watermark itself costs in quality, without any Modification."""

    workflow: Literal["NNW-NTI", "NNW-WTI"]
    reference: Literal["original", "twin"]
    """What the watermarked networks are compared with: the network it was put into, or the same
    training without a watermark."""
    verdict: Loudness
    """Negligible: the 90 % limits fit into the margin; noticeable: they are above it."""
    scope: Scope
    """Whom the verdict holds for: other networks from six on."""
    margin: float
    before: Value
    after: Value
    loss: Value
    measures: tuple[QualityRow, ...]
    """Every measure, the headline first."""
    original: QualityRow | None = None
    """Where the reference is the twin: beside the network before that training."""
    pairs: tuple[PairResult, ...]
    carrier_change: Value
    """RMS change of the carrier / its standard deviation before."""
    changed_weights: Value
    failures: tuple[Failure, ...]


class Visibility(ResultModel):
    """How visible the watermark is in the weights of its carriers, to somebody without the key."""

    reference: Literal["original", "twin"]
    """What the detector tells marked layers from."""
    weights: Value
    """Kolmogorov-Smirnov statistic of the weights before and after; by training, it includes what
    the training changes."""
    filter_means: Value
    """Likewise of the means over filters."""
    variance_ratio: Value
    """Variance of the weights after / before."""
    auc: Value
    """Of a detector trained on the layers of all other networks: chance that a marked layer looks
    more marked than an unmarked one; one half is guessing. Its limits are approximate."""
    p_value: float | None
    """Chance of so large an area if nothing can be seen: exact, by other labels."""
    verdict: Seen
    """Seen: that chance is at most 5 %."""
    layers: int
    """Different carriers that were looked at."""


class Cost(ResultModel):
    """Computational Cost of one technology; times in seconds, memory in bytes."""

    injection: Value
    """Time of one injection without training."""
    batch: Value
    """Time of a batch of the training that injects: of an epoch / its batches, what is done at the
    end of the epoch included."""
    batch_plain: Value
    """Likewise without a watermark."""
    batch_ratio: Value
    """With / without."""
    epochs: Value
    """Epochs until every Symbol is read rightly."""
    never_in: int
    """Trainings at whose end the watermark was not in."""
    trainings: int
    memory: Value
    """Peak memory of injection: of the resident set above the loaded baseline, or what Python and
    numpy allocated, whichever is more. Below 262,144 bytes it is below resolution."""
    device_memory: Value
    """Largest memory on the accelerator."""
    detection: Value
    decoding: Value
    detection_memory: Value
    decoding_memory: Value
    inference: Value
    """Of the watermarked network."""
    inference_plain: Value
    """Of the unwatermarked one."""
    inference_ratio: Value
    """With / without, run in turn."""
    cells: int
    """Watermarked networks measured."""
    sessions: int = 1
    """How often each of them was measured, one session after the other."""
    session_ratio: float | None = None
    """Largest ratio of a time between two sessions, over the operations; None with one session."""
    load: tuple[float, float] | None = None
    """Smallest and largest load average of the machine while measuring."""
    repetitions: tuple[int, ...]
    batches: tuple[int, ...]
    """Different sizes of a batch that occur."""
    devices: tuple[str, ...]
    failures: tuple[Failure, ...]


class EpochMean(ResultModel):
    """One epoch: means over networks, each of which is the mean over its Payloads."""

    number: int
    networks: int
    """Networks that came so far."""
    loss: float
    """Loss of the task."""
    penalty: float | None
    """What the watermark added to it."""
    symbol_error_rate: float | None
    """Of the watermark, at the end of the epoch."""


class TrainingRun(ResultModel):
    """One training: of a watermarked network, or of a twin without a watermark."""

    network: int
    payload_index: int | None
    """None for a twin."""
    twin: bool
    batches: int
    device: str
    epochs_to_inject: int | None
    epochs: tuple[EpochRecord, ...]


class Training(ResultModel):
    """The trainings that put a technology in."""

    recipe: dict[str, Any]
    mean: tuple[EpochMean, ...]
    """Of the watermarked networks."""
    twins: tuple[EpochMean, ...]
    """Of the same training without a watermark."""
    runs: tuple[TrainingRun, ...]
    """Every training, those of the twins last."""


class InjectionSummary(ResultModel):
    """The injections of one technology."""

    expected: int
    done: int
    not_in: int
    """Watermarks with Symbols that are read wrongly right after the injection."""
    symbols: int | None
    """In a network, after code and alphabet."""
    layers: tuple[str, ...]
    notes: tuple[str, ...]
    commitments: tuple[str, ...]
    twins_expected: int
    twins_done: int
    failures: tuple[Failure, ...]


class Technology(ResultModel):
    """One technology with all that is not of a single setting."""

    index: int
    """Of the plan's technology, and its place in `Report.technologies`."""
    label: str
    record: TechnologyRecord
    trained: bool
    """Whether it is put in by training."""
    detectability: Detectability
    tally: Tally
    alarms: tuple[int, ...] | None
    """Unwatermarked networks in which it was found in any setting; None where that is no test,
    because it is calibrated on them."""
    injections: InjectionSummary
    unmodified: Point
    """Right after the injection."""
    imperceptibility: Imperceptibility
    cost: Cost
    training: Training | None
    control: Control | None
    """Wrong keys on networks as they are."""
    control_resynchronised: Control | None = None
    """Wrong keys on modified networks that were put back in order."""
    visibility: Visibility | None = None
    """None where it was put in by an older version, which kept no traces."""
    robustness_asked: bool
    imperceptibility_asked: bool
    families: tuple[FamilyResult, ...] = ()
    """Robustness by family of Modifications, those that the evaluation has."""
    whole: Resistance | None = None
    """Robustness over all of them; None where nothing was modified."""
    whole_resynchronised: Resistance | None = None
    """Likewise, re-synchronised."""
    strongest: tuple[Weakest, ...] = ()
    """Of each Modification that was tried in several ways (learning rates, layers, Intensities) the
    one that leaves least to find."""
    attacked: bool = False
    """Whether an attack was tried that its method names as that of somebody who knows it. If not,
    it is not ranked."""
