"""The tables of an evaluation's configuration, each key with its type and its default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.inference.providers import full_name
from nnw_onnx.records import LEAST, LeftOutRecord, Workflow
from nnw_onnx.runs import modification_ids
from nnw_onnx.runs.network_tables import NetworkEntry, NetworkTable
from nnw_onnx.runs.recipes import EngineTable, MethodTraining, PluginTable, TrainingTable
from nnw_onnx.vocabulary import (
    Code,
    Dataset,
    Engine,
    Method,
    Modification,
    Parameter,
    PlugIn,
    Recipe,
    Task,
    Trainer,
)

PayloadSizes = Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...], Field(min_length=1)]
Intensities = Annotated[
    tuple[Annotated[float, WithJsonSchema({"type": ["number", "string"]})], ...],
    Field(min_length=1),
]
Aim = Literal["all", "carrier"] | Annotated[tuple[str, ...], Field(min_length=1)]
DEFAULT_TASK = PluginTable(name="image-classification")
WORKFLOWS: tuple[Workflow, ...] = ("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _different(sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if sizes and len(set(sizes)) != len(sizes):
        raise ValueError("expected different sizes, got one twice; remove it")
    return sizes


class DatasetTable(PluginTable):
    """`[dataset]`: the samples that quality is measured on.

    Attributes:
        split: "test" or "train".
    """

    split: Literal["test", "train"] = "test"


class MethodTable(PluginTable):
    """`[[methods]]`: a method under test.

    Attributes:
        payload_sizes: bits of a Payload, where they differ from those of the evaluation.
        training: how it is put in by training; without it, it is put in without.
        code: error-correcting code between payload and Symbols.
        layer: name of the carrier layer, or names; chosen by the method if left out.
    """

    payload_sizes: PayloadSizes | None = None
    training: MethodTraining | None = None
    code: PluginTable | None = None
    layer: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    _elsewhere: bool = PrivateAttr(default=False)

    _distinct = field_validator("payload_sizes")(_different)

    @property
    def elsewhere(self) -> bool:
        """Whether it is that of a key in `[[networks]]`, whose mark was put in elsewhere."""
        return self._elsewhere

    def from_elsewhere(self) -> MethodTable:
        """The same method, put in elsewhere."""
        moved = self.model_copy()
        moved._elsewhere = True
        return moved

    @property
    def layers(self) -> tuple[str, ...]:
        """The carriers that are asked for, or ()."""
        if self.layer is None:
            return ()
        return (self.layer,) if isinstance(self.layer, str) else self.layer


def _plain_intensities(table: object) -> object:
    """The table of a Modification with every Intensity a plain number, whatever its unit was.

    One that has the number and letter of the reference software gets its name.
    """
    table = modification_ids.translated(table)
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        return table
    try:
        parameter = plugins.load(Modification, table["name"]).parameter
    except PluginError:
        return table  # the checks that follow say where the name stands
    if parameter is None:
        return table
    plain = {**table}
    for key in ("intensities", parameter.option):
        if key in table:
            plain[key] = _plain(parameter, table[key], key)
    return plain


def _plain(parameter: Parameter, given: object, key: str) -> object:
    if isinstance(given, list | tuple):
        return [_plain(parameter, value, key) for value in given]
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return given  # the types of the table say what is wrong with it
    try:
        read = parameter.read(given)
    except ConfigurationError as error:
        raise ValueError(f"{key}: {error}") from error
    return read if isinstance(given, str) else given


class StepTable(PluginTable):
    """One Modification: a table of `steps`, or the whole of `[[modifications]]`.

    Attributes:
        intensities: values of its Parameter, in the order of the report, each a number or a text
            with its unit, such as "50%".
        layers: "all" kernels, the "carrier" of the watermark, or names with wildcards; only for a
            Modification that changes the layers it is aimed at, and then "all" if left out.
    """

    intensities: Intensities | None = None
    layers: Aim | None = None

    _units = model_validator(mode="before")(_plain_intensities)


class ModificationTable(BaseModel):
    """`[[modifications]]`: a Modification at one or more Intensities, or a stack of them.

    Keys that are not declared are options of the Modification that `name` names.

    Attributes:
        name: of the Modification; left out where there are `steps`.
        intensities: see `StepTable`.
        layers: see `StepTable`.
        steps: Modifications done one after the other; at most one of them has `intensities`.
        label: its name in the report, by default made of the above.
        copies: number of recipients' copies that go in.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    name: str | None = None
    intensities: Intensities | None = None
    layers: Aim | None = None
    steps: Annotated[tuple[StepTable, ...], Field(min_length=1, max_length=16)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    copies: Annotated[int, Field(ge=1, le=1000)] = 1
    _preset: str = PrivateAttr(default="")

    _units = model_validator(mode="before")(_plain_intensities)

    @property
    def preset(self) -> str:
        """Name of the preset that brought it, "" where the configuration has it itself."""
        return self._preset

    def of_preset(self, name: str) -> ModificationTable:
        """The same table, brought by a preset."""
        moved = self.model_copy()
        moved._preset = name
        return moved

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.name is None) == (self.steps is None):
            raise ValueError("expected either name or steps; keep one of them")
        beside = [*(self.model_extra or {}), *self.model_fields_set & {"intensities", "layers"}]
        if self.steps is not None and beside:
            raise ValueError(f"expected {beside[0]} inside one of the steps; move it there")
        if self.steps and sum(step.intensities is not None for step in self.steps) > 1:
            raise ValueError(
                "expected at most one step with intensities; write the option of the others plainly"
            )
        return self

    @property
    def stack(self) -> tuple[StepTable, ...]:
        """The steps, one of them where the table is a Modification itself."""
        if self.steps is not None:
            return self.steps
        # Validated once already: an Intensity has lost the unit that made it clear.
        step = StepTable.model_construct(
            name=self.name or "",
            intensities=self.intensities,
            layers=self.layers,
            **(self.model_extra or {}),
        )
        return (step,)


