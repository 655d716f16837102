"""AI Modules that measure computational cost.

NNW-NNT has a chapter on it and no workflow, so neither these nor their workflow have a header of
the standard. Each is carried out in a process of its own, as in an evaluation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnw_onnx.aif import files
from nnw_onnx.aif.modules import UnwatermarkedParameters, WatermarkedParameters
from nnw_onnx.aif.ports import Module, module, port
from nnw_onnx.aif.setups import Setup
from nnw_onnx.aif.types import OWN, CostFile, DatasetFile, ParametersFile
from nnw_onnx.errors import FrameworkError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.runs.context import Context
from nnw_onnx.runs.cost import CostTask, Operation, run_cost


@dataclass(frozen=True)
class InferenceInputs:
    """Both networks, which are run in turn, and samples to run them on."""

    unwatermarked: ParametersFile = port("UnwatermarkedParameters")
    watermarked: ParametersFile = port("WatermarkedParameters")
    testing: DatasetFile = port("TestingDataset")


@dataclass(frozen=True)
class InjectionCost:
    """What an injection costs."""

    cost: CostFile = port("InjectionCost")


@dataclass(frozen=True)
class DetectionCost:
    """What a detection costs."""

    cost: CostFile = port("DetectionCost")


@dataclass(frozen=True)
class DecodingCost:
    """What a decoding costs."""

    cost: CostFile = port("DecodingCost")


@dataclass(frozen=True)
class InferenceCost:
    """What an inference costs."""

    cost: CostFile = port("InferenceCost")


def cost_injection(given: UnwatermarkedParameters, setup: Setup, folder: Path) -> InjectionCost:
    """Measures time and memory of an injection; of a training, those of one of its batches."""
    context = _beginning(setup, given.parameters)
    return InjectionCost(_measured(context, setup, "injection", folder))


def cost_detection(given: WatermarkedParameters, setup: Setup, folder: Path) -> DetectionCost:
    """Measures time and memory of the Detector."""
    marked = open_network(given.parameters.path)
    return DetectionCost(_measured(setup.context, setup, "detection", folder, marked))


def cost_decoding(given: WatermarkedParameters, setup: Setup, folder: Path) -> DecodingCost:
    """Measures time and memory of the Decoder."""
    marked = open_network(given.parameters.path)
    return DecodingCost(_measured(setup.context, setup, "decoding", folder, marked))


def cost_inference(given: InferenceInputs, setup: Setup, folder: Path) -> InferenceCost:
    """Measures time and memory of the watermarked network, in turn with the unwatermarked one."""
    context, marked = _beginning(setup, given.unwatermarked), open_network(given.watermarked.path)
    return InferenceCost(_measured(context, setup, "inference", folder, marked, given.testing))


def _beginning(setup: Setup, parameters: ParametersFile) -> Context:
    """The context, whose unwatermarked network is that of a file."""
    context, at = setup.context, setup.task.network
    paths, digests = list(context.networks), list(context.sha256)
    paths[at], digests[at] = parameters.path, open_network(parameters.path).sha256
    return replace(context, networks=tuple(paths), sha256=tuple(digests))


def _measured(
    context: Context,
    setup: Setup,
    operation: Operation,
    folder: Path,
    marked: OnnxNetwork | None = None,
    testing: DatasetFile | None = None,
) -> CostFile:
    task = _fed(_task(setup, operation), marked, testing)
    record = run_cost(context, task, marked)
    if record.status != "done":
        raise FrameworkError(f"{operation}: expected a cost, got none: {record.reason}")
    return files.write_cost(
        folder / f"{operation.capitalize()}Cost.json", json.loads(record.model_dump_json())
    )


def _task(setup: Setup, operation: Operation) -> CostTask:
    found = next((task for task in setup.costs if task.operation == operation), None)
    if found is None:
        raise FrameworkError(
            f"{setup.technology.method.name}: expected a method that has a {operation}, got one "
            "without; choose another method"
        )
    return found


def _fed(task: CostTask, network: OnnxNetwork | None, testing: DatasetFile | None) -> CostTask:
    """The task with as many samples of a data set as it has of its own."""
    if network is None or testing is None:
        return task
    samples = files.read_samples(testing.path).fitted(network.inputs)
    count = min(len(samples), *map(len, task.feeds.values()))
    return replace(task, feeds=dict(samples.read(np.arange(count)).feeds))


COST_MODULES: tuple[Module, ...] = tuple(
    replace(made, of=OWN, version="V1.0", alone=True)
    for made in (
        module(cost_injection, "CIJ", "InjectionCost", "Injection Cost"),
        module(cost_detection, "CDT", "DetectionCost", "Detection Cost"),
        module(cost_decoding, "CDC", "DecodingCost", "Decoding Cost"),
        module(cost_inference, "CIF", "InferenceCost", "Inference Cost"),
    )
)
