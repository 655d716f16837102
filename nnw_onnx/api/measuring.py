"""Modify a network, and measure what a watermark costs and survives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nnw_onnx import plugins
from nnw_onnx.api import arguments
from nnw_onnx.api.arguments import AnyNetwork, Layers, Options
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Claim, Json, Modification, Step

if TYPE_CHECKING:
    from nnw_onnx.measures.checks import Check
    from nnw_onnx.measures.compared import Comparison
    from nnw_onnx.records import Plan
    from nnw_onnx.reports.model import Conformance, Report
    from nnw_onnx.reports.requirements import Requirement
    from nnw_onnx.runs.evaluation import Evaluation
    from nnw_onnx.runs.forecast import Forecast
    from nnw_onnx.runs.prepare import Prepared
    from nnw_onnx.runs.repeating import Sameness
    from nnw_onnx.runs.store import Store


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
    """A finished evaluation.

    Attributes:
        folder: its run folder.
        report: what it came to.
        checks: what became of each requirement, in their order; as `bool` whether it is met.
    """

    folder: Path
    report: Report
    checks: tuple[Check, ...] = ()

    def __repr__(self) -> str:
        return f"<Evaluated: {self.folder}>"


@dataclass(frozen=True)
class Repeated(Evaluated):
    """An evaluation that was carried out once more.

    Attributes:
        same: its records beside those of the run that was repeated; as `bool` whether they are the
            same.
    """

    same: Sameness = field(kw_only=True)

    def __bool__(self) -> bool:
        return bool(self.same)


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
    providers: Sequence[str] = (),
) -> Modified:
    """Apply a Modification to a network.

    Args:
        network: a file, a network in memory (see `open`) or an open one; it is not changed.
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
        providers: likewise.

    Raises:
        ConfigurationError: the Modification, an option or a layer does not exist, or it is one of
            inputs, which no file can hold.
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
    """
    from nnw_onnx.runs import single

    made = plugins.create(Modification, arguments.modification_of(modification, intensity, options))
    if copies and "copies" not in made.needed():
        raise ConfigurationError(
            f"copies: expected none, because {modification} takes no others, got {len(copies)}; "
            "leave them out"
        )
    opened = arguments.opened(network)
    arguments.check_weights(opened)
    arguments.settings_of(providers)
    how = single.how_to_train(training, data, work_folder, arguments.log.info, providers)
    step = Step(made.spec(), arguments.patterns(layers))
    others = [arguments.opened(copy) for copy in copies]
    stacked = single.modify(opened, [step], seed, how, others)
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
    presets: Sequence[str] = (),
    require: Sequence[str] = (),
    progress: bool = True,
    retry_failed: bool = False,
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
        presets: Modifications that many ask for together, added to its own: names of
            `nnw list presets`, or TOML files.
        require: thresholds on the rows of the report, such as "quality.loss <= 1.0"; see
            `reports.requirements`. What the evaluation cannot tell is refused before it runs.
        progress: show progress bars on a terminal.
        retry_failed: whether injections, trials and costs that failed are tried again.

    Raises:
        ConfigurationError, DatasetError, ModelFileError, RunError: see their classes.
        UnavailableError: what the run needs is gone, such as space; the same call goes on later.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.runs.evaluate import default_folder

    wanted = _parsed(require)
    asked = arguments.asked(evaluation, data, engine, settings, presets)
    folder = Path(run_folder) if run_folder else default_folder(asked)
    return _carried_out(asked, folder, wanted, progress=progress, retry_failed=retry_failed)


def repeat(
    run: str | Path,
    *,
    files: Sequence[str | Path] = (),
    data: str | Path | None = None,
    run_folder: str | Path | None = None,
    engine: str | None = None,
    require: Sequence[str] = (),
    progress: bool = True,
) -> Repeated:
    """Carry out the evaluation of a run once more; as `bool` whether its records are the same.

    Configuration and seed are those of its plan. Its networks and files are found by name and known
    by their digests. Call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        run: a run folder.
        files: folders in which its files are looked for, before the current folder and the one
            beside the run.
        data: folder or file of the data set, where it lies elsewhere.
        run_folder: where records and report go; "<run>-again" if None.
        engine: name of an engine, which no record depends on; serial if None.
        require: see `evaluate`.
        progress: likewise.

    Raises:
        RunError: there is no run, or a file is gone or another one.
        ConfigurationError, DatasetError, ModelFileError: see `evaluate`.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.records import Plan
    from nnw_onnx.runs import repeating
    from nnw_onnx.runs.evaluation import with_engine
    from nnw_onnx.runs.store import Store

    wanted, first = _parsed(require), Path(run)
    asked = repeating.repeated(
        first, [Path(f) for f in files], None if data is None else Path(data)
    )
    asked = asked if engine is None else with_engine(asked, engine)
    folder = Path(run_folder) if run_folder else repeating.default_folder(first)
    planned = Store(first).read(Plan)
    done = _carried_out(asked, folder, wanted, progress=progress, planned=planned)
    same = repeating.compared(first, folder)
    return Repeated(done.folder, done.report, done.checks, same=same)


def _parsed(require: Sequence[str]) -> list[Requirement]:
    from nnw_onnx.reports import requirements

    return [requirements.parsed(text) for text in require]


