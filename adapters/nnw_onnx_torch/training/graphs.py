"""Forward and backward as CUDA graphs: what the device is given at a step is given at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.graph.module import OnnxModule

Inputs: TypeAlias = tuple[torch.Tensor, ...]
Answer: TypeAlias = Callable[[OnnxModule, Inputs], torch.Tensor]


class Graphed:
    """Answers of a module by a graph for the shapes of the first batch, by nodes for others.

    The last batch of an epoch is often smaller; a graph for it would hold memory of its own.
    """

    def __init__(self, module: OnnxModule, answer: Answer) -> None:
        self._module, self._answer = module, answer
        self._shapes: tuple[torch.Size, ...] = ()
        self._graph: Callable[..., torch.Tensor] | None = None

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """The answers, through which gradients flow.

        Raises:
            TrainingError: the network waits for the device, so that no graph can be made of it.
        """
        shapes = tuple(x.shape for x in inputs)
        if self._graph is None:
            self._graph, self._shapes = self._made(inputs), shapes
        if shapes != self._shapes:
            return self._answer(self._module, inputs)
        return self._graph(*inputs)

    def _made(self, inputs: Inputs) -> Callable[..., torch.Tensor]:
        # Trial runs come before the capture; they must not count in running statistics.
        before = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        try:
            made: Any = torch.cuda.make_graphed_callables(
                _Answering(self._module, self._answer), tuple(x.clone() for x in inputs)
            )
        except RuntimeError as error:
            words = str(error).strip().partition("\n")[0][:300]
            raise TrainingError(
                f"cuda_graphs: expected a network of which a graph can be made, got: {words}; set "
                "the option cuda_graphs of the trainer to false"
            ) from error
        with torch.no_grad():
            for name, buffer in self._module.named_buffers():
                buffer.copy_(before[name])
        found: Callable[..., torch.Tensor] = made
        return found


class _Answering(torch.nn.Module):
    """A module that answers as a loss asks."""

    def __init__(self, module: OnnxModule, answer: Answer) -> None:
        super().__init__()
        self.module, self._answer = module, answer

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The answers."""
        return self._answer(self.module, inputs)
