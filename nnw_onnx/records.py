"""What a run writes and a report reads: records, as pydantic models.

A run folder is untrusted input like every other file, so records are validated when they are read.
Records hold no time, no path and no name of a machine: the same evaluation gives the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

Status = Literal["done", "failed", "skipped", "not-applicable"]


class RecordModel(BaseModel):
    """Base of everything in a run folder: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Identity = Annotated[str, Field(pattern="^[0-9A-Za-z._-]{1,64}$")]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]


def printable(text: str) -> str:
    """The text with what a terminal or a page would obey written as escape sequences."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


Words = Annotated[str, AfterValidator(printable)]


class DatasetFacts(TypedDict):
    """What a plan says of its data set."""

    name: Words
    split: str
    entries: Annotated[int, Field(ge=1, le=1 << 40)]
    classes: list[Words]
    shape: list[Count]
    fingerprint: str


class PluginSpec(RecordModel):
    """A plug-in by name with its options."""

    name: str
    options: dict[str, Any] = {}


class NetworkRecord(RecordModel):
    """One unwatermarked network of the evaluation.

    Attributes:
        index: 0 ... M-1.
        name: file name without its folder.
        sha256: of the file and its external data.
        weights: number of trainable Weights in the sense of the standard (kernels).
        parameters: number of all floating-point parameters.
    """

    index: Count
    name: Words
    sha256: str
    weights: Count
    parameters: Count


Workflow = Literal["NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR"]
"""The AI Workflows of MPAI-NNT: No / With Training Imperceptibility, No / With Inference
Robustness."""


class Group(RecordModel):
    """One technology under test: a method with its options and a payload size.

    Attributes:
        imperceptibility: the workflow that measures it: with training where it is put in by one.
        robustness: likewise: with inference where the Payload is read from what the network says.
        training: the recipe that puts it in, and where that starts; None without training.
    """

    index: Count
    method: PluginSpec
    payload_size: Annotated[int, Field(ge=1, le=1 << 20)]
    label: Words
    imperceptibility: Literal["NNW-NTI", "NNW-WTI"] = "NNW-NTI"
    robustness: Literal["NNW-NIR", "NNW-WIR"] = "NNW-NIR"
    training: dict[str, Any] | None = None


class Plan(RecordModel):
    """What is going to be done: written before anything runs, and never changed.

    Attributes:
        schema_version: version of the run folder's form.
        package_version: version of nnw-onnx that made the plan.
        evaluation: the validated configuration, without paths.
        evaluation_sha256: digest of what the records depend on; a resumed run must have the same.
        margin: largest loss of the headline measure that is negligible, as a fraction (0.005 is
            half a point); the measure is one of which more is better.
        dataset: name, split, number of entries, classes, shape of an entry, fingerprint.
    """

    schema_version: Literal[1] = 1
    package_version: str
    evaluation: dict[str, Any]
    evaluation_sha256: str
    title: Words
    profile: str
    seed: Annotated[int, Field(ge=0)]
    networks: tuple[NetworkRecord, ...]
    payloads: Annotated[int, Field(ge=1, le=1000)]
    groups: tuple[Group, ...]
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)]
    margin: Annotated[float, Field(gt=0, le=1e6)]
    repetitions: Annotated[int, Field(ge=1, le=1000)]
    dataset: DatasetFacts
    session: dict[str, Any]
    workflows: tuple[Workflow, ...] = ("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR")


class EpochRecord(RecordModel):
    """One epoch of a training that put a watermark in; see `vocabulary.Epoch`."""

    number: Count
    loss: Number
    penalty: Number | None = None
    quality: Share
    symbol_error_rate: Share | None = None


class TrainingRecord(RecordModel):
    """A training that put a watermark in, or that of its unwatermarked twin.

    Attributes:
        epochs: what each epoch came to.
        batches: steps taken in all.
        epochs_to_inject: the epoch from whose end on every Symbol is read rightly; None where the
            watermark is not in at the end, or for a twin.
        device: "cpu" or the name of the accelerator.
    """

    epochs: tuple[EpochRecord, ...]
    batches: Count
    epochs_to_inject: Count | None = None
    device: Words = "cpu"


class NewMark(RecordModel):
    """A further watermark of an overwriting, read from the network at the end of it."""

    symbols: Annotated[int, Field(ge=1, le=1 << 20)]
    errors: Count


class InjectionRecord(RecordModel):
    """One watermarked network: network x group x payload.

    Attributes:
        identity: SHA-256 of what makes this injection.
        layers: carrier layers.
        notes: plain words on how carrier and strength were chosen.
        change: RMS change of the carrier / its population standard deviation before.
        changed_weights: number of weights that differ.
        commitment: hash that binds key, carriers and unmarked model.
        twin: whether this is the network of the same training without a watermark, against which
            a watermark put in by training is compared; it has no carrier and no key, and serves
            every Payload of its network and group (its own `payload_index` means nothing).
        errors: Symbols read wrongly right after injection (0 without training, or none is done).
        training: how it was put in by training.
    """

    identity: Identity
    status: Status
    reason: Words | None = None
    network: Count
    group: Count
    payload_index: Count
    layers: tuple[str, ...] = ()
    notes: tuple[Words, ...] = ()
    change: Number | None = None
    changed_weights: Count | None = None
    commitment: str | None = None
    twin: bool = False
    errors: Count | None = None
    training: TrainingRecord | None = None


class DecodingRecord(RecordModel):
    """One Decoder and Detector run with one key on one network.

    Attributes:
        injection: identity of the injection whose key and payload were used.
        status: "not-applicable" where the carrier does not exist in the network.
        symbols: payload size.
        errors: Symbols that differ from the injected payload.
        p_value: probability of a match as good by a network made without the key.
        detected: p_value <= false-positive rate of the evaluation (one key, uncorrected).
        ties: Symbols taken from the key because the statistic was undecided.
        min_confidence: smallest and mean confidence of a Symbol, in standard deviations.
    """

    injection: Identity
    status: Status
    reason: Words | None = None
    symbols: Annotated[int, Field(ge=1, le=1 << 20)]
    errors: Count | None = None
    p_value: Share | None = None
    log10_p: Number | None = None
    log10_p_inverted: Number | None = None
    detected: bool | None = None
    ties: Count | None = None
    min_confidence: Number | None = None
    mean_confidence: Number | None = None

    @model_validator(mode="after")
    def _errors_fit(self) -> Self:
        if self.errors is not None and self.errors > self.symbols:
            raise ValueError("expected no more errors than symbols")
        return self


class TrialRecord(RecordModel):
    """One network (unwatermarked or watermarked), after one Modification or none.

    Attributes:
        identity: SHA-256 of what makes this trial; its seed comes from it.
        network: index of the unwatermarked network.
        injection: identity of the injection, or None for the unwatermarked network.
        modification: None, or the Modification with its options, `intensity` among them.
        aim: the layers aimed at in the words of the configuration: "all", "carrier", patterns.
        layers: the layers that were modified.
        repetition: 0 ... repetitions-1.
        outside_standard_range: whether the Intensity is outside the standard's table.
        quality: measure name -> value (headline first); empty unless done.
        headline: name of the headline measure.
        chance: value of the headline measure that guessing reaches.
        correct: base64 of np.packbits of the right answers (only where nothing was modified).
        change: RMS change over the modified layers / their pooled standard deviation.
        decodings: for a watermarked network one entry, its own key; for an unwatermarked one an
            entry for each key of the network whose carrier fits `aim`; for a twin none.
        new_marks: of an overwriting, the further watermarks, in the order of injection.
        facts: what a Modification that trains says of itself.
        quality_of: name of the data set that `quality` was measured on, where it is not the
            evaluation's own (after a transfer).
        group: the technology that the Modification itself depends on (an overwriting by the same
            method), or None.
    """

    identity: Identity
    status: Status
    reason: Words | None = None
    network: Count
    injection: Identity | None = None
    modification: PluginSpec | None = None
    aim: str | None = None
    layers: tuple[str, ...] = ()
    repetition: Count = 0
    outside_standard_range: bool = False
    quality: dict[str, Number] = {}
    headline: str | None = None
    chance: Number | None = None
    correct: str | None = None
    change: Number | None = None
    decodings: tuple[DecodingRecord, ...] = ()
    new_marks: tuple[NewMark, ...] = ()
    facts: dict[str, Number | Words] = {}
    quality_of: Words | None = None
    group: Count | None = None


class CostRecord(RecordModel):
    """One measurement of computational cost; the only records that hold times.

    Attributes:
        operation: "injection", "detection", "decoding" or "inference".
        group: technology under test (for inference too: whose watermarked network).
        seconds: median wall time of the operation over `repetitions` (inference: of the
            watermarked network; injection by training: of one batch, so that it is the time of an
            epoch divided by its batches).
        minimum: the fastest repetition.
        repetitions: how many were timed, after the warm-up.
        peak_bytes: peak resident memory above the loaded baseline, in a fresh process.
        baseline_bytes: resident memory of that process before the operation.
        baseline_seconds: inference and training only: median without the watermark, interleaved.
        ratio: with / without watermark; of inference the median of the paired rounds, of training
            the ratio of the medians.
        batch: inference and training only: samples per run or per batch.
        device: "cpu" or the name of the accelerator.
        device_peak_bytes: largest memory on the accelerator; None on a CPU.
    """

    identity: Identity
    status: Status
    reason: Words | None = None
    operation: Literal["injection", "detection", "decoding", "inference"]
    network: Count
    group: Count
    payload_index: Count
    seconds: Number | None = None
    minimum: Number | None = None
    repetitions: Count | None = None
    peak_bytes: Count | None = None
    baseline_bytes: Count | None = None
    baseline_seconds: Number | None = None
    ratio: Number | None = None
    batch: Count | None = None
    device: Words = "cpu"
    device_peak_bytes: Count | None = None


class Environment(RecordModel):
    """The Testing Environment: classed as the standard does, and described as it is.

    Attributes:
        environment_class: "Medium", "Large" or "other".
        cpu: model name, physical and logical cores, frequency in GHz where known.
        gpus: name and memory of each device that the runtime used.
        memory_bytes: physical memory.
        versions: package -> version.
        settings: threads, optimisation level, providers asked for and got.
    """

    environment_class: Literal["Medium", "Large", "other"]
    system: str
    cpu: dict[str, Any]
    gpus: tuple[dict[str, Any], ...]
    memory_bytes: int
    versions: dict[str, str]
    settings: dict[str, Any]
