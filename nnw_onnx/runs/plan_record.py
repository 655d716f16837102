"""The plan of an evaluation as its run folder keeps it: all that a report needs, and no folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.records import CardRecord, DatasetRecord, MeasureRecord, NetworkRecord, Plan
from nnw_onnx.runs import calls
from nnw_onnx.runs.checks import trains
from nnw_onnx.runs.context import Context, fitted
from nnw_onnx.runs.elsewhere import MarkedFile
from nnw_onnx.runs.network_tables import NetworkTable
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.settings import plugin_record, setting_records, technology_records
from nnw_onnx.runs.sources import files_of
from nnw_onnx.runs.tables import Evaluation, Table, located, mapped
from nnw_onnx.version import __version__
from nnw_onnx.vocabulary import Dataset, Method, PlugIn, Task, Trainer


def plan_record(evaluation: Evaluation, networks: Sequence[OnnxNetwork], context: Context) -> Plan:
    """The plan; it names files without their folders."""
    task = plugins.create(Task, evaluation.task.spec)
    sources = _source_digests(evaluation, context)
    described = _described(evaluation, networks)
    return Plan(
        package_version=__version__,
        evaluation=described,
        evaluation_sha256=_digest(evaluation, networks, sources, context.marked),
        title=evaluation.title,
        seed=evaluation.seed,
        networks=tuple(_network_record(i, n) for i, n in enumerate(networks)),
        payloads=evaluation.payloads,
        technologies=technology_records(evaluation),
        settings=setting_records(evaluation),
        task=plugin_record(task),
        measures=_measures(task, evaluation.margin),
        guard=task.guard,
        dataset=_dataset(evaluation, networks[0], context),
        sources=sources,
        plugins=_versions(evaluation),
        false_positive_rate=evaluation.false_positive_rate,
        repetitions=evaluation.repetitions,
        wrong_keys=evaluation.control.wrong_keys,
        session=evaluation.session.model_dump(mode="json"),
        workflows=evaluation.workflows,
        cards=_cards(evaluation),
        left_out=evaluation.left_out,
        quality=evaluation.quality,
        resynchronise=evaluation.resynchronise,
    )


def _cards(evaluation: Evaluation) -> dict[str, CardRecord]:
    """What the literature says of each method, where its author tells."""
    cards = {table.name: plugins.load(Method, table.name).card for table in evaluation.methods}
    return {name: CardRecord(**asdict(card)) for name, card in cards.items() if card}


def _measures(task: Task, margin: float | None) -> tuple[MeasureRecord, ...]:
    found = [asdict(measure) for measure in calls.measured(task)]
    if margin is not None:
        found[0]["negligible"] = margin
    return tuple(MeasureRecord(**measure) for measure in found)


def _dataset(evaluation: Evaluation, network: OnnxNetwork, context: Context) -> DatasetRecord:
    samples = fitted(context.data, tuple(network.inputs))
    first = samples.read(np.zeros(1, np.int64))
    return DatasetRecord(
        plugin=plugin_record(plugins.create(Dataset, evaluation.dataset.spec)),
        split=evaluation.dataset.split,
        entries=len(samples),
        shapes={name: values.shape[1:] for name, values in first.feeds.items()},
        facts=dict(samples.facts),
        digest=context.data.digest,
        before=context.data.before.names,
        after=context.after.names,
    )


def _source_digests(evaluation: Evaluation, context: Context) -> dict[str, str]:
    """Name of every source -> its digest; names of files without their folders."""
    data = {
        "data of the test": context.data,
        "data of training": context.training_data,
        "data of a transfer": context.transfer_data,
        "data of the test after a transfer": context.transfer,
    }
    found = {name: source.digest for name, source in data.items() if source}
    for side, chain in (("before", context.data.before), ("after", context.after)):
        found |= {
            f"network {i} {side}: {name}": digest
            for i, (name, digest) in enumerate(zip(chain.names, chain.sha256, strict=True))
        }
    for mark in context.marked:
        found[f"marked network {mark.file.name}"] = mark.sha256
    files = dict(context.sources.files)
    for where, paths in files_of(evaluation):
        found |= {f"{where}: {Path(path).name}": files[path] for path in paths}
    networks = context.sources.networks
    return found | {f"network {Path(name).name}": digest for name, digest in networks}


def _versions(evaluation: Evaluation) -> dict[str, str]:
    """Group and name of every plug-in -> package and version."""
    used = trains(evaluation)
    return {
        f"{group}/{table.name}": " ".join(plugins.origin(plugins.load(kind, table.name)))
        for _, kind, table in located(evaluation)
        if kind is not Trainer or used
        for group in plugins.GROUPS
        if plugins.base(group) is kind
    }


def _described(evaluation: Evaluation, networks: Sequence[OnnxNetwork]) -> dict[str, object]:
    """The configuration with the names of files, without their folders."""

    def named(kind: type[PlugIn], table: Table) -> Table:
        return _with_paths(kind, table, lambda path: Path(path).name)

    shown = mapped(evaluation, named).model_dump(
        mode="json", exclude={"networks", "engine", "preview", "presets"}, exclude_none=True
    )
    if evaluation.quality:
        del shown["quality"]  # as before it could be left out
    if around := evaluation.composed:
        shown["composed"] = {side: [Path(n).name for n in names] for side, names in around}
    if evaluation.presets:
        shown["presets"] = [Path(preset).name for preset in evaluation.presets]
    return {**shown, "networks": _network_entries(evaluation, networks)}


def _network_entries(
    evaluation: Evaluation, networks: Sequence[OnnxNetwork]
) -> list[str | dict[str, str]]:
    """The networks by the names of their files, and the tables of those that have one."""
    tables = [table for table in evaluation.networks if isinstance(table, NetworkTable)]
    found: list[str | dict[str, str]] = []
    for network in networks:
        own = [_named_table(t) for t in tables if network.path in network_paths([t.file])]
        found += [{"file": network.path.name, **table} for table in own] or [network.path.name]
    return found


def _named_table(table: NetworkTable) -> dict[str, str]:
    """A table without folders; what is put in is nobody's affair who reads a plan."""
    given = {"marked": table.marked, "key": table.key, "reference": table.reference}
    return {name: Path(path).name for name, path in given.items() if path is not None}


