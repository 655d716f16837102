"""Every line of code stays in its room: what import contracts cannot see."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnw_onnx

PACKAGE = Path(nnw_onnx.__file__).parent
FILES = {p.relative_to(PACKAGE).as_posix(): p for p in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
PLUGIN_FOLDERS = ("methods", "codes", "modifications", "datasets", "tasks", "engines")
PLUGINS = [
    name
    for name in FILES
    if any(name.startswith(f"{folder}/") for folder in PLUGIN_FOLDERS)
    and not name.rsplit("/", 1)[1].startswith("_")
]

MAY_OPEN_FILES = (
    "__main__.py",  # nothing but the null device, in place of closed streams
    "aif/files.py",
    "aif/archives.py",
    "graph/",
    "datasets/",
    "kit/cache.py",
    "kit/parcels.py",  # what tasks on other machines read, by its content
    "kit/parcel_room.py",
    "kit/reading.py",
    "kit/images.py",
    "kit/sources.py",
    "kit/signals.py",
    "modifications/",  # converters work from file to file
    "runs/store.py",
    "runs/folders.py",
    "runs/arrays.py",
    "runs/finished.py",
    "kit/writing.py",
    "runs/keys.py",
    "runs/toml.py",
    "reports/documents.py",
    "measures/clock.py",
    "measures/environment.py",
    "inference/quantization.py",  # converters work from file to file
    "inference/providers.py",  # the profile that onnxruntime has just written
    "testing/",
    "inference/isolation.py",  # the null device, to silence a child
    "cli/output.py",  # likewise, for a reader that went away
)
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink"}
CLOCKS = {"time", "datetime", "timeit"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as written, an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inside = dotted(node.value)
        return f"{inside}.{node.attr}" if inside else f".{node.attr}"
    return ""


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func)


def in_room(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name.startswith(room) if room.endswith("/") else name == room for room in rooms)


def opens_a_file(call: str) -> bool:
    if call in {"open", "os.open", "np.load", "np.save", "np.savez", "zipfile.ZipFile"}:
        return True
    return call.rpartition(".")[2] in FILE_METHODS and "." in call


def found(problem: str, where: list[str]) -> None:
    assert not where, f"{problem}: {', '.join(where)}"


def test_the_rules_recognise_what_they_forbid() -> None:
    tree = ast.parse("import time\nfrom numpy.random import default_rng\nPath(x).read_text()\n")
    assert "time" in {m.split(".")[0] for m in imported(tree)}
    assert "numpy.random.default_rng" in imported(tree)
    assert any(opens_a_file(call) for call in calls(tree))
    assert not any(opens_a_file(call) for call in calls(ast.parse("api.open(model)")))


def test_only_one_file_reads_the_clock() -> None:
    found(
        "the clock is read only in measures/clock.py",
        [
            name
            for name, tree in TREES.items()
            if name != "measures/clock.py"
            and (
                CLOCKS & {m.split(".")[0] for m in imported(tree)}
                or any(call.endswith("getrusage") for call in calls(tree))
            )
        ],
    )


def test_only_measures_looks_at_the_machine() -> None:
    found(
        "psutil belongs to measures/",
        [
            name
            for name, tree in TREES.items()
            if not in_room(name, ("measures/", "inference/"))
            and "psutil" in {m.split(".")[0] for m in imported(tree)}
        ],
    )


def test_only_seeds_makes_generators() -> None:
    makers = ("default_rng", "Generator", "RandomState", "SeedSequence")
    found(
        "generators are made only in runs/seeds.py",
        [
            name
            for name, tree in TREES.items()
            # An input sample or a block has a generator that follows from the one that was given.
            if not in_room(
                name,
                ("runs/seeds.py", "testing/", "vocabulary/modifications.py", "math/kernels.py"),
            )
            and (
                any(c.rpartition(".")[2] in makers for c in calls(tree))
                or "random" in {m.split(".")[0] for m in imported(tree)}
                or any(m.startswith("numpy.random.") for m in imported(tree))
            )
        ],
    )


def test_files_are_opened_only_where_they_may_be() -> None:
    found(
        "files are opened only in the rooms that own them",
        [
            f"{name} ({call})"
            for name, tree in TREES.items()
            if not in_room(name, MAY_OPEN_FILES)
            for call in calls(tree)
            if opens_a_file(call)
        ],
    )


def test_only_the_sink_prints() -> None:
    found(
        "only cli/output.py writes to the terminal",
        [
            name
            for name, tree in TREES.items()
            if name != "cli/output.py"
            and (
                "print" in calls(tree)
                or any(
                    isinstance(node, ast.Attribute) and dotted(node) in ("sys.stdout", "sys.stderr")
                    for node in ast.walk(tree)
                )
            )
        ],
    )


def test_nothing_is_unpickled() -> None:
    found(
        "pickles are never read",
        [
            name
            for name, tree in TREES.items()
            if {"pickle", "dill", "joblib", "cloudpickle"}
            & {m.split(".")[0] for m in imported(tree)}
            or any(
                keyword.arg == "allow_pickle"
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                for keyword in node.keywords
            )
        ],
    )


@pytest.mark.parametrize("name", PLUGINS)
def test_plugins_do_not_know_each_other(name: str) -> None:
    folder, _, _ = name.rpartition("/")
    siblings = {
        f"nnw_onnx.{p[:-3].replace('/', '.')}" for p in PLUGINS if p.startswith(f"{folder}/")
    } - {f"nnw_onnx.{folder.replace('/', '.')}.__init__"}
    known = {m for m in imported(TREES[name]) for s in siblings if m == s or m.startswith(f"{s}.")}
    assert not known


def test_capabilities_are_decided_in_one_place() -> None:
    found(
        "what a plug-in can do is told by its classes, in plugins.py",
        [
            name
            for name, tree in TREES.items()
            if name != "plugins.py" and {"hasattr", "getattr"} & set(calls(tree))
        ],
    )


def test_no_room_but_tasks_knows_a_task() -> None:
    tasks = [path.stem.replace("_", "-") for path in (PACKAGE / "tasks").glob("[a-z]*.py")]
    assert "image-classification" in tasks
    found(
        "tasks are named only in tasks/ (and as the default of a configuration)",
        [
            f"{name} ({task})"
            for name, path in FILES.items()
            for task in tasks
            if not in_room(name, ("tasks/", "runs/tables.py"))
            and any(f"{q}{task}{q}" in path.read_text(encoding="utf-8") for q in "\"'")
        ],
    )


@pytest.mark.parametrize("name", list(FILES))
def test_every_public_name_has_a_docstring(name: str) -> None:
    tree = TREES[name]
    assert ast.get_docstring(tree), f"{name}: a module says what it is for"
    found(
        "public names have a docstring",
        [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not any(dotted(d).endswith("overload") for d in node.decorator_list)
            and not ast.get_docstring(node)
        ],
    )


def test_every_module_imports_and_every_package_says_what_it_is() -> None:
    names = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "nnw_onnx.")]
    assert len(names) > 20
    for name in names:
        if name != "nnw_onnx.__main__":
            assert len((importlib.import_module(name).__doc__ or "").split()) > 2, name
