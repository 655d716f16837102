"""Feeds of the core, arrays by the name of an input, in the order of a network's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Feeds

T = TypeVar("T")


def arranged(feeds: Feeds, names: Sequence[str]) -> list[str]:
    """The names of the feeds, one for each input; by place where no name of them is an input's.

    Raises:
        TrainingError: there are too few or too many, or some of the inputs are not among them.
    """
    if not any(name in names for name in feeds):
        found = list(feeds)
    else:
        found = [name for name in names if name in feeds]
    if len(found) != len(names) or len(feeds) != len(names):
        raise TrainingError(
            f"samples: expected feeds for the inputs {', '.join(names)}, got "
            f"{', '.join(feeds) or 'none'}; give one for each input of the network"
        )
    return found
