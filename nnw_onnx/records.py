"""What a run writes and a report reads: records, as pydantic models.

A run folder is untrusted input like every other file, so records are validated when they are read.
Records hold no time, no path and no name of a machine: the same evaluation gives the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from nnw_onnx.text import harmless
from nnw_onnx.vocabulary import Use, Way
from nnw_onnx.vocabulary.tasks import LARGEST

Status = Literal["done", "failed", "skipped", "not-applicable"]


class RecordModel(BaseModel):
    """Base of everything in a run folder: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Identity = Annotated[str, Field(pattern="^[0-9A-Za-z._-]{1,64}$")]
_GREATEST = 10**300
LEAST = 1e-100
"""Numbers nearer to 0 are 0: nothing measures them, and dividing by them gives no number."""


def _measurable(value: float) -> float:
    return value if abs(value) >= LEAST else 0.0


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST), AfterValidator(_measurable)]
Positive = Annotated[Number, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]


def _computable(value: Any) -> Any:
    """A value of JSON as it is; raises for numbers that no float holds, which nothing can print."""
    unseen = [value]
    while unseen:
        found = unseen.pop()
        if isinstance(found, dict):
            unseen += found.values()
        elif isinstance(found, list | tuple):
            unseen += found
        elif isinstance(found, int | float) and not abs(found) <= _GREATEST:
            raise ValueError("expected finite numbers, got one that is not or is too large")
    return value


Options = Annotated[dict[str, Any], AfterValidator(_computable)]
"""Whatever JSON a plug-in or an environment says of itself."""
Words = Annotated[str, AfterValidator(harmless)]


class PluginRecord(RecordModel):
    """A plug-in with its options, and the distribution that it came from.

    Options that are paths hold the file's name without its folder; `Plan.sources` has the digests.
    """

    name: Words
    options: Options = {}
    package: Words = ""
    version: Words = ""


class MeasureRecord(RecordModel):
    """A measure of quality; see `vocabulary.Measure`."""

    name: Words
    unit: Words = ""
    better: Literal["higher", "lower"] = "higher"
    low: Number | None = None
    high: Number | None = None
    chance: Number | None = None
    negligible: Annotated[float, Field(ge=1e-15, le=LARGEST)]
    usable_loss: Annotated[float, Field(ge=1e-15, le=LARGEST)]


class ParameterRecord(RecordModel):
    """Parameter of a Modification; see `vocabulary.Parameter`."""

    letter: Words
    meaning: Words
    unit: Words
    low: Number | None = None
    high: Number | None = None
    high_single_layer: Number | None = None
    stronger: Literal["up", "down"] = "up"
    option: str = "intensity"


class DatasetRecord(RecordModel):
    """The samples that quality is measured on.

    Attributes:
        plugin: the data set.
        split: "test" or "train".
        entries: number of samples.
        shapes: graph input -> shape of one sample as it is fed.
        facts: what the data say of themselves, such as "classes".
        digest: SHA-256 of samples and targets.
        before: networks that samples go through before the one under evaluation.
        after: networks that its answers go through before they are measured.
    """

    plugin: PluginRecord
    split: Words
    entries: Annotated[int, Field(ge=1, le=1 << 40)]
    shapes: dict[str, tuple[Count, ...]] = {}
    facts: Options = {}
    digest: str
    before: tuple[Words, ...] = ()
    after: tuple[Words, ...] = ()


class NetworkRecord(RecordModel):
    """One unwatermarked network of the evaluation.

    Attributes:
        index: 0 ... M-1.
        name: file name without its folder.
        sha256: of the file and its external data.
        weights: number of trainable Weights in the sense of the standard (kernels).
        parameters: number of all floating-point parameters.
        stored: number of floating-point weights that the file stores, whatever they are for.
        left: why "all" layers do not reach some of these -> how many.
    """

    index: Count
    name: Words
    sha256: str
    weights: Count
    parameters: Count
    stored: Count = 0
    left: dict[Words, Count] = Field(default_factory=dict)


