"""One cell of an evaluation: what a workflow is set up for, and what is put into its ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.aif import files
from nnw_onnx.aif.executing import Worker
from nnw_onnx.aif.modules import no_layers
from nnw_onnx.aif.ports import Port
from nnw_onnx.aif.setups import Setup
from nnw_onnx.aif.types import Data, DatasetFile, ParametersFile
from nnw_onnx.aif.workflows import Workflow
from nnw_onnx.errors import ConfigurationError, FrameworkError
from nnw_onnx.kit.samples import ArraySamples, limited, only_feed
from nnw_onnx.records import InjectionRecord, TechnologyRecord
from nnw_onnx.runs import coding
from nnw_onnx.runs.context import (
    Context,
    Source,
    fitted,
    injected_network,
    samples_for,
)
from nnw_onnx.runs.cost import plan_costs
from nnw_onnx.runs.injections import payload_of, run_injection
from nnw_onnx.runs.network_tables import NetworkTable
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.plan import InjectionTask, plan_injections
from nnw_onnx.runs.prepare import Prepared, prepare
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.tables import Evaluation, ModificationTable
from nnw_onnx.runs.verify import read
from nnw_onnx.vocabulary import (
    Array,
    Decoding,
    Feeds,
    Modification,
    Payload,
    Samples,
    Trial,
    Values,
)

STATE, INPUTS = "state", "inputs"


@dataclass(frozen=True)
class Asked:
    """Which cell.

    Attributes:
        evaluation: its configuration.
        method: name of the method; the first that fits the workflow where it is None.
        network: number of the network, from 1.
        payload: number of the payload, from 1.
        modification: name of the Modification; None for none.
        intensity: of its Parameter; the first of the configuration where it is None.
        inputs: name of a port of the workflow -> file, instead of what the evaluation has.
    """

    evaluation: Evaluation
    method: str | None = None
    network: int = 1
    payload: int = 1
    modification: str | None = None
    intensity: float | str | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A cell that was opened and checked.

    Attributes:
        workflow: that is set up.
        prepared: the evaluation, of this network, method and Modification alone.
        setup: of the modules.
        folder: where everything goes.
        worker: what opens networks and runs them.
    """

    workflow: Workflow
    prepared: Prepared
    setup: Setup
    folder: Path
    worker: Worker

    @property
    def context(self) -> Context:
        """Of the evaluation."""
        return self.setup.context


def open_cell(workflow: Workflow, asked: Asked, folder: Path, worker: Worker) -> Cell:
    """The cell, with the watermark in its network where the workflow begins with one.

    Args:
        workflow: that is going to be started.
        asked: which cell.
        folder: new or empty; it gets the key, which only its owner may read.
        worker: for the injection.

    Raises:
        ConfigurationError, ModelFileError, DatasetError: the evaluation cannot be carried out.
        FrameworkError: there is no such cell, or the injection failed.
    """
    evaluation = _only(asked)
    prepared = prepare(evaluation, folder / STATE)
    context = prepared.context
    tasks = plan_injections(
        context.seed, evaluation.payloads, context.technologies, context.sha256, context.sources,
        context.marked, context.references,
    )  # fmt: skip
    task = _task(workflow, prepared, tasks, asked)
    context.store.create()
    cell = Cell(workflow, prepared, Setup(context, task), folder, worker)
    if "WatermarkedParameters" in {port.name for port in workflow.inputs}:
        return _watermarked(cell, asked)
    return cell


def _task(
    workflow: Workflow, prepared: Prepared, tasks: Sequence[InjectionTask], asked: Asked
) -> InjectionTask:
    """The injection of a payload by the first technology that goes through the workflow."""
    technologies = prepared.plan.technologies
    found = [
        task
        for task in tasks
        if not task.twin and _goes_through(workflow, technologies[task.technology], asked)
    ]
    own = [task for task in found if task.technology == found[0].technology]
    if not own:
        named = f" named {asked.method}" if asked.method else ""
        raise FrameworkError(
            f"{workflow.short}: expected a method{named} of the evaluation that goes through this "
            "workflow and decodes, got none; name another method, workflow or evaluation"
        )
    if not 1 <= asked.payload <= len(own):
        raise FrameworkError(
            f"payload: expected a number from 1 to {len(own)}, got {asked.payload}; correct it"
        )
    return own[asked.payload - 1]


