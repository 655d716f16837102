"""Everything that an evaluation names, opened and checked, and the plan that follows."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, NnwError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.inference import SessionSettings, check_providers, run_isolated, unwrap
from nnw_onnx.records import Plan
from nnw_onnx.runs import calls, guard, inject
from nnw_onnx.runs.checks import Faults, participants, payload_sizes, trains
from nnw_onnx.runs.composed import NOTHING, Chain, chain_of
from nnw_onnx.runs.context import Context, Source, fitted, load_samples
from nnw_onnx.runs.control import is_cheap
from nnw_onnx.runs.elsewhere import claim_of_file, marked_files, with_methods
from nnw_onnx.runs.modify import select_layers, weight_layers
from nnw_onnx.runs.places import network_paths, single_network
from nnw_onnx.runs.plan import Planner
from nnw_onnx.runs.plan_record import plan_record
from nnw_onnx.runs.presets import with_presets
from nnw_onnx.runs.recipes import PluginTable, TrainingTable
from nnw_onnx.runs.references import references_of
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.settings import (
    technologies_of,
)
from nnw_onnx.runs.sources import Sources, digest_of, files_of, named_files
from nnw_onnx.runs.surroundings import Trainings
from nnw_onnx.runs.sweeps import with_sweeps
from nnw_onnx.runs.tables import Evaluation, located
from nnw_onnx.runs.work import Look
from nnw_onnx.vocabulary import (
    Engine,
    Method,
    Modification,
    Need,
    PlugIn,
    Spec,
    Task,
    Trainer,
)


@dataclass(frozen=True)
class Prepared:
    """An evaluation whose networks and data were opened and checked."""

    evaluation: Evaluation
    networks: tuple[OnnxNetwork, ...]
    plan: Plan
    context: Context

    @property
    def planner(self) -> Planner:
        """What plans the trials once the injections are done."""
        context = self.context
        return Planner(
            self.evaluation,
            self.plan.technologies,
            self.plan.settings,
            context.sha256,
            context.sources,
            common=_common(context),
            training=_training_digest(context),
            controls=[i for i, used in enumerate(context.technologies) if is_cheap(used)],
        )


def prepare(evaluation: Evaluation, folder: Path) -> Prepared:
    """Open everything the evaluation names and make its plan; nothing is written.

    Raises:
        ConfigurationError, ModelFileError, DatasetError, InferenceError: something named is
            missing or unfit.
        PluginError: a plug-in breaks its contract.
    """
    evaluation = with_methods(evaluation)
    if not evaluation.as_planned:
        evaluation = with_sweeps(with_presets(evaluation, partial(_lacks, evaluation)))
    paths = tuple(network_paths(evaluation.networks))
    networks = tuple(open_network(path) for path in paths)
    _check_networks(evaluation, networks)
    _check_layers(evaluation, networks)
    context = _context(evaluation, networks, folder)
    _check_machine(evaluation, context)
    _check_places(evaluation, networks, folder)
    context = _with_digests(evaluation, context)
    context = replace(
        context,
        marked=marked_files(evaluation, paths, context.sha256),
        references=references_of(evaluation, paths),
    )
    _check_samples(context, networks)
    _check_methods(evaluation, context)
    return Prepared(evaluation, networks, plan_record(evaluation, networks, context), context)


def single_context(
    evaluation: Evaluation, network: OnnxNetwork, folder: Path, *, training: bool = True
) -> Context:
    """The context of one injection or Modification outside an evaluation: no test, no plan.

    Files named in options are seen from the current folder, because no configuration names them.

    Args:
        evaluation: says what is trained on and how.
        network: the only one.
        folder: where state is kept.
        training: whether a Trainer is needed, which then is checked.
    """
    if training:
        _check_trainer(evaluation)
    table = evaluation.training or TrainingTable()
    context = _context(evaluation, [network], folder)
    return replace(
        context,
        base=Path.cwd(),
        trainings=_trainings(evaluation) if training else None,
        training_data=_training_data(evaluation),
        transfer_data=_source(evaluation, table.transfer.spec, "train") if table.transfer else None,
    )


def _lacks(evaluation: Evaluation, need: Need) -> str:
    """Why the evaluation cannot give what a Modification needs; "" where it can."""
    try:
        match need:
            case "trainer" if evaluation.training is None:
                return "the evaluation has no table [training]"
            case "trainer" if plugins.create(Task, evaluation.task.spec).minimised() is None:
                return f"networks of the task {evaluation.task.name} cannot be trained"
            case "trainer":
                _check_trainer(evaluation)
            case "data":
                load_samples(_training_data(evaluation))
            case "scale":
                table = evaluation.dataset
                given = load_samples(_source(evaluation, table.spec, table.split))
                return "" if given.scale else "nobody knows the scale of the samples"
    except NnwError as error:
        return str(error)
    return ""


def _check_places(evaluation: Evaluation, networks: Sequence[OnnxNetwork], folder: Path) -> None:
    """Refuse a run folder in which something lies that is read, or in a folder that is read."""
    given = [Path(p) for _, kind, t in located(evaluation) for p in _named_files(kind, t)]
    marked = [Path(p) for t in evaluation.marked for p in (t.marked, t.key) if p is not None]
    sources = [network.sources for network in (*networks, *_around(evaluation))]
    read = [*given, *marked, *(path for files in sources for path in files)]
    run = folder.resolve()
    for path in (path.resolve() for path in read):
        if path.is_relative_to(run) or (path.is_dir() and run.is_relative_to(path)):
            raise ConfigurationError(
                f"{folder}: expected a run folder apart from what is read, got one that shares "
                f"{str(path)!r}; choose another with --run-folder"
            )


def _around(evaluation: Evaluation) -> tuple[OnnxNetwork, ...]:
    chains = (_chain(evaluation, "before"), _chain(evaluation, "after"))
    return tuple(network for chain in chains for network in chain.networks)


def _named_files(kind: type[PlugIn], table: PluginTable) -> list[str]:
    return named_files(plugins.load(kind, table.name), table.spec)


def _context(evaluation: Evaluation, networks: Sequence[OnnxNetwork], folder: Path) -> Context:
    """What an evaluation says, before data are opened."""
    session, table = evaluation.session, evaluation.training or TrainingTable()
    needed = {need for plugin in participants(evaluation) for need in calls.needs(plugin)}
    training = trains(evaluation)
    transfer = table.transfer if "transfer" in needed else None
    return Context(
        folder=folder.resolve(),
        # A file of a Hugging Face cache is a link; its data lie beside the link.
        networks=tuple(n.path.parent.resolve() / n.path.name for n in networks),
        sha256=tuple(network.sha256 for network in networks),
        data=_source(evaluation, evaluation.dataset.spec, evaluation.dataset.split),
        task=evaluation.task.spec,
        batch_size=session.batch_size,
        false_positive_rate=evaluation.false_positive_rate,
        seed=evaluation.seed,
        settings=SessionSettings(session.providers, session.threads, session.optimization),
        technologies=technologies_of(evaluation),
        trainings=_trainings(evaluation) if training else None,
        training_data=_given_samples(evaluation, needed | ({"data"} if training else set())),
        transfer_data=_source(evaluation, transfer.spec, "train") if transfer else None,
        transfer=_source(evaluation, transfer.spec, evaluation.dataset.split) if transfer else None,
        base=evaluation.folder.resolve(),
        quality=evaluation.quality,
        resynchronise=evaluation.resynchronise,
        after=_chain(evaluation, "after"),
    )


def _source(evaluation: Evaluation, spec: Spec, split: str) -> Source:
    return Source(spec, split, before=_chain(evaluation, "before"))


def _chain(evaluation: Evaluation, side: Literal["before", "after"]) -> Chain:
    """The networks on one side of those under evaluation."""
    around, session = evaluation.composed, evaluation.session
    if around is None:
        return NOTHING
    names = around.before if side == "before" else around.after
    files = [single_network(f"composed.{side}.{i}", name) for i, name in enumerate(names)]
    settings = SessionSettings(session.providers, session.threads, session.optimization)
    return chain_of(files, settings, session.batch_size)


def _trainings(evaluation: Evaluation) -> Trainings:
    table = evaluation.training or TrainingTable()
    task = plugins.create(Task, evaluation.task.spec)
    loss = task.minimised()
    return Trainings(table.trainer.spec, table.recipe, loss, task.output, table.initial_epochs)


def _given_samples(evaluation: Evaluation, needed: Set[str]) -> Source | None:
    """The samples that benches give; those of the test where nothing but their scale is needed."""
    if "data" in needed:
        return _training_data(evaluation)
    table = evaluation.dataset
    return _source(evaluation, table.spec, table.split) if "scale" in needed else None


def _training_data(evaluation: Evaluation) -> Source:
    table, dataset = evaluation.training or TrainingTable(), evaluation.dataset.spec
    if table.limit is not None:
        dataset = Spec(dataset.name, {**dataset.options, "limit": table.limit})
    return _source(evaluation, dataset, table.split)


def _with_digests(evaluation: Evaluation, context: Context) -> Context:
    """The context with the digest of everything that it names; opens each of them once."""
    context = replace(
        context,
        data=_opened(context.data),
        training_data=context.training_data and _opened(context.training_data),
        transfer_data=context.transfer_data and _opened(context.transfer_data),
        transfer=context.transfer and _opened(context.transfer),
    )
    data = {"training": context.training_data, "transfer": context.transfer_data}
    files = {path for _, paths in files_of(evaluation) for path in paths}
    names = {name for plugin in participants(evaluation) for name in calls.opened(plugin)}
    sources = Sources(
        files=tuple((path, digest_of(Path(path))) for path in sorted(files)),
        networks=tuple((name, context.named(name).sha256) for name in sorted(names)),
        data=tuple((kind, source.digest) for kind, source in data.items() if source),
    )
    return replace(context, sources=sources)


def _opened(source: Source) -> Source:
    return replace(source, digest=load_samples(source).digest)


def _check_networks(evaluation: Evaluation, networks: Sequence[OnnxNetwork]) -> None:
    digests = [network.sha256 for network in networks]
    for network in networks:
        if digests.count(network.sha256) > 1:
            raise ConfigurationError(
                f"networks: expected networks that differ, got {network.path.name} under two "
                "names; leave one out"
            )
        if _changes_weights(evaluation) and not weight_layers(network):
            reason = network.no_weights_reason or "its weights are quantized"
            raise ConfigurationError(
                f"{network.path.name}: expected a network with weights that can be replaced, got "
                f"none: {reason}"
            )


def _check_layers(evaluation: Evaluation, networks: Sequence[OnnxNetwork]) -> None:
    """Names that each network itself must have: carriers, and what a first step is aimed at.

    Later steps of a stack are aimed at a network that does not exist yet.
    """
    found = Faults()
    for network in networks:
        names = {layer.name for layer in network.layers}
        for index, method in enumerate(evaluation.methods):
            found.lines += [
                f"methods.{index}.layer: expected a layer of {network.path.name}, got {name!r}"
                f"{plugins.closest(name, names)}; 'nnw layers' shows them"
                for name in method.layers
                if name not in names
            ]
        for index, table in enumerate(evaluation.modifications):
            wanted = table.stack[0].layers
            if wanted is not None and not isinstance(wanted, str):
                with found.at(f"modifications.{index}: {network.path.name}"):
                    select_layers(network, wanted)
    found.tell()


def _changes_weights(evaluation: Evaluation) -> bool:
    return any(
        (isinstance(plugin, Method) and not plugins.enrols(plugin))
        or (isinstance(plugin, Modification) and plugin.aims)
        for plugin in participants(evaluation)
    )


def _check_machine(evaluation: Evaluation, context: Context) -> None:
    """Providers and Trainer, where tasks run: asking a GPU would make this process hold it."""
    session = evaluation.session
    engine = plugins.create(Engine, evaluation.engine.spec)
    if not engine.elsewhere:
        unwrap(run_isolated(check_providers, session.providers, timeout=session.timeout))
        if trains(evaluation):
            _check_trainer(evaluation)
        return
    look = Look(_machine_works, context)
    asked = [trains(evaluation)]
    for outcome in engine.map(
        look, asked, timeout=session.timeout, memory_limit=session.memory_limit
    ):
        unwrap(outcome)


def _machine_works(context: Context, training: bool) -> None:
    """Raise `NnwError` where this machine has not what the tasks of a run need."""
    check_providers(context.settings.providers)
    if training and context.trainings is not None:
        trainer_works(context.trainings.trainer)


def _check_trainer(evaluation: Evaluation) -> None:
    trainer = (evaluation.training or TrainingTable()).trainer.spec
    unwrap(run_isolated(trainer_works, trainer, timeout=evaluation.session.timeout))


def _check_methods(evaluation: Evaluation, context: Context) -> None:
    """Ask every method whether it can work: code of the user's own may not be allowed to run."""
    found = Faults()
    places = [
        (index, table)
        for index, table in enumerate(evaluation.methods)
        for _ in payload_sizes(table, evaluation)
    ]
    for place, (index, table) in enumerate(places):
        with found.at(f"methods.{index}"):
            if table.elsewhere:
                _check_elsewhere(context, place)
            else:
                inject.check_way(context.technologies[place])
    found.tell()