Workflow = Literal["NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR"]
"""The AI Workflows of MPAI-NNT: No / With Training Imperceptibility, No / With Inference
Robustness."""


class CardRecord(RecordModel):
    """What the literature says of a method; see `vocabulary.Card`."""

    paper: Words
    blind: bool
    capacity: Words
    key: Words
    null: Words
    reported: tuple[Words, ...] = ()
    dies_of: tuple[Words, ...] = ()
    strength: Words | None = None


class TechnologyRecord(RecordModel):
    """One technology under test: a method with its options, a code and a payload size.

    Attributes:
        payload_size: bits before code and alphabet; 0 for a method that carries none.
        kind: "watermark", "fingerprint" or "integrity"; see `vocabulary.Method`.
        access: what its Decoder and Detector see.
        alphabet: of its Symbols; 0 for a method that carries none.
        decodes: whether Symbols are read (there is no Symbol Error Rate otherwise).
        imperceptibility: the workflow that measures it: with training where it is put in by one.
        robustness: likewise: with inference where the network is run to find it.
        training: the recipe that puts it in, and where that starts; None without training.
        layers: carriers that the owner asked for, or none.
        elsewhere: whether its marks were put in by others, so that no injection was measured.
        title: what it is called where the name of its method says too little, else "".
    """

    index: Count
    method: PluginRecord
    code: PluginRecord | None = None
    payload_size: Annotated[int, Field(ge=0, le=1 << 20)]
    label: Words
    kind: Literal["watermark", "fingerprint", "integrity"] = "watermark"
    access: Literal["weights", "activations", "answers"] = "weights"
    alphabet: Annotated[int, Field(ge=0, le=1 << 20)] = 2
    decodes: bool = True
    imperceptibility: Literal["NNW-NTI", "NNW-WTI"] = "NNW-NTI"
    robustness: Literal["NNW-NIR", "NNW-WIR"] = "NNW-NIR"
    training: Options | None = None
    layers: tuple[str, ...] = ()
    elsewhere: bool = False
    title: Words = ""

    @property
    def called(self) -> str:
        """Its title, or the name of its method."""
        return self.title or self.method.name


Family = Literal["standard", "deployment", "preserving", "adaptive", "removal"]


class StepRecord(RecordModel):
    """One Modification of a setting, with all its options but the swept one.

    Attributes:
        summary: one line that says what it does.
        number: that of the standard's table, or None.
        family: group of the report.
        aim: the layers aimed at in the words of the configuration: "all", "carrier", patterns; ""
            where it does not aim.
        preserves: what it promises to leave of the answers; see `vocabulary.Modification`.
        depends_on_method: whether it does something else for each technology.
    """

    modification: PluginRecord
    summary: Words = ""
    number: Annotated[int, Field(ge=0, le=99)] | None = None
    family: Family = "removal"
    aim: Words = ""
    preserves: Number | None = None
    depends_on_method: bool = False


class SettingRecord(RecordModel):
    """A Modification, or a stack of them, with the Intensities at which it is tried.

    Attributes:
        label: name for people, unique in the plan.
        steps: one after the other.
        swept: index of the step whose Parameter is swept, or None where nothing is.
        parameter: of that step.
        intensities: from the configuration, in its order; empty where nothing is swept.
        copies: number of recipients' copies that go in (1: the watermarked network itself).
        trains: whether a step trains.
        preset: name of the preset that brought it, "" where the configuration has it itself.
        adaptive: indices of the technologies whose methods name it as the attack of somebody who
            knows them; see `vocabulary.Method.adaptive`.
    """

    index: Count
    label: Words
    steps: Annotated[tuple[StepRecord, ...], Field(min_length=1)]
    swept: Count | None = None
    parameter: ParameterRecord | None = None
    intensities: tuple[Number, ...] = ()
    copies: Annotated[int, Field(ge=1, le=1000)] = 1
    trains: bool = False
    preset: Words = ""
    adaptive: tuple[Count, ...] = ()


class LeftOutRecord(RecordModel):
    """A Modification of a preset that the evaluation cannot carry out.

    Attributes:
        preset: its name.
        label: of the Modification.
        reason: what the evaluation lacks.
    """

    preset: Words
    label: Words
    reason: Words


