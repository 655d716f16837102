"""A run repeated from its folder: the evaluation that its plan was made of, and what came of it.

A plan names files without their folders, so they are looked for, and are known by their digests.
Keys and records follow from seed, configuration and files; the versions of what measured are noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import open_network
from nnw_onnx.records import Environment, InjectionRecord, Plan, TrialRecord
from nnw_onnx.runs import calls, checks, mistakes
from nnw_onnx.runs.places import SHIPPED_PREFIX, models_folder
from nnw_onnx.runs.store import Store
from nnw_onnx.runs.tables import Evaluation, ModificationTable, Table, mapped
from nnw_onnx.vocabulary import Dataset, PlugIn

_CURE = "give the folder that it lies in with --files"
_MOST_VERSIONS = 12


@dataclass(frozen=True)
class Sameness:
    """The records of two runs of one evaluation, beside each other.

    Attributes:
        records: injections and trials of the first run.
        differing: how many of them are not in the second byte by byte.
        versions: a line for each package that is another one.
    """

    records: int
    differing: int
    versions: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.differing == 0


def default_folder(run: Path) -> Path:
    """Beside the run that is repeated: "<name>-again"."""
    whole = run.resolve()
    return run.parent / f"{run.name or whole.name}-again" if run.name else whole.parent / "again"


def repeated(run: Path, files: Sequence[Path] = (), data: Path | None = None) -> Evaluation:
    """The evaluation of a run, with the files that it names found again.

    Args:
        run: its folder.
        files: folders in which its files are looked for, before the current folder and the one
            beside the run.
        data: where the data set lies, if elsewhere.

    Raises:
        RunError: there is no run, or a file is gone or another one.
        ConfigurationError: this version cannot read its configuration.
    """
    plan = Store(run).read(Plan)
    seeker = _Seeker((*files, Path(), run.parent))
    evaluation = _as_configured(plan, run, seeker.entries(plan))

    def found(kind: type[PlugIn], table: Table) -> Table:
        return seeker.table(kind, table, data if kind is Dataset else None)

    given = mapped(evaluation, found)
    if around := given.composed:
        moved = around.model_copy(update=seeker.around(plan, dict(around)))
        given = given.model_copy(update={"composed": moved})
    evaluation = given.planned(given.modifications, plan.left_out)
    checks.check(evaluation)
    names = [name for plugin in checks.participants(evaluation) for name in calls.opened(plugin)]
    return evaluation.at(seeker.base(names))


def check_same(planned: Plan, made: Plan) -> None:
    """Raise `RunError` where what would be repeated is not what was done.

    Args:
        planned: of the run.
        made: of the repetition.
    """
    if planned.evaluation_sha256 == made.evaluation_sha256:
        return
    for name, digest in planned.sources.items():
        if made.sources.get(name) != digest:
            raise RunError(
                f"{name}: expected what the run was made of (SHA-256 {digest[:16]}), got another "
                f"({made.sources.get(name, 'none')[:16]}); give it as it was"
            )
    raise RunError(
        f"--from: expected a run of this version's settings, got one of nnw-onnx "
        f"{planned.package_version}, whose configuration means something else here; install that "
        "version"
    )


def compared(first: Path, second: Path) -> Sameness:
    """The records of two runs, and the versions that may explain why they differ."""
    old, new = _records(first), _records(second)
    return Sameness(
        records=len(old),
        differing=len(old - new),
        versions=tuple(_versions(Store(first), Store(second))),
    )


def _records(folder: Path) -> set[str]:
    store = Store(folder)
    every = [*store.records(InjectionRecord), *store.records(TrialRecord)]
    return {record.model_dump_json() for record in every}


def _versions(first: Store, second: Store) -> Iterator[str]:
    old, new = (_used(store) for store in (first, second))
    differ = [name for name, version in old.items() if new.get(name, version) != version]
    for name in differ[:_MOST_VERSIONS]:
        yield f"{name}: {old[name]} in the run, {new[name]} here"


def _used(store: Store) -> dict[str, str]:
    """Everything that has a version, with it."""
    found = dict(store.read(Plan).plugins)
    machine = store.read_if_there(Environment)
    if machine is None:
        return found
    runtime = str(machine.settings.get("runtime"))
    return {**found, **machine.versions, "runtime": runtime, "system": machine.system}


def _as_configured(plan: Plan, run: Path, networks: Sequence[object]) -> Evaluation:
    """The configuration of a plan; but for networks, files are still without their folders."""
    document = {**plan.evaluation, "preview": {"samples": 0}, "networks": networks}
    elsewhere = sum(technology.elsewhere for technology in plan.technologies)
    methods = document.get("methods") or []
    if elsewhere and isinstance(methods, list):
        # They come from the keys of `[[networks]]` again.
        document["methods"] = methods[: len(methods) - elsewhere]
    try:
        evaluation = Evaluation.model_validate(document)
    except ValidationError as error:
        lines = [mistakes.one_line(Evaluation, f) for f in mistakes.deepest(error.errors())]
        raise ConfigurationError(*(f"{run}: {line}" for line in lines)) from error
    if len(evaluation.modifications) != len(plan.settings):
        raise RunError(
            f"{run}: expected a configuration with {len(plan.settings)} Modifications, as its plan "
            f"has, got {len(evaluation.modifications)}; the plan was changed"
        )
    tables: list[ModificationTable] = [
        table.of_preset(setting.preset)
        for table, setting in zip(evaluation.modifications, plan.settings, strict=True)
    ]
    return evaluation.with_modifications(tuple(tables), plan.left_out)


class _Seeker:
    """Finds files by their names in some folders, and knows networks by their digests."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))

    def entries(self, plan: Plan) -> list[object]:
        """The entries of `networks` with their files found, in the order of the plan."""
        files = [self._network(network.name, network.sha256) for network in plan.networks]
        told = plan.evaluation.get("networks")
        tables = [e for e in told if isinstance(e, dict)] if isinstance(told, list) else []
        found: list[object] = []
        for network, file in zip(plan.networks, files, strict=True):
            own = [table for table in tables if table.get("file") == network.name]
            found += [{**self._table(table), "file": file} for table in own] or [file]
        return found

    def around(
        self, plan: Plan, composed: Mapping[str, Sequence[str]]
    ) -> dict[str, tuple[str, ...]]:
        """The networks before and after those under evaluation, found by their digests."""
        return {
            side: tuple(
                self._network(name, plan.sources.get(f"network {i} {side}: {name}", ""))
                for i, name in enumerate(names)
            )
            for side, names in composed.items()
        }

    def base(self, names: Sequence[str]) -> Path:
        """The folder that names of networks in options are seen from.

        Raises:
            RunError: one of them leads out of any folder.
        """
        files = [name for name in names if not name.startswith(SHIPPED_PREFIX)]
        for name in files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise RunError(
                    f"{name}: expected a network beside the configuration, got a path that leads "
                    "elsewhere; repeat this run with its own configuration"
                )
        whole = (f for f in self.folders if all((f / name).is_file() for name in files))
        return next(whole, self.folders[0])

    def table(self, kind: type[PlugIn], table: Table, data: Path | None) -> Table:
        """A table of a plug-in with its files found; `data` stands for the first of a data set."""
        names = plugins.path_options(plugins.load(kind, table.name))
        given = {name: table.spec.options.get(name) for name in names}
        moved = {
            name: str(data.resolve() if data is not None and name == names[0] else
                      self._file(Path(str(path)).name))
            for name, path in given.items()
            if path is not None
        }  # fmt: skip
        return table.model_copy(update=moved)

    def _table(self, table: dict[str, object]) -> dict[str, str]:
        given = {name: Path(str(value)).name for name, value in table.items() if name != "file"}
        return {name: str(self._file(file)) for name, file in given.items()}

    def _file(self, name: str) -> Path:
        found = next((p for f in self.folders if (p := f / name).exists()), None)
        if found is None or name in ("", ".", ".."):
            raise RunError(
                f"{name}: expected the file or folder of the run, got none of that name; {_CURE} "
                "(data: --data)"
            )
        return found

    def _network(self, told: str, digest: str) -> str:
        """The first file of a network's name that has its digest."""
        name = Path(told).name
        there = [p for folder in self.folders if (p := folder / name).is_file()]
        there += [p for p in sorted(models_folder().rglob("*.onnx")) if p.name == name]
        for path in there:
            if open_network(path).sha256 == digest:
                return str(path)
        got = f"another in {there[0].parent}" if there else "none of that name"
        raise RunError(
            f"{name}: expected the network of the run (SHA-256 {digest[:16]}), got {got}; {_CURE}"
        )
