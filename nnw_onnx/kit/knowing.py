"""Attackers who know a method: their stacks of Modifications, and what they had to know and have.

An attacker of a fair evaluation has no key and no payload, his randomness does not follow from
them, and he never asks whether a watermark is still found. What he does know is told, so that a
reader can see what an attack rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from nnw_onnx.errors import NotApplicableError
from nnw_onnx.kit import carriers, projections
from nnw_onnx.vocabulary import Json, Layer, Spec, Step, Weighted

if TYPE_CHECKING:
    from nnw_onnx.vocabulary import Modified

_BITS = 64
"""Of the payload that the attacker reckons with."""

Knowledge = Literal["nothing", "method", "method and defaults", "task"]
"""Nothing beside the network; how the method works; also the values that its options usually have;
how many classes the task has."""


def told(
    done: Modified, knows: Knowledge, data: str = "none", facts: Mapping[str, Json] | None = None
) -> Modified:
    """The Modification with facts on what its author had.

    Args:
        done: the network after it.
        knows: what he knows beside the network.
        data: which samples he has, such as "1000 without labels".
        facts: what else a report should say.
    """
    own: dict[str, Json] = {"knows": knows, "data": data, **(facts or {})}
    return replace(done, facts={**own, **done.facts})


def step(name: str, **options: Json) -> Step:
    """A Modification that does not aim at layers, with its options."""
    return Step(Spec(name, options))


def aimed(layers: str, name: str, **options: Json) -> Step:
    """A Modification of some layers: "@all", or a guess at the carrier; see `guessed`."""
    return Step(Spec(name, options), (layers,))


REORDERED = (step("permutation"),)
"""Against marks that are read by their place: every hidden channel elsewhere, no answer changed."""

DISGUISED = (step("permutation"), step("scaling"), step("dummy-neurons"))
"""The same, so that finding the order again alone does not help."""


def guessed(network: Weighted, guess: str) -> str:
    """Name of the layer that methods take for their carrier where the owner names none.

    Args:
        network: a network.
        guess: "@largest": the largest kernel; "@last": the one that methods of the filter mean
            take for 64 bits, the last convolution with more than 256 weights a filter if there is
            one. `GUESSES` lists them.

    Raises:
        NotApplicableError: no kernel can be a carrier.
    """
    for layer in carriers.preferred(network, GUESSES[guess]):
        if carriers.is_fit(network, layer) and carriers.doubt(network, layer) is None:
            return layer.name
    raise NotApplicableError(
        f"layers: expected a kernel that a method may take ({guess}), got "
        f"{carriers.why_none(network)}; leave it out for this network"
    )


def _last(layers: Iterable[Layer]) -> Iterator[Layer]:
    return projections.by_preference(layers, _BITS)


GUESSES: Mapping[str, Callable[[list[Layer]], Iterable[Layer]]] = {
    "@largest": carriers.largest_first,
    "@last": _last,
}
