"""Clauses on the penalty of a method that training puts in: a number with its own gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnw_onnx import plugins
from nnw_onnx.testing.array_training import backward, cross_entropy, forward, small_network
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Additions, Array, Moment, Penalty, Weights

if TYPE_CHECKING:
    from nnw_onnx.testing.methods import Subject

_STEP = 1e-6
_BATCH = 24
Arrays = dict[str, NDArray[np.float64]]


class _Scene:
    """A moment of a training whose weights and activations can be varied."""

    def __init__(self, subject: Subject) -> None:
        trained = plugins.trains(subject.method)
        assert trained is not None
        plain = small_network("float64")
        self.additions: Additions = trained.additions(plain, subject.payload(), subject.key())
        self.asked = False
        batch = subject.bench().samples().read(np.arange(_BATCH))
        self._inputs, self._targets = next(iter(batch.feeds.values())), np.asarray(batch.targets)
        self.weights: Arrays = {n: np.array(w, np.float64) for n, w in plain.weights.items()}
        done = forward(self.weights, self._inputs)
        self.activations: Arrays = {n: done.activations[n] for n in self.additions.activations}

    def penalty(self, weights: Weights | None = None, activations: Arrays | None = None) -> Penalty:
        """The penalty with other weights or activations."""
        assert self.additions.penalty is not None
        moment = Moment(
            {**self.weights, **(weights or {})},
            {**self.activations, **(activations or {})},
            self._targets,
            np.zeros(_BATCH, np.bool_),
            self.additions.state,
            0,
            self._task_gradient,
        )
        return self.additions.penalty(moment)

    def _task_gradient(self, weights: Weights) -> Weights:
        self.asked = True
        changed = {**self.weights, **weights}
        done = forward(changed, self._inputs)
        slopes = {"head": cross_entropy(done.scores, self._targets)[1]}
        return backward(changed, done, slopes)


def _scene(subject: Subject) -> _Scene | None:
    scene = _Scene(subject)
    return None if scene.additions.penalty is None else scene


def _is_a_number(subject: Subject) -> None:
    scene = _scene(subject)
    if scene is None:
        return
    for scale in (0.0, 1.0, 1e4):
        found = scene.penalty({n: scale * w for n, w in scene.weights.items()})
        finite = np.ndim(found.value) == 0 and np.isfinite(found.value)
        require(
            finite, "a finite penalty", found.value, "use a stable form, such as numpy.logaddexp"
        )


def _has_gradients_of_its_own(subject: Subject) -> None:
    scene = _scene(subject)
    if scene is None:
        return
    found = scene.penalty()
    _require_arrays(found.weights, scene.weights, set(scene.additions.carriers), "carriers")
    known = set(scene.additions.activations)
    _require_arrays(found.activations, scene.activations, known, "activations")
    for name, values in found.state.items():
        require(name in scene.additions.state and np.isfinite(values).all(),
                f"finite arrays among {sorted(scene.additions.state)}", name,
                "declare each array in Additions.state")  # fmt: skip


def _require_arrays(
    found: Mapping[str, Array], like: Mapping[str, Array], known: set[str], what: str
) -> None:
    require(set(found) <= known, f"gradients of Additions.{what} {sorted(known)}", sorted(found),
            "declare each layer")  # fmt: skip
    for name, values in found.items():
        require(values.shape == like[name].shape and np.isfinite(values).all(),
                f"a finite gradient of shape {like[name].shape} for {name}", values.shape,
                "use the canonical layout, and guard divisions")  # fmt: skip


def _has_the_gradient_of_its_penalty(subject: Subject) -> None:
    scene = _scene(subject)
    if scene is None:
        return
    told = scene.penalty()
    if scene.asked:
        return  # a gradient taken from the task elsewhere has no value to compare with
    for name in told.weights:
        _require_slopes(lambda at: scene.penalty(weights=at), scene.weights, told.weights, name)
    for name in told.activations:
        at = scene.activations
        _require_slopes(lambda at: scene.penalty(activations=at), at, told.activations, name)


def _require_slopes(
    function: Callable[[Arrays], Penalty],
    at: Arrays,
    gradient: Mapping[str, Array],
    name: str,
) -> None:
    for direction in directions(at[name].shape):
        told = float(np.vdot(gradient[name], direction))
        above, below = (function({name: at[name] + s * direction}).value for s in (_STEP, -_STEP))
        measured = (above - below) / (2 * _STEP)
        close = abs(told - measured) <= 1e-5 * abs(measured) + 1e-8
        require(close, f"the slope {measured:.6g} of the penalty in {name}", f"{told:.6g} from the "
                "gradient", "derive the gradient again")  # fmt: skip


def directions(shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Directions to look along: single elements here and there, and everything at once."""
    size = int(np.prod(shape))
    found = []
    for index in sorted({0, size // 3, size // 2, size - 1}):
        one = np.zeros(size)
        one[index] = 1.0
        found.append(one.reshape(shape))
    phase = np.arange(size, dtype=np.float64).reshape(shape)
    return [*found, np.cos(1.7 * phase), np.sin(0.9 * phase + 0.3), np.ones(shape)]


def _only_looks(subject: Subject) -> None:
    scene = _scene(subject)
    if scene is None:
        return
    kept = {n: w.copy() for n, w in (scene.weights | scene.activations).items()}
    state = {n: np.array(a) for n, a in scene.additions.state.items()}
    first = scene.penalty()
    now = scene.weights | scene.activations
    same = all(np.array_equal(now[n], w) for n, w in kept.items())
    same &= all(np.array_equal(scene.additions.state[n], a) for n, a in state.items())
    require(
        same, "untouched weights, activations and state", "changed ones", "copy before changing"
    )
    for values in (*first.weights.values(), *first.activations.values()):
        if values.flags.writeable:
            values[...] = 0
    again = scene.penalty()
    moved = not (first.weights or first.activations) or any(
        np.any(v) for v in (*again.weights.values(), *again.activations.values())
    )
    require(again.value == first.value and moved, "the same penalty at the same moment", "another",
            "keep nothing that a caller can change")  # fmt: skip


CLAUSES: dict[str, Callable[[Subject], None]] = {
    "has a penalty that is a number": _is_a_number,
    "has gradients of what it declares only": _has_gradients_of_its_own,
    "has the gradient of its penalty": _has_the_gradient_of_its_penalty,
    "only looks at what is trained": _only_looks,
}
