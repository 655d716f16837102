"""`Additions` at work on the variables of a Keras model, whoever runs the loop.

Nothing here knows a method: what it adds is a function of arrays, and its own arrays go in and come
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Additions, Array, Moment, Penalty, Weights
from nnw_onnx_tensorflow.hearing import canonical_activation, stored_activation
from nnw_onnx_tensorflow.network import Entry, KerasNetwork

TaskGradient = Callable[[Weights], Weights]


class Addition:
    """What a method adds to a training, with its own arrays as they are now.

    Attributes:
        additions: what the method gave.
        entries: the variables of its carriers, in their order.
        state: its own arrays after the last step.
        step: number of the next step, 0, 1, ...
    """

    def __init__(self, additions: Additions, network: KerasNetwork) -> None:
        """Raises `ModelFileError` where the model has not the layers of the method."""
        self.additions, self._network = additions, network
        self.entries = tuple(network.entry(name) for name in additions.carriers)
        self._heard = tuple(network.entry(name) for name in additions.activations)
        self.state: dict[str, Array] = dict(additions.state)
        self.step = 0
        self._kept: dict[str, Array] = {}

    @property
    def learning(self) -> Sequence[Entry]:
        """The variables that must learn, so that the method can be put in."""
        return (*self.entries, *self._heard)

    def begin(self) -> None:
        """Set the weights that training starts from; what is fixed is fixed as it is now."""
        if self.step == 0:
            for name, values in self.additions.start.items():
                self._network.entry(name).assign(values)
        self._kept = {
            name: np.array(self._network.entry(name).read()) for name in self.additions.fixed
        }

    def enforce(self) -> None:
        """Put the fixed weights back, after a step."""
        for name, mask in self.additions.fixed.items():
            entry = self._network.entry(name)
            entry.assign(np.where(mask, self._kept[name], entry.read()))

    def compute(
        self,
        arrays: Sequence[Array],
        targets: Array | None,
        task_gradient: TaskGradient,
        *,
        advance: bool,
    ) -> tuple[float, list[Array]]:
        """Value of the term, and its gradients by the arrays, in the layout of Keras.

        Args:
            arrays: values of the carriers' variables, then what the listened-to layers answered.
            targets: of the batch, or None where the loop was not told.
            task_gradient: see `vocabulary.Moment`.
            advance: whether this is a step of the training: the method's own arrays go on.

        Raises:
            TrainingError: the value is no number.
        """
        count = len(self.entries)
        moment = self._moment(arrays[:count], arrays[count:], targets, task_gradient)
        found = self.additions.penalty(moment) if self.additions.penalty else Penalty(0.0)
        if not np.isfinite(found.value):
            raise TrainingError(
                f"watermark: expected a penalty that is a number, got {found.value}; choose a "
                "smaller learning rate or a smaller strength"
            )
        if advance:
            self.state |= {name: np.array(values) for name, values in found.state.items()}
            self.step += 1
        return float(found.value), self._gradients(found, arrays)

    def _moment(
        self,
        weights: Sequence[Array],
        heard: Sequence[Array],
        targets: Array | None,
        task_gradient: TaskGradient,
    ) -> Moment:
        answers = {
            e.layer.name: canonical_activation(e, a)
            for e, a in zip(self._heard, heard, strict=True)
        }
        known = [len(targets)] if targets is not None else [len(a) for a in answers.values()]
        return Moment(
            weights={
                e.layer.name: e.layout.canonical(w)
                for e, w in zip(self.entries, weights, strict=True)
            },
            activations=answers,
            targets=targets,
            # Keras shuffles what it trains on, so nobody knows which samples are the method's.
            own=np.zeros(known[0] if known else 0, np.bool_),
            state=dict(self.state),
            step=self.step,
            task_gradient=task_gradient,
        )

    def _gradients(self, found: Penalty, arrays: Sequence[Array]) -> list[Array]:
        gradients = []
        for entry, array in zip(self.entries, arrays, strict=False):
            slopes = found.weights.get(entry.layer.name)
            gradients.append(
                np.zeros(array.shape)
                if slopes is None
                else entry.layout.stored(slopes, array.shape)
            )
        for entry, array in zip(self._heard, arrays[len(self.entries) :], strict=True):
            slopes = found.activations.get(entry.layer.name)
            gradients.append(
                np.zeros(array.shape) if slopes is None else stored_activation(entry, slopes)
            )
        return gradients


def no_task_gradient(weights: Weights) -> Mapping[str, Array]:
    """For a loop that did not tell its batch; raises `TrainingError`."""
    raise TrainingError(
        "watermark: expected the batch, whose gradient the method asks for, got none; train with "
        "model.fit and Watermark.callback()"
    )
