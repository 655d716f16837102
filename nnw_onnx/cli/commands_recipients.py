"""Commands on who leaked a network: recipients inject, trace and rehearse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.commands_network import warn
from nnw_onnx.cli.options import Model, OutputFormat, Settings, parse_settings
from nnw_onnx.cli.output import Format
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.runs.recipients_rehearsal import Rehearsed
    from nnw_onnx.runs.tracing import Traced, Tracing
    from nnw_onnx.vocabulary import Key, Technology

DEFAULT_BITS = 256
POWER = 0.9
"""Probability with which a colluder is to be found, where it is said how many may be."""
_MOST_SHOWN = 10

recipients_app = typer.Typer(
    name="recipients",
    rich_markup_mode=None,
    help="A copy for each recipient, and who of them leaked one.",
)

CopiesKey = Annotated[
    Path, typer.Option("--key", metavar="KEY.npz", help="Key file of all copies; keep it secret.")
]
CarrierLayer = Annotated[
    str | None, typer.Option(metavar="NAME", help="Carrier layer. [default: chosen and told]")
]
Rate = Annotated[
    float, typer.Option(help="Largest probability that any innocent of all is accused.")
]


def recipients_inject(
    model: Model,
    recipients: Annotated[
        Path, typer.Option(metavar="NAMES.txt", help="Text file with a recipient on each line.")
    ],
    key: CopiesKey,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where copies and list go.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="One that reads bits from weights. [default: chosen by the room]",
            autocompletion=completion.methods,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(min=16, metavar="N", help=f"Of a codeword. [default: {DEFAULT_BITS}]"),
    ] = None,
    layer: CarrierLayer = None,
    option: Settings = None,
    seed_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Derive the key from this master seed.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is derived for; used only once.")
    ] = None,
    false_accusation_rate: Rate = 1e-6,
) -> None:
    """Write a copy of a network for each recipient, with a codeword of its own.

    One key finds all of them. It is made where there is none; with a key that is there, copies are
    added for new recipients. The list recipients.json holds nothing secret.

    Example: nnw recipients inject a.onnx --recipients names.txt --key owner.npz -o copies
    """
    import nnw_onnx as nnw
    from nnw_onnx.runs import folders, recipients_files

    _check_rate(false_accusation_rate)
    names, network = recipients_files.names_of(recipients), nnw.open(model)
    warn(network.warnings)
    choices = {"--method": method, "--bits": bits, "--layer": layer, "--option": option or None,
               "--seed-file": seed_file, "--label": label}  # fmt: skip
    if key.exists():
        _expect_none(choices, key)
        owners = nnw.load_key(key).key
        before = recipients_files.known(out, owners)
        folders.make(out, "--out")
    else:
        owners = _new_key(network, method, bits or DEFAULT_BITS, layer, option, seed_file, label)
        before = None
        _expect_no_list(out / recipients_files.LIST)
        folders.make(out, "--out")
        nnw.save_key(owners, key)
        for line in owners.notes:
            output.note(line)
    made = recipients_files.give_out(network, owners, names, out, before, output.note)
    count = len(made.recipients)
    output.text(
        f"{out}: {len(names)} cop{'y' if len(names) == 1 else 'ies'} of {model.name}, each with "
        f"{owners.size} bits of its own in {', '.join(owners.layers)}",
        f"{out / recipients_files.LIST}: who got which ({count} in all); nothing in it is secret",
        f"{key}: the key of all copies; whoever has it can find and remove their marks",
        f"commitment to publish with a date before they go out: {owners.commitment}",
        _resistance(owners.size, count, false_accusation_rate),
    )


def recipients_trace(
    suspect: Annotated[Path, typer.Argument(metavar="SUSPECT", help="ONNX file that was found.")],
    key: CopiesKey,
    recipients: Annotated[
        Path,
        typer.Option(metavar="LIST.json", help="The list that 'nnw recipients inject' wrote."),
    ],
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="The network before any mark: with it more of many are found."
        ),
    ] = None,
    false_accusation_rate: Rate = 1e-6,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Layer to read, whatever the key calls it."),
    ] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Tell whose copy a network is made of.

    Several recipients are accused where several copies were mixed. That an innocent is accused has
    at most the declared probability, over all recipients, however many mixed whatever. The exit
    status is 0 where somebody is accused and 1 where nobody is.

    Example: nnw recipients trace found.onnx --key owner.npz --recipients copies/recipients.json
    """
    import nnw_onnx as nnw
    from nnw_onnx.runs import recipients_files, tracing

    _check_rate(false_accusation_rate)
    network, owners = nnw.open(suspect), nnw.load_key(key).key
    warn(network.warnings)
    known = recipients_files.load(recipients)
    found = tracing.trace(
        network,
        owners,
        known,
        false_accusation_rate,
        original=None if original is None else nnw.open(original),
        layer=layer,
    )
    if output_format is Format.JSON:
        output.as_json(_as_json(found))
    else:
        output.text(*_in_words(found))
    if not found:
        raise typer.Exit(1)


