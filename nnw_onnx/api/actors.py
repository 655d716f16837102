"""Who leaked a network: what `nnw recipients trace` does, as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx.api import arguments
from nnw_onnx.api.arguments import AnyNetwork
from nnw_onnx.vocabulary import Claim, Key

if TYPE_CHECKING:
    from nnw_onnx.runs.tracing import Tracing


def trace(
    network: AnyNetwork,
    key: Claim | Key,
    recipients: str | Path,
    *,
    false_accusation_rate: float = 1e-6,
    original: AnyNetwork | None = None,
    layer: str | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
) -> Tracing:
    """Whose copies a network is made of; as `bool` whether anybody is accused.

    Args:
        network: the suspect: a file, a network in memory (see `open`) or an open one.
        key: of the owner, from `nnw recipients inject`.
        recipients: the public list that was written beside the copies.
        false_accusation_rate: largest probability, in (0, 1), that any innocent is accused.
        original: the network before any mark, which finds more of a coalition.
        layer: see `verify`, also for the others.
        timeout: likewise.
        memory_limit: likewise.

    Raises:
        ConfigurationError: a list of another key, or a rate that is none.
    """
    from nnw_onnx.runs import recipients_files, tracing

    return tracing.trace(
        arguments.opened(network),
        arguments.whole_claim(key).key,
        recipients_files.load(Path(recipients)),
        false_accusation_rate,
        original=None if original is None else arguments.opened(original),
        layer=layer,
        timeout=timeout,
        memory_limit=memory_limit,
    )
