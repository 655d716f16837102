"""The AI Modules: each is one function from files to files, and calls the one of `runs`.

Acronyms, names and ports are those of NNW-NNT; costs, for which it has no module, are below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.aif import files
from nnw_onnx.aif.ports import Module, module, port
from nnw_onnx.aif.setups import Setup
from nnw_onnx.aif.types import (
    CountErrorFile,
    DatasetFile,
    InferenceFile,
    ParametersFile,
    PayloadFile,
)
from nnw_onnx.errors import FrameworkError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.kit.samples import batches, only_feed
from nnw_onnx.runs import coding, injections, trial
from nnw_onnx.runs.inject import train_twin
from nnw_onnx.runs.suspect import Running, suspects
from nnw_onnx.runs.verify import read
from nnw_onnx.vocabulary import Array, Code, Feeds, Method, Payload, Values


@dataclass(frozen=True)
class TrainerInputs:
    """Ports of the Module Trainer."""

    training: DatasetFile = port("TrainingDataset")
    untrained: ParametersFile | None = port("UntrainedParameters", optional=True)


@dataclass(frozen=True)
class UnwatermarkedParameters:
    """A network before any watermark."""

    parameters: ParametersFile = port("UnwatermarkedParameters")


@dataclass(frozen=True)
class NTIEmbedderInputs:
    """Ports of the NTI Watermark Embedder."""

    parameters: ParametersFile = port("UnwatermarkedParameters")
    payload: PayloadFile = port("Payload")


@dataclass(frozen=True)
class WTIEmbedderInputs:
    """Ports of the WTI Watermark Embedder."""

    training: DatasetFile = port("TrainingDataset")
    payload: PayloadFile = port("Payload")
    untrained: ParametersFile | None = port("UntrainedParameters", optional=True)


@dataclass(frozen=True)
class WatermarkedParameters:
    """A network with a watermark."""

    parameters: ParametersFile = port("WatermarkedParameters")


@dataclass(frozen=True)
class ModifiedParameters:
    """A network after a Modification."""

    parameters: ParametersFile = port("ModifiedParameters")


@dataclass(frozen=True)
class UnwatermarkedInputs:
    """Ports of the Unwatermarked Module."""

    parameters: ParametersFile = port("UnwatermarkedParameters")
    testing: DatasetFile = port("TestingDataset")


@dataclass(frozen=True)
class UnwatermarkedInference:
    """What it answers."""

    inference: InferenceFile = port("UnwatermarkedInference")


@dataclass(frozen=True)
class WatermarkedInputs:
    """Ports of the Watermarked Module."""

    parameters: ParametersFile = port("WatermarkedParameters")
    testing: DatasetFile = port("TestingDataset")


@dataclass(frozen=True)
class WatermarkedInference:
    """What it answers."""

    inference: InferenceFile = port("WatermarkedInference")


@dataclass(frozen=True)
class ModifiedInputs:
    """Ports of the Modified Module."""

    parameters: ParametersFile = port("ModifiedParameters")
    testing: DatasetFile = port("TestingDataset")


@dataclass(frozen=True)
class ModifiedInference:
    """What it answers."""

    inference: InferenceFile = port("ModifiedInference")


@dataclass(frozen=True)
class RetrievedPayload:
    """What a Decoder reads."""

    payload: PayloadFile = port("RetrievedPayload")


@dataclass(frozen=True)
class ComparatorInputs:
    """Ports of the Comparator."""

    original: PayloadFile = port("OriginalPayload")
    retrieved: PayloadFile = port("RetrievedPayload")


@dataclass(frozen=True)
class CountError:
    """What it counts."""

    count: CountErrorFile = port("CountError")


def train(given: TrainerInputs, setup: Setup, folder: Path) -> UnwatermarkedParameters:
    """Trains the network without a watermark, with the recipe of the embedder.

    Where the configuration has no recipe, the network comes trained and is given as it is.
    """
    network = _start(setup, given.untrained)
    if setup.technology.recipe is None:
        return UnwatermarkedParameters(_saved(network, folder / "UnwatermarkedParameters.onnx"))
    context = setup.fed(files.read_samples(given.training.path))
    bench = injections.bench_for(context, setup.task, network)
    trained = train_twin(setup.technology, network, bench).network
    _discard(setup, bench.checkpoints)
    return UnwatermarkedParameters(_saved(_onnx(trained), folder / "UnwatermarkedParameters.onnx"))


def embed(given: NTIEmbedderInputs, setup: Setup, folder: Path) -> WatermarkedParameters:
    """Puts the payload into the parameters without training; the key stays with its owner."""
    network = open_network(given.parameters.path)
    bench = injections.bench_for(setup.context, setup.task, network)
    payload = files.read_payload(given.payload)
    made = injections.put_in(setup.context, setup.task, payload, bench)
    return WatermarkedParameters(_saved(made.network, folder / "WatermarkedParameters.onnx"))


def embed_by_training(
    given: WTIEmbedderInputs, setup: Setup, folder: Path
) -> WatermarkedParameters:
    """Puts the payload in while it trains the network; the key stays with its owner."""
    context = setup.fed(files.read_samples(given.training.path))
    bench = injections.bench_for(context, setup.task, _start(setup, given.untrained))
    payload = files.read_payload(given.payload)
    made = injections.put_in(context, setup.task, payload, bench)
    _discard(setup, bench.checkpoints)
    return WatermarkedParameters(_saved(made.network, folder / "WatermarkedParameters.onnx"))


def infer_unwatermarked(
    given: UnwatermarkedInputs, setup: Setup, folder: Path
) -> UnwatermarkedInference:
    """Runs the network without a watermark on the testing data set."""
    path = folder / "UnwatermarkedInference.npz"
    return UnwatermarkedInference(_answers(given.parameters, given.testing, setup, path))


def infer_watermarked(given: WatermarkedInputs, setup: Setup, folder: Path) -> WatermarkedInference:
    """Runs the network with the watermark on the testing data set."""
    path = folder / "WatermarkedInference.npz"
    return WatermarkedInference(_answers(given.parameters, given.testing, setup, path))


def infer_modified(given: ModifiedInputs, setup: Setup, folder: Path) -> ModifiedInference:
    """Runs the modified network on the testing data set, which are the inputs that the key asks."""
    path = folder / "ModifiedInference.npz"
    return ModifiedInference(_answers(given.parameters, given.testing, setup, path))


def modify(given: WatermarkedParameters, setup: Setup, folder: Path) -> ModifiedParameters:
    """Modifies the network by the Modification and Intensity that it is set up with."""
    network = open_network(given.parameters.path)
    if setup.trial is not None:
        carrier = setup.claim.key.layers
        made = trial.modified(setup.context, setup.trial, [network], carrier)
        if made.around or made.samples_of is not None:
            raise FrameworkError(
                "expected a Modification of the parameters, got one of what the network "
                "is fed or answers, which no file of parameters can hold; see what it does with "
                "'nnw evaluate'"
            )
        network = made.network
        _discard(setup, made.checkpoints)
    return ModifiedParameters(_saved(network, folder / "ModifiedParameters.onnx"))


def decode(given: ModifiedParameters, setup: Setup, folder: Path) -> RetrievedPayload:
    """Reads the Symbols out of the parameters, with the key that it is set up with."""
    network, context = open_network(given.parameters.path), setup.context
    run = Running(network, context.settings, context.batch_size)
    decoding = read(suspects(network, run), setup.claim.key)
    return _retrieved(None if decoding is None else decoding.payload, setup, folder)


def decode_answers(given: ModifiedInference, setup: Setup, folder: Path) -> RetrievedPayload:
    """Reads the Symbols out of answers to the inputs of the key that it is set up with."""
    told = Replay(files.read_values(given.inference.path))
    decoding = read(suspects(setup.network, told), setup.claim.key)
    return _retrieved(None if decoding is None else decoding.payload, setup, folder)


def compare(given: ComparatorInputs, setup: Setup, folder: Path) -> CountError:
    """Counts the Symbols that differ, the original payload packed and coded as it was put in."""
    technology = setup.technology
    method = plugins.create(Method, technology.method)
    code = None if technology.code is None else plugins.create(Code, technology.code)
    original = coding.symbols_of(method, code, files.read_payload(given.original))
    count = original.errors(files.read_payload(given.retrieved))
    return CountError(files.write_count(folder / "CountError.json", count))


def no_layers() -> FrameworkError:
    """Why a method that reads inner layers cannot go through NNW-WIR."""
    return FrameworkError(
        "expected a method that reads answers, got one that reads inner layers, which no inference "
        "of the standard has; use 'nnw evaluate'"
    )


class Replay:
    """A network of which only its answers are there: they are told in their order."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self._values, self._told = values, 0

    def __call__(self, feeds: Feeds, layers: Sequence[str] = ()) -> Values:
        """The next answers, as many as there are samples.

        Raises:
            FrameworkError: there are not so many, or inner layers are asked for.
        """
        if layers:
            raise no_layers()
        first, count = self._told, len(only_feed(feeds))
        self._told += count
        told = {name: values[first : self._told] for name, values in self._values.items()}
        if not told or any(len(values) != count for values in told.values()):
            raise FrameworkError(
                f"inference: expected answers to {self._told} inputs, got "
                f"{min(map(len, self._values.values()), default=0)}; give the inference on the "
                "data set that belongs to it"
            )
        return told