class SessionTable(_Table):
    """`[session]`: how onnxruntime runs a network; recorded with every result.

    Attributes:
        providers: in order of preference, in full or short ("cuda", "cuda:1"); kept in full.
        batch_size: samples per run, where the graph leaves it open.
        timeout: seconds that one injection, trial or cost measurement may take.
        memory_limit: bytes of memory that one may take, or None.
    """

    providers: tuple[Annotated[str, AfterValidator(full_name)], ...] = ("CPUExecutionProvider",)
    threads: Annotated[int, Field(ge=1)] = 1
    optimization: Literal["disable", "basic", "extended", "all"] = "all"
    batch_size: Annotated[int, Field(ge=1)] = 256
    timeout: Annotated[float, Field(gt=0)] = 600.0
    memory_limit: Annotated[int, Field(ge=256 << 20, le=1 << 50)] | None = None

    def with_providers(self, names: Sequence[str]) -> SessionTable:
        """The same with other providers, in order of preference."""
        return SessionTable.model_validate({**self.model_dump(), "providers": tuple(names)})


class CostTable(_Table):
    """`[cost]`: measuring computational cost.

    Attributes:
        cells: how many of the M x D watermarked networks of each technology are measured; None
            for all of them, as the standard asks, 0 for no cost measurement.
        sessions: how often all of it is measured, once round after the other: what one session
            scatters says nothing of the next, so that a single one has no limits.
        repetitions: timed runs of an inference (the standard leaves it open; at least 5).
        warmups: runs before them.
        batch: samples per timed inference.
        training_batches: batches of a training that are timed with and without the watermark in
            turn; None for a whole epoch.
    """

    cells: Annotated[int, Field(ge=0)] | None = None
    sessions: Annotated[int, Field(ge=1, le=100)] = 2
    repetitions: Annotated[int, Field(ge=5)] = 30
    warmups: Annotated[int, Field(ge=1)] = 5
    batch: Annotated[int, Field(ge=1)] = 1
    training_batches: Annotated[int, Field(ge=10)] | None = 50


class ControlTable(_Table):
    """`[control]`: keys that have nothing to do with a network, and must not be found in it.

    Attributes:
        wrong_keys: random keys that are tried on every network and setting, for methods that only
            read weights (others cost an inference a key), and fewer of them where that is much to
            read; 0 for none. With `resynchronise` each is tried once more on modified networks that
            were put back in order.
    """

    wrong_keys: Annotated[int, Field(ge=0, le=1_000_000)] = 1000


