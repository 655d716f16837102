"""The Python interface: what the command line does, as functions.

Example:
    >>> import nnw_onnx as nnw
    >>> marked = nnw.inject("model.onnx", "mine")
    >>> marked.network.save("marked.onnx")
    >>> nnw.save_key(marked.claim, "key.npz")
    >>> bool(nnw.detect("marked.onnx", nnw.load_key("key.npz")))
    True

Warnings and progress go to the logger "nnw_onnx" of the standard library: `logging.basicConfig()`
shows the warnings, `logging.basicConfig(level=logging.INFO)` each epoch of a training too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nnw_onnx import plugins
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError, ModelFileError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.vocabulary import (
    Claim,
    Code,
    Decoding,
    Detection,
    Feeds,
    Json,
    Key,
    Method,
    Modification,
    Network,
    Payload,
    Samples,
    Spec,
    Step,
    Technology,
    Values,
)

if TYPE_CHECKING:
    from nnw_onnx.reports.model import Report
    from nnw_onnx.runs.commitment import Commitment
    from nnw_onnx.runs.evaluation import Evaluation
    from nnw_onnx.runs.forecast import Forecast
    from nnw_onnx.runs.marks import Mark
    from nnw_onnx.runs.verify import Verdict

AnyNetwork: TypeAlias = OnnxNetwork | str | Path
Layers: TypeAlias = str | Sequence[str]
Options: TypeAlias = Mapping[str, Json]

_log = logging.getLogger("nnw_onnx")


@dataclass(frozen=True)
class Injection:
    """A watermarked network with what is needed to find the watermark again.

    Attributes:
        network: the watermarked network; `.save(path)` writes it.
        claim: key and Symbols: what a key file holds; secret.
        payload: the bits that were injected.
        change: RMS change of the carrier / population standard deviation of its weights (>= 0).
        notes: plain words on how carrier and strength were chosen.
    """

    network: OnnxNetwork
    claim: Claim
    payload: Payload
    change: float
    notes: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The key alone, which does not tell the payload; secret."""
        return self.claim.key

    def __repr__(self) -> str:
        changed = f"weights changed by {self.change:.2%} of their standard deviation"
        return f"<Injection: {repr(self.key).removeprefix('<Key: ').rstrip('>')}, {changed}>"


