"""How networks are run: a value that who asks for it can make without what runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnw_onnx.inference.providers import full_name

Optimization = Literal["disable", "basic", "extended", "all"]


@dataclass(frozen=True)
class SessionSettings:
    """How networks are run; the same for every network of an evaluation.

    Attributes:
        providers: execution providers in order of preference; "cuda" is CUDAExecutionProvider,
            "cuda:1" its second device.
        threads: threads within one operator; operators run one after another.
        optimization: level of graph optimisation.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int = 1
    optimization: Optimization = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "providers", tuple(map(full_name, self.providers)))
