"""One session for all networks of a graph: weights are inputs, bound on the device.

Where making a session is dear, as on CUDA, this is what makes a sweep fast. What it costs: weights
that are no constants are not folded into one another and not packed, so that a run may be slower,
and answers differ from those of a session of their own in the last bits (1e-5 of their size in
float32). On the CPU networks have sessions of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference.providers import full_name, provider_of
from nnw_onnx.inference.sessions import RunnableGraph, Session
from nnw_onnx.inference.settings import SessionSettings
from nnw_onnx.vocabulary.networks import SESSION_WEIGHTS

MOST_GRAPHS = 4
_sessions: OrderedDict[tuple[bytes, SessionSettings], Session] = OrderedDict()


class _Alone:
    """A graph without its weights."""

    def __init__(self, lifted: RunnableGraph) -> None:
        self.model, self.folder = lifted.model, lifted.folder
        self.initializers: dict[str, Any] = {}


class LiftedSession(Session):
    """A network in the session of its graph."""

    def __init__(self, lifted: RunnableGraph, settings: SessionSettings) -> None:
        """Take the session of the graph, and bring the weights to the device.

        Args:
            lifted: a graph whose weights are inputs, with their values.
            settings: how it is run, on a device whose inputs are bound.

        Raises:
            InferenceError: as `Session`, or inputs of the device cannot be bound.
        """
        self.__dict__.update(_session(lifted, settings).__dict__)
        if self._bound is None:
            raise InferenceError(
                f"providers: expected a device whose inputs can be bound, got "
                f"{', '.join(settings.providers)}; ask for cuda"
            )
        values = lifted.initializers
        self.facts = {**self.facts, SESSION_WEIGHTS: "inputs of a session for the whole graph"}
        self.inputs = tuple(info for info in self.inputs if info.name not in values)
        self._bound = self._bound.with_weights(values)


def is_worthwhile(settings: SessionSettings) -> bool:
    """Whether a session of its own for every network costs more than the constants save."""
    return bool(settings.providers) and provider_of(settings.providers[0]) == full_name("cuda")


def _session(lifted: RunnableGraph, settings: SessionSettings) -> Session:
    key = lifted.model, settings
    if key not in _sessions:
        while len(_sessions) >= MOST_GRAPHS:
            _sessions.popitem(last=False)
        _sessions[key] = Session(_Alone(lifted), settings)
    _sessions.move_to_end(key)
    return _sessions[key]
