"""Sessions: one graph with the weights of one variant, run by onnxruntime.

The weights are given through `SessionOptions.add_external_initializers`, which replaces them before
the graph is optimised; `add_initializer` does so afterwards and is silently wrong wherever a weight
was fused or folded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnw_onnx.errors import InferenceError
from nnw_onnx.inference import _pieces
from nnw_onnx.inference._pieces import Piece, Pieces
from nnw_onnx.inference.binding import Bound, can_be_bound, runtime_value
from nnw_onnx.inference.fallbacks import RECORDING, fallbacks, is_elsewhere
from nnw_onnx.inference.providers import (
    bound_device,
    is_numbered,
    nodes_by_provider,
    provider_of,
    with_options,
)
from nnw_onnx.inference.runtime import load_runtime, one_line
from nnw_onnx.inference.settings import SessionSettings
from nnw_onnx.vocabulary import Array, Feeds, TensorInfo
from nnw_onnx.vocabulary.networks import ON_THE_CPU, SESSION_WEIGHTS

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_USUAL = SessionSettings()
_FATAL_ONLY = 4
_CURE = (
    "install its driver and libraries (for CUDA: 'pip install nnw-onnx[cuda]'), or ask for "
    "CPUExecutionProvider"
)
PROBE = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02'
    b"\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""A serialised model of one Relu from x to y, both float32 (1,): IR version 8, opset 17."""
_NO_TENSORS = ("seq(", "map(")
_DTYPES = {"float": "float32", "double": "float64"}


class RunnableGraph(Protocol):
    """What a session is made of (see `nnw_onnx.graph`).

    Attributes:
        model: serialised graph whose replaceable initializers are marked external.
        initializers: name -> array in the file's layout and dtype, for those initializers.
        folder: where external tensors that are not among `initializers` lie, or None.
    """

    @property
    def model(self) -> bytes:
        """The serialised graph."""
        ...

    @property
    def initializers(self) -> Mapping[str, Array]:
        """The weights of this variant."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where other external tensors lie."""
        ...