def _start(setup: Setup, untrained: ParametersFile | None) -> OnnxNetwork:
    return setup.network if untrained is None else open_network(untrained.path)


def _answers(
    parameters: ParametersFile, testing: DatasetFile, setup: Setup, path: Path
) -> InferenceFile:
    network, context = open_network(parameters.path), setup.context
    run = Running(network, context.settings, context.batch_size)
    samples = files.read_samples(testing.path).fitted(network.inputs)
    told = [run(batch.feeds) for batch in batches(samples, context.batch_size)]
    files.write_values(
        path, {name: np.concatenate([one[name] for one in told]) for name in told[0]}
    )
    return InferenceFile(path)


def _retrieved(payload: Payload | None, setup: Setup, folder: Path) -> RetrievedPayload:
    if payload is None or not payload:
        raise FrameworkError(
            f"{setup.technology.method.name}: expected a method that decodes a payload, got one "
            "that only says that its mark is there; choose another method"
        )
    return RetrievedPayload(files.write_payload(folder / "RetrievedPayload.json", payload))


def _saved(network: OnnxNetwork, path: Path) -> ParametersFile:
    network.save(path)
    return ParametersFile(path)


def _onnx(network: object) -> OnnxNetwork:
    if not isinstance(network, OnnxNetwork):
        raise TypeError("train: expected a network that the guard has seen")
    return network


def _discard(setup: Setup, checkpoints: Sequence[str]) -> None:
    for name in checkpoints:
        setup.context.store.checkpoint(name).discard()


MODULES: tuple[Module, ...] = (
    module(train, "MTR", "ModuleTrainer", "Module Trainer"),
    module(embed, "NWE", "NTIWatermarkEmbedder", "NTI Watermark Embedder"),
    module(embed_by_training, "WWE", "WTIWatermarkEmbedder", "WTI Watermark Embedder"),
    module(infer_unwatermarked, "UWM", "UnwatermarkedModule", "Unwatermarked Module"),
    module(infer_watermarked, "WMM", "WatermarkedModule", "Watermarked Module"),
    module(modify, "MFM", "ModificationModule", "Modification Module"),
    module(infer_modified, "MDM", "ModifiedModule", "Modified Module"),
    module(decode, "NWD", "NIRWatermarkDecoder", "NIR Watermark Decoder"),
    module(decode_answers, "WWD", "WIRWatermarkDecoder", "WIR Watermark Decoder"),
    module(compare, "CMP", "Comparator", "Comparator"),
)
