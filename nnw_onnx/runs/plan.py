"""What is to be done, as small values: workers rebuild everything else from them by name."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.records import Group, InjectionRecord, PluginSpec
from nnw_onnx.runs.checks import workflows_of
from nnw_onnx.runs.context import Technology
from nnw_onnx.runs.evaluation import Evaluation, ModificationTable
from nnw_onnx.runs.recipes import MethodTraining
from nnw_onnx.runs.seeds import identity
from nnw_onnx.vocabulary import Layer, Network, Spec


@dataclass(frozen=True)
class InjectionTask:
    """One payload to be put into one network by one technology.

    Attributes:
        twin: whether nothing is to be put in: the same training without a watermark.
    """

    identity: str
    network: int
    group: int
    payload_index: int
    method: Spec
    payload_size: int
    seed: int
    twin: bool = False


@dataclass(frozen=True)
class Trial:
    """One network, modified or not, to be run, decoded and measured.

    Attributes:
        injection: identity of the watermark it carries, or None.
        keys: identities of the injections whose key and payload are tried on it.
        layers: names of the layers to modify.
        group: the technology that the Modification itself depends on, or None.
    """

    identity: str
    network: int
    injection: str | None
    keys: tuple[str, ...]
    modification: Spec | None = None
    aim: str | None = None
    layers: tuple[str, ...] = ()
    repetition: int = 0
    group: int | None = None


def groups_of(evaluation: Evaluation) -> tuple[Group, ...]:
    """The technologies under test: every method at every payload size."""
    found: list[Group] = []
    for table in evaluation.methods:
        made = plugins.spec_of(plugins.create("methods", table.spec))
        imperceptibility, robustness = workflows_of(table)
        for size in table.payload_sizes or evaluation.payload_sizes:
            label = f"{Spec(table.name, table.spec.options)}, {size} bits"
            found.append(
                Group(
                    index=len(found),
                    method=PluginSpec(name=made.name, options=dict(made.options)),
                    payload_size=size,
                    label=f"{label}, {_words(table.training)}" if table.training else label,
                    imperceptibility=imperceptibility,
                    robustness=robustness,
                    training=_training(evaluation, table.training),
                )
            )
    return tuple(found)


def technologies_of(evaluation: Evaluation) -> tuple[Technology, ...]:
    """How each group puts its watermarks in, in the order of `groups_of`."""
    found = []
    for table in evaluation.methods:
        method = plugins.spec_of(plugins.create("methods", table.spec))
        recipe = table.training.recipe(evaluation.base_recipe) if table.training else None
        start = table.training.start if table.training else "trained"
        for size in table.payload_sizes or evaluation.payload_sizes:
            found.append(Technology(method, size, recipe, start, table.trigger_images))
    return tuple(found)


def plan_injections(
    evaluation: Evaluation,
    groups: Sequence[Group],
    sha256: Sequence[str],
    training_data: str = "",
) -> list[InjectionTask]:
    """M x D tasks for every group; the D payloads of a size are the same for every network.

    A group that is put in by training has a twin for each network before them, which it shares with
    the groups of the same recipe. `training_data` is the fingerprint of what is trained on.
    """
    tasks: list[InjectionTask] = []
    for group in groups:
        trained = {"training": group.training, "data": training_data} if group.training else {}
        if group.training and all(group.training != g.training for g in groups[: group.index]):
            tasks += [_twin(evaluation, group, n, d, trained) for n, d in enumerate(sha256)]
        method = Spec(group.method.name, group.method.options)
        for network, digest in enumerate(sha256):
            for payload_index in range(evaluation.payloads):
                fields = {
                    "seed": evaluation.seed,
                    "network": digest,
                    "method": asdict(method),
                    "payload_size": group.payload_size,
                    "payload_index": payload_index,
                }
                tasks.append(
                    InjectionTask(
                        identity=identity(purpose="injection", **fields, **trained),
                        network=network,
                        group=group.index,
                        payload_index=payload_index,
                        method=method,
                        payload_size=group.payload_size,
                        seed=evaluation.seed,
                    )
                )
    return tasks


def plan_trials(
    evaluation: Evaluation,
    networks: Sequence[Network],
    injections: Sequence[InjectionRecord],
    context_digest: str,
    groups: Sequence[Group] = (),
) -> list[Trial]:
    """Every network without Modification, then each Modification at each Intensity.

    Twins are run without Modification only, and watermarks of a robustness workflow that is not
    asked for likewise. `context_digest` stands for what all trials have in common (networks, data
    set, settings).
    """
    asked = {g.index: g.robustness in evaluation.workflows for g in groups}
    trials = []
    for modification, intensity in [(None, 0.0), *_grid(evaluation)]:
        for repetition in range(evaluation.repetitions if modification else 1):
            for index, network in enumerate(networks):
                done = [i for i in injections if i.network == index and i.status == "done"]
                marks = [i for i in done if modification is None or asked.get(i.group, True)]
                cell = _Cell(network, index, modification, intensity, repetition, context_digest)
                if marks or modification is None or not asked:
                    trials += _trials_of(cell, marks)
    return trials


def _grid(evaluation: Evaluation) -> list[tuple[ModificationTable, float]]:
    return [(m, value) for m in evaluation.modifications for value in m.intensities]


@dataclass(frozen=True)
class _Cell:
    """One network under one Modification at one Intensity."""

    network: Network
    index: int
    modification: ModificationTable | None
    intensity: float
    repetition: int
    context_digest: str

    def trial(self, subject: _Subject) -> Trial:
        """The trial of an unwatermarked network, a watermarked one or a twin in this cell."""
        fields: dict[str, Any] = {
            "network": self.index,
            "injection": subject.injection,
            "keys": subject.keys,
        }
        table = self.modification
        if table is not None:
            given = {**table.spec.options, "intensity": self.intensity}
            made = plugins.spec_of(plugins.create("modifications", Spec(table.name, given)))
            fields |= {
                "modification": Spec(made.name, {k: made.options[k] for k in given}),
                "aim": table.aim,
                "layers": select_layers(self.network, table.layers, subject.carrier),
                "repetition": self.repetition,
            }
        if subject.group is not None:
            fields["group"] = subject.group
        digest = identity(
            purpose="trial",
            context=self.context_digest,
            **{k: asdict(v) if isinstance(v, Spec) else v for k, v in fields.items()},
        )
        return Trial(identity=digest, **fields)


@dataclass(frozen=True)
class _Subject:
    """A network of a cell: its watermark if any, the keys tried on it, and the carrier aimed at."""

    injection: str | None
    keys: tuple[str, ...] = ()
    carrier: tuple[str, ...] = ()
    group: int | None = None


def _trials_of(cell: _Cell, marks: Sequence[InjectionRecord]) -> list[Trial]:
    """The trials of one cell, unwatermarked networks first.

    A Modification of the carrier, or one by the method itself, differs from technology to
    technology, and so the unwatermarked network is modified once for each of them.
    """
    table = cell.modification
    aims = table is not None and table.layers == "carrier"
    own = table is not None and depends_on_method(table.name)
    apart: dict[tuple[tuple[str, ...], int | None], list[str]] = defaultdict(list)
    for mark in marks:
        if not mark.twin:
            apart[mark.layers if aims else (), mark.group if own else None].append(mark.identity)
    subjects = [_Subject(None, tuple(keys), c, g) for (c, g), keys in apart.items()]
    subjects = subjects or [_Subject(None)]
    subjects += [
        _Subject(
            mark.identity,
            () if mark.twin else (mark.identity,),
            mark.layers,
            mark.group if own else None,
        )
        for mark in marks
        if table is None or not mark.twin
    ]
    return [cell.trial(subject) for subject in subjects]


def depends_on_method(modification: str) -> bool:
    """Whether a Modification does something else for each method, as an overwriting does."""
    plugin = plugins.load("modifications", modification)
    return bool(getattr(plugin, "depends_on_method", False))


def _twin(
    evaluation: Evaluation, group: Group, network: int, digest: str, trained: dict[str, Any]
) -> InjectionTask:
    fields = {"seed": evaluation.seed, "network": digest, **trained}
    return InjectionTask(
        identity=identity(purpose="twin", **fields),
        network=network,
        group=group.index,
        payload_index=0,
        method=Spec(group.method.name, group.method.options),
        payload_size=group.payload_size,
        seed=evaluation.seed,
        twin=True,
    )


def _training(evaluation: Evaluation, table: MethodTraining | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {"start": table.start, **asdict(table.recipe(evaluation.base_recipe))}


def _words(table: MethodTraining) -> str:
    return "by training" if table.start == "trained" else "by training from scratch"


def modifiable_layers(network: Network) -> list[Layer]:
    """The Weights in the sense of the standard's Modifications: kernels that can be replaced."""
    return [layer for layer in network.layers if layer.role == "kernel" and layer.replaceable]


def select_layers(
    network: Network, wanted: str | Sequence[str], carrier: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of the layers aimed at, in the order of the file.

    Args:
        network: the network.
        wanted: "all" kernels, the "carrier", or names of layers with wildcards.
        carrier: names of the carrier layers.

    Raises:
        ConfigurationError: nothing matches.
    """
    if wanted == "carrier":
        return tuple(carrier)
    kernels = [layer.name for layer in modifiable_layers(network)]
    patterns = ["*"] if wanted == "all" else [wanted] if isinstance(wanted, str) else list(wanted)
    # A pattern may name any layer; only "all" is limited to kernels.
    names = kernels if wanted == "all" else [x.name for x in network.layers if x.replaceable]
    for pattern in patterns:
        if pattern not in names and not fnmatch.filter(names, pattern):
            raise ConfigurationError(
                f"layers: expected a layer of the network, got {pattern!r}"
                f"{plugins.closest(pattern, names)}; 'nnw layers MODEL' shows them"
            )
    return tuple(
        name for name in names if any(name == p or fnmatch.fnmatchcase(name, p) for p in patterns)
    )