def _digest(
    evaluation: Evaluation,
    networks: Sequence[OnnxNetwork],
    sources: dict[str, str],
    marked: Sequence[MarkedFile],
) -> str:
    """Digest of all that the records follow from, wherever files lie and whatever their names."""

    def nameless(kind: type[PlugIn], table: Table) -> Table:
        return _with_paths(kind, table, lambda path: None)

    # What presets bring is among the Modifications.
    # Networks around are among the sources.
    told = {"title", "summary", "cost", "networks", "engine", "preview", "presets", "composed"}
    described = mapped(evaluation, nameless).model_dump(mode="json", exclude=told)
    for limit in ("timeout", "memory_limit"):
        del described["session"][limit]
    # As before they could be asked for.
    if not evaluation.resynchronise:
        del described["resynchronise"]
    if evaluation.quality:
        del described["quality"]
    if marked:
        described["marked"] = [mark.identity for mark in marked]
    return identity(**described, digests=[network.sha256 for network in networks], sources=sources)


def _with_paths(kind: type[PlugIn], table: Table, change: Callable[[str], str | None]) -> Table:
    names = plugins.path_options(plugins.load(kind, table.name))
    given = table.spec.options
    return table.model_copy(
        update={name: change(str(given[name])) for name in names if given.get(name) is not None}
    )


def _network_record(index: int, network: OnnxNetwork) -> NetworkRecord:
    found = network.coverage()
    return NetworkRecord(
        index=index,
        name=network.path.name,
        sha256=network.sha256,
        weights=network.weight_count,
        parameters=network.parameters,
        stored=found.total,
        left=dict(found.left),
    )
