"""The User Agent: finds a workflow, starts it for one cell of an evaluation, reads what it tells.

In the folder of a run lie the outputs by the names of their ports, `figures.json`, and

    messages.jsonl   every message: from where to where, type, size, SHA-256; no content
    inputs/          what was put into the workflow
    modules/         what each module wrote
    state/           the key of the watermark (mode 0600)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.aif import files
from nnw_onnx.aif.cells import Asked, Cell, open_cell, put_inputs
from nnw_onnx.aif.channels import Message
from nnw_onnx.aif.controller import Controller
from nnw_onnx.aif.executing import Isolated, Worker
from nnw_onnx.aif.modules import Replay
from nnw_onnx.aif.running import Events
from nnw_onnx.aif.types import CostFile, CountErrorFile, Data, InferenceFile, PayloadFile
from nnw_onnx.aif.workflows import End, Workflow
from nnw_onnx.errors import FrameworkError
from nnw_onnx.runs.quality import adds_classes, measure, task_for
from nnw_onnx.vocabulary import Json

FIGURES, MESSAGES, MODULES = "figures.json", "messages.jsonl", "modules"


@dataclass(frozen=True)
class Told:
    """What a workflow told.

    Attributes:
        folder: where it lies.
        outputs: data objects by the names of the ports.
        figures: what they come to: of inferences measures by port, of a payload Symbols and how
            many are wrong, of costs the records.
    """

    folder: Path
    outputs: Mapping[str, Data]
    figures: Mapping[str, Json]


def run(workflow: Workflow, asked: Asked, folder: Path) -> Told:
    """Start a workflow, put a cell of an evaluation into it, and read all of its outputs.

    Args:
        workflow: of `reading.read_workflow`, or one of `workflows.BY_FORM`.
        asked: which cell.
        folder: new or empty.

    Raises:
        FrameworkError: there is no such cell, or a module failed: one line that names it.
    """
    with Worker(asked.evaluation) as worker:
        cell = open_cell(workflow, asked, files.make_folder(folder), worker)
        given = put_inputs(cell, asked)
        outputs = _outputs(cell, given)
    told = Told(folder, outputs, figures_of(cell, given, outputs))
    files.write(folder / FIGURES, files.as_json(dict(told.figures)))
    return told


def _outputs(cell: Cell, given: Mapping[str, Data]) -> dict[str, Data]:
    """What the Controller reads at every output, in the folder of the run."""
    workflow, folder = cell.workflow, cell.folder
    events = Events(moved=_Log(folder / MESSAGES))
    executor = Isolated(cell.setup, cell.worker)
    with Controller(executor, folder / MODULES, events=events) as controller:
        controller.MPAI_AIFU_AIW_Start(workflow)
        for port, data in given.items():
            controller.MPAI_AIFM_Port_Input_Write(workflow.short, port, Message(data))
        names = [port.name for port in workflow.outputs]
        read = [controller.MPAI_AIFM_Port_Output_Read(workflow.short, name) for name in names]
    return {name: files.copy(one.data, folder) for name, one in zip(names, read, strict=True)}


def figures_of(
    cell: Cell, given: Mapping[str, Data], outputs: Mapping[str, Data]
) -> dict[str, Json]:
    """What the outputs of a workflow come to, by the functions that an evaluation uses."""
    found: dict[str, Json] = {}
    for name, data in outputs.items():
        match data:
            case InferenceFile():
                found[name] = dict(_quality(cell, name, data, _testing(given, name)))
            case CostFile():
                found[name] = files.read_cost(data)
            case PayloadFile():
                found["symbols"] = len(files.read_payload(data))
            case CountErrorFile():
                found["count_error"] = files.read_count(data)
    symbols, wrong = found.get("symbols"), found.get("count_error")
    if isinstance(symbols, int) and isinstance(wrong, int):
        found["symbol_error_rate"] = wrong / symbols
    return found


def _testing(given: Mapping[str, Data], name: str) -> Data:
    """The data set that a network answers: the second of two is that of the watermarked one."""
    sets = [data for port, data in given.items() if port.startswith("TestingDataset")]
    if not sets:
        raise FrameworkError(
            f"{name}: expected a workflow with a TestingDataset, got none; read the inference "
            "yourself"
        )
    return sets[-1] if name.startswith("Watermarked") else sets[0]


def _quality(cell: Cell, name: str, data: InferenceFile, testing: Data) -> Mapping[str, float]:
    network, context = cell.setup.network, cell.context
    marked = name.startswith("Watermarked")
    more = marked and adds_classes([cell.setup.technology.method])
    told = Replay(files.read_values(data.path))
    samples = files.read_samples(testing.path).fitted(network.inputs)
    task = task_for(context.task, network)
    return measure(told, task, samples, context.batch_size, more_classes=more).values


class _Log:
    """Writes a line for each message; a key is in none, because modules are set up with it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, source: End, target: End, message: Message) -> None:
        digest, size = files.digest(message.data)
        line = {
            "source": str(source), "target": str(target), "type": message.data.header(),
            "bytes": size, "sha256": digest,
        }  # fmt: skip
        files.append(self._path, json.dumps(line))
