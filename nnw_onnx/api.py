"""The Python interface: what the command line does, as functions.

Example:
    >>> import nnw_onnx as nnw
    >>> marked = nnw.inject("model.onnx", nnw.Payload.from_text("mine"))
    >>> marked.network.save("marked.onnx")
    >>> nnw.save_key(marked.key, "key.npz")
    >>> nnw.detect("marked.onnx", nnw.load_key("key.npz")).detected
    True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, ModelFileError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import (
    Decoding,
    Detection,
    Key,
    Mark,
    Network,
    Payload,
    Spec,
    TrainingData,
    adds_to_training,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnw_onnx.reports.model import Report
    from nnw_onnx.runs.evaluation import Evaluation

AnyNetwork: TypeAlias = OnnxNetwork | str | Path
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Injection:
    """A watermarked network with what is needed to find the watermark again.

    Attributes:
        network: the watermarked network; `.save(path)` writes it.
        key: secret; it carries the payload.
        payload: what was injected.
        change: RMS change of the carrier / population standard deviation of its weights (>= 0).
        notes: plain words on how carrier and strength were chosen.
    """

    network: OnnxNetwork
    key: Key
    payload: Payload
    change: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Modified:
    """A network after a Modification.

    Attributes:
        network: the modified network; `.save(path)` writes it.
        layers: names of the layers that were modified.
        change: RMS change / pooled population standard deviation of these layers (>= 0); None where
            the result is of another architecture.
        warnings: one line each, such as an Intensity outside the standard's range.
        facts: what a Modification that trains says of itself.
    """

    network: OnnxNetwork
    layers: tuple[str, ...]
    change: float | None
    warnings: tuple[str, ...]
    facts: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: its run folder and its report."""

    folder: Path
    report: Report


def open(path: str | Path) -> OnnxNetwork:
    """The network of an ONNX file, opened as untrusted input; nothing of it is run.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
    """
    return open_network(Path(path))


def inject(
    network: AnyNetwork,
    payload: Payload,
    *,
    method: str = "block-spread",
    options: Mapping[str, Any] | None = None,
    layer: str | None = None,
    seed: int | None = None,
    training: str | Path | Evaluation | None = None,
    data: str | Path | None = None,
    work_folder: str | Path | None = None,
    tell: Tell = lambda message: None,
) -> Injection:
    """Put a payload into a network, without training or by one.

    Args:
        network: a file or an open network; it is not changed.
        payload: the Symbols.
        method: name of the method; "block-spread" is the most imperceptible and robust.
        options: options of the method, see `nnw list methods`.
        layer: name of the carrier layer; chosen by the method if None.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        training: configuration whose `[dataset]`, `[training]` and `[methods.training]` say what is
            trained on and how: a file, the name of a shipped evaluation, or a value. None injects
            without training, which some methods cannot.
        data: folder or file of that data set, instead of the one in the configuration.
        work_folder: where a training keeps its state, so that one that was interrupted goes on.
        tell: is called with each epoch of a training, one line each.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; or a training does not
            bring it in.
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
        ConfigurationError: an option is wrong.
        ModelFileError: the file cannot be opened, or has no weights that can be replaced.
    """
    from nnw_onnx.runs import owner
    from nnw_onnx.runs.single import how_to_train

    opened = _with_weights(network)
    how = how_to_train(training, data, work_folder, tell)
    spec = Spec(method, dict(options or {}))
    marked, key = owner.inject(opened, payload, spec, layer, seed, how)
    change = owner.change(opened, marked, key.layers)
    return Injection(marked, key, payload, change or 0.0, key.notes)


def make_mark(
    network: Network,
    payload: Payload,
    *,
    method: str = "uchida",
    options: Mapping[str, Any] | None = None,
    layer: str | None = None,
    seed: int | None = None,
    data: TrainingData | None = None,
    images: NDArray[np.float32] | None = None,
) -> Mark:
    """A watermark to be put in by a training of your own: method, secret key and Payload.

    The adapters do this for a network of their framework; `save_key(mark.key, path)` keeps the key.

    Args:
        network: what is to be trained, as the core sees networks; it is not changed.
        payload: the Symbols.
        method: name of a method that training can put in.
        options: options of the method, see `nnw list methods`.
        layer: name of the carrier layer; chosen by the method if None.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        data: some samples of the training, for a method with triggers.
        images: inputs (m, ...) to choose triggers from; None draws abstract ones.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; triggers do not fit.
        ConfigurationError, PluginError: an option or the method does not exist, training cannot put
            it in, or a method with triggers got no data.
    """
    from nnw_onnx.runs.marks import new_mark
    from nnw_onnx.runs.seeds import secret

    mark = new_mark(
        network,
        payload,
        Spec(method, dict(options or {})),
        secret(seed, layers=[[x.name, list(x.shape)] for x in network.layers]),
        layer=layer,
        data=None if data is None else lambda: data,
        images=images,
    )
    if not adds_to_training(mark.method):
        raise ConfigurationError(
            f"{method}: expected a method that training can put in, got another; use for example "
            "uchida or adi"
        )
    return mark


def decode(network: AnyNetwork, key: Key, *, timeout: float = 600.0) -> Decoding:
    """Read the payload from a network: from its weights, or from what it answers.

    A network that must be asked runs in another process, for at most `timeout` seconds.

    Raises:
        CarrierNotFoundError: the carrier layer, the inputs or the classes are not in this network.
        InferenceError: a network that must be asked crashes, hangs or does not run.
    """
    from nnw_onnx.runs.black_box import subject

    method = plugins.method_of(key)
    decoding: Decoding = method.decode(subject(_opened(network), method, timeout), key)
    return decoding