class PreviewTable(_Table):
    """`[preview]`: the look at every network before anything is measured; it leaves no record.

    Attributes:
        samples: how many are run through each network; 0 for no look.
        expected: headline quality that each network should have on these data, in the measure's own
            numbers (0.93 is 93 %); a network far below it stops the evaluation before it begins.
            Networks that come with the package bring theirs.
    """

    samples: Annotated[int, Field(ge=0, le=100_000)] = 300
    expected: float | None = None


class ComposedTable(_Table):
    """`[composed]`: networks around each one under evaluation; they are never marked or modified.

    Quality is measured at the end of all of them, as for networks whose own output has no meaning.

    Attributes:
        before: networks that the data set goes through, in this order: files, or `nnw:` for shipped
            ones.
        after: networks that the answers go through.
    """

    before: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    after: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.before or self.after):
            raise ValueError("expected networks before or after, got none; name them")
        return self


class Evaluation(_Table):
    """What is evaluated, on what, and how.

    Attributes:
        title: shown in the report.
        seed: everything random follows from it.
        networks: M unwatermarked networks: files, wildcards, or `nnw:` for shipped ones; tables
            where they were watermarked elsewhere.
        payloads: D, the number of Payloads for each network.
        payload_sizes: bits of a Payload; each size is a technology of its own in the report.
        repetitions: how often each Modification is drawn anew.
        false_positive_rate: level of detection.
        margin: largest loss of the headline quality measure that counts as negligible, instead of
            the one that the task names.
        workflows: AI Workflows of MPAI-NNT to carry out: imperceptibility without and with training
            (NNW-NTI, NNW-WTI), robustness without and with inference (NNW-NIR, NNW-WIR).
        composed: networks around those under evaluation, where there are some.
        quality: whether the quality of networks is measured. Without, a trial of methods that read
            weights runs no network; what watermarks cost in quality, and which Modifications leave
            a network usable, is not measured, and the report says so.
        resynchronise: whether the owner hears every claim on a modified network once more, with
            its channels put back into the order, scale and sign of the unwatermarked network, which
            its Detector then needs. Claims on unwatermarked networks are heard so too.
        training: how networks are trained, where a method or Modification trains, and what owners
            and attackers have of data.
        presets: Modifications that many ask for together, behind those of `[[modifications]]`:
            names of presets that come with the package (see `nnw list presets`), or TOML files.
            Of a preset, what this evaluation cannot give is left out, and the report says why.
    """

    title: str = "Evaluation"
    summary: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    networks: Annotated[tuple[NetworkEntry, ...], Field(min_length=1)]
    payloads: Annotated[int, Field(ge=1, le=1000)] = 5
    payload_sizes: PayloadSizes = (64,)
    repetitions: Annotated[int, Field(ge=1, le=1000)] = 1
    false_positive_rate: Annotated[float, Field(ge=LEAST, lt=1)] = 1e-6
    margin: Annotated[float, Field(gt=0)] | None = None
    dataset: DatasetTable
    task: PluginTable = DEFAULT_TASK
    composed: ComposedTable | None = None
    methods: tuple[MethodTable, ...] = ()
    modifications: tuple[ModificationTable, ...] = ()
    presets: tuple[str, ...] = ()
    quality: bool = True
    resynchronise: bool = False
    control: ControlTable = ControlTable()
    session: SessionTable = SessionTable()
    cost: CostTable = CostTable()
    workflows: Annotated[tuple[Workflow, ...], Field(min_length=1)] = WORKFLOWS
    training: TrainingTable | None = None
    preview: PreviewTable = PreviewTable()
    engine: EngineTable = EngineTable(name="serial")
    _folder: Path = PrivateAttr(default=Path())
    _left_out: tuple[LeftOutRecord, ...] = PrivateAttr(default=())
    _as_planned: bool = PrivateAttr(default=False)

    _distinct = field_validator("payload_sizes")(_different)
    _ratios = model_validator(mode="before")(modification_ids.with_ratios)

    @property
    def as_planned(self) -> bool:
        """Whether its Modifications are those of a plan: presets have brought theirs already."""
        return self._as_planned

    @property
    def left_out(self) -> tuple[LeftOutRecord, ...]:
        """What presets ask for, and this evaluation cannot give."""
        return self._left_out

    @property
    def folder(self) -> Path:
        """Folder of the configuration, from which names of files in options are taken."""
        return self._folder

    @property
    def base_recipe(self) -> Recipe:
        """The recipe of `[training]`, or the default one."""
        return self.training.recipe if self.training else Recipe()

    @property
    def marked(self) -> tuple[NetworkTable, ...]:
        """The networks that were watermarked elsewhere."""
        tables = (entry for entry in self.networks if isinstance(entry, NetworkTable))
        return tuple(table for table in tables if table.marked is not None)

    def at(self, folder: Path) -> Evaluation:
        """The same evaluation, with the folder that its configuration lies in."""
        moved = self.model_copy()
        moved._folder = folder
        return moved

    def with_modifications(
        self, tables: tuple[ModificationTable, ...], left_out: tuple[LeftOutRecord, ...]
    ) -> Evaluation:
        """The same evaluation with these Modifications, and with what was left out of presets."""
        moved = self.model_copy(update={"modifications": tables})
        moved._left_out = left_out
        return moved

    def planned(
        self, tables: tuple[ModificationTable, ...], left_out: tuple[LeftOutRecord, ...]
    ) -> Evaluation:
        """The same evaluation with all Modifications of a plan, to which nothing is added."""
        moved = self.with_modifications(tables, left_out)
        moved._as_planned = True
        return moved


