"""The configuration of an evaluation: `evaluation.toml`, validated.

Every mistake is one line with the dotted path of the key and, where a name is close, a suggestion.
"""

from __future__ import annotations

import tomllib
import typing
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from nnw_onnx import plugins
from nnw_onnx.arrays.preprocessing import Preprocessing
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.records import Workflow
from nnw_onnx.runs.checks import check_training
from nnw_onnx.runs.places import SHIPPED_PREFIX
from nnw_onnx.runs.recipes import MethodTraining, TrainingTable, TransferTable
from nnw_onnx.vocabulary import Recipe, Spec

MAX_BYTES = 1 << 20
PayloadSizes = Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 20)], ...], Field(min_length=1)]
WORKFLOWS: tuple[Workflow, ...] = ("NNW-NTI", "NNW-WTI", "NNW-NIR", "NNW-WIR")
Profile = Literal["nnw-1.0", "ieee-3304", "nnt-1.1"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _different(sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if sizes and len(set(sizes)) != len(sizes):
        raise ValueError("expected different sizes, got one twice; remove it")
    return sizes


class PluginTable(BaseModel):
    """A table that names a plug-in; every key that is not declared is an option of it."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def spec(self) -> Spec:
        """Name and options."""
        return Spec(self.name, dict(self.model_extra or {}))


class DatasetTable(PluginTable):
    """`[dataset]`: the samples that quality is measured on.

    Attributes:
        split: "test" or "train".
        preprocessing: how a sample becomes an input of the network.
    """

    split: Literal["test", "train"] = "test"
    preprocessing: Preprocessing = Preprocessing()


class MethodTable(PluginTable):
    """`[[methods]]`: a method under test.

    Attributes:
        payload_sizes: Symbols of a Payload, where they differ from those of the evaluation.
        training: how it is put in by training; without it, it is put in without.
        trigger_images: folder (or tar, zip) of images that serve as trigger inputs, for a method
            that has any; by default they are generated.
    """

    payload_sizes: PayloadSizes | None = None
    training: MethodTraining | None = None
    trigger_images: str | None = None

    _distinct = field_validator("payload_sizes")(_different)


class ModificationTable(PluginTable):
    """`[[modifications]]`: a Modification at one or more Intensities.

    Attributes:
        intensities: values of its Parameter, in the order of the report.
        layers: "all" kernels, the "carrier" of the watermark, or names with wildcards.
    """

    intensities: Annotated[tuple[float, ...], Field(min_length=1)]
    layers: Literal["all", "carrier"] | tuple[str, ...] = "all"

    @property
    def aim(self) -> str:
        """The layers aimed at, in the words of the configuration."""
        return self.layers if isinstance(self.layers, str) else " ".join(self.layers)


class SessionTable(_Table):
    """`[session]`: how onnxruntime runs a network; recorded with every result.

    Attributes:
        batch_size: samples per run, where the graph leaves it open.
        timeout: seconds that one injection, trial or cost measurement may take.
        memory_limit: bytes of memory that one may take, or None.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: Annotated[int, Field(ge=1)] = 1
    optimization: Literal["disable", "basic", "extended", "all"] = "all"
    batch_size: Annotated[int, Field(ge=1)] = 256
    timeout: Annotated[float, Field(gt=0)] = 600.0
    memory_limit: Annotated[int, Field(ge=256 << 20, le=1 << 50)] | None = None


class CostTable(_Table):
    """`[cost]`: measuring computational cost.

    Attributes:
        cells: how many of the M x D watermarked networks of each technology are measured; None
            for all of them, as the standard asks, 0 for no cost measurement.
        repetitions: timed runs of an inference (the standard leaves it open; at least 5).
        warmups: runs before them.
        batch: samples per timed inference.
        training_batches: batches of a training that are timed with and without the watermark in
            turn; None for a whole epoch.
    """

    cells: Annotated[int, Field(ge=0)] | None = None
    repetitions: Annotated[int, Field(ge=5)] = 30
    warmups: Annotated[int, Field(ge=1)] = 5
    batch: Annotated[int, Field(ge=1)] = 1
    training_batches: Annotated[int, Field(ge=10)] | None = 50


class Evaluation(_Table):
    """What is evaluated, on what, and how.

    Attributes:
        title: shown in the report.
        profile: version of the standard whose procedures are followed.
        seed: everything random follows from it.
        networks: M unwatermarked networks: files, wildcards, or `nnw:` for shipped ones.
        payloads: D, the number of Payloads for each network.
        payload_sizes: Symbols of a Payload; each size is a technology of its own in the report.
        repetitions: how often each Modification is drawn anew.
        false_positive_rate: level of detection.
        margin: largest loss of the headline quality measure that counts as negligible.
        workflows: AI Workflows of MPAI-NNT to carry out: imperceptibility without and with training
            (NNW-NTI, NNW-WTI), robustness without and with inference (NNW-NIR, NNW-WIR).
        training: how networks are trained, where a method or Modification trains.
    """

    title: str = "Evaluation"
    summary: str = ""
    profile: Profile = "nnt-1.1"
    seed: Annotated[int, Field(ge=0)] = 0
    networks: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(min_length=1)
    ]
    payloads: Annotated[int, Field(ge=1, le=1000)] = 5
    payload_sizes: PayloadSizes = (64,)
    repetitions: Annotated[int, Field(ge=1, le=1000)] = 1
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    margin: Annotated[float, Field(gt=0)] = 0.005
    dataset: DatasetTable
    task: PluginTable = PluginTable(name="image-classification")
    methods: Annotated[tuple[MethodTable, ...], Field(min_length=1)]
    modifications: tuple[ModificationTable, ...] = ()
    session: SessionTable = SessionTable()
    cost: CostTable = CostTable()
    workflows: Annotated[tuple[Workflow, ...], Field(min_length=1)] = WORKFLOWS
    training: TrainingTable | None = None
    engine: PluginTable = PluginTable(name="serial")
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Folder of the configuration, from which names of files in options are taken."""
        return self._folder

    _distinct = field_validator("payload_sizes")(_different)

    @property
    def base_recipe(self) -> Recipe:
        """The recipe of `[training]`, or the default one."""
        return self.training.recipe if self.training else Recipe()

    def check_plugins(self) -> None:
        """Make every plug-in once, so that a mistake shows before anything runs."""
        required = {
            o.name
            for o in plugins.options(plugins.load("datasets", self.dataset.name))
            if o.required
        }
        if "path" in required - set(self.dataset.spec.options):
            raise ConfigurationError(
                "dataset.path: expected the folder of the data set, got none; add it, or give "
                "--data DIR"
            )
        for where, group, table in self._plugin_tables():
            try:
                plugins.create(group, table.spec)
            except (ConfigurationError, PluginError) as error:
                raise ConfigurationError(f"{where}: {error}") from error
        check_training(self)

    def _plugin_tables(self) -> list[tuple[str, str, PluginTable]]:
        first = [
            ("dataset", "datasets", self.dataset),
            ("task", "tasks", self.task),
            ("engine", "engines", self.engine),
        ]
        methods = [(f"methods.{i}", "methods", m) for i, m in enumerate(self.methods)]
        # An Intensity is an option like any other, so each value is checked by the plug-in.
        modifications = [
            (f"modifications.{i}", "modifications", _with(m, intensity=value))
            for i, m in enumerate(self.modifications)
            for value in m.intensities
        ]
        return [*first, *methods, *modifications]


def _with(table: PluginTable, **options: Any) -> PluginTable:
    return PluginTable(name=table.name, **{**table.spec.options, **options})


def read_evaluation(path: Path, data_set: Path | None = None) -> Evaluation:
    """The evaluation of a TOML file; relative paths in it are relative to the file.

    Args:
        path: the file.
        data_set: folder or file of the data set, instead of the one in the configuration.

    Raises:
        ConfigurationError: the file is missing, too large, not TOML, or a key or value is wrong.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MAX_BYTES):
            raise ConfigurationError(
                f"{path}: expected a regular file of at most 1 MiB, got another; give the TOML file"
            )
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{path}: expected a readable evaluation file, got: {reason}; "
            "'nnw list evaluations' shows the ones that come with nnw"
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error).split(";")[0]
        raise ConfigurationError(
            f"{path.name}: expected TOML, got: {reason}; correct it"
        ) from error
    return evaluation_from(data, path.name, path.resolve().parent, data_set)