def recipients_rehearse(
    model: Model,
    colluders: Annotated[
        list[int] | None,
        typer.Option(min=2, metavar="K", help="Size of a coalition; repeatable. [default: 2 4 8]"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="One that reads bits from weights. [default: chosen by the room]",
            autocompletion=completion.methods,
        ),
    ] = None,
    bits: Annotated[int, typer.Option(min=16, metavar="N", help="Of a codeword.")] = DEFAULT_BITS,
    layer: CarrierLayer = None,
    option: Settings = None,
    count: Annotated[
        int, typer.Option("--count", min=2, max=100_000, help="Recipients, colluders included.")
    ] = 1000,
    coalitions: Annotated[int, typer.Option(min=1, max=1000, help="Of each size.")] = 3,
    seed: Annotated[int | None, typer.Option(min=0, help="Of what is drawn.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Trace without the unmarked network.")
    ] = False,
    false_accusation_rate: Rate = 1e-6,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Try on a network how many colluders its copies would stand.

    Coalitions mix their copies by mean, median, extremes, at random and by layers, and are traced.
    Nothing is written.

    Example: nnw recipients rehearse a.onnx --colluders 4 --colluders 8
    """
    import nnw_onnx as nnw
    from nnw_onnx.runs.recipients_rehearsal import rehearse
    from nnw_onnx.runs.seeds import secret

    _check_rate(false_accusation_rate)
    network, found = nnw.open(model), []
    warn(network.warnings)
    for one in rehearse(
        network,
        _technology(network, method, bits, layer, option),
        colluders or (2, 4, 8),
        secret=secret(seed, rehearsal=network.sha256),
        recipients=count,
        coalitions=coalitions,
        rate=false_accusation_rate,
        blind=blind,
    ):
        output.note(f"{one.colluders} colluders, {one.attack}: {one.share:.0%} accused")
        found.append(one)
    if output_format is Format.JSON:
        output.as_json([{**asdict(one), "share": one.share} for one in found])
        return
    columns = ("attack", "colluders", "accused", "coalitions with one", "innocents", "change")
    output.table(columns, [_rehearsed_row(one) for one in found], right=columns[1:])


def _rehearsed_row(one: Rehearsed) -> tuple[str, ...]:
    return (
        one.attack,
        str(one.colluders),
        f"{one.share:.0%}",
        f"{one.any_accused} of {one.coalitions}",
        f"{one.innocents} of {one.tested}",
        f"{one.change:.1%}",
    )


@recipients_app.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        output.document(context.get_help())
        raise typer.Exit


recipients_app.command("inject")(with_verbosity(recipients_inject))
recipients_app.command("trace")(with_verbosity(recipients_trace))
recipients_app.command("rehearse")(with_verbosity(recipients_rehearse))


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise ConfigurationError(
            f"--false-accusation-rate: expected a number between 0 and 1, got {rate:g}; give for "
            "example 1e-6"
        )


def _expect_none(choices: Mapping[str, object], key: Path) -> None:
    """Refuse what a key that is there has decided already."""
    for name, value in choices.items():
        if value is not None:
            raise ConfigurationError(
                f"{name}: expected none beside a key that is there, which decides it, got one; "
                f"leave it out, or give --key another name than {str(key)!r}"
            )


def _expect_no_list(path: Path) -> None:
    if path.exists():
        raise ConfigurationError(
            f"--out: expected a folder without copies of another key, got one with {path.name}; "
            "give the key of these copies, or another folder"
        )


def _new_key(
    network: OnnxNetwork,
    method: str | None,
    bits: int,
    layer: str | None,
    option: list[str] | None,
    seed_file: Path | None,
    label: str | None,
) -> Key:
    from nnw_onnx.kit.derivation import secret_of
    from nnw_onnx.runs.recipients import make_key
    from nnw_onnx.runs.seed_files import read_seed
    from nnw_onnx.runs.seeds import secret

    if (seed_file is None) != (label is None):
        raise ConfigurationError(
            "--seed-file: expected it together with --label, got one of the two; give both, or "
            "neither for a fresh key"
        )
    technology = _technology(network, method, bits, layer, option)
    if seed_file is None or label is None:
        return make_key(network, technology, secret(None))
    return make_key(network, technology, secret_of(read_seed(seed_file), label))


def _technology(
    network: OnnxNetwork, method: str | None, bits: int, layer: str | None, option: list[str] | None
) -> Technology:
    from nnw_onnx import plugins
    from nnw_onnx.runs.recipients import method_for
    from nnw_onnx.vocabulary import Method, Spec, Technology

    name = method or method_for(network, bits)
    made = plugins.create(Method, Spec(name, dict(parse_settings(option))))
    return Technology(made.spec(), bits, layers=() if layer is None else (layer,))


def _resistance(bits: int, recipients: int, rate: float) -> str:
    """How many colluders so many bits stand, and what one more would take."""
    from nnw_onnx.math import tracing

    each = tracing.each_of(rate, recipients)
    stands = tracing.colluders_for(bits, each, POWER)
    more = tracing.bits_for(stands + 1, each, POWER)
    if stands == 0:
        return (
            f"too short: nobody of {recipients} is accused with probability {POWER:g} at a "
            f"false-accusation rate of {rate:g}; it takes {more} bits"
        )
    who = "a single leaker" if stands == 1 else f"each of up to {stands} who average their copies"
    return (
        f"{who} is accused with probability {POWER:g} or more at a false-accusation rate of "
        f"{rate:g} for all {recipients}, traced with --original; {stands + 1} take {more} bits"
    )


def _in_words(found: Tracing) -> list[str]:
    from nnw_onnx.vocabulary.evidence import power

    if found.reason is not None:
        return [f"nobody is accused: {found.reason}"]
    tested, accused = len(found.recipients), found.accused
    shown = accused or found.recipients[:1]
    lines = [_told(one, accused=bool(accused)) for one in shown[:_MOST_SHOWN]]
    if len(accused) > _MOST_SHOWN:
        lines.append(f"and {len(accused) - _MOST_SHOWN} more; '--format json' has them all")
    innocent = found.recipients[len(accused)] if accused and tested > len(accused) else None
    if innocent is not None:
        lines.append(
            f"the highest score of the others is {innocent.score:.2f}, which an innocent of "
            f"{tested} reaches with probability {power(innocent.log10_family)} at most"
        )
    where = ", ".join(dict.fromkeys(place.layer for place in found.found))
    lines.append(f"{found.symbols - found.erased} of {found.symbols} bits were read from {where}")
    lines.append(
        f"that any innocent of all {tested} is accused has at most probability {found.rate:g}"
    )
    return lines + list(found.notes)


def _told(one: Traced, *, accused: bool) -> str:
    from nnw_onnx.vocabulary.evidence import power

    chance = power(one.log10_family)
    score = f"score {one.score:.2f}, which any innocent reaches with probability {chance} at most"
    return f"accused: {one.name}, {score}" if accused else f"nobody is accused: the best {score}"


def _as_json(found: Tracing) -> dict[str, object]:
    return {
        "accused": [one.name for one in found.accused],
        "false_accusation_rate": found.rate,
        "recipients": [
            {
                **asdict(one),
                "p_value": 10.0**one.log10_p,
                "p_value_family": 10.0**one.log10_family,
            }
            for one in found.recipients
        ],
        "symbols": found.symbols,
        "erased": found.erased,
        "found": [asdict(place) for place in found.found],
        "notes": list(found.notes),
        "reason": found.reason,
    }
