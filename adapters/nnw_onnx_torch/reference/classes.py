"""The class of a file, as it was permitted, and what it can do by its documented signature."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from nnw_onnx.errors import PluginError, shortened
from nnw_onnx.kit.permissions import MOST_BYTES
from nnw_onnx.plugins import closest

ARGUMENTS = {"Embedder": 2, "Embedder_one_step": 5, "Detector": 2, "Decoder": 2}
"""Arguments of each member of the contract: (model, dict), or (model, training set, optimizer, cost
function, dict)."""
_FREE = ("Extractor", "Matcher")
"""Members that the contract has as functions of the class, without saying of what."""
_MODULE = "reference_class"
_LONGEST = 300


def loaded(path: Path, sha256: str, name: str) -> type:
    """The class of a file whose content has this digest; the file runs.

    Raises:
        PluginError: the file is another one by now, or has no such class.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PluginError(
            f"{path.name}: expected the file that may run, got one that was changed since; give "
            "leave again"
        )
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module
    exec(compile(content, str(path), "exec"), vars(module))  # noqa: S102 - what leave was given for
    found = vars(module).get(name)
    if not isinstance(found, type):
        classes = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise PluginError(
            f"{path.name}: expected a class {name}, got {', '.join(classes) or 'none'}"
            f"{closest(name, classes)}; correct class_name"
        )
    return found


def members(instance: object) -> dict[str, str]:
    """Members of the contract that a class has, each with what is wrong with it, or ""."""
    found = {n: _wrong(member_of(instance, n), ARGUMENTS.get(n)) for n in (*ARGUMENTS, *_FREE)}
    return {name: wrong for name, wrong in found.items() if wrong is not None}


def member_of(instance: object, name: str) -> Callable[..., object] | None:
    """A member of an instance, or None."""
    found: Callable[..., object] | None = getattr(instance, name, None)
    return found


def takes(member: Callable[..., object], count: int) -> bool:
    """Whether a function can be called with so many arguments by place."""
    try:
        inspect.signature(member).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def told(error: BaseException, path: Path) -> str:
    """What went wrong in a class, in a few words with the line of its file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f" in line {lines[-1]}" if lines else ""
    words = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__}{where}: {words}" if words else f"{type(error).__name__}{where}"


def _wrong(member: Callable[..., object] | None, count: int | None) -> str | None:
    if member is None:
        return None
    if not callable(member):
        return f"expected a function, got {shortened(member, 40)}"
    if count is not None and not takes(member, count):
        return f"expected a function of {count} arguments, got one that takes others"
    return ""