def _goes_through(workflow: Workflow, technology: TechnologyRecord, asked: Asked) -> bool:
    """Whether a technology is the one asked for; any goes through what is not the standard's."""
    if asked.method not in (None, technology.method.name):
        return False
    if workflow.short in ("NNW-NTI", "NNW-WTI"):
        # What was marked elsewhere is not put in here, and these workflows put it in.
        return technology.imperceptibility == workflow.short and not technology.elsewhere
    if workflow.short in ("NNW-NIR", "NNW-WIR"):
        return technology.robustness == workflow.short and technology.decodes
    return True


def _watermarked(cell: Cell, asked: Asked) -> Cell:
    """The cell after its injection, with the trial of its Modification and what is measured."""
    record = cell.worker.call(run_injection, cell.context, cell.setup.task)
    if record.status != "done":
        raise FrameworkError(f"injection: expected a watermarked network, got: {record.reason}")
    trial = None if asked.modification is None else _trial(cell.prepared, record, asked)
    table = cell.prepared.evaluation.cost.model_copy(update={"cells": 1, "sessions": 1})
    costs = tuple(plan_costs(cell.context, [record], table))
    return replace(cell, setup=replace(cell.setup, trial=trial, costs=costs))


def _trial(prepared: Prepared, record: InjectionRecord, asked: Asked) -> Trial:
    """The trial that an evaluation would plan for the network with this watermark."""
    for trial in prepared.planner.trials([record]):
        if trial.parents == (record.identity,) and trial.setting is not None:
            return trial
    raise FrameworkError(
        f"{asked.modification}: expected a Modification of one network, got one of several copies; "
        "use 'nnw evaluate'"
    )


def _only(asked: Asked) -> Evaluation:
    """The evaluation of one network, the methods that are asked for, and one Modification."""
    evaluation = asked.evaluation
    changed: dict[str, object] = {
        "networks": _network(evaluation, asked.network),
        "methods": tuple(t for t in evaluation.methods if asked.method in (None, t.name)),
        "modifications": _modification(evaluation, asked),
        "presets": (),
    }
    return evaluation.model_copy(update=changed).at(evaluation.folder)


def _network(evaluation: Evaluation, number: int) -> tuple[str | NetworkTable, ...]:
    """The entries of one network: its file, or each watermarked version of it."""
    paths = list(dict.fromkeys(network_paths(evaluation.networks)))
    if not 1 <= number <= len(paths):
        raise FrameworkError(
            f"network: expected a number from 1 to {len(paths)}, got {number}; correct it"
        )
    wanted = paths[number - 1]
    own = [entry for entry in evaluation.networks if wanted in network_paths([entry])]
    return tuple(entry if isinstance(entry, NetworkTable) else str(wanted) for entry in own)


def _modification(evaluation: Evaluation, asked: Asked) -> tuple[ModificationTable, ...]:
    """The table of the Modification that is asked for, at one Intensity."""
    if asked.modification is None:
        return ()
    name = asked.modification
    tables = [table for table in evaluation.modifications if table.name == name]
    wanted = _intensity(name, asked.intensity)
    if wanted is None:
        table = tables[0] if tables else ModificationTable(name=name)
        first = table.intensities[:1] if table.intensities else None
        return (table.model_copy(update={"intensities": first}),)
    of_it = [table for table in tables if wanted in (table.intensities or ())]
    table = next(iter(of_it or tables), ModificationTable(name=name))
    return (table.model_copy(update={"intensities": (wanted,)}),)


def _intensity(name: str, given: float | str | None) -> float | None:
    """The Intensity as a number, whatever its unit."""
    parameter = plugins.load(Modification, name).parameter
    if given is None:
        return None
    if parameter is None:
        raise ConfigurationError(
            f"{name}: expected no intensity, because it is done or not, got {given}; leave it out"
        )
    return float(parameter.read(given))


def put_inputs(cell: Cell, asked: Asked) -> dict[str, Data]:
    """A data object for each input of the workflow, by the name of the port.

    Raises:
        FrameworkError: a port that nobody knows what to put into, or a file of another type.
        DatasetError: there are no such data.
    """
    ports = {port.name: port for port in cell.workflow.inputs}
    if unknown := [name for name in asked.inputs if name not in ports]:
        raise FrameworkError(
            f"{unknown[0]}: expected an input of {cell.workflow.short}, one of "
            f"{', '.join(ports)}, got none of this name; correct it"
        )
    folder = files.make_folder(cell.folder / INPUTS)
    return {
        name: files.given(port.kind, asked.inputs[name], folder / f"{name}{port.kind.suffix}")
        if name in asked.inputs
        else _made(cell, port, folder)
        for name, port in ports.items()
    }