Table = TypeVar("Table", bound=PluginTable)


class Change(Protocol):
    """Makes another table of one that names a plug-in of a kind."""

    def __call__(self, kind: type[PlugIn], table: Table) -> Table:
        """The changed table."""
        ...


def mapped(evaluation: Evaluation, change: Change) -> Evaluation:
    """The evaluation with every table that names a plug-in changed: the one place that finds them.

    Keys of tables beside name and options must stay as they are.
    """
    changed: dict[str, object] = {
        "dataset": change(Dataset, evaluation.dataset),
        "task": change(Task, evaluation.task),
        "engine": change(Engine, evaluation.engine),
        "methods": tuple(_method(table, change) for table in evaluation.methods),
        "modifications": tuple(
            mapped_modification(table, change) for table in evaluation.modifications
        ),
    }
    if training := evaluation.training:
        inside: dict[str, object] = {"trainer": change(Trainer, training.trainer)}
        if training.transfer:
            inside["transfer"] = change(Dataset, training.transfer)
        changed["training"] = training.model_copy(update=inside)
    return evaluation.model_copy(update=changed)


def located(evaluation: Evaluation) -> Iterator[tuple[str, type[PlugIn], PluginTable]]:
    """Dotted path, kind and table of every plug-in that an evaluation names."""
    yield "dataset", Dataset, evaluation.dataset
    yield "task", Task, evaluation.task
    for index, method in enumerate(evaluation.methods):
        yield f"methods.{index}", Method, method
        if method.code:
            yield f"methods.{index}.code", Code, method.code
    for index, table in enumerate(evaluation.modifications):
        for place, step in enumerate(table.stack):
            inside = f".steps.{place}" if table.steps is not None else ""
            yield f"modifications.{index}{inside}", Modification, step
    if evaluation.training:
        yield "training.trainer", Trainer, evaluation.training.trainer
        if evaluation.training.transfer:
            yield "training.transfer", Dataset, evaluation.training.transfer


def _method(table: MethodTable, change: Change) -> MethodTable:
    changed = change(Method, table)
    if table.code is None:
        return changed
    return changed.model_copy(update={"code": change(Code, table.code)})


def mapped_modification(table: ModificationTable, change: Change) -> ModificationTable:
    """A table of `[[modifications]]` with every table in it changed that names a plug-in."""
    steps = tuple(change(Modification, step) for step in table.stack)
    if table.steps is None:
        return table.model_copy(update=dict(steps[0].model_extra or {}))
    return table.model_copy(update={"steps": steps})


def seen_from(folder: Path, kind: type[PlugIn], table: Table) -> Table:
    """The table with the paths among its options, which are seen from a folder, made whole."""
    try:
        names = plugins.path_options(plugins.load(kind, table.name))
    except PluginError:
        return table  # the checks that follow say where the name stands
    given = table.spec.options
    moved = {name: str(folder / path) for name in names if isinstance(path := given.get(name), str)}
    return table.model_copy(update=moved)