@dataclass(frozen=True)
class Modified:
    """A network after a Modification.

    Attributes:
        network: the modified network; `.save(path)` writes it.
        layers: names of the layers that were aimed at; empty where it changes what it finds.
        change: RMS change / pooled population standard deviation of these layers, or of all kernels
            (>= 0); None where the result is of another architecture.
        warnings: one line each, such as an Intensity outside the standard's range.
        facts: what the Modification says of itself.
        marks: watermarks that it has put on top.
        difference: of one that promises to preserve answers, the largest change of an answer over
            the largest answer; None where that was not measured.
    """

    network: OnnxNetwork
    layers: tuple[str, ...]
    change: float | None
    warnings: tuple[str, ...]
    facts: Mapping[str, Json] = field(default_factory=dict)
    marks: tuple[Claim, ...] = ()
    difference: float | None = None

    def __repr__(self) -> str:
        change = (
            "of another architecture" if self.change is None else f"changed by {self.change:.2%}"
        )
        return f"<Modified: {self.network!r}, {len(self.layers)} aimed at, {change}>"


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: its run folder and its report."""

    folder: Path
    report: Report

    def __repr__(self) -> str:
        return f"<Evaluated: {self.folder}>"


def open(path: str | Path) -> OnnxNetwork:
    """The network of an ONNX file, opened as untrusted input; nothing of it is run.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
    """
    return _opened(path)


def inject(
    network: AnyNetwork,
    payload: Payload | str,
    *,
    method: str = "block-spread",
    options: Options | None = None,
    code: str | None = None,
    code_options: Options | None = None,
    layer: Layers | None = None,
    seed: int | None = None,
    training: str | Path | Evaluation | None = None,
    data: str | Path | None = None,
    work_folder: str | Path | None = None,
) -> Injection:
    """Put a payload into a network, without training or by one; or enrol a fingerprint.

    Args:
        network: a file or an open network; it is not changed.
        payload: a text, or bits such as `Payload.from_hex("c0ffee")`; `Payload()` for a method that
            carries none.
        method: name of the method; "block-spread" is the most imperceptible and robust.
        options: options of the method, see `nnw list methods`.
        code: name of an error-correcting code between payload and network, see `nnw list codes`.
        code_options: options of the code.
        layer: name of the carrier layer, or names; chosen by the method if None.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        training: configuration whose `[dataset]`, `[training]` and `[methods.training]` say what is
            trained on and how: a file, the name of a shipped evaluation, or a value. None injects
            without training, which some methods cannot.
        data: folder or file of that data set, instead of the one in the configuration.
        work_folder: where a training keeps its state, so that one that was interrupted goes on.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; or a training does not
            bring it in.
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
        ConfigurationError: an option is wrong.
        ModelFileError: the file cannot be opened, or has no weights that can be replaced.
    """
    from nnw_onnx.runs import single
    from nnw_onnx.runs.modify import change_of

    opened, payload = _opened(network), Payload.of(payload)
    technology = _technology(method, options, code, code_options, layer, payload)
    if not plugins.enrols(plugins.create(Method, technology.method)):
        _check_weights(opened)
    how = single.how_to_train(training, data, work_folder, _log.info)
    made = single.inject(opened, payload, technology, seed, how)
    key = made.claim.key
    change = change_of(opened, made.network, key.layers)
    return Injection(made.network, made.claim, payload, change or 0.0, key.notes)


def make_mark(
    network: Network,
    payload: Payload | str,
    *,
    method: str = "uchida",
    options: Options | None = None,
    code: str | None = None,
    code_options: Options | None = None,
    layer: Layers | None = None,
    seed: int | None = None,
    samples: Samples | None = None,
    run: Callable[[Feeds, Sequence[str]], Values] | None = None,
) -> Mark:
    """A watermark to be put in by a training of your own.

    The adapters do this for a network of their framework. `mark.additions` is what the training has
    to do; `save_key(mark.claim, path)` keeps key and payload, after the training for a method that
    learns something of its own.

    Args:
        network: what is to be trained, as the core sees networks; it is not changed.
        payload: a text, or bits.
        method: name of a method that training can put in.
        options: options of the method, see `nnw list methods`.
        code: name of an error-correcting code, see `nnw list codes`.
        code_options: options of the code.
        layer: name of the carrier layer, or names; chosen by the method if None.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        samples: some samples of the training, for a method that needs data.
        run: asks the network (feeds, names of inner layers), for a method that needs its answers.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; triggers do not fit.
        ConfigurationError, PluginError: an option or the method does not exist, training cannot put
            it in, or it needs what is not given.
    """
    from nnw_onnx.runs import marks
    from nnw_onnx.runs.seeds import secret

    payload = Payload.of(payload)
    technology = _technology(method, options, code, code_options, layer, payload)
    fresh = secret(seed, layers=[[x.name, list(x.shape)] for x in network.layers])
    return marks.make_mark(technology, network, payload, fresh, samples, run)


def verify(
    network: AnyNetwork,
    claim: Claim | Key,
    *,
    false_positive_rate: float = 1e-6,
    layer: str | None = None,
    run: bool = False,
    inputs: Feeds | str | Path | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
) -> Verdict:
    """Everything that a claim tells of a network: what is decoded, detected and wrong.

    The network is asked once; `.payload` has the bits after the code. A carrier is looked for under
    its name; where that is gone or says No, every live layer of its shape is read, turned and
    joined ones too, with a p-value corrected for their number (see `.found`). A claim whose carrier
    is not in the network is "not-applicable", with the answer No and p = 1.

    Args:
        network: a file or an open network.
        claim: of a key file; a key alone is only decoded. A payload that the commitment of its key
            does not bind is read, and is no claim: the answer is No.
        false_positive_rate: probability, in (0, 1), of a yes for a network made without the key; a
            search after a No adds a hundredth of it.
        layer: name of the layer to read, whatever the key calls its carrier.
        run: whether a Yes from weights is tried by running the network with other weights in their
            place: weights that no answer depends on carry nothing. It costs a second or two.
        inputs: samples of the network's own kind for that, by input, or an .npz file of them; some
            are drawn if None. A network can be made to tell drawn ones from its own.
        timeout: seconds for a network that must be run, which is done in another process.
        memory_limit: bytes that this process may take (Linux only); None allows what a network of
            its size may need.

    Raises:
        InferenceError: a network that must be run crashes, hangs or does not run.
        ConfigurationError: the rate is no rate, no null distribution is known, or there is no such
            layer.
    """
    from nnw_onnx.runs import dependence
    from nnw_onnx.runs import verify as verifying
    from nnw_onnx.runs.suspect import isolated, suspects

    opened = _opened(network)
    whole = _whole(claim)
    suspect_of = suspects(opened, isolated(opened, timeout, memory_limit))
    tried = dependence.probe(opened, _inputs(inputs), min(timeout, dependence.TIMEOUT))
    search = verifying.Search(thorough=True, layer=layer, probe=tried if run or inputs else None)
    verdict = next(verifying.verify(suspect_of, [whole], false_positive_rate, search))
    return verifying.as_claimed(verdict, false_positive_rate)


def decode(
    network: AnyNetwork,
    claim: Claim | Key,
    *,
    layer: str | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
) -> Decoding:
    """Read the Symbols of a network: from its weights, or from what it answers.

    They are as the network holds them; where a code or an alphabet stands between them and the
    payload, `verify` has its bits. A carrier whose name is gone is the place that fits the payload
    of the claim best, or that is read most surely where there is none. See `verify` for the others.

    Raises:
        CarrierNotFoundError: the carrier layer, the inputs or the classes are not in this network.
        ConfigurationError: the method only says whether the watermark is there.
        InferenceError: see `verify`.
    """
    whole = _whole(claim)
    verdict = verify(network, whole, layer=layer, timeout=timeout, memory_limit=memory_limit)
    if verdict.reason is not None and verdict.decoding is None:
        raise CarrierNotFoundError(verdict.reason)
    if verdict.decoding is None:
        raise ConfigurationError(
            f"{whole.key.method.name}: expected a method that reads Symbols, got one that only "
            "says whether the watermark is there; use detect"
        )
    return verdict.decoding


def detect(
    network: AnyNetwork,
    claim: Claim | Key,
    payload: Payload | str | None = None,
    *,
    false_positive_rate: float = 1e-6,
    layer: str | None = None,
    run: bool = False,
    inputs: Feeds | str | Path | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
) -> Detection:
    """Decide whether a payload is in a network; the answer is true or false as it is.

    A network without the carrier is a No with p = 1; `notes` say why. See `verify` for the others.

    Args:
        network: a file or an open network.
        claim: of a key file, or a key alone.
        payload: the text or bits that the commitment of the key binds, where they are not in the
            claim; any others are no claim, because they could have been read from the network, and
            the answer is No.
        false_positive_rate: probability, in (0, 1), of a yes for a network made without the key.
        layer: see `verify`.
        run: see `verify`.
        inputs: see `verify`.
        timeout: see `verify`.
        memory_limit: see `verify`.

    Raises:
        ConfigurationError: there is no payload to look for, or no null distribution is known.
        InferenceError: see `verify`.
    """
    from nnw_onnx.runs.verify import later

    whole = _whole(claim)
    if payload is not None:
        whole = later(whole, _symbols(whole.key, Payload.of(payload)))
    verdict = verify(
        network,
        whole,
        false_positive_rate=false_positive_rate,
        layer=layer,
        run=run,
        inputs=inputs,
        timeout=timeout,
        memory_limit=memory_limit,
    )
    found = verdict.detection
    if found is None:
        raise ConfigurationError(
            "payload: expected one with the key or beside it, got none; give the injected payload"
        )
    return found.decided(false_positive_rate) if found.detected is None else found


def verify_commitment(
    claim: Claim | Key, original: AnyNetwork | Network, *, published: str | None = None
) -> Commitment:
    """Whether a commitment binds this key and payload, and this unmarked network.

    As `bool` it is the answer. It binds secret, method, carriers with their weights, and payload;
    `kit.commitments` says what that protects.

    Args:
        claim: of a key file.
        original: the network before the mark was put in: a file, an open network, or that of an
            adapter.
        published: the hash that was published; that of the key file if None, which its owner could
            have made at any time.

    Raises:
        ConfigurationError: there is no commitment, or `published` is no hash.
    """
    from nnw_onnx.runs import commitment

    given = _opened(original) if isinstance(original, str | Path) else original
    return commitment.verify_commitment(_whole(claim), given, published)


def modify(
    network: AnyNetwork,
    modification: str,
    intensity: float | str | None = None,
    *,
    layers: Layers | None = None,
    options: Options | None = None,
    seed: int = 0,
    copies: Sequence[AnyNetwork] = (),
    training: str | Path | Evaluation | None = None,
    data: str | Path | None = None,
    work_folder: str | Path | None = None,
) -> Modified:
    """Apply a Modification to a network.

    Args:
        network: a file or an open network; it is not changed.
        modification: name, see `nnw list modifications`.
        intensity: value of its Parameter, where it has one: a number, or a text with its unit such
            as "50%" or "4 bits"; outside the standard's range is a warning.
        layers: names of layers with wildcards, or "all" kernels, which it is if None; only for a
            Modification that changes the layers it is aimed at.
        options: further options of the Modification.
        seed: the same seed gives the same weights.
        copies: networks of other recipients, for a Modification that needs several.
        training: for a Modification that trains or needs data, see `inject`.
        data: likewise.
        work_folder: likewise.

    Raises:
        ConfigurationError: the Modification, an option or a layer does not exist, or it is one of
            inputs, which no file can hold.
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
    """
    from nnw_onnx.runs import single

    made = plugins.create(Modification, _modification(modification, intensity, options))
    if copies and "copies" not in made.needed():
        raise ConfigurationError(
            f"copies: expected none, because {modification} takes no others, got {len(copies)}; "
            "leave them out"
        )
    opened = _opened(network)
    _check_weights(opened)
    how = single.how_to_train(training, data, work_folder, _log.info)
    step = Step(made.spec(), _patterns(layers))
    others = [_opened(copy) for copy in copies]
    stacked = single.modify(opened, step, seed, how, others)
    aimed = stacked.layers[0]
    warnings = single.range_warnings(made, one_layer="@all" not in step.layers and len(aimed) == 1)
    return Modified(
        stacked.network,
        aimed,
        stacked.change,
        warnings,
        stacked.facts,
        stacked.marks,
        stacked.difference,
    )


def evaluate(
    evaluation: str | Path | Evaluation | None = None,
    *,
    data: str | Path | None = None,
    run_folder: str | Path | None = None,
    engine: str | None = None,
    settings: Options | None = None,
    progress: bool = True,
) -> Evaluated:
    """Carry out an evaluation and write its report.

    A run folder that holds an unfinished run of the same evaluation is finished; of one that is
    finished the report is written again.

    Call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        evaluation: file, name of a shipped evaluation or value; None is the embedded default.
        data: folder or file of the data set, instead of the one in the configuration.
        run_folder: where records and report go; named after the evaluation if None.
        engine: name of an engine, instead of the one in the configuration.
        settings: dotted key -> value instead of the one in the configuration, such as
            {"session.threads": 2}; only with a file or a name.
        progress: show progress bars on a terminal.

    Raises:
        ConfigurationError, DatasetError, ModelFileError, RunError: see their classes.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.runs import evaluate as runs
    from nnw_onnx.runs.prepare import prepare

    asked = _asked(evaluation, data, engine, settings)
    folder = Path(run_folder) if run_folder else runs.default_folder(asked)
    if folder.exists() and not folder.is_dir():
        raise RunError(
            f"{folder}: expected a run folder, got a file; choose another with --run-folder"
        )
    runs.run(prepare(asked, folder), progress=progress, tell=_log.warning)
    evaluated = Evaluated(folder, report(folder))
    runs.check_measured(folder)
    return evaluated