class Plan(RecordModel):
    """What is going to be done, and all that a report needs to know: never changed.

    Attributes:
        schema_version: version of the run folder's form.
        package_version: version of nnw-onnx that made the plan.
        evaluation: the validated configuration, without paths.
        evaluation_sha256: digest of what the records depend on; a resumed run must have the same.
        payloads: D, payloads for each network.
        measures: of the task, the headline first; the first's `negligible` is the margin.
        guard: name of the measure that a collapsed network cannot keep, or None.
        sources: name of every further source -> its SHA-256: data of training and of a transfer,
            trigger images, students, masks.
        plugins: every plug-in that takes part, by group and name -> "package version", so that a
            run is not resumed with another one.
        wrong_keys: random keys that are tried on every network and setting, where that is cheap.
        cards: name of a method -> what the literature says of it, where its author tells.
        left_out: what presets ask for and the evaluation cannot give.
        quality: whether the quality of networks was measured.
        resynchronise: whether claims were heard a second time on modified networks, put back into
            the order of the unwatermarked ones.
    """

    schema_version: Literal[2] = 2
    package_version: str
    evaluation: Options
    evaluation_sha256: str
    title: Words
    seed: Annotated[int, Field(ge=0), AfterValidator(_computable)]
    networks: Annotated[tuple[NetworkRecord, ...], Field(min_length=1)]
    payloads: Annotated[int, Field(ge=1, le=1000)]
    technologies: Annotated[tuple[TechnologyRecord, ...], Field(min_length=1)]
    settings: tuple[SettingRecord, ...] = ()
    task: PluginRecord
    measures: Annotated[tuple[MeasureRecord, ...], Field(min_length=1)]
    guard: Words | None = None
    dataset: DatasetRecord
    sources: dict[str, str] = {}
    plugins: dict[str, Words] = {}
    false_positive_rate: Annotated[float, Field(ge=LEAST, lt=1)]
    repetitions: Annotated[int, Field(ge=1, le=1000)]
    wrong_keys: Count = 0
    session: Options
    workflows: tuple[Workflow, ...] = ("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR")
    cards: dict[str, CardRecord] = {}
    left_out: tuple[LeftOutRecord, ...] = ()
    quality: bool = True
    resynchronise: bool = False


class EpochRecord(RecordModel):
    """One epoch of a training that put a watermark in; see `vocabulary.Epoch`.

    Attributes:
        symbol_error_rate: of the watermark at its end, or None where nothing is read.
    """

    number: Count
    loss: Number
    penalty: Number | None = None
    symbol_error_rate: Share | None = None


class TrainingRecord(RecordModel):
    """A training that put a watermark in, or that of its unwatermarked twin.

    Attributes:
        epochs: what each epoch came to.
        batches: steps taken in all.
        epochs_to_inject: the epoch from whose end on every Symbol is read rightly; None where the
            watermark is not in at the end, or for a twin.
        device: "cpu" or the name of the accelerator.
        trained: names of the layers that learnt, where the trainer tells.
        frozen: names of those that stayed as they were, such as masks and statistics.
    """

    epochs: tuple[EpochRecord, ...]
    batches: Count
    epochs_to_inject: Count | None = None
    device: Words = "cpu"
    trained: tuple[Words, ...] = ()
    frozen: tuple[Words, ...] = ()


class NewMark(RecordModel):
    """A further watermark of an overwriting, read from the network at the end of the stack."""

    symbols: Annotated[int, Field(ge=1, le=1 << 20)]
    errors: Count


class TraceRecord(RecordModel):
    """What a mark leaves to see in one layer that carries it.

    Attributes:
        layer: its name.
        statistic: Kolmogorov-Smirnov, its weights before and after.
        variance_ratio: of its weights, after / before; None where they had no variance.
        means_statistic: Kolmogorov-Smirnov, its filter means before and after.
        before: numbers that anybody can take of the layer, see `math.visibility.FEATURES`.
        after: the same with the mark.
    """

    layer: Words
    statistic: Share
    variance_ratio: Positive | None = None
    means_statistic: Share
    before: Annotated[tuple[Number, ...], Field(max_length=64)]
    after: Annotated[tuple[Number, ...], Field(max_length=64)]