def _made(cell: Cell, port: Port, folder: Path) -> Data:
    """What the evaluation puts into a port, whose name says what that is."""
    path = folder / f"{port.name}{port.kind.suffix}"
    makers: dict[str, Callable[[Cell, Path], Data]] = {
        "Payload": _payload,
        "OriginalPayload": _payload,
        "UnwatermarkedParameters": _unwatermarked_parameters,
        "WatermarkedParameters": _watermarked_parameters,
        "TrainingDataset": _training,
        "TestingDataset": _testing,
    }
    make = makers.get(port.name.rstrip("0123456789"))
    if make is None:
        raise FrameworkError(
            f"{port.name}: expected an input that the evaluation has, one of "
            f"{', '.join(makers)}, got another; give a file for it (--input)"
        )
    return make(cell, path)


def _payload(cell: Cell, path: Path) -> Data:
    return files.write_payload(path, _bits(cell))


def _bits(cell: Cell) -> Payload:
    """The bits that are put in; of a mark made elsewhere, those that its claim tells."""
    setup, context = cell.setup, cell.context
    if not setup.task.elsewhere:
        return payload_of(context.seed, setup.technology.size, setup.task.payload_index)
    claim = setup.claim
    symbols = claim.payload or Payload()
    method, code = plugins.method_of(claim.key), plugins.code_of(claim.key)
    sure = Decoding(symbols, (1.0,) * len(symbols))
    return coding.bits_of(method, code, claim.key, sure) or symbols


def _unwatermarked_parameters(cell: Cell, path: Path) -> Data:
    cell.setup.network.save(path)
    return ParametersFile(path)


def _watermarked_parameters(cell: Cell, path: Path) -> Data:
    task = cell.setup.task
    injected_network(cell.context, task.network, task.identity).save(path)
    return ParametersFile(path)


def _training(cell: Cell, path: Path) -> Data:
    """The training split; a batch of it where nothing is trained, because nobody reads it then."""
    context = cell.context
    source = context.training_data or Source(context.data.dataset, "train")
    samples = fitted(source, tuple(cell.setup.network.inputs))
    most = None if cell.setup.technology.recipe else context.batch_size
    return _written(limited(samples, most), path, cell)


def _testing(cell: Cell, path: Path) -> Data:
    """The samples that quality is measured on; where answers are decoded, what the key asks."""
    if any(part.module.acronym == "WWD" for part in cell.workflow.parts):
        cell.worker.call(write_questions, cell.setup, path, cell.context.batch_size)
        return DatasetFile(path)
    return _written(samples_for(cell.context, cell.setup.network), path, cell)


def _written(samples: Samples, path: Path, cell: Cell) -> Data:
    files.write_samples(path, samples, cell.context.batch_size)
    return DatasetFile(path)


def write_questions(setup: Setup, path: Path, batch_size: int) -> None:
    """Write the inputs that a Decoder asks the watermarked network about, as a data set.

    Raises:
        FrameworkError: it asks nothing, or about inner layers.
    """
    context, task = setup.context, setup.task
    marked = injected_network(context, task.network, task.identity)
    asked = _Questions(Running(marked, context.settings, context.batch_size))
    read(suspects(marked, asked), setup.claim.key)
    if not asked.feeds:
        raise FrameworkError(
            f"{setup.technology.method.name}: expected a method that asks the network, got one "
            "that asks nothing; use NNW-NIR"
        )
    feeds = {name: np.concatenate([one[name] for one in asked.feeds]) for name in asked.feeds[0]}
    nothing = np.zeros(len(only_feed(feeds)), np.int64)
    files.write_samples(path, ArraySamples(feeds, nothing), batch_size)


class _Questions:
    """A network that answers, and remembers what it was asked."""

    def __init__(self, run: Running) -> None:
        self._run = run
        self.feeds: list[dict[str, Array]] = []

    def __call__(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """See `Running`; raises `FrameworkError` where inner layers are asked for."""
        if layers:
            raise no_layers()
        self.feeds.append(dict(feeds))
        return self._run(feeds)
