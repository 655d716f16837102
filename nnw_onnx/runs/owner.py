"""What an owner does with one network: inject and modify, without training or by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnw_onnx import plugins
from nnw_onnx.arrays.commitments import bind_payload
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import seeds, single, work
from nnw_onnx.vocabulary import Key, Payload, Spec


def inject(
    network: OnnxNetwork,
    payload: Payload,
    method: Spec,
    layer: str | None,
    seed: int | None,
    how: single.How | None,
) -> tuple[OnnxNetwork, Key]:
    """The watermarked network and its key, which carries the payload; see `nnw_onnx.inject`."""
    if how is not None:
        return single.inject(network, payload, method, layer, seed, how)
    made = plugins.create("methods", method)
    if not hasattr(made, "inject"):
        raise ConfigurationError(
            f"{method.name}: expected a training, because this method is put in by training only, "
            "got none; give a configuration that says what is trained on"
        )
    key = made.make_key(network, len(payload), seeds.secret(seed, network=network.sha256), layer)
    return made.inject(network, payload, key), bind_payload(key, payload)


def modify(
    network: OnnxNetwork,
    modification: Any,
    names: tuple[str, ...],
    seed: int,
    how: single.How | None,
) -> tuple[OnnxNetwork, Mapping[str, float | str]]:
    """The modified network, and what a Modification that trains says; see `nnw_onnx.modify`."""
    if not hasattr(modification, "modify_by_training"):
        rng = seeds.generator(purpose="modify", seed=seed, network=network.sha256)
        modified, _ = work.modify(network, modification, names, rng)
        return modified, {}
    if how is None:
        raise ConfigurationError(
            f"{modification.name}: expected a training, because this Modification trains, got "
            "none; give a configuration that says what is trained on"
        )
    outcome = single.modify(network, modification, seed, how)
    return outcome.network, outcome.facts


def change(before: OnnxNetwork, after: OnnxNetwork, layers: tuple[str, ...]) -> float | None:
    """Relative change of layers, or of all kernels where there are none; None if they differ."""
    names = layers or tuple(x.name for x in before.layers if x.role == "kernel")
    return work.change_by_training(before, after, names)


def range_warnings(modification: Any, *, one_layer: bool) -> tuple[str, ...]:
    """A line where the Intensity is outside the standard's range."""
    parameter = modification.parameter
    if not parameter.outside_standard_range(modification.intensity, single_layer=one_layer):
        return ()
    high = parameter.high_single_layer if one_layer else None
    return (
        f"{modification.name}: intensity {modification.intensity:g} is outside the standard's "
        f"range {parameter.low:g} to {high or parameter.high:g} {parameter.unit}",
    )