def detect(
    network: AnyNetwork,
    key: Key,
    payload: Payload | None = None,
    *,
    false_positive_rate: float = 1e-6,
    timeout: float = 600.0,
) -> Detection:
    """Decide whether a payload is in a network.

    Args:
        network: a file or an open network.
        key: the key of the injection.
        payload: the payload to look for; None takes the one that the key carries.
        false_positive_rate: probability, in (0, 1), of a yes for a network made without the key.
        timeout: see `decode`.

    Raises:
        ConfigurationError: there is no payload to look for.
        CarrierNotFoundError, InferenceError: see `decode`.
    """
    wanted = payload or key.payload
    if wanted is None:
        raise ConfigurationError(
            "payload: expected one with the key or beside it, got none; give the injected payload"
        )
    from nnw_onnx.runs.black_box import subject

    method = plugins.method_of(key)
    asked = subject(_opened(network), method, timeout)
    detection: Detection = method.detect(asked, wanted, key, false_positive_rate)
    return detection


def modify(
    network: AnyNetwork,
    modification: str,
    intensity: float,
    *,
    layers: str | Sequence[str] = "all",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    training: str | Path | Evaluation | None = None,
    data: str | Path | None = None,
    work_folder: str | Path | None = None,
    tell: Tell = lambda message: None,
) -> Modified:
    """Apply a Modification of the standard to a network.

    Args:
        network: a file or an open network; it is not changed.
        modification: name, see `nnw list modifications`.
        intensity: value of its Parameter; outside the standard's range is a warning.
        layers: "all" kernels, or names of layers with wildcards.
        options: further options of the Modification.
        seed: the same seed gives the same weights.
        training: for a Modification that trains, see `inject`.
        data: likewise.
        work_folder: likewise.
        tell: likewise.

    Raises:
        ConfigurationError: the Modification, an option or a layer does not exist.
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
    """
    from nnw_onnx.runs import owner, plan
    from nnw_onnx.runs.single import how_to_train

    if "intensity" in (options or {}):
        raise ConfigurationError(
            "intensity: expected it once, got it among the options too; leave that out"
        )
    opened = _with_weights(network)
    made: Any = plugins.create(
        "modifications", Spec(modification, {**(options or {}), "intensity": intensity})
    )
    names = plan.select_layers(opened, layers)
    how = how_to_train(training, data, work_folder, tell)
    modified, facts = owner.modify(opened, made, names, seed, how)
    warnings = owner.range_warnings(made, one_layer=layers != "all" and len(names) == 1)
    change = owner.change(opened, modified, names)
    return Modified(modified, names, change, warnings, facts)


def evaluate(
    evaluation: str | Path | Evaluation | None = None,
    *,
    data: str | Path | None = None,
    run_folder: str | Path | None = None,
    engine: str | None = None,
    resume: bool = False,
    progress: bool = True,
    tell: Callable[[str], None] = lambda message: None,
) -> Evaluated:
    """Carry out an evaluation and write its report.

    Call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        evaluation: file, name of a shipped evaluation or value; None is the embedded default.
        data: folder or file of the data set, instead of the one in the configuration.
        run_folder: where records and report go; named after the evaluation if None.
        engine: name of an engine, instead of the one in the configuration.
        resume: finish a run that was interrupted.
        progress: show progress bars on a terminal.
        tell: is called with each warning, one line each.

    Raises:
        ConfigurationError, DatasetError, ModelFileError, RunError: see their classes.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.runs import evaluate as runs
    from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation, with_dataset_path
    from nnw_onnx.runs.prepare import prepare

    if evaluation is None:
        evaluation = "digits"
    if isinstance(evaluation, str | Path):
        path = find_evaluation(evaluation)
        evaluation = read_evaluation(path, None if data is None else Path(data))
    elif data is not None:
        changed = with_dataset_path(evaluation.dataset, Path(data).resolve())
        evaluation = evaluation.model_copy(update={"dataset": changed})
        evaluation.check_plugins()
    if engine is not None:
        evaluation = runs.with_engine(evaluation, engine)
    folder = Path(run_folder) if run_folder else runs.default_folder(evaluation)
    prepared = prepare(evaluation, folder)
    runs.run(prepared, resume=resume, progress=progress, tell=tell)
    evaluated = Evaluated(folder, report(folder))
    runs.check_measured(folder)
    return evaluated


def report(run_folder: str | Path) -> Report:
    """Write the report of a run folder again from its records; nothing is run.

    Raises:
        RunError: there is no run, or its records are broken.
    """
    from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
    from nnw_onnx.reports import build_report, write_documents
    from nnw_onnx.runs.seeds import generator
    from nnw_onnx.runs.store import Store

    store = Store(Path(run_folder))
    plan = store.read(Plan)
    made = build_report(
        plan,
        store.records(InjectionRecord),
        store.records(TrialRecord),
        store.records(CostRecord),
        store.read_if_there(Environment),
        generator(purpose="report", evaluation=plan.evaluation_sha256),
    )
    write_documents(made, store.folder)
    return made


def _opened(network: AnyNetwork) -> OnnxNetwork:
    return network if isinstance(network, OnnxNetwork) else open_network(Path(network))


def _with_weights(network: AnyNetwork) -> OnnxNetwork:
    """The opened network; raises `ModelFileError` where no kernel of it can be replaced."""
    opened = _opened(network)
    if opened.no_weights_reason:
        raise ModelFileError(
            f"{opened.path.name}: expected weights that can be replaced, got none: "
            f"{opened.no_weights_reason}"
        )
    return opened