class InjectionRecord(RecordModel):
    """One watermarked network: network x technology x payload. An enrolment is one too.

    Attributes:
        identity: SHA-256 of what makes this injection.
        layers: carrier layers.
        notes: plain words on how carrier and strength were chosen.
        change: RMS change of the carrier / its population standard deviation before.
        changed_weights: number of weights that differ.
        commitment: hash that binds key, carriers and unmarked model.
        twin: whether this is the network of the same training without a watermark, against which
            a watermark put in by training is compared; it has no carrier and no key, and serves
            every payload of its network and technology (its own `payload_index` means nothing).
        symbols: Symbols in the network, after code and alphabet.
        errors: of them, read wrongly right after injection; None where nothing is read.
        training: how it was put in by training.
        traces: what it leaves to see in its carriers (at most 8); of a twin, in its kernels.
    """

    identity: Identity
    status: Status
    reason: Words | None = None
    network: Count
    technology: Count
    payload_index: Count
    layers: tuple[str, ...] = ()
    notes: tuple[Words, ...] = ()
    change: Number | None = None
    changed_weights: Count | None = None
    commitment: str | None = None
    twin: bool = False
    symbols: Count | None = None
    errors: Count | None = None
    training: TrainingRecord | None = None
    traces: Annotated[tuple[TraceRecord, ...], Field(max_length=8)] = ()


class NullRecord(RecordModel):
    """The null distribution of a statistic; see `vocabulary.Null`."""

    name: Words
    symbols: Count | None = None
    chance: Share | None = None
    log10_least: Number | None = None


class PlaceRecord(RecordModel):
    """Evidence of one layer or block; see `vocabulary.Place`."""

    layer: Words
    start: Count
    stop: Count
    statistic: Number
    log10_p: Number | None = None


class FoundRecord(RecordModel):
    """Where a carrier was read that is not whole under its own name; see `vocabulary.Found`."""

    carrier: Words
    layer: Words
    part: Words = ""
    way: Way = "name"
    candidates: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    use: Use = "live"
    note: Words = ""
    cosine: Number | None = None
    margin: Number | None = None


class BlocksRecord(RecordModel):
    """What a Modification changed of the blocks that vouch for themselves, and what was named.

    Attributes:
        blocks: how many there are.
        changed: of them, those in which a bit of a weight is another one.
        named: of them, those in which the Detector finds less evidence than before.
        right: of the named ones, those that are changed.
    """

    blocks: Count
    changed: Count = 0
    named: Count = 0
    right: Count = 0

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        least = max(0, self.changed + self.named - self.blocks)
        if max(self.changed, self.named) > self.blocks:
            raise ValueError("expected no more changed or named blocks than there are")
        if not least <= self.right <= min(self.changed, self.named):
            raise ValueError("expected as many rightly named blocks as changed and named allow")
        return self


