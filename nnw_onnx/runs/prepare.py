"""Everything that an evaluation names, opened and checked, and the plan that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnw_onnx import __version__, plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import (
    SessionSettings,
    check_providers,
    run_isolated,
)
from nnw_onnx.records import (
    DatasetFacts,
    NetworkRecord,
    Plan,
)
from nnw_onnx.runs import plan
from nnw_onnx.runs.checks import made_modifications, trains
from nnw_onnx.runs.context import Context, TrainingContext
from nnw_onnx.runs.evaluation import WORKFLOWS, Evaluation
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.recipes import TrainingTable
from nnw_onnx.runs.seeds import identity
from nnw_onnx.vocabulary import Samples, Spec


@dataclass(frozen=True)
class Prepared:
    """An evaluation whose networks and data were opened and checked."""

    evaluation: Evaluation
    networks: tuple[OnnxNetwork, ...]
    plan: Plan
    context: Context
    samples: Samples


def prepare(evaluation: Evaluation, folder: Path) -> Prepared:
    """Open everything the evaluation names and make its plan; nothing is written.

    Raises:
        ConfigurationError, ModelFileError, DatasetError, InferenceError: something named is
            missing or unfit.
    """
    paths = tuple(network_paths(evaluation.networks))
    networks = tuple(open_network(path) for path in paths)
    for path, network in zip(paths, networks, strict=True):
        if not plan.modifiable_layers(network):
            reason = network.no_weights_reason or "its weights are quantized"
            raise ConfigurationError(
                f"{path.name}: expected a network with weights that can be replaced, got none: "
                f"{reason}"
            )
    digests = [network.sha256 for network in networks]
    for path, digest in zip(paths, digests, strict=True):
        if digests.count(digest) > 1:
            raise ConfigurationError(
                f"networks: expected networks that differ, got {path.name} under two names; "
                "leave one out"
            )
    samples: Samples = plugins.create("datasets", evaluation.dataset.spec).load(
        evaluation.dataset.split
    )
    # In a process of its own: asking a GPU would make this one hold it.
    session = evaluation.session
    run_isolated(check_providers, session.providers, timeout=session.timeout).unwrap()
    context = _context(evaluation, folder, paths, networks, samples)
    made = _plan(evaluation, networks, samples, context)
    return Prepared(evaluation, networks, made, context, samples)


def _context(
    evaluation: Evaluation,
    folder: Path,
    paths: tuple[Path, ...],
    networks: Sequence[OnnxNetwork],
    samples: Samples,
) -> Context:
    session = evaluation.session
    return Context(
        folder=folder.resolve(),
        networks=tuple(path.resolve() for path in paths),
        sha256=tuple(network.sha256 for network in networks),
        dataset=evaluation.dataset.spec,
        split=evaluation.dataset.split,
        preprocessing=evaluation.dataset.preprocessing,
        task=evaluation.task.spec,
        fingerprint=samples.fingerprint,
        batch_size=session.batch_size,
        false_positive_rate=evaluation.false_positive_rate,
        settings=_settings(evaluation),
        technologies=plan.technologies_of(evaluation),
        base=evaluation.folder.resolve(),
        training=_training_context(evaluation) if trains(evaluation) else None,
    )


def single_context(evaluation: Evaluation, network: OnnxNetwork, folder: Path) -> Context:
    """The context of one training outside an evaluation: no test samples, no plan.

    Files named in options are seen from the current folder, because no configuration names them.
    """
    session = evaluation.session
    return Context(
        folder=folder.resolve(),
        networks=(network.path.resolve(),),
        sha256=(network.sha256,),
        dataset=evaluation.dataset.spec,
        split=evaluation.dataset.split,
        preprocessing=evaluation.dataset.preprocessing,
        task=evaluation.task.spec,
        fingerprint="",
        batch_size=session.batch_size,
        false_positive_rate=evaluation.false_positive_rate,
        settings=_settings(evaluation),
        training=_training_context(evaluation),
        base=Path.cwd(),
    )


def _settings(evaluation: Evaluation) -> SessionSettings:
    session = evaluation.session
    return SessionSettings(
        providers=session.providers, threads=session.threads, optimization=session.optimization
    )


def _training_context(evaluation: Evaluation) -> TrainingContext:
    """What trainings have in common; the training samples are read once for their fingerprint."""
    table = evaluation.training or TrainingTable()
    # In a process of its own, like the runtime's providers: a framework is large, a GPU is held.
    run_isolated(_check_trainer, table.trainer.spec, timeout=evaluation.session.timeout).unwrap()
    dataset = evaluation.dataset.spec
    if table.limit is not None:
        dataset = Spec(dataset.name, {**dataset.options, "limit": table.limit})
    samples: Samples = plugins.create("datasets", dataset).load(table.split)
    return TrainingContext(
        trainer=table.trainer.spec,
        dataset=dataset,
        split=table.split,
        fingerprint=samples.fingerprint,
        recipe=table.recipe,
        initial_epochs=table.initial_epochs,
        transfer=table.transfer.spec if table.transfer else None,
        output=int(evaluation.task.spec.options.get("output", 0)),
    )


def _check_trainer(trainer: Spec) -> None:
    plugins.create("trainers", trainer).check()


def _plan(
    evaluation: Evaluation,
    networks: Sequence[OnnxNetwork],
    samples: Samples,
    context: Context,
) -> Plan:
    """The plan; it names files without their folders and leaves out what changes no record."""
    described = _described(evaluation)
    described["networks"] = [n.path.name for n in networks]
    data: DatasetFacts = {
        "name": evaluation.dataset.name,
        "split": evaluation.dataset.split,
        "entries": len(samples),
        "classes": list(samples.classes),
        "shape": list(samples.inputs.shape[1:]),
        "fingerprint": samples.fingerprint,
    }
    depends_on = {k: v for k, v in described.items() if k not in {"title", "summary", "cost"}}
    depends_on["session"] = {
        k: v for k, v in described["session"].items() if k not in {"timeout", "memory_limit"}
    }
    trained_on: dict[str, Any] = {}
    if context.training:
        trained_on["training_data"] = context.training.fingerprint
    if students := _students(evaluation, context):
        trained_on["students"] = students
    return Plan(
        package_version=__version__,
        evaluation=described,
        evaluation_sha256=identity(
            **depends_on,
            **trained_on,
            digests=[n.sha256 for n in networks],
            data=samples.fingerprint,
        ),
        title=evaluation.title,
        profile=evaluation.profile,
        seed=evaluation.seed,
        networks=tuple(_network_record(i, n) for i, n in enumerate(networks)),
        payloads=evaluation.payloads,
        groups=plan.groups_of(evaluation),
        false_positive_rate=evaluation.false_positive_rate,
        margin=evaluation.margin,
        repetitions=evaluation.repetitions,
        dataset=data,
        session=described["session"],
        workflows=evaluation.workflows,
    )


def _students(evaluation: Evaluation, context: Context) -> list[str]:
    """Digests of the networks that Modifications name, in their order; opens each of them."""
    made = [m for m in made_modifications(evaluation) if hasattr(m, "networks")]
    return [context.named(name).sha256 for m in made for name in m.networks()]


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """The configuration without paths, and without tables that are not there."""
    described = evaluation.model_dump(mode="json", exclude={"networks", "engine"})
    described["dataset"].pop("path", None)
    for method in described["methods"]:
        for key in ("payload_sizes", "training", "trigger_images"):
            if method.get(key) is None:
                method.pop(key, None)
        if "trigger_images" in method:
            method["trigger_images"] = Path(method["trigger_images"]).name
    if described["training"] is None:
        del described["training"]
    elif described["training"]["transfer"]:
        described["training"]["transfer"].pop("path", None)
    if tuple(described["workflows"]) == WORKFLOWS:
        del described["workflows"]
    return described


def _network_record(index: int, network: OnnxNetwork) -> NetworkRecord:
    return NetworkRecord(
        index=index,
        name=network.path.name,
        sha256=network.sha256,
        weights=network.weight_count,
        parameters=network.parameters,
    )
