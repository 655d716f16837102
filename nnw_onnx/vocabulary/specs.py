"""A plug-in as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spec:
    """A plug-in by name with its options: what a record keeps of it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.options.items()))))

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v}" for k, v in sorted(self.options.items()))
        return f"{self.name}({inside})" if inside else self.name
