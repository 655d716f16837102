"""Public networks that those of an evaluation were made from: what they give away carries nothing.

Only for watermarks that are put in without training: a training changes layers that are equal to
those of the reference before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.runs.network_tables import NetworkTable
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.tables import Evaluation


@dataclass(frozen=True)
class Reference:
    """A public network, by its file and its digest."""

    file: Path
    sha256: str


def references_of(evaluation: Evaluation, paths: Sequence[Path]) -> tuple[Reference | None, ...]:
    """The reference of each unwatermarked network, or None.

    Args:
        evaluation: whose `[[networks]]` name them.
        paths: files of the unwatermarked networks.

    Raises:
        ConfigurationError: a network has two references.
        ModelFileError: one cannot be opened.
    """
    found: dict[Path, Reference] = {}
    for table in evaluation.networks:
        if not isinstance(table, NetworkTable) or table.reference is None:
            continue
        (file,) = network_paths([table.reference])
        for path in network_paths([table.file]):
            made = Reference(file, open_network(file).sha256)
            if found.setdefault(path, made) != made:
                raise ConfigurationError(
                    f"networks: expected one reference of {path.name}, got {found[path].file.name} "
                    f"and {file.name}; keep one"
                )
    return tuple(found.get(path) for path in paths)


def beside(network: OnnxNetwork, reference: Reference | None) -> OnnxNetwork:
    """The network, which tells what of it the reference gives away.

    Raises:
        RunError: the file is another one than when the plan was made.
    """
    if reference is None:
        return network
    public = open_network(reference.file)
    if public.sha256 != reference.sha256:
        raise RunError(
            f"{reference.file.name}: expected the reference that the plan was made for, got "
            "another; start a new run"
        )
    return network.beside(public)