class VerdictRecord(RecordModel):
    """One claim on one network: what was decoded and detected.

    Attributes:
        injection: identity of the injection whose claim (key and payload) was heard.
        status: "not-applicable" where the carrier does not exist in the network: the answer is No
            with p = 1, and nothing was decoded.
        symbols: Symbols compared (or triggers, ...); None where nothing is decoded.
        errors: Symbols that differ from the claimed ones.
        bits: size of the payload, where a code or an alphabet stands between it and the Symbols.
        bit_errors: of them, wrong after the code; all of them where the code says that it failed.
        statistic: of the Detector; larger is more evidence.
        log10_p: probability that a network made without the key does as well (one key; corrected
            for the places that were read where the carrier had to be searched); None where no null
            is known.
        null: the distribution that it is taken from.
        detected: log10_p <= log10 of the false-positive rate; None where no null is known.
        needed: fewest right Symbols that are a Yes at the level of the plan; None where nothing is
            counted.
        attained: exact probability of a Yes for a network made without the key, likewise.
        ties: Symbols taken from the key because the statistic was undecided.
        min_confidence: smallest and mean confidence of a Symbol, in standard deviations.
        places: evidence by place, strongest first, of an integrity method weakest (at most 64).
        notes: plain words on how the carrier was found.
        found: where carriers were read (at most 64), but for those under their own names.
        blocks: of an integrity method whose mark the network carries, what was changed and named;
            None in records of earlier versions.
    """

    injection: Identity
    status: Status
    reason: Words | None = None
    symbols: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    errors: Count | None = None
    bits: Count | None = None
    bit_errors: Count | None = None
    statistic: Number | None = None
    log10_p: Number | None = None
    log10_inverted: Number | None = None
    null: NullRecord | None = None
    detected: bool | None = None
    needed: Count | None = None
    attained: Share | None = None
    ties: Count | None = None
    min_confidence: Number | None = None
    mean_confidence: Number | None = None
    places: Annotated[tuple[PlaceRecord, ...], Field(max_length=64)] = ()
    notes: tuple[Words, ...] = ()
    found: Annotated[tuple[FoundRecord, ...], Field(max_length=64)] = ()
    blocks: BlocksRecord | None = None

    @model_validator(mode="after")
    def _errors_fit(self) -> Self:
        if self.errors is not None and self.errors > (self.symbols or 0):
            raise ValueError("expected no more errors than symbols")
        return self


class ControlRecord(RecordModel):
    """Random keys that have nothing to do with a network, tried on it with a random claim.

    Attributes:
        technology: whose keys.
        keys: how many.
        detected: how many were found (about `keys` times the false-positive rate, if all is well).
        below: how many p-values were at most 1e-1, 1e-2, 1e-3, 1e-4.
        log10_least: smallest p-value of all.
        errors: Symbols read wrongly over all keys, and `symbols` how many were read.
    """

    technology: Count
    keys: Count
    detected: Count
    below: tuple[Count, Count, Count, Count]
    log10_least: Number
    errors: Count = 0
    symbols: Count = 0


class Scores(RecordModel):
    """Scores by sample, packed.

    Attributes:
        form: "bits": base64 of np.packbits of (n,) zeros and ones; "float32": base64 of n
            little-endian numbers.
        n: number of samples.
        weights: base64 of n little-endian float32 weights, or None where all are 1.
    """

    form: Literal["bits", "float32"]
    n: Count
    data: str
    weights: str | None = None


class AligningRecord(RecordModel):
    """How a network was put back into the order of the unwatermarked one; see `runs.resync`.

    Attributes:
        recovered: whether its channels could be told apart; if not, nothing was changed.
        reason: why not.
        layers: layers that were found, and `missing` that were not; `ways` how they were found.
        axes: hidden axes, and `told` of how many the channels could be told apart.
        channels: of all axes, in the unwatermarked network.
        moved: of them, found in other places.
        lost: of them, not in the network: they are zeros.
        dummies: channels that were taken out.
        scaled: channels that had been multiplied by something, and `turned` of another sign.
        mixed: axes whose channels were in another basis.
        folded: normalisations whose factors were taken out of weights.
        cosine: mean cosine of channels and their partners, `margin` how much larger it is than of
            the best wrong ones, and `gap` the latter of all evidence in standard deviations.
    """

    recovered: bool
    reason: Words | None = None
    layers: Count = 0
    missing: Count = 0
    ways: dict[Way, Count] = {}
    axes: Count = 0
    told: Count = 0
    channels: Count = 0
    moved: Count = 0
    lost: Count = 0
    dummies: Count = 0
    scaled: Count = 0
    turned: Count = 0
    mixed: Count = 0
    folded: Count = 0
    cosine: Number | None = None
    margin: Number | None = None
    gap: Number | None = None