def evaluation_from(
    data: dict[str, Any], source: str, folder: Path, data_set: Path | None = None
) -> Evaluation:
    """The evaluation of a parsed TOML document; `source` names it in errors."""
    try:
        evaluation = Evaluation.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {_one_line(error)}") from error
    except ConfigurationError as error:  # a value that checks itself
        raise ConfigurationError(f"{source}: {error}") from error
    evaluation = _anchored(evaluation, folder)
    if data_set is not None:
        changed = with_dataset_path(evaluation.dataset, data_set.resolve())
        evaluation = evaluation.model_copy(update={"dataset": changed})
    try:
        evaluation.check_plugins()
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error
    return evaluation


def shipped() -> dict[str, Path]:
    """Name -> file of the evaluations that come with the package."""
    folder = Path(str(files("nnw_onnx") / "evaluations"))
    return {p.stem: p for p in sorted(folder.glob("*.toml"))}


def summaries() -> dict[str, str]:
    """Name -> summary of the evaluations that come with the package, data or no data."""
    return {
        name: str(tomllib.loads(path.read_text(encoding="utf-8")).get("summary", ""))
        for name, path in shipped().items()
    }


def configuration_schema() -> dict[str, Any]:
    """JSON Schema of an evaluation, which ships as `evaluations/evaluation.schema.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Evaluation.model_json_schema(),
    }


def find_evaluation(name: str | Path) -> Path:
    """A shipped evaluation by name, or the file of this path."""
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if not path.exists() and path.suffix != ".toml":
        raise ConfigurationError(
            f"evaluation: expected a TOML file or one of {', '.join(known)}; got {str(name)!r}"
            f"{plugins.closest(str(name), known)}; see 'nnw list evaluations'"
        )
    return path


def _anchored(evaluation: Evaluation, folder: Path) -> Evaluation:
    """Relative paths made relative to the configuration's folder."""
    networks = tuple(
        n if n.startswith(SHIPPED_PREFIX) else str(folder / n) for n in evaluation.networks
    )
    dataset = evaluation.dataset
    if isinstance(path := dataset.spec.options.get("path"), str):
        dataset = with_dataset_path(dataset, folder / path)
    changed: dict[str, Any] = {"networks": networks, "dataset": dataset}
    changed["methods"] = tuple(
        m.model_copy(update={"trigger_images": str(folder / m.trigger_images)})
        if m.trigger_images
        else m
        for m in evaluation.methods
    )
    training = evaluation.training
    if training and training.transfer:
        given = dict(training.transfer.spec.options)
        if isinstance(given.get("path"), str):
            moved = TransferTable(
                name=training.transfer.name, **{**given, "path": str(folder / given["path"])}
            )
            changed["training"] = training.model_copy(update={"transfer": moved})
    anchored = evaluation.model_copy(update=changed)
    anchored._folder = folder
    return anchored


