"""One injection or Modification outside an evaluation.

A configuration, where one is given, says what is trained on and how: of an evaluation only
`[dataset]`, `[training]` and the `[methods.training]` of the method are used. State is kept in a
work folder, so that a training that was interrupted goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, InjectionError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import calls
from nnw_onnx.runs import inject as injecting
from nnw_onnx.runs import modify as modifying
from nnw_onnx.runs.bench import Place, RunBench
from nnw_onnx.runs.evaluation import (
    find_evaluation,
    read_evaluation,
    with_dataset_path,
    with_providers,
)
from nnw_onnx.runs.inject import Injected
from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.runs.modify import Stacked
from nnw_onnx.runs.prepare import single_context
from nnw_onnx.runs.seeds import generator, identity, secret
from nnw_onnx.runs.store import bind, bound, work_folder
from nnw_onnx.runs.surroundings import Alone, Surroundings, Tell
from nnw_onnx.runs.tables import Evaluation
from nnw_onnx.runs.verify import verify
from nnw_onnx.vocabulary import (
    Claim,
    Detection,
    InputModification,
    Key,
    Method,
    Modification,
    Payload,
    Step,
    Technology,
)
from nnw_onnx.vocabulary.evidence import power

_KEY = "key.npz"
LEVEL = 1e-6
"""False-positive rate at which a mark must be found that a training has put in."""


@dataclass(frozen=True)
class How:
    """What a configuration says of training.

    Attributes:
        evaluation: what is trained on, and the recipe.
        work_folder: where state is kept, or None for nowhere.
        tell: is called with each epoch, one line each.
    """

    evaluation: Evaluation
    work_folder: Path | None = None
    tell: Tell = lambda words: None


def how_to_train(
    training: str | Path | Evaluation | None,
    data: str | Path | None,
    work_folder: str | Path | None,
    tell: Tell,
    providers: Sequence[str] = (),
) -> How | None:
    """How to train, with data set and providers from elsewhere where given; None without training.

    Raises:
        ConfigurationError: providers and no training, without which no network is run.
    """
    if training is None:
        if providers:
            raise ConfigurationError(
                f"providers: expected a training beside them, because else no network is run, got "
                f"{', '.join(providers)} alone; leave them out"
            )
        return None
    if isinstance(training, str | Path):
        path = find_evaluation(training)
        training = read_evaluation(path, None if data is None else Path(data))
    elif data is not None:
        moved = with_dataset_path(training.dataset, Path(data).resolve())
        training = training.model_copy(update={"dataset": moved})
    if providers:
        training = with_providers(training, providers)
    return How(training, None if work_folder is None else Path(work_folder), tell)


def inject(
    network: OnnxNetwork,
    payload: Payload,
    technology: Technology,
    seed: int | None,
    how: How | None,
    given: bytes | None = None,
) -> Injected:
    """The network with a payload in it.

    Args:
        network: it is not changed.
        payload: the bits.
        technology: without a recipe, which comes from `how`.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        how: what a configuration says of training, or None.
        given: the secret of the key, instead of one from the seed; None draws a fresh one.

    Raises:
        InjectionError: the Detector says No after a training.
        ConfigurationError, TrainingError, DatasetError: it cannot be trained as written.
    """
    technology = technology if how is None else _with_recipe(technology, how.evaluation)
    # Where nothing follows from the network or is kept for it, its gigabytes need not be hashed.
    repeats = seed is not None or how is not None
    known = network.sha256 if repeats else ""
    task = identity(
        network=known, technology=dataclasses.asdict(technology), seed=seed,
        symbols=payload.symbols,
    )  # fmt: skip
    trains = technology.recipe is not None
    with _surrounded(network, how, task, seed or 0, training=trains) as surroundings:
        place = Place(
            task, f"{technology.method.name} in {network.path.name}", draw=task,
            technology=technology, layers=technology.layers, original=network,
        )  # fmt: skip
        bench = RunBench(surroundings.bench, network, place, surroundings.tell)
        injecting.check_way(technology)
        fresh = given or secret(seed, network=known)
        claim = _kept_claim(surroundings.folder, technology, network, payload, fresh, bench)
        if (seed is not None or given is not None) and claim.key.secret != fresh:
            raise _another_key(surroundings.folder)
        # What a training has kept for one key is of no use to it with another.
        bench.place = dataclasses.replace(place, name=f"{task}-{claim.key.commitment[:16]}")
        made = injecting.inject(technology, network, payload, fresh, bench, claim)
        if made.trained is not None:
            made = _read_back(made, bench)
    return made


def modify(
    network: OnnxNetwork,
    steps: Sequence[Step],
    seed: int,
    how: How | None,
    copies: Sequence[OnnxNetwork] = (),
    carrier: Sequence[str] = (),
) -> Stacked:
    """The network after Modifications, one after the other.

    Args:
        network: it is not changed.
        steps: the Modifications with the layers that each is aimed at, at least one.
        seed: the same seed gives the same weights.
        how: what a configuration says of training, or None.
        copies: of other recipients, for a Modification that needs several.
        carrier: names of the carrier layers, for a step aimed at "@carrier".

    Raises:
        ConfigurationError: one changes inputs only, needs a training that nobody described, ...
    """
    made = [plugins.create(Modification, step.modification) for step in steps]
    trains = any(map(plugins.needs_training, made))
    for one in made:
        _expect_file(one, trains=how is not None)
    told = [dataclasses.asdict(step) for step in steps]
    task = identity(
        # A single one has the identity that it had before there were stacks.
        network=network.sha256, modification=told if len(told) > 1 else told[0], seed=seed,
        copies=[copy.digest for copy in copies],
    )  # fmt: skip
    with _surrounded(network, how, task, seed, training=trains) as surroundings:

        def bench_for(index: int, now: OnnxNetwork, layers: tuple[str, ...]) -> RunBench:
            place = Place(
                f"{task}-{index}" if index else task, f"{made[index].name} of {network.path.name}",
                draw=task, layers=layers, copies=(now, *copies) if copies else (),
            )  # fmt: skip
            return RunBench(surroundings.bench, now, place, surroundings.tell)

        def rng_for(index: int) -> np.random.Generator:
            later = {"step": index} if index else {}
            return generator(purpose="modify", seed=seed, network=network.sha256, **later)

        done = modifying.modify(network, steps, bench_for, rng_for, surroundings.differ, carrier)
    if done.around:
        raise _of_inputs(made[-1])
    return done


def _expect_file(modification: Modification, *, trains: bool) -> None:
    """Refuse what no file can hold, and a training that nobody described."""
    if isinstance(modification, InputModification):
        raise _of_inputs(modification)
    if plugins.needs_training(modification) and not trains:
        raise ConfigurationError(
            f"{modification.name}: expected a training, because this Modification trains, got "
            "none; give a configuration that says what is trained on"
        )


def _of_inputs(modification: Modification) -> ConfigurationError:
    return ConfigurationError(
        f"{modification.name}: expected a Modification of the network, got one of its inputs, "
        "which no file can hold; see what it does with 'nnw evaluate'"
    )


def range_warnings(modification: Modification, *, one_layer: bool) -> tuple[str, ...]:
    """A line where the Intensity is outside the standard's range, if the standard has one."""
    parameter = modification.parameter
    if parameter is None or modification.number is None:
        return ()
    intensity = modification.spec().options[parameter.option]
    if not isinstance(intensity, int | float):
        return ()
    if not parameter.outside_standard_range(intensity, single_layer=one_layer):
        return ()
    return (
        f"{modification.name}: intensity {parameter.with_unit(intensity)} is outside the "
        f"standard's range {parameter.standard_range(single_layer=one_layer)}",
    )


