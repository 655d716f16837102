"""How the AI Modules of a workflow are set up: the standard has no port for any of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs.context import Context, Of, network_of
from nnw_onnx.runs.cost import CostTask
from nnw_onnx.runs.keys import load_key
from nnw_onnx.runs.plan import InjectionTask
from nnw_onnx.vocabulary import Claim, Samples, Technology, Trial


@dataclass(frozen=True)
class Setup:
    """One cell of an evaluation, which every module of a workflow is instantiated for.

    Attributes:
        context: of the evaluation; its folder holds the key, which is in no message.
        task: the injection: which network, technology and payload.
        trial: the Modification, where the workflow has one.
        costs: what is measured, where costs are.
    """

    context: Context
    task: InjectionTask
    trial: Trial | None = None
    costs: tuple[CostTask, ...] = ()

    @property
    def technology(self) -> Technology:
        """Method, code and training."""
        return self.context.technologies[self.task.technology]

    @property
    def network(self) -> OnnxNetwork:
        """The network of the evaluation, before any watermark."""
        return network_of(self.context, self.task.network)

    @property
    def key_path(self) -> Path:
        """Where the secret key lies: modules are set up with it, and no message carries it."""
        return self.context.store.key_path(self.task.identity)

    @property
    def claim(self) -> Claim:
        """The key, with its payload where it has one; raises `KeyFileError` before it is made."""
        return load_key(self.key_path)

    def fed(self, samples: Samples) -> Context:
        """The context, whose training samples are these."""
        return _Fed(**vars(self.context), fed=samples)


@dataclass(frozen=True)
class _Fed(Context):
    """A context whose training samples came in through a port."""

    fed: Samples | None = None

    def training_samples(self, of: Of) -> Samples:
        """See `Context`."""
        if of == "task" and self.fed is not None:
            return self.fed
        return super().training_samples(of)