def with_dataset_path(dataset: DatasetTable, path: Path) -> DatasetTable:
    """The same data set, read from another path."""
    known = [option.name for option in plugins.options(plugins.load("datasets", dataset.name))]
    if "path" not in known:
        raise ConfigurationError(
            f"data: expected a data set that is read from files, got {dataset.name!r}, which is "
            "bundled; leave --data out"
        )
    options: dict[str, Any] = {**dataset.spec.options, "path": str(path)}
    return DatasetTable(
        name=dataset.name, split=dataset.split, preprocessing=dataset.preprocessing, **options
    )


def _one_line(error: ValidationError) -> str:
    """The first mistake: dotted path, what is wrong, what was got, a suggestion."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(_fields_at(first["loc"][:-1]))
        return (
            f"{where}: expected one of the keys {', '.join(known)}; got an unknown key"
            f"{plugins.closest(str(first['loc'][-1]), known)}"
        )
    if first["type"] == "missing":
        return f"{where}: expected a value, got none; add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}; got {first['input']!r}; correct it"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys of the table at a location of the configuration."""
    table: Any = Evaluation
    for part in location:
        if isinstance(part, str) and hasattr(table, "model_fields"):
            table = _table_of(table.model_fields[part].annotation)
    if hasattr(table, "model_fields"):
        return list(table.model_fields)
    return list(getattr(table, "__dataclass_fields__", {}))


def _table_of(annotation: Any) -> Any:
    """The table class inside an annotation such as tuple[X, ...]."""
    inside = [a for a in typing.get_args(annotation) if isinstance(a, type)]
    return inside[0] if inside else annotation