@dataclass(frozen=True)
class _Surrounded:
    """Where one task is done.

    Attributes:
        bench: what benches need.
        folder: where state is kept, or None.
        tell: is told each epoch.
        differ: compares answers, or None where there are no samples.
    """

    bench: Surroundings
    folder: Path | None
    tell: Tell
    differ: modifying.Differ | None


@contextmanager
def _surrounded(
    network: OnnxNetwork, how: How | None, task: str, seed: int, *, training: bool
) -> Iterator[_Surrounded]:
    if how is None:
        yield _Surrounded(Alone(seed), None, lambda words: None, None)
        return
    with work_folder(how.work_folder, task, network.sources) as folder:
        context = single_context(how.evaluation, network, folder, training=training)
        context = dataclasses.replace(context, seed=seed)
        differ = modifying.differ_on(
            context.training_samples("task"), context.settings, context.batch_size
        )
        yield _Surrounded(context, folder, how.tell, differ)


def _with_recipe(technology: Technology, evaluation: Evaluation) -> Technology:
    """The technology with the training of the configuration, where training can put it in."""
    method = plugins.create(Method, technology.method)
    if plugins.trains(method) is None:
        if "data" in calls.needs(method):
            return technology
        raise ConfigurationError(
            f"training: expected a method that training can put in, got {method.name}; leave "
            "--training out"
        )
    recipe, start = evaluation.base_recipe, technology.start
    for table in evaluation.methods:
        if table.name == method.name and table.training:
            recipe, start = table.training.recipe(recipe), table.training.start
            break
    return dataclasses.replace(technology, recipe=recipe, start=start)


