"""What callers may give in several forms, in the one form that is worked with."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, ModelFileError
from nnw_onnx.graph import InMemory, OnnxNetwork, open_in_memory, open_network
from nnw_onnx.vocabulary import (
    SECRET_BYTES,
    Array,
    Claim,
    Code,
    Feeds,
    Json,
    Key,
    Method,
    Network,
    Payload,
    Spec,
)

if TYPE_CHECKING:
    from nnw_onnx.inference import SessionSettings
    from nnw_onnx.runs.evaluation import Evaluation
    from nnw_onnx.vocabulary import Technology

AnyNetwork: TypeAlias = "OnnxNetwork | str | Path | InMemory"
"""A file, a network in memory, or an open one: `opened` alone decides which it is."""
Layers: TypeAlias = str | Sequence[str]
Options: TypeAlias = Mapping[str, Json]

_STARTS = 120.0
"""Seconds that providers may take to start."""

log = logging.getLogger("nnw_onnx")


def check_secret(secret: bytes | None, seed: int | None) -> None:
    """Raise `ConfigurationError` for a secret of another length, or beside a seed."""
    if secret is not None and (seed is not None or len(secret) != SECRET_BYTES):
        got = "a seed too" if seed is not None else f"{len(secret)} bytes"
        raise ConfigurationError(
            f"secret: expected {SECRET_BYTES} bytes and no seed beside them, got {got}; take what "
            "secret_of returns"
        )


def technology_of(
    method: str,
    options: Options | None,
    code: str | None,
    code_options: Options | None,
    layer: Layers | None,
    payload: Payload,
) -> Technology:
    """Method, code and carriers as they were asked for, every option filled in."""
    from nnw_onnx.vocabulary import Technology

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


def modification_of(name: str, intensity: float | str | None, options: Options | None) -> Spec:
    """The Modification with its Intensity among its options."""
    from nnw_onnx.vocabulary import Modification

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


def patterns(layers: Layers | None) -> tuple[str, ...]:
    """Layers as a step names them."""
    if layers == "all":
        return ("@all",)
    return (layers,) if isinstance(layers, str) else tuple(layers or ())


def whole_claim(claim: object) -> Claim:
    """A claim, made of a key where that is all there is; often the name of its file is given."""
    if isinstance(claim, Key):
        return Claim(claim)
    if not isinstance(claim, Claim):
        raise ConfigurationError(
            f"claim: expected a Claim or a Key, got {type(claim).__name__}; open a key file with "
            "nnw_onnx.load_key"
        )
    return claim


def symbols_of_claim(key: Key, payload: Payload) -> Payload:
    """The Symbols that stand for a payload in a network."""
    from nnw_onnx.runs.coding import symbols_of

    return symbols_of(plugins.method_of(key), plugins.code_of(key), payload)


def inputs_of(given: Feeds | str | Path | None) -> Feeds | None:
    """Samples by the names of inputs, read where their file is named."""
    if not isinstance(given, str | Path):
        return given
    from nnw_onnx.datasets._npz_arrays import NpzArrays

    arrays = NpzArrays(Path(given))
    return {name: arrays.read(name) for name in arrays.names}


def array_of(given: Array | str | Path | None) -> Array:
    """An array, read where its .npy file is named."""
    from nnw_onnx.runs.numpy_files import read_numbers

    return read_numbers(Path(given)) if isinstance(given, str | Path) else np.asarray(given)


def asked(
    given: str | Path | Evaluation | None,
    data: str | Path | None,
    engine: str | None,
    settings: Options | None,
    presets: Sequence[str] = (),
) -> Evaluation:
    """The evaluation that is asked for, the embedded default where none is."""
    from nnw_onnx.runs.evaluation import with_engine, with_more_presets

    asked = evaluation_of("digits" if given is None else given, data, settings)
    if presets:
        asked = with_more_presets(asked, presets, Path())
    return asked if engine is None else with_engine(asked, engine)


def evaluation_of(
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


def beside(network: OnnxNetwork, reference: AnyNetwork | None, training: object) -> OnnxNetwork:
    """The network, which tells what of it the reference gives away."""
    if reference is None:
        return network
    if training is not None:
        raise ConfigurationError(
            "reference: expected none with a training, which changes layers that are equal before "
            "it, got one; name a carrier that the training changes (layer)"
        )
    return network.beside(opened(reference))


def settings_of(providers: Sequence[str]) -> SessionSettings:
    """How networks are run with these providers, which are tried first; on the CPU without any.

    Raises:
        InferenceError: one is unknown or does not work here.
    """
    from nnw_onnx.inference import SessionSettings

    usual = SessionSettings()
    settings = SessionSettings(tuple(providers) or usual.providers)
    if settings != usual:
        _try(settings.providers)
    return settings


@functools.cache
def _try(providers: tuple[str, ...]) -> None:
    """Raise `InferenceError` where they do not work, once for all; a GPU is held elsewhere."""
    from nnw_onnx.inference import check_providers, run_isolated, unwrap

    unwrap(run_isolated(check_providers, providers, timeout=_STARTS))


def opened(network: object) -> OnnxNetwork:
    """The network, opened where it is the name of a file or what an exporter returned."""
    if isinstance(network, OnnxNetwork):
        return network
    if isinstance(network, str | Path):
        opened = open_network(Path(network))
        _tell(opened, f"{network}: {len(opened.layers)} layers")
        return opened
    in_memory = open_in_memory(network)
    if in_memory is not None:
        _tell(in_memory, f"{len(in_memory.layers)} layers in memory")
        return in_memory
    raise ConfigurationError(
        f"network: expected an ONNX file, a network in memory or what nnw_onnx.open returns, got "
        f"{_named(type(network))}; {_door(type(network))}"
    )


def _tell(network: OnnxNetwork, what: str) -> None:
    # A digest of gigabytes takes seconds, so nobody computes it for a line that nobody reads.
    if log.isEnabledFor(logging.DEBUG):
        log.debug("opened %s, SHA-256 %s", what, network.sha256)


def path_of(network: object) -> Path:
    """The file of a network, where it must be one."""
    if isinstance(network, str | Path):
        return Path(network)
    raise ConfigurationError(
        f"network: expected an ONNX file, got {_named(type(network))}; save it and give the path"
    )


def opened_or_own(network: AnyNetwork | Network) -> Network:
    """The network, opened as by `opened`; that of an adapter stays what it is."""
    if isinstance(network, str | Path):
        return opened(network)
    return open_in_memory(network) or cast("Network", network)


def recorded_instead(recorded: AnyNetwork, published: str | None) -> str:
    """The commitment that a network records; raises `ConfigurationError` beside a published one."""
    from nnw_onnx.runs.model_record import recorded_commitment

    if published is not None:
        raise ConfigurationError(
            "commitment: expected a published or a recorded one, got both; leave one out"
        )
    return recorded_commitment(opened(recorded))


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
    return "give the path of a .onnx file"


def check_weights(network: OnnxNetwork) -> None:
    """Raise `ModelFileError` where no kernel can be replaced."""
    if network.no_weights_reason:
        raise ModelFileError(
            f"{network.path.name}: expected weights that can be replaced, got none: "
            f"{network.no_weights_reason}"
        )
