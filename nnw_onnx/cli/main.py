"""The typer application `nnw` and its entry point."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.output import InterruptedRunError
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import NnwError, expected
from nnw_onnx.version import __version__

ERROR, INTERRUPTED = 2, 130

COMMANDS = {
    "layers": "commands_network:layers",
    "inject": "commands_network:inject",
    "decode": "commands_owner:decode",
    "detect": "commands_owner:detect",
    "verify-commitment": "commands_owner:verify_commitment",
    "ambiguity": "commands_actors:ambiguity",
    "modify": "commands_network:modify",
    "gate": "commands_gate:gate",
    "evaluate": "commands_run:evaluate",
    "report": "commands_run:report",
    "log": "commands_run:log",
    "conform": "commands_conform:conform",
    "compare": "commands_compare:compare",
    "view": "commands_view:view",
    "plan-power": "commands_compare:plan_power",
    "tune": "commands_tune:tune",
    "list": "commands_catalogue:list_plugins",
    "new-evaluation": "commands_catalogue:new_evaluation",
    "doctor": "commands_doctor:doctor",
}
"""Command -> the module of this room that has it, and the name of its function."""
GROUPS = {
    "key": "commands_key:key_app",
    "recipients": "commands_recipients:recipients_app",
    "integrity": "commands_integrity:integrity_app",
    "aif": "commands_aif:aif_app",
}


def application(words: Sequence[str] = ()) -> typer.Typer:
    """The application; of its commands only the one that these words begin with, else all.

    To load the others takes as long as many a command.
    """
    app = typer.Typer(
        name="nnw",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(start)
    first = words[0] if words else None
    known = first in COMMANDS or first in GROUPS
    for name in [first] if known else COMMANDS:
        if name in COMMANDS:
            app.command(name)(with_verbosity(_loaded(COMMANDS[name])))
    for name in [first] if known else GROUPS:
        if name in GROUPS:
            app.add_typer(_loaded(GROUPS[name]), name=name)
    return app


def _loaded(where: str) -> Any:
    module, _, name = where.partition(":")
    return vars(importlib.import_module(f"nnw_onnx.cli.{module}"))[name]


def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", is_eager=True)
    ] = False,
    allow_code: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Let this Python file of your own run where a configuration or key names it; "
            "repeatable.",
        ),
    ] = None,
) -> None:
    """Evaluate the watermark of a neural network in an ONNX file (MPAI-NNW / IEEE 3304).

    Answers go to stdout, messages to stderr. Exit status: 0 yes or done, 1 no, 2 error.
    """
    if version:
        output.text(f"nnw-onnx {__version__}")
        raise typer.Exit
    if allow_code:
        from nnw_onnx.kit import permissions

        context.with_resource(permissions.allow_code(*allow_code))
    if context.invoked_subcommand is None:
        output.document(context.get_help())
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; what a person can mend is told in one line.

    Args:
        arguments: the command line without the program's name; by default that of the process.
    """
    with output.listening():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *where: output.warning(str(message))
            words = sys.argv[1:] if arguments is None else arguments
            status = application(words)(args=words, prog_name="nnw", standalone_mode=False)
    except InterruptedRunError as interruption:
        output.note(str(interruption))
        return interruption.status
    except Exception as error:  # noqa: BLE001 - whatever happens must not look like the answer no
        output.LOGGER.debug("%s", type(error).__name__, exc_info=True)
        for line in _told(error):
            output.error(line)
        return ERROR
    if status == INTERRUPTED:
        output.note("interrupted")
    return status if isinstance(status, int) else 0


def _told(error: Exception) -> tuple[str, ...]:
    """What a person needs to know of an error, one line for each fault."""
    if isinstance(error, NnwError):
        return tuple(map(str, error.args))
    if isinstance(error, typer.TyperException):
        return (_usage(error),)
    if isinstance(error, OSError):
        return (_refused(error),)
    if isinstance(error, MemoryError):
        return ("expected enough memory, got none left; use a smaller model or payload",)
    return (
        f"internal error: expected this to work, got {type(error).__name__}: {error}; it is a bug "
        "of nnw: please report it with what -v shows",
    )


def _usage(error: typer.TyperException) -> str:
    context = vars(error).get("ctx")  # only some of typer's exceptions have one
    command = context.command_path if context else "nnw"
    message = expected(" ".join(error.format_message().split()).replace("Value error, ", ""))
    return f"{message.rstrip('.')}; see '{command} --help'"


def _refused(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}expected a file or folder that can be used, got: {error.strerror or error}; "
        "check its name, its rights and the space that is left"
    )