def _check_elsewhere(context: Context, technology: int) -> None:
    method = plugins.create(Method, context.technologies[technology].method)
    for mark in (mark for mark in context.marked if mark.technology == technology):
        key = claim_of_file(mark).key
        guard.guarded(method, "check", lambda: method.check(None, key))  # noqa: B023 - called now


def trainer_works(spec: Spec) -> None:
    """Raise `NnwError` where a Trainer cannot be used; to be run in a process of its own."""
    trainer = plugins.create(Trainer, spec)
    guard.guarded(trainer, "check", trainer.check)


def _check_samples(context: Context, networks: Sequence[OnnxNetwork]) -> None:
    """Data that do not fit a network or the task are told before anything runs."""
    task = plugins.create(Task, context.task)
    for network in networks:
        samples = fitted(context.data, tuple(network.inputs))
        guard.guarded(task, "meter", lambda: task.meter(samples))  # noqa: B023 - called now
        if context.training_data:
            fitted(context.training_data, tuple(network.inputs))


def _common(context: Context) -> str:
    task = plugins.create(Task, context.task)
    return identity(
        seed=context.seed,
        data=context.data.digest,
        transfer=context.transfer and context.transfer.digest,
        task=context.sources.fields(task),
        batch_size=context.batch_size,
        false_positive_rate=context.false_positive_rate,
        settings=asdict(context.settings),
        # Trials of runs that do not ask for them are those of before they could be asked for.
        **({} if context.quality else {"quality": False}),
        **({"resynchronise": True} if context.resynchronise else {}),
        **({"after": list(context.after.sha256)} if context.after else {}),
    )


def _training_digest(context: Context) -> str:
    common = context.trainings
    if common is None:
        return ""
    trainer = plugins.create(Trainer, common.trainer)
    return identity(**{**asdict(common), "trainer": context.sources.fields(trainer)})
