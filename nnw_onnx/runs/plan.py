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
from nnw_onnx.runs.evaluation import Evaluation, ModificationTable
from nnw_onnx.runs.seeds import identity
from nnw_onnx.vocabulary import Layer, Network, Spec


@dataclass(frozen=True)
class InjectionTask:
    """One payload to be put into one network by one technology."""

    identity: str
    network: int
    group: int
    payload_index: int
    method: Spec
    payload_size: int
    seed: int


@dataclass(frozen=True)
class Trial:
    """One network, modified or not, to be run, decoded and measured.

    Attributes:
        injection: identity of the watermark it carries, or None.
        keys: identities of the injections whose key and payload are tried on it.
        layers: names of the layers to modify.
    """

    identity: str
    network: int
    injection: str | None
    keys: tuple[str, ...]
    modification: Spec | None = None
    aim: str | None = None
    layers: tuple[str, ...] = ()
    repetition: int = 0


def groups_of(evaluation: Evaluation) -> tuple[Group, ...]:
    """The technologies under test: every method at every payload size."""
    found: list[Group] = []
    for method in evaluation.methods:
        made = plugins.spec_of(plugins.create("methods", method.spec))
        for size in evaluation.payload_sizes:
            label = f"{Spec(method.name, method.spec.options)}, {size} bits"
            found.append(
                Group(
                    index=len(found),
                    method=PluginSpec(name=made.name, options=dict(made.options)),
                    payload_size=size,
                    label=label,
                )
            )
    return tuple(found)


def plan_injections(
    evaluation: Evaluation, groups: Sequence[Group], sha256: Sequence[str]
) -> list[InjectionTask]:
    """M x D tasks for every group; the D payloads of a size are the same for every network."""
    tasks = []
    for group in groups:
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
                        identity=identity(purpose="injection", **fields),
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
) -> list[Trial]:
    """Every network without Modification, then each Modification at each Intensity.

    `context_digest` stands for what all trials have in common (networks, data set, settings).
    """
    trials = []
    for modification, intensity in [(None, 0.0), *_grid(evaluation)]:
        for repetition in range(evaluation.repetitions if modification else 1):
            for index, network in enumerate(networks):
                marks = [i for i in injections if i.network == index and i.status == "done"]
                trials += _trials_of(
                    network, index, marks, modification, intensity, repetition, context_digest
                )
    return trials


def _grid(evaluation: Evaluation) -> list[tuple[ModificationTable, float]]:
    return [(m, value) for m in evaluation.modifications for value in m.intensities]


def _trials_of(
    network: Network,
    index: int,
    marks: Sequence[InjectionRecord],
    modification: ModificationTable | None,
    intensity: float,
    repetition: int,
    context_digest: str,
) -> list[Trial]:
    """The trials of one network, unwatermarked ones first, for one cell of the grid."""
    carriers: dict[tuple[str, ...], list[str]] = defaultdict(list)
    aims_at_carrier = modification is not None and modification.layers == "carrier"
    for mark in marks:
        carriers[mark.layers if aims_at_carrier else ()].append(mark.identity)
    subjects: list[tuple[str | None, tuple[str, ...], tuple[str, ...]]] = [
        (None, tuple(keys), carrier) for carrier, keys in carriers.items()
    ] or [(None, (), ())]
    subjects += [(m.identity, (m.identity,), m.layers) for m in marks]
    found = []
    for injection, keys, carrier in subjects:
        fields: dict[str, Any] = {"network": index, "injection": injection, "keys": keys}
        if modification is not None:
            layers = select_layers(network, modification.layers, carrier)
            given = {**modification.spec.options, "intensity": intensity}
            made = plugins.spec_of(plugins.create("modifications", Spec(modification.name, given)))
            fields |= {
                "modification": Spec(made.name, {k: made.options[k] for k in given}),
                "aim": modification.aim,
                "layers": layers,
                "repetition": repetition,
            }
        digest = identity(
            purpose="trial",
            context=context_digest,
            **{k: asdict(v) if isinstance(v, Spec) else v for k, v in fields.items()},
        )
        found.append(Trial(identity=digest, **fields))
    return found


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
