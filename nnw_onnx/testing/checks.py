"""The contract of a plug-in as a list of checks; a third party runs the same ones as we do.

A broken contract raises `PluginError`, in words for the author of the plug-in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from nnw_onnx.errors import PluginError
from nnw_onnx.vocabulary import adds_to_training


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


def check_method(method: Any) -> list[Check]:
    """The checks of a watermarking method, given as class (all defaults) or instance.

    Which ones depends on how it is put in: by `inject`, by a penalty of weights or of activations,
    or by a set of triggers; a method that has several ways must pass the checks of each.
    """
    from nnw_onnx.testing import _activations, _form, _method, _penalty, _triggers

    clauses = dict(_form.clauses("methods"))
    if hasattr(method, "inject"):
        clauses |= _method.CLAUSES
    if hasattr(method, "weight_penalty"):
        clauses = _penalty.METHOD_CLAUSES | clauses | _penalty.CLAUSES
    if hasattr(method, "activation_penalty"):
        clauses |= _activations.CLAUSES
    if hasattr(method, "triggers"):
        clauses |= _triggers.CLAUSES
    return _bind(method, clauses, lambda: made(method))


def check_modification(modification: Any, intensity: float | None = None) -> list[Check]:
    """The checks of a Modification, given as class or instance.

    A class is made with its defaults and `intensity` (default: the largest of its Parameter).
    """
    from nnw_onnx.testing import _form, _modification, _trained_modification

    def subject() -> Any:
        if not isinstance(modification, type):
            return modification
        strongest = modification.parameter.high  # type: ignore[attr-defined]  # a plug-in's own
        return made(modification, intensity=strongest if intensity is None else intensity)

    return [
        *_bind(modification, dict(_form.clauses("modifications")), subject),
        *_bind(
            modification,
            _trained_modification.CLAUSES
            if hasattr(modification, "modify_by_training")
            else _modification.CLAUSES,
            subject,
        ),
    ]


def check_plugin(plugin: Any) -> list[Check]:
    """The checks of a method or of a Modification, whichever it is.

    Raises:
        PluginError: it is neither.
    """
    if hasattr(plugin, "modify_weights") or hasattr(plugin, "modify_by_training"):
        return check_modification(plugin)
    if hasattr(plugin, "inject") or adds_to_training(plugin):
        return check_method(plugin)
    raise PluginError(
        "plug-in: expected a class with modify_weights, inject or what a training adds, got "
        f"{plugin!r}; see nnw_onnx.vocabulary"
    )


def made(plugin: Any, **options: Any) -> Any:
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


def _bind(
    plugin: Any, clauses: dict[str, Callable[[Any], None]], subject: Callable[[], Any]
) -> list[Check]:
    label = getattr(plugin, "name", None) or getattr(plugin, "__name__", "plug-in")

    def bound(name: str, clause: Callable[[Any], None]) -> Check:
        return Check(f"{label}: {name}", lambda: clause(subject()))

    return [bound(name, clause) for name, clause in clauses.items()]
