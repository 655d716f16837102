"""A plug-in, and a plug-in as a value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What a record, a key or a plan can hold."""

Need: TypeAlias = Literal[
    "data", "scale", "transfer", "trainer", "method", "original", "copies", "initial_epochs"
]
"""What a plug-in must be given through its Bench; see `Bench` for each of them.

"scale" is the scale of the samples and nothing else of them: there need be none to train on.
"""


@dataclass(frozen=True)
class Spec:
    """A plug-in by name with its options: what plans, keys and records keep, and workers get.

    Made from an instance (`PlugIn.spec`) it holds every option, so equal plug-ins are equal values.
    """

    name: str
    options: Mapping[str, Json] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 (hex) of name and options, whatever their order."""
        text = json.dumps(
            [self.name, self.options], sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v}" for k, v in sorted(self.options.items()))
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True)
class Step:
    """One Modification of a stack.

    Attributes:
        modification: with all its options.
        layers: patterns, or one of "@all" (kernels), "@carrier", "@largest" and "@last" (guesses
            at the carrier, see `kit.knowing`); found in the network as it is when the step begins.
            Empty for a Modification that does not aim.
    """

    modification: Spec
    layers: tuple[str, ...] = ()


class PlugIn(ABC):
    """Base of every plug-in: a frozen dataclass whose fields are its options.

    The constructor only stores the options. A plug-in is pure: what is random in it comes from a
    secret or a generator that it is given, and it changes nothing that it is given.

    Attributes:
        name: what a configuration calls it.
        summary: one line for `nnw list`.
        needs: what it must find in its Bench, so that what is missing is refused before a run.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ()

    def needed(self) -> tuple[Need, ...]:
        """What these options need; override it only where the options decide."""
        return self.needs

    def opens(self) -> tuple[str, ...]:
        """Names of other networks that it opens; their digests enter the identity of a trial."""
        return ()

    def spec(self) -> Spec:
        """Name and all options, as JSON values: enough to make it again."""
        if not dataclasses.is_dataclass(self):
            raise TypeError(f"{type(self).__name__}: expected a frozen dataclass")
        options = {f.name: _plain(vars(self)[f.name]) for f in dataclasses.fields(self)}
        return Spec(self.name, options)


def _plain(value: object) -> Json:
    """An option as JSON has it: lists for tuples, text for paths, a mapping for a dataclass."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(vars(value)[f.name]) for f in dataclasses.fields(value)}
    raise TypeError(f"option: expected a JSON value, a path or a dataclass, got {value!r}")
