"""The contract of a plug-in as a list of checks; a third party runs the same ones as we do.

A broken contract raises `PluginError`, in words for the author of the plug-in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeGuard, TypeVar

from nnw_onnx.errors import NnwError, PluginError
from nnw_onnx.vocabulary import (
    Code,
    Dataset,
    Method,
    Modification,
    PlugIn,
    Recipe,
    Samples,
    Task,
    Values,
)

P = TypeVar("P", bound=PlugIn)
Subject = TypeVar("Subject")


@dataclasses.dataclass(frozen=True)
class Check:
    """One clause of the contract, ready to run.

    Attributes:
        name: "plug-in: clause", the id of the test.
        run: raises `PluginError` where the clause is broken.
    """

    name: str
    run: Callable[[], None] = dataclasses.field(repr=False, compare=False)

    def __call__(self) -> None:
        """Run the check."""
        self.run()

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class TaskCase:
    """A task with something to measure: what its checks need.

    Attributes:
        task: the task.
        samples: a few samples.
        answers: outputs (n, ...) of a good network for all of them.
    """

    task: Task
    samples: Samples
    answers: Values


def check_method(method: Method | type[Method], recipe: Recipe | None = None) -> list[Check]:
    """The checks of a method, given as class (all defaults) or instance.

    Which ones depends on what it subclasses, on its `kind` and its `alphabet`. A method that is put
    in by training is trained once, whatever the number of checks.

    Args:
        method: the method.
        recipe: of the training on `small_network`; by default 60 epochs at a learning rate of 0.02.
    """
    from nnw_onnx.testing import form, methods

    subject = methods.Subject(lambda: made(method), recipe or methods.RECIPE)
    return [
        *_bind(method, form.CLAUSES, subject.made),
        *_bind(method, methods.clauses(_class(method)), lambda: subject),
    ]


def check_modification(
    modification: Modification | type[Modification], intensity: float | None = None
) -> list[Check]:
    """The checks of a Modification, given as class or instance.

    A class is made with its defaults and `intensity` (default: the largest of its Parameter).
    """
    from nnw_onnx.testing import form, modifications

    kind = _class(modification)

    def subject() -> Modification:
        parameter = kind.parameter
        if parameter is None or not isinstance(modification, type):
            return made(modification)
        value = parameter.high if intensity is None else intensity
        return made(modification, **({} if value is None else {parameter.option: value}))

    return [
        *_bind(modification, form.CLAUSES | form.MODIFICATION_CLAUSES, subject),
        *_bind(modification, modifications.clauses(kind), subject),
    ]


def check_code(code: Code | type[Code]) -> list[Check]:
    """The checks of an error-correcting code, given as class or instance."""
    from nnw_onnx.testing import codes, form

    return _bind(code, form.CLAUSES | codes.CLAUSES, lambda: made(code))


def check_dataset(dataset: Dataset | type[Dataset]) -> list[Check]:
    """The checks of a data set, given as class or instance; its files must be there."""
    from nnw_onnx.testing import data, form

    return _bind(dataset, form.CLAUSES | data.DATASET_CLAUSES, lambda: made(dataset))


def check_task(task: Task, samples: Samples, answers: Values) -> list[Check]:
    """The checks of a task on a few samples; see `TaskCase`."""
    from nnw_onnx.testing import data, form

    case = TaskCase(task, samples, answers)
    return [
        *_bind(task, form.CLAUSES, lambda: task),
        *_bind(task, data.TASK_CLAUSES, lambda: case),
    ]


def check_plugin(plugin: PlugIn | type[PlugIn] | TaskCase) -> list[Check]:
    """The checks of a plug-in, whichever kind it is.

    Raises:
        PluginError: it is of no kind that has checks.
    """
    if isinstance(plugin, TaskCase):
        return check_task(plugin.task, plugin.samples, plugin.answers)
    if _is(plugin, Method):
        return check_method(plugin)
    if _is(plugin, Modification):
        return check_modification(plugin)
    if _is(plugin, Code):
        return check_code(plugin)
    if _is(plugin, Dataset):
        return check_dataset(plugin)
    raise PluginError(
        "plug-in: expected a Method, Modification, Code or Dataset of nnw_onnx.vocabulary, or a "
        f"TaskCase, got {plugin!r}; subclass one of them"
    )


def made(plugin: P | type[P], **options: object) -> P:
    """An instance with its options checked as `plugins.create` does it."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(plugin, type):
        return plugin
    try:
        return TypeAdapter(plugin).validate_python(options)
    except ValidationError as error:
        raise PluginError(
            f"{plugin.__name__}: expected it to be made from {options or 'its defaults'}, got: "
            f"{error.errors()[0]['msg']}; pass an instance to the checks"
        ) from error


def require(condition: object, expected: str, got: object, todo: str) -> None:
    """Raise `PluginError` "expected ..., got ...; todo" unless the condition holds."""
    if not condition:
        raise PluginError(f"expected {expected}, got {got}; {todo}")


def refused(error: type[NnwError], what: str, act: Callable[[], object]) -> None:
    """Require an error of one line."""
    try:
        act()
    except error as raised:
        require("\n" not in str(raised), "an error of one line", repr(str(raised)), "shorten it")
        return
    require(False, f"{error.__name__} for {what}", "no error", "refuse it")


def _is(plugin: object, kind: type[P]) -> TypeGuard[P | type[P]]:
    return isinstance(plugin, kind) or (isinstance(plugin, type) and issubclass(plugin, kind))


def _class(plugin: P | type[P]) -> type[P]:
    return plugin if isinstance(plugin, type) else type(plugin)


def _bind(
    plugin: PlugIn | type[PlugIn],
    clauses: dict[str, Callable[[Subject], None]],
    subject: Callable[[], Subject],
) -> list[Check]:
    label = vars(_class(plugin)).get("name") or _class(plugin).__name__

    def bound(name: str, clause: Callable[[Subject], None]) -> Check:
        return Check(f"{label}: {name}", lambda: clause(subject()))

    return [bound(name, clause) for name, clause in clauses.items()]