def _kept_claim(
    folder: Path | None,
    technology: Technology,
    network: OnnxNetwork,
    payload: Payload,
    fresh: bytes,
    bench: RunBench,
) -> Claim:
    """The claim; an interrupted training goes on with the key that it began with.

    Of the key that was kept, only the secret is believed: all else follows from it again, so that
    the commitment is that of the key which is used.
    """
    kept = None if folder is None else folder / _KEY
    known = kept is not None and kept.exists()
    used = load_key(kept).key.secret if kept is not None and known else fresh
    claim = injecting.new_claim(technology, network, payload, used, bench)
    if folder is None or kept is None:
        return claim
    if not known:
        bind(folder, claim.key.commitment)
        save_key(claim, kept)
    if claim.key.commitment != bound(folder):
        raise _another_key(folder)
    return claim


def _another_key(folder: Path | None) -> RunError:
    return RunError(
        f"{folder}: expected the key that this training began with, got another; the folder was "
        "changed, start again with a new --work-folder"
    )


def _check_found(key: Key, found: Detection | None, epochs: int) -> None:
    """Refuse a training after which a mark without Symbols is not found."""
    if found is not None and found.detected is False:
        told = "" if found.log10_p is None else f" (p = {power(found.log10_p)})"
        raise InjectionError(
            f"{key.method.name}: expected the watermark to be found after {epochs} epochs, got a "
            f"no{told}; train longer, with a larger learning rate or more of the owner's samples"
        )


def _read_back(made: Injected, bench: RunBench) -> Injected:
    """The injection, its key with a note on Symbols that a training left wrong.

    Raises:
        InjectionError: the Detector says No, or could not say Yes whatever was read.
    """
    suspect_of = bench.suspect_of(made.network)
    wrong = injecting.symbol_errors(made.claim, suspect_of)
    if wrong == 0 or made.trained is None:
        return made
    key, epochs = made.claim.key, len(made.trained.epochs)
    found = next(verify(suspect_of, [made.claim], LEVEL)).detection
    if wrong is None:
        _check_found(key, found, epochs)
        return made
    if found is None or not found.detected:
        raise InjectionError(
            f"{key.method.name}: expected all {key.size} symbols to be read back after {epochs} "
            f"epochs, or enough for the Detector, got {wrong} wrong ones; train longer, with a "
            "larger learning rate or strength, or use a shorter payload"
        )
    note = (
        f"{wrong} of {key.size} symbols are wrong after {epochs} epochs; the Detector says yes all "
        f"the same (p = {power(found.log10_p or 0.0)})"
    )
    noted = dataclasses.replace(key, notes=(*key.notes, note))
    return dataclasses.replace(made, claim=dataclasses.replace(made.claim, key=noted))
