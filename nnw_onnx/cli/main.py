"""The typer application `nnw` and its entry point."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.commands_actors import ambiguity
from nnw_onnx.cli.commands_aif import aif_app
from nnw_onnx.cli.commands_catalogue import list_plugins, new_evaluation
from nnw_onnx.cli.commands_compare import compare, plan_power
from nnw_onnx.cli.commands_conform import conform
from nnw_onnx.cli.commands_doctor import doctor
from nnw_onnx.cli.commands_gate import gate
from nnw_onnx.cli.commands_integrity import integrity_app
from nnw_onnx.cli.commands_key import import_, seed, show
from nnw_onnx.cli.commands_network import inject, layers, modify
from nnw_onnx.cli.commands_owner import decode, detect, verify_commitment
from nnw_onnx.cli.commands_recipients import recipients_app
from nnw_onnx.cli.commands_run import InterruptedRunError, evaluate, log, report
from nnw_onnx.cli.commands_tune import tune
from nnw_onnx.cli.commands_view import view
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import NnwError, expected
from nnw_onnx.version import __version__

ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    name="nnw",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "layers": layers,
    "inject": inject,
    "decode": decode,
    "detect": detect,
    "verify-commitment": verify_commitment,
    "ambiguity": ambiguity,
    "modify": modify,
    "gate": gate,
    "evaluate": evaluate,
    "report": report,
    "log": log,
    "conform": conform,
    "compare": compare,
    "view": view,
    "plan-power": plan_power,
    "tune": tune,
    "list": list_plugins,
    "new-evaluation": new_evaluation,
    "doctor": doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(with_verbosity(command))
KEY_COMMANDS: dict[str, Callable[..., None]] = {"import": import_, "show": show, "seed": seed}
key_app = typer.Typer(
    help="Import a foreign key, show a key, make a seed.",
    rich_markup_mode=None,
)
for name, command in KEY_COMMANDS.items():
    key_app.command(name)(with_verbosity(command))
app.add_typer(key_app, name="key")
app.add_typer(recipients_app)
app.add_typer(integrity_app)
app.add_typer(aif_app)


@app.callback(invoke_without_command=True)
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
            status = app(args=arguments, prog_name="nnw", standalone_mode=False)
    except InterruptedRunError as interruption:
        output.note(str(interruption))
        return INTERRUPTED
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