class Session:
    """A network ready to run.

    Attributes:
        inputs: graph inputs without a default value.
        outputs: graph outputs.
        providers: execution providers that the runtime really uses.
        facts: on another device than the CPU, what answers may hang on in their last bits: how the
            weights are given, and which nodes are run on the CPU all the same.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    providers: tuple[str, ...]
    facts: dict[str, str]

    def __init__(self, runnable: RunnableGraph, settings: SessionSettings = _USUAL) -> None:
        """Make the session.

        Raises:
            InferenceError: the runtime refuses the graph, or does not use a provider asked for; or
                leaves nodes to the CPU, which was not asked for.
        """
        runtime = load_runtime()
        self._errors = _runtime_errors(runtime)
        _check_available(settings.providers, runtime.get_available_providers())
        _preload(runtime, settings.providers)
        options = _session_options(runtime, settings, runnable.folder)
        # The values alias the arrays, which therefore must live until the session has copied them.
        values = {
            name: runtime_value(runtime, name, array)
            for name, array in runnable.initializers.items()
        }
        try:
            if values:
                options.add_external_initializers(list(values), list(values.values()))
            self._session = runtime.InferenceSession(
                runnable.model, options, providers=with_options(settings.providers)
            )
        except self._errors as error:
            raise InferenceError(
                f"model: expected a graph that onnxruntime runs, got: {_clean(error)}; "
                "see whether onnxruntime alone loads the file"
            ) from error
        self.providers = tuple(self._session.get_providers())
        _check_used(settings.providers, self.providers)
        self.facts = _facts(self._session, settings.providers)
        device = bound_device(settings.providers)
        self._bound = None if device is None else Bound(runtime, self._session, device)
        self.inputs = tuple(map(_tensor_info, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor_info, self._session.get_outputs()))
        # What runs have shown of outputs: not batch-first, or said to have one size and not tried.
        self._alone: set[str] = set()
        self._constant = {o.name for o in self.outputs if o.shape and isinstance(o.shape[0], int)}

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Values of the outputs (all of them, or those named) for one set of inputs.

        Raises:
            InferenceError: the runtime refuses the inputs or fails while it runs.
        """
        try:
            values = self._values(feeds, outputs)
        except self._errors as error:
            raise InferenceError(
                f"model: expected it to run, got: {_clean(error)}; check the inputs' shapes and "
                "values, and the memory limit"
            ) from error
        names = [o.name for o in self.outputs] if outputs is None else outputs
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, np.ndarray):
                raise InferenceError(
                    f"output {name!r}: expected a tensor, got a {type(value).__name__}; export "
                    "the network without sequences and maps (zipmap=False in skl2onnx)"
                )
        return list(values)

    def _values(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None) -> list[Any]:
        names = self._tensors() if outputs is None else list(outputs)
        whole = outputs is not None or len(names) == len(self.outputs)
        if self._bound is None or not whole or not can_be_bound(list(feeds.values())):
            found: list[Any] = self._session.run(None if outputs is None else names, dict(feeds))
            return found
        return self._bound.run(feeds, names)

    def predict(
        self,
        feeds: Feeds | Array,
        batch_size: int = 256,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run many samples in pieces.

        A batch size that is fixed in the graph wins over `batch_size`; the last piece is then
        filled up with copies of its last sample, whose answers are cut off again. An output that
        does not answer each sample on its first axis is asked for one sample after the other, and
        its answers are stacked on a new first axis.

        Args:
            feeds: input -> samples (n, ...), or the samples of the only input. They are matched by
                place where no name is that of an input, and converted to the input's element type
                where nothing is lost but digits of floating-point numbers. Samples of an input
                without a batch axis are fed one by one.
            batch_size: samples a run where the graph leaves it open.
            outputs: names of the outputs wanted; None for all.

        Returns:
            Output -> answers (n, ...), in the order of `outputs` or of the graph. Where all are
            asked for, sequences and maps are not fetched: n times None stands in their place.

        Raises:
            InferenceError: feeds that do not fit the inputs, answers of different shapes, or the
                runtime fails.
        """
        pieces = _pieces.cut_up(self.inputs, feeds, batch_size)
        names = self._tensors() if outputs is None else list(outputs)
        together = [n for n in names if n not in self._alone] if pieces.batched else []
        found = self._together(pieces, together)
        rest = [name for name in names if name not in found]
        found |= self._one_by_one(pieces, rest)
        if outputs is None:
            return filled(found, [o.name for o in self.outputs], len(pieces))
        return {name: found[name] for name in names}

    def _tensors(self) -> list[str]:
        """The outputs that are tensors; all of them where none is, so that a run says so."""
        every = [o.name for o in self.outputs]
        found = [o.name for o in self.outputs if not o.dtype.startswith(_NO_TENSORS)]
        return found or every

    def _together(self, pieces: Pieces, names: list[str]) -> dict[str, Array]:
        """Answers of the outputs that answer each sample; the others are remembered."""
        collected: dict[str, list[Array]] = {name: [] for name in names}
        for piece in pieces if names else ():
            for name, value in zip(collected, self.run(piece.feeds, list(collected)), strict=True):
                if self._answers_each(name, value, piece, pieces):
                    collected[name].append(value[: piece.kept])
                else:
                    self._alone.add(name)
            collected = {n: values for n, values in collected.items() if n not in self._alone}
            if not collected:
                break
        return {
            name: _pieces.joined(name, values, alone=False) for name, values in collected.items()
        }

    def _one_by_one(self, pieces: Pieces, names: list[str]) -> dict[str, Array]:
        if not names:
            return {}
        answers = [self.run(piece.feeds, names) for piece in pieces.one_by_one()]
        columns = zip(names, zip(*answers, strict=True), strict=True)
        return {name: _pieces.joined(name, values, alone=True) for name, values in columns}

    def _answers_each(self, name: str, value: Array, piece: Piece, pieces: Pieces) -> bool:
        """Whether the first axis of an output is that of the samples."""
        if value.ndim == 0 or len(value) != piece.samples:
            return False
        if pieces.fixed or name not in self._constant:
            return True
        # The file says that this axis has one size for any number of samples; equal by chance?
        other = pieces.cut(0, 1) if piece.samples > 1 else pieces.twice()
        (again,) = self.run(other.feeds, [name])
        self._constant.discard(name)
        return again.ndim > 0 and len(again) == other.samples


def filled(found: Mapping[str, Array], names: Sequence[str], count: int) -> dict[str, Array]:
    """Answers by name, in the order of the names; n times None for one that was not fetched."""
    return {n: found[n] if n in found else np.full(count, None, np.object_) for n in names}


def check_providers(providers: tuple[str, ...]) -> None:
    """Refuse providers that do not work, before anything else is done with them.

    A model of one node is run with them in this process, so a GPU's driver and libraries are
    really tried (milliseconds for the CPU, seconds for CUDA).

    Args:
        providers: execution providers in order of preference.

    Raises:
        InferenceError: there is none, one is unknown, or one cannot be started.
    """
    runtime = load_runtime()
    _check_available(providers, runtime.get_available_providers())
    _preload(runtime, providers)
    options = _session_options(runtime, SessionSettings(providers), None)
    try:
        session = runtime.InferenceSession(PROBE, options, providers=with_options(providers))
        ran = nodes_by_provider(runtime, PROBE, options, providers, {"x": np.zeros(1, np.float32)})
    except _runtime_errors(runtime) as error:
        raise InferenceError(
            f"providers: expected {', '.join(providers)} to run a model of one node, got: "
            f"{_clean(error)}; {_CURE}"
        ) from error
    _check_used(providers, session.get_providers())
    if ran and provider_of(providers[0]) not in ran:
        raise InferenceError(
            f"providers: expected {provider_of(providers[0])} to run a model of one node, got it "
            f"run by {', '.join(ran)}; {_CURE}"
        )


def _preload(runtime: Any, providers: Sequence[str]) -> None:
    if "CUDAExecutionProvider" in map(provider_of, providers) and "preload_dlls" in vars(runtime):
        runtime.preload_dlls()


def _session_options(runtime: Any, settings: SessionSettings, folder: Path | None) -> Any:
    if settings.threads < 1:
        raise InferenceError(
            f"threads: expected at least 1, got {settings.threads}; correct the session settings"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS[settings.optimization]
    options.graph_optimization_level = runtime.GraphOptimizationLevel.__members__[level]
    options.log_severity_level = _FATAL_ONLY
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if is_elsewhere(settings.providers):
        options.add_session_config_entry(RECORDING, "1")
    if folder is not None:
        entry = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(entry, str(folder))
    return options


def _check_available(asked: Sequence[str], available: Sequence[str]) -> None:
    for name in asked:
        if not is_numbered(name):
            raise InferenceError(
                f"providers: expected a provider with devices before the number of one, got "
                f"{name!a}; write cuda:0 for the first device of CUDA"
            )
    missing = [name for name in asked if provider_of(name) not in available]
    if missing or not asked:
        raise InferenceError(
            f"providers: expected some of {', '.join(available)}; got "
            f"{', '.join(missing) or 'none'}; correct the name, or install the distribution of "
            "onnxruntime that has it"
        )


def _check_used(asked: Sequence[str], used: Sequence[str]) -> None:
    missing = [name for name in asked if provider_of(name) not in used]
    if missing:
        raise InferenceError(
            f"providers: expected {', '.join(asked)}, got {', '.join(used)}: onnxruntime could "
            f"not start {', '.join(missing)}; {_CURE}"
        )


def _facts(session: Any, asked: Sequence[str]) -> dict[str, str]:
    if not is_elsewhere(asked):
        return {}
    found = fallbacks(session, asked)
    told = {SESSION_WEIGHTS: "constants of a session of its own"}
    return told if found is None else {**told, ON_THE_CPU: str(found)}


def runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own errors, and those of Python that it lets out."""
    return _runtime_errors(load_runtime())


def _runtime_errors(runtime: Any) -> tuple[type[Exception], ...]:
    state = runtime.capi.onnxruntime_pybind11_state
    found = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*found, RuntimeError, ValueError, TypeError, MemoryError)


def _clean(error: Exception) -> str:
    # Places in the runtime's source code and signatures of its functions help nobody here.
    text = re.sub(r"\S*/onnxruntime/\S+:\d+ ", "", one_line(error, 5000))
    text = re.sub(r"(void\*? )?onnxruntime::[\w:]+\(.*?\) ", "", text)
    text = one_line(text.removeprefix("[ONNXRuntimeError] : "))
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate" in text:
        return "too little memory for it"
    return text


def _tensor_info(node: Any) -> TensorInfo:
    kind = str(node.type)
    if kind.startswith("tensor(") and kind.endswith(")"):
        inner = kind[len("tensor(") : -1]
        kind = _DTYPES.get(inner, inner)
    return TensorInfo(str(node.name), tuple(node.shape or ()), kind)
