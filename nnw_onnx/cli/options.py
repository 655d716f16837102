"""Options and arguments that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.vocabulary import Json, Key, Payload

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file of the network.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="ONNX file to write.")]
KeyFile = Annotated[
    Path, typer.Option("--key", metavar="KEY.npz", help="Key file that 'nnw inject' wrote.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Sidecar = Annotated[
    bool,
    typer.Option("--sidecar", help="Changed weights alone, beside MODEL's data."),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="Option of the plug-in; repeatable.",
        autocompletion=completion.options,
    ),
]
Presets = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Also the Modifications of 'nnw list presets', or of a TOML file; repeatable.",
        autocompletion=completion.presets,
    ),
]
Code = Annotated[
    str | None,
    typer.Option(
        "--code",
        metavar="NAME",
        help="Error-correcting code; see 'nnw list codes'.",
        autocompletion=completion.codes,
    ),
]
CodeSettings = Annotated[
    list[str] | None,
    typer.Option("--code-option", metavar="NAME=VALUE", help="Option of the code; repeatable."),
]
Training = Annotated[
    str | None,
    typer.Option(
        metavar="EVALUATION",
        help="Train: with [dataset], [training] and [methods.training] of this evaluation.",
        autocompletion=completion.evaluations,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data set to train on. [default: the evaluation's]"),
]
WorkFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="State of the training; run again to go on."),
]
Provider = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Runs networks: cuda, cuda:1, ...; repeatable.",
        autocompletion=completion.providers,
    ),
]

SeedFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Master seed of 'nnw key seed'; with --label."),
]
Label = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Network and recipient; each only once for a seed."),
]

DEFAULT_PAYLOAD_SIZE = 64
MAX_PAYLOAD = 1 << 20


def parse_settings(settings: Sequence[str] | None, option: str = "--option") -> dict[str, str]:
    """Options of a plug-in from NAME=VALUE; the plug-in's own types convert the values.

    Args:
        settings: as they were given.
        option: of the command line, for messages.

    Raises:
        ConfigurationError: no "=", no name, or a name given twice.
    """
    parsed: dict[str, str] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not name or not equals:
            raise ConfigurationError(
                f"{option}: expected NAME=VALUE, got {setting!r}; write for example margin=4"
            )
        if name in parsed:
            raise ConfigurationError(
                f"{option}: expected every name once, got {name!r} twice; leave one out"
            )
        parsed[name] = value.strip()
    return parsed


def parse_changes(settings: Sequence[str] | None) -> dict[str, Json]:
    """Keys of a configuration from KEY=VALUE, the values as TOML has them; what is none is a text.

    Raises:
        ConfigurationError: no "=", no key, or a key given twice.
    """
    parsed: dict[str, Json] = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        key = key.strip()
        if not key or not equals:
            raise ConfigurationError(
                f"--set: expected KEY=VALUE, got {setting!r}; write for example session.threads=2"
            )
        if key in parsed:
            raise ConfigurationError(
                f"--set: expected every key once, got {key!r} twice; leave one out"
            )
        parsed[key] = _toml_value(value.strip())
    return parsed


def with_provider(changes: dict[str, Json], provider: Sequence[str] | None) -> dict[str, Json]:
    """Keys of a configuration, the providers of --provider among them.

    Raises:
        ConfigurationError: they are there already.
    """
    if not provider:
        return changes
    if "session.providers" in changes:
        raise ConfigurationError(
            "--provider: expected session.providers once, got it by --set too; leave one out"
        )
    return {**changes, "session.providers": list(provider)}


def _toml_value(text: str) -> Json:
    import tomllib  # compiles its patterns when it is imported

    try:
        found: dict[str, Json] = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # A line end would begin another key, which nobody means here.
    return found["value"] if list(found) == ["value"] else text


def parse_payload(
    text: str | None,
    digits: str | None,
    size: int | None,
    seed: int | None,
    *,
    carries: bool = True,
) -> Payload:
    """The payload asked for: a text, hexadecimal digits, or random bits (64 by default).

    Args:
        text: its bits in UTF-8.
        digits: four bits a digit.
        size: number of random bits, at least 1.
        seed: makes random bits repeatable; None for fresh ones.
        carries: whether the method carries a payload; if not, none is made for it.

    Raises:
        ConfigurationError: more than one was given, or one that holds no bits.
    """
    given = [
        name
        for name, value in (
            ("--payload", text),
            ("--payload-hex", digits),
            ("--payload-bits", size),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise ConfigurationError(
            f"payload: expected one of --payload, --payload-hex, --payload-bits; got "
            f"{' and '.join(given)}; keep one"
        )
    from nnw_onnx.vocabulary import Payload

    if text == "":
        raise ConfigurationError("payload: expected at least one bit, got none; give a text")
    if text is not None:
        return Payload.from_text(text)
    if digits is not None:
        return Payload.from_hex(digits)
    if size is not None and not 1 <= size <= MAX_PAYLOAD:
        raise ConfigurationError(
            f"--payload-bits: expected 1 to {MAX_PAYLOAD} bits, got {size}; give another number"
        )
    if size is None and not carries:
        return Payload()
    return _random_payload(DEFAULT_PAYLOAD_SIZE if size is None else size, seed)


def secret_from(seed_file: Path | None, label: str | None, seed: int | None) -> bytes | None:
    """The secret of a label under a master seed; None where neither is given.

    Raises:
        ConfigurationError: one of them is missing, or --seed is given too.
        KeyFileError: the file holds no seed.
    """
    if seed_file is None and label is None:
        return None
    if seed_file is None or label is None or seed is not None:
        got = "--seed too" if seed is not None else "one of them"
        raise ConfigurationError(
            f"--seed-file: expected it with --label and without --seed, got {got}; give both"
        )
    from nnw_onnx.kit.derivation import secret_of
    from nnw_onnx.runs.seed_files import read_seed

    return secret_of(read_seed(seed_file), label)


def check_outputs(inputs: Sequence[Path], written: dict[str, Path], *, force: bool) -> None:
    """Refuse, before any work, to write where it would hurt.

    Args:
        inputs: files that are read.
        written: option name -> file that it names.
        force: whether existing files may be overwritten (inputs never).

    Raises:
        ConfigurationError: a folder is missing, two files are the same, or one exists.
    """
    taken = {path.resolve() for path in inputs}
    for option, path in written.items():
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"{option}: expected a file in an existing folder, got {str(path)!r}; make the "
                "folder first"
            )
        if path.resolve() in taken or any(_same(path, other) for other in taken):
            raise ConfigurationError(
                f"{option}: expected a file of its own, got {str(path)!r} twice; give another name"
            )
        there = path.exists() or path.is_symlink()
        special = there and not path.is_file()
        if special or (there and not force):
            cure = "give another name" if special else "give another name or --force"
            raise ConfigurationError(
                f"{option}: expected a new file, got existing {str(path)!r}; {cure}"
            )
        taken.add(path.resolve())


def check_data(
    networks: Sequence[OnnxNetwork], out: Path, written: dict[str, Path], *, force: bool
) -> None:
    """Refuse what `check_outputs` cannot know before the networks are open: files of weights.

    Args:
        networks: all that are read, the one first whose weights go to `out`.
        out: ONNX file to write.
        written: option name -> each other file to write.
        force: see `check_outputs`.

    Raises:
        ConfigurationError: see `check_outputs`.
    """
    read = [path for network in networks for path in network.sources]
    beside = {f"--out (weights in {path.name})": path for path in networks[0].files_at(out)[1:]}
    check_outputs(read, {**written, "--out": out, **beside}, force=force)


def _same(path: Path, other: Path) -> bool:
    """Whether two names are of one file, which a file system may not tell apart by their case."""
    return path.exists() and other.exists() and path.samefile(other)


def carrier_of(key: Key) -> str:
    """Where the mark of a key is, in words."""
    from nnw_onnx import plugins

    reads_weights = plugins.method_of(key).access == "weights"
    elsewhere = "weights that its method chooses" if reads_weights else "what the network answers"
    return ", ".join(key.layers) or elsewhere


def write_text(path: Path, content: str) -> None:
    """Write a document to a file: whole or not at all."""
    from nnw_onnx.runs.store import write_atomically

    write_atomically(path, content.encode())


def _random_payload(size: int, seed: int | None) -> Payload:
    from nnw_onnx.runs.seeds import generator, secret
    from nnw_onnx.vocabulary import Payload

    source = secret(seed, payload_bits=size).hex()
    return Payload.random(size, generator(purpose="payload", secret=source))
