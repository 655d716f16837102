"""Digests of everything that a configuration names and that lies outside of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import calls
from nnw_onnx.runs.tables import Evaluation, MethodTable, located
from nnw_onnx.vocabulary import Dataset, Json, Method, Modification, PlugIn, Spec

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Sources:
    """What options of plug-ins name, as SHA-256: identities and seeds know contents, not places.

    Attributes:
        files: path of a file or folder, as the options have it -> digest of its content.
        networks: name of a network that a plug-in opens -> its digest.
        data: "training" and "transfer" -> digest of those samples, where they are needed.
    """

    files: tuple[tuple[str, str], ...] = ()
    networks: tuple[tuple[str, str], ...] = ()
    data: tuple[tuple[str, str], ...] = ()

    def fields(self, plugin: PlugIn) -> dict[str, Json]:
        """A plug-in as seeds and identities hash it: name, options, and what these name."""
        spec = self.without_places(type(plugin), plugin.spec())
        before = plugin.before if isinstance(plugin, Method | Modification) else {}
        options = {k: v for k, v in spec.options.items() if k not in before or v != before[k]}
        found: dict[str, Json] = {"name": spec.name, "options": options}
        if opened := calls.opened(plugin):
            found["opens"] = [dict(self.networks)[name] for name in opened]
        return found

    def samples(self, plugin: PlugIn) -> dict[str, Json]:
        """Digests of the samples that a plug-in gets, as identities hash them beside it."""
        needed = calls.needs(plugin)
        wanted = {"data": "training", "trainer": "training", "transfer": "transfer"}
        return {kind: dict(self.data)[kind] for need, kind in wanted.items() if need in needed}

    def without_places(self, kind: type[PlugIn], spec: Spec) -> Spec:
        """Digests instead of paths; a path that is not given is no option at all.

        So a method that learns to read files keeps the identities that it had without them.
        """
        known = dict(self.files)
        return with_paths(kind, spec, lambda path: known.get(path, path))


def with_paths(kind: type[PlugIn], spec: Spec, change: Callable[[str], str | None]) -> Spec:
    """The plug-in with each of its paths changed; one that is not given, or None, is left out."""
    options: dict[str, Json] = dict(spec.options)
    for name in plugins.path_options(kind):
        given = options.pop(name, None)
        changed = change(str(given)) if given is not None else None
        if changed is not None:
            options[name] = changed
    return Spec(spec.name, options)


def named_files(kind: type[PlugIn], spec: Spec) -> list[str]:
    """The paths among the options of a plug-in."""
    given = [spec.options.get(name) for name in plugins.path_options(kind)]
    return [str(path) for path in given if path is not None]


def files_of(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """Dotted path and files of each plug-in that names any.

    Those that a data set cannot do without are its samples, which have a digest of their own: they
    may lie in a folder or in an archive.
    """
    found = []
    for where, kind, table in located(evaluation):
        if isinstance(table, MethodTable) and table.elsewhere:
            continue  # its key holds what is read; the files were for putting it in
        plugin = plugins.load(kind, table.name)
        required = {option.name for option in plugins.options(plugin) if option.required}
        own = required if kind is Dataset else set()
        options = {k: v for k, v in table.spec.options.items() if k not in own}
        if paths := named_files(plugin, Spec(table.name, options)):
            found.append((where, paths))
    return found


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file, or of the names and contents of all files below a folder.

    Raises:
        ConfigurationError: there is no such file or folder, or it cannot be read.
    """
    try:
        if not path.is_dir():
            return _of_file(path)
        members = sorted(p for p in path.rglob("*") if p.is_file())
        state = hashlib.sha256()
        for member in members:
            name = member.relative_to(path).as_posix()
            state.update(f"{name}\0{_of_file(member)}\n".encode())
    except OSError as error:
        raise ConfigurationError(
            f"{path}: expected a file or folder that can be read, got: {error.strerror}; "
            "correct the option that names it"
        ) from error
    return state.hexdigest()


def _of_file(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