def forecast(
    evaluation: str | Path | Evaluation | None = None,
    *,
    data: str | Path | None = None,
    engine: str | None = None,
    settings: Options | None = None,
) -> Forecast:
    """What an evaluation would do, in numbers, and about how long it would take.

    Every network is looked at as before a run, and one step of each kind is carried out and timed;
    nothing is kept. Call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        evaluation: see `evaluate`, also for the others.
        data: likewise.
        engine: likewise.
        settings: likewise.

    Raises:
        ConfigurationError, DatasetError, ModelFileError: what `evaluate` would raise too.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.runs import evaluate as runs
    from nnw_onnx.runs import first_look
    from nnw_onnx.runs import forecast as forecasting
    from nnw_onnx.runs.prepare import prepare

    asked = _asked(evaluation, data, engine, settings)
    prepared = prepare(asked, runs.default_folder(asked))
    first_look.look(prepared, tell=_log.warning)
    return forecasting.forecast(prepared)


def report(run_folder: str | Path) -> Report:
    """Write the report of a run folder again from its records; nothing is run.

    Raises:
        RunError: there is no run, or its records are broken.
    """
    from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
    from nnw_onnx.reports import build_report, write_documents
    from nnw_onnx.runs.store import Store

    store = Store(Path(run_folder))
    plan = store.read(Plan)
    made = build_report(
        plan,
        store.records(InjectionRecord),
        store.records(TrialRecord),
        store.records(CostRecord),
        store.read_if_there(Environment),
    )
    write_documents(made, store.folder)
    return made


def _technology(
    method: str,
    options: Options | None,
    code: str | None,
    code_options: Options | None,
    layer: Layers | None,
    payload: Payload,
) -> Technology:
    """Method, code and carriers as they were asked for, every option filled in."""
    if code is None and code_options:
        raise ConfigurationError(
            "code: expected one beside its options, got none; name the code, see 'nnw list codes'"
        )
    made = plugins.create(Method, Spec(method, dict(options or {})))
    made_code = code and plugins.create(Code, Spec(code, dict(code_options or {})))
    layers = (layer,) if isinstance(layer, str) else tuple(layer or ())
    return Technology(
        made.spec(), len(payload), made_code.spec() if made_code else None, layers=layers
    )


def _modification(name: str, intensity: float | str | None, options: Options | None) -> Spec:
    """The Modification with its Intensity among its options."""
    parameter, given = plugins.load(Modification, name).parameter, dict(options or {})
    if intensity is None:
        return Spec(name, given)
    if parameter is None:
        raise ConfigurationError(
            f"{name}: expected no intensity, because it is done or not, got {intensity}; leave it "
            "out"
        )
    if parameter.option in given:
        raise ConfigurationError(
            f"{parameter.option}: expected it once, got it among the options too; leave that out"
        )
    try:
        return Spec(name, {**given, parameter.option: parameter.read(intensity)})
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {parameter.option}: {error}") from error


def _patterns(layers: Layers | None) -> tuple[str, ...]:
    """Layers as a step names them."""
    if layers == "all":
        return ("@all",)
    return (layers,) if isinstance(layers, str) else tuple(layers or ())


def _whole(claim: object) -> Claim:
    """A claim, made of a key where that is all there is; often the name of its file is given."""
    if isinstance(claim, Key):
        return Claim(claim)
    if not isinstance(claim, Claim):
        raise ConfigurationError(
            f"claim: expected a Claim or a Key, got {type(claim).__name__}; open a key file with "
            "nnw_onnx.load_key"
        )
    return claim


def _symbols(key: Key, payload: Payload) -> Payload:
    """The Symbols that stand for a payload in a network."""
    from nnw_onnx.runs.coding import symbols_of

    return symbols_of(plugins.method_of(key), plugins.code_of(key), payload)


def _inputs(given: Feeds | str | Path | None) -> Feeds | None:
    """Samples by the names of inputs, read where their file is named."""
    if not isinstance(given, str | Path):
        return given
    from nnw_onnx.datasets._npz_arrays import NpzArrays

    arrays = NpzArrays(Path(given))
    return {name: arrays.read(name) for name in arrays.names}


def _asked(
    given: str | Path | Evaluation | None,
    data: str | Path | None,
    engine: str | None,
    settings: Options | None,
) -> Evaluation:
    """The evaluation that is asked for, the embedded default where none is."""
    from nnw_onnx.runs.evaluation import with_engine

    asked = _evaluation("digits" if given is None else given, data, settings)
    return asked if engine is None else with_engine(asked, engine)


def _evaluation(
    given: str | Path | Evaluation, data: str | Path | None, settings: Options | None
) -> Evaluation:
    """The evaluation, with the data set from elsewhere where one is given."""
    from nnw_onnx.runs import checks
    from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation, with_dataset_path

    if isinstance(given, str | Path):
        path = find_evaluation(given)
        return read_evaluation(path, None if data is None else Path(data), settings)
    if settings:
        raise ConfigurationError(
            "settings: expected a file or the name of an evaluation beside them, got an "
            "Evaluation; change its fields instead"
        )
    if data is None:
        return given
    moved = with_dataset_path(given.dataset, Path(data).resolve())
    evaluation = given.model_copy(update={"dataset": moved})
    checks.check(evaluation)
    return evaluation


def _opened(network: object) -> OnnxNetwork:
    """The network, opened where it is the name of a file."""
    if isinstance(network, OnnxNetwork):
        return network
    if isinstance(network, str | Path):
        opened = open_network(Path(network))
        _log.debug("opened %s: %d layers, SHA-256 %s", network, len(opened.layers), opened.sha256)
        return opened
    raise ConfigurationError(
        f"network: expected an ONNX file or what nnw_onnx.open returns, got "
        f"{_named(type(network))}; {_door(type(network))}"
    )


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _door(kind: type) -> str:
    """What to do with an object of a framework; told by names, so that none is imported here."""
    roots = {(base.__module__.partition(".")[0], base.__qualname__) for base in kind.__mro__}
    for adapter, found in (
        ("nnw_onnx_torch", {("torch", "Module")}),
        ("nnw_onnx_tensorflow", {("keras", "Model"), ("keras", "Layer"), ("tf_keras", "Model")}),
    ):
        if roots & found:
            return (
                f"write it to a file with {adapter}.export and give that, or put the watermark in "
                f"while it is trained, with {adapter}.Watermark"
            )
    if ("onnx", "ModelProto") in roots or ("onnx_ir", "Model") in roots:
        return "save it, and give the file"
    return "give the path of a .onnx file"


def _check_weights(network: OnnxNetwork) -> None:
    """Raise `ModelFileError` where no kernel can be replaced."""
    if network.no_weights_reason:
        raise ModelFileError(
            f"{network.path.name}: expected weights that can be replaced, got none: "
            f"{network.no_weights_reason}"
        )