class TrialRecord(RecordModel):
    """One network (unwatermarked or watermarked), after Modifications or none.

    Attributes:
        identity: SHA-256 of what makes this trial.
        network: index of the unwatermarked network.
        injection: identity of the injection it carries, or None for the unwatermarked network.
        copies: identities of the further recipients' copies that went in.
        setting: index of the plan's setting, or None where nothing was modified.
        intensity: of the step that is swept, or None.
        layers: for each step, the layers that it was aimed at, found in the network as it was then.
        repetition: 0 ... repetitions-1.
        outside_standard_range: whether the Intensity is outside the standard's table.
        quality: measure name -> value (headline first); empty unless done, and where the plan
            leaves it out.
        chance: value of the headline measure that guessing reaches, or None.
        scores: numerator of the headline by sample, where it is a mean.
        quality_of: name of the data set that `quality` was measured on, where it is not the
            evaluation's own (after a transfer).
        change: RMS change of the layers aimed at (else of all kernels) / their pooled standard
            deviation; None where the architecture is another.
        difference: of a step that promises to preserve answers, the largest change of an answer
            over the largest answer; the largest of all such steps.
        verdicts: for a watermarked network one entry, its own claim; for an unwatermarked one an
            entry for each claim of the network (of a fingerprint: of the other networks) whose
            carrier fits the aim; for a twin none. A network made of copies hears every copy's.
        controls: wrong keys, by technology.
        new_marks: of an overwriting, the further watermarks, in the order of injection.
        facts: what its Modifications say of themselves, and sessions on another device than the
            CPU.
        technology: the one that a step itself depends on (an overwriting by the same method).
        resynchronised: `verdicts` once more, in the same order, on the network as it was put back
            into the order of the unwatermarked one; of methods that this is nothing for (see
            `runs.resync`) there is none. Empty where that was not asked for.
        aligning: how it was put back; None where that was not asked for.
        controls_resynchronised: `controls` once more, likewise.
    """

    identity: Identity
    status: Status
    reason: Words | None = None
    network: Count
    injection: Identity | None = None
    copies: tuple[Identity, ...] = ()
    setting: Count | None = None
    intensity: Number | None = None
    layers: tuple[tuple[str, ...], ...] = ()
    repetition: Count = 0
    outside_standard_range: bool = False
    quality: dict[str, Number] = {}
    chance: Number | None = None
    scores: Scores | None = None
    quality_of: Words | None = None
    change: Number | None = None
    difference: Number | None = None
    verdicts: tuple[VerdictRecord, ...] = ()
    controls: tuple[ControlRecord, ...] = ()
    new_marks: tuple[NewMark, ...] = ()
    facts: dict[str, Number | Words] = {}
    technology: Count | None = None
    resynchronised: tuple[VerdictRecord, ...] = ()
    aligning: AligningRecord | None = None
    controls_resynchronised: tuple[ControlRecord, ...] = ()


class CostRecord(RecordModel):
    """One measurement of computational cost; the only records that hold times.

    Attributes:
        operation: "injection", "detection", "decoding" or "inference".
        technology: under test (for inference too: whose watermarked network).
        session: 0, 1, ...: all that is measured is measured once in each session, and one session
            comes after the other.
        seconds: median wall time of the operation over `repetitions` (inference: of the
            watermarked network; injection by training: the time of an epoch divided by its
            batches, what is done at its end included, its start not).
        minimum: the fastest repetition (of a training: its fastest batch).
        repetitions: how many were timed, after the warm-up.
        peak_bytes: peak resident memory above the loaded baseline, in a fresh process.
        baseline_bytes: resident memory of that process before the operation.
        allocated_bytes: most that Python and numpy held at once for the operation; the resident
            set does not grow where the process had as much left from before.
        load: processes that wanted a CPU over the minute before, of the whole machine.
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
    technology: Count
    payload_index: Count
    session: Count = 0
    seconds: Positive | None = None
    minimum: Positive | None = None
    repetitions: Count | None = None
    peak_bytes: Count | None = None
    baseline_bytes: Count | None = None
    allocated_bytes: Count | None = None
    load: Positive | None = None
    baseline_seconds: Positive | None = None
    ratio: Positive | None = None
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
    cpu: Options
    gpus: tuple[Options, ...]
    memory_bytes: Count
    versions: dict[str, str]
    settings: Options