def _carried_out(
    asked: Evaluation,
    folder: Path,
    wanted: Sequence[Requirement],
    *,
    progress: bool,
    planned: Plan | None = None,
    retry_failed: bool = False,
) -> Evaluated:
    """Carry an evaluation out; the plan that it repeats, if any, must be the same."""
    from nnw_onnx.reports import requirements
    from nnw_onnx.runs import evaluate as runs
    from nnw_onnx.runs.prepare import prepare
    from nnw_onnx.runs.repeating import check_same

    if folder.exists() and not folder.is_dir():
        raise RunError(
            f"{folder}: expected a run folder, got a file; choose another with --run-folder"
        )
    prepared = prepare(asked, folder)
    if planned is not None:
        check_same(planned, prepared.plan)
    requirements.expect_rows(wanted, prepared.plan)
    _tell_short(prepared)
    tell = arguments.log.warning
    runs.run(prepared, progress=progress, tell=tell, retry_failed=retry_failed)
    made = report(folder)
    evaluated = Evaluated(folder, made, requirements.checked(wanted, made))
    runs.check_measured(folder)
    return evaluated


def forecast(
    evaluation: str | Path | Evaluation | None = None,
    *,
    data: str | Path | None = None,
    engine: str | None = None,
    settings: Options | None = None,
    presets: Sequence[str] = (),
    require: Sequence[str] = (),
) -> Forecast:
    """What an evaluation would do, in numbers, and about how long it would take.

    Every network is looked at as before a run, and one step of each kind is carried out and timed;
    nothing is kept. Call it under `if __name__ == "__main__":`, because it starts processes.

    Args:
        evaluation: see `evaluate`, also for the others.
        data: likewise.
        engine: likewise.
        settings: likewise.
        presets: likewise.
        require: likewise; what the evaluation cannot tell is refused here too.

    Raises:
        ConfigurationError, DatasetError, ModelFileError: what `evaluate` would raise too.
    """
    from nnw_onnx.inference import leave_if_importing_main

    leave_if_importing_main()
    from nnw_onnx.reports import requirements
    from nnw_onnx.runs import evaluate as runs
    from nnw_onnx.runs import first_look
    from nnw_onnx.runs import forecast as forecasting
    from nnw_onnx.runs.prepare import prepare

    wanted = _parsed(require)
    asked = arguments.asked(evaluation, data, engine, settings, presets)
    prepared = prepare(asked, runs.default_folder(asked))
    requirements.expect_rows(wanted, prepared.plan)
    _tell_short(prepared)
    first_look.look(prepared, tell=arguments.log.warning)
    return forecasting.forecast(prepared)


def report(run_folder: str | Path, *, into: str | Path | None = None) -> Report:
    """Write the report of a run folder again from its records; nothing is run.

    Args:
        run_folder: of an evaluation, whole or not; also one that cannot be written, with `into`.
        into: folder for the documents, made where it is missing; the run folder if None.

    Raises:
        RunError: there is no run, its records are broken, or the documents cannot be written.
    """
    from nnw_onnx.reports import write_documents
    from nnw_onnx.runs.folders import make
    from nnw_onnx.runs.store import Store

    store = Store(Path(run_folder))
    made = _report(store)
    if into is not None:
        make(Path(into), "--into")
    write_documents(made, store.folder if into is None else Path(into))
    return made


def _report(store: Store) -> Report:
    """The report of the records of a folder."""
    from nnw_onnx.records import CostRecord, Environment, InjectionRecord, Plan, TrialRecord
    from nnw_onnx.reports import build_report
    from nnw_onnx.runs.collecting import uncollected

    with uncollected():
        return build_report(
            store.read(Plan),
            store.records(InjectionRecord),
            store.records(TrialRecord),
            store.records(CostRecord),
            store.read_if_there(Environment),
        )


def conform(run_folder: str | Path, profile: str = "nnt-1.1") -> Conformance:
    """The clauses of a document of the standard, each asked of a run: met, not met, and why.

    Nothing is run or written, and nothing is certified: the standard has no pass or fail. What it
    gives is true where no clause is "not met".

    Args:
        run_folder: of an evaluation, whole or not.
        profile: "nnt-1.1", "nnw-1.0" (also called "ieee-3304") or "tec-1.0".

    Raises:
        ConfigurationError: there is no such profile.
        RunError: there is no run, or its records are broken.
    """
    from nnw_onnx.reports.conformance import find
    from nnw_onnx.runs.store import Store

    wanted = find(profile)
    made = _report(Store(Path(run_folder)))
    return next(c for c in made.conformance if c.profile == wanted.name)


def _tell_short(prepared: Prepared) -> None:
    """Say of which technologies no claim can be shown, before anything is measured."""
    from nnw_onnx.runs.claims import too_short

    context = prepared.context
    for line in too_short(context.technologies, context.false_positive_rate):
        arguments.log.warning(line)


def compare(
    *run_folders: str | Path,
    claims: Literal["overall", "settings"] = "overall",
    bits: Sequence[int] = (),
) -> Comparison:
    """The technologies of one or several runs side by side, as `nnw compare` prints them.

    Args:
        run_folders: of evaluations of the same networks and data at the same level.
        claims: whether something is claimed of each pair of technologies, or of each pair in each
            setting, which takes more networks.
        bits: payload sizes that are compared; all if empty.

    Raises:
        RunError: a folder is no run, is given twice, or differs in what has to be equal.
    """
    from nnw_onnx.runs import compare as comparing

    return comparing.compare([Path(folder) for folder in run_folders], claims, bits)
