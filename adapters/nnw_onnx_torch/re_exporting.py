"""The Modification of the core's plug-in group: through torch, and out again by its exporter."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from nnw_onnx.errors import (
    ConfigurationError,
    InferenceError,
    NotApplicableError,
    TrainingError,
)
from nnw_onnx.graph import OnnxNetwork, expect_changed, open_network
from nnw_onnx.kit import trainings
from nnw_onnx.kit.samples import batches
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Array, Bench, Family, FileModification, Need


@dataclass(frozen=True)
class ReExport(FileModification):
    """The network becomes a module of torch, which torch's exporter writes again.

    Operators are others and tensors have other names, as when somebody loads a network into a
    framework and exports it from there; weights keep their values. Torch cannot leave the batch
    free where a graph computes sizes from its shape: then it has the size that was traced.
    """

    name: ClassVar[str] = "re-export"
    title = "Re-export"
    summary: ClassVar[str] = "made a module of torch and exported again"
    family: ClassVar[Family] = "deployment"
    preserves: ClassVar[float | None] = 1e-4
    needs: ClassVar[tuple[Need, ...]] = ("data",)

    samples: Annotated[int, Ge(2), Le(1 << 10)] = option(
        4, help="training samples that the module is traced with"
    )

    def modify_file(
        self, source: Path, target: Path, bench: Bench, rng: np.random.Generator
    ) -> None:
        """Write the exported module.

        Raises:
            ConfigurationError: torch is not installed.
            NotApplicableError: torch cannot run the network or export it, the exported file answers
                otherwise, or every tensor has the name that it had.
            ModelFileError: onnxscript is not installed, or the file is too large.
        """
        _expect_torch()
        from nnw_onnx_torch.graph.tracing import NotExportedError

        network = open_network(source)
        examples = self._examples(network, bench, rng)
        try:
            _export(network, examples, target)
        except (TrainingError, NotExportedError, InferenceError) as error:
            raise NotApplicableError(
                f"{self.name}: expected a network that torch runs and exports, got: "
                f"{str(error).rpartition('; ')[0]}; leave it out for this network"
            ) from error
        expect_changed(
            self.name, source, target, lambda made: made.names, "other names", "the same"
        )

    def _examples(
        self, network: OnnxNetwork, bench: Bench, rng: np.random.Generator
    ) -> list[Array]:
        """Inputs in the order of the graph, of a batch size that it takes."""
        sizes = [p.shape[0] for p in network.inputs if p.shape and isinstance(p.shape[0], int)]
        count = sizes[0] if sizes else self.samples
        drawn = trainings.some(bench.samples().fitted(network.inputs), count, rng)
        feeds = next(iter(batches(drawn, count))).feeds
        return [np.array(feeds[port.name]) for port in network.inputs]


def _export(network: OnnxNetwork, examples: Sequence[Array], target: Path) -> None:
    """Write the module with a free batch where torch can, else for batches of these examples."""
    import torch

    from nnw_onnx_torch.exporting import export
    from nnw_onnx_torch.graph.module import OnnxModule
    from nnw_onnx_torch.graph.tracing import NotExportedError

    given = [torch.from_numpy(values) for values in examples]
    if all(not isinstance(port.shape[0], int) for port in network.inputs if port.shape):
        with contextlib.suppress(NotExportedError):
            export(OnnxModule(network).eval(), given, target)
            return
    module = OnnxModule(network).eval()
    with torch.no_grad():
        module(*given)  # It remembers the sizes that it computes, which a tracer would not know.
    export(module, given, target, dynamic_batch=False)


def _expect_torch() -> None:
    try:
        import torch  # noqa: F401 - to see whether it is there
    except ImportError as error:
        raise ConfigurationError(
            f"re-export: expected torch, got: {error}; pip install 'nnw-onnx[torch]', or leave it "
            "out"
        ) from error
