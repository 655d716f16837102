"""The guard around one call of a plug-in: whatever it raises names it, its package and version.

What its answers must be is in `guard`, which knows networks; a configuration is read without those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nnw_onnx import plugins
from nnw_onnx.errors import ModelFileError, NnwError, PluginError
from nnw_onnx.vocabulary import Measure, Need, PlugIn, Task

T = TypeVar("T")

LONGEST = 300
"""Characters of somebody else's words in an error."""
_READ_ONLY = "read-only"


class MisuseError(PluginError):
    """A plug-in asks for what it may not have; the guard around it says which one."""


def named(plugin: PlugIn) -> str:
    """A plug-in in errors: name, package and version."""
    package, version = plugins.origin(plugin)
    return f"{plugin.name} ({f'{package} {version}'.strip()})"


def guarded(plugin: PlugIn, what: str, call: Callable[[], T]) -> T:
    """The answer of a plug-in.

    Args:
        plugin: who is called.
        what: what it is asked to do, such as "decode".
        call: the call.

    Raises:
        PluginError: it raised anything that is no error of the project, gave a network weights that
            no network can have, wrote into an array that it was given, or asked for what it may not
            have.
        NnwError: what it raised on purpose, unchanged.
    """
    try:
        return call()
    except MisuseError as error:
        raise PluginError(f"{named(plugin)}: {what}: {error}") from error
    except ModelFileError as error:
        # Weights that do not fit, or a model file that it wrote and that cannot be opened.
        raise fault(plugin, what, f"an answer that fits the network, got: {error}") from error
    except (NnwError, KeyboardInterrupt):
        raise
    # An exit of a plug-in would end the run, and its status would be taken for an answer.
    except BaseException as error:
        raise _fault_of(plugin, what, error) from error


def fault(plugin: PlugIn, what: str, expected: str) -> PluginError:
    """The error of a plug-in that breaks its contract; `expected` says ", got" too."""
    return PluginError(f"{named(plugin)}: {what}: expected {expected}; mend or remove the plug-in")


def needs(plugin: PlugIn) -> tuple[Need, ...]:
    """What a plug-in must be given; raises `PluginError` where it does not say."""
    needed = guarded(plugin, "needed", plugin.needed)
    expect_words(plugin, "needed", "names", needed)
    return tuple(needed)


def opened(plugin: PlugIn) -> tuple[str, ...]:
    """Names of the networks that a plug-in opens; raises `PluginError` likewise."""
    names = guarded(plugin, "opens", plugin.opens)
    expect_words(plugin, "opens", "names", names)
    return tuple(names)


def measured(task: Task) -> tuple[Measure, ...]:
    """What a task measures, the headline first; raises `PluginError` likewise."""
    found = guarded(task, "measured", task.measured)
    known = isinstance(found, tuple) and all(isinstance(one, Measure) for one in found)
    if not known or not found:
        raise fault(task, "measured", "at least one Measure, got something else")
    return found


def expect_words(plugin: PlugIn, what: str, name: str, words: object) -> None:
    """Raise `PluginError` where what a plug-in gives as texts is something else."""
    if not isinstance(words, tuple | list) or not all(isinstance(word, str) for word in words):
        raise fault(plugin, what, f"texts as {name}, got something else")


def _fault_of(plugin: PlugIn, what: str, error: BaseException) -> PluginError:
    if isinstance(error, ValueError) and _READ_ONLY in str(error):
        return fault(
            plugin, what, "what it is given to stay as it is, got a change of an array of it"
        )
    words = " ".join(str(error).split())[:LONGEST]
    return fault(plugin, what, f"an answer, got {type(error).__name__}: {words}")
