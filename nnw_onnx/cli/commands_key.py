"""Commands around key files: import those of others, show what is in one, make a master seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import (
    Force,
    Model,
    OutputFormat,
    carrier_of,
    check_outputs,
    parse_changes,
    parse_payload,
)
from nnw_onnx.cli.output import Format
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.kit.preprocessing import Preprocessing
    from nnw_onnx.vocabulary import Claim, Json, Payload

key_app = typer.Typer(
    name="key",
    rich_markup_mode=None,
    help="Import a foreign key, show a key, make a seed.",
)
Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="KEY.npz", help="Key file to write; keep it secret.")
]


@key_app.command("import")
@with_verbosity
def import_(
    model: Model,
    method: Annotated[str, typer.Option(help="uchida, deepsigns or adi.")],
    out: Out,
    matrix: Annotated[
        Path | None, typer.Option(metavar="W.npy", help="Projection matrix, of either orientation.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="X.npy|DIR", help="What the network is fed, or trigger images."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class of each trigger, one a line.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Carrier of the matrix.", autocompletion=completion.layers
        ),
    ] = None,
    payload_bits: Annotated[
        str | None, typer.Option(metavar="01...", help="Payload as it was put in, bit by bit.")
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="TEXT", help="Payload as text.")] = None,
    payload_hex: Annotated[
        str | None, typer.Option(metavar="HEX", help="Payload as hexadecimal digits.")
    ] = None,
    orientation: Annotated[
        Literal["auto", "rows", "columns"], typer.Option(help="What of the matrix is a bit.")
    ] = "auto",
    order: Annotated[
        Literal["in-first", "in-last"],
        typer.Option(help="Weights of a filter as in torch, or as in Keras."),
    ] = "in-first",
    fair: Annotated[
        bool, typer.Option("--fair", help="Payload or labels were drawn fairly: your word for it.")
    ] = False,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes.")] = None,
    target: Annotated[int, typer.Option(min=0, help="Marked class of deepsigns.")] = 0,
    centres: Annotated[
        Path | None, typer.Option(metavar="C.npy", help="Class centres of deepsigns.")
    ] = None,
    preprocessing: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of trigger images, such as mean=[0.5]."),
    ] = None,
    force: Force = False,
) -> None:
    """Make a key file of a mark that others have put in.

    Example: nnw key import marked.onnx --method uchida --matrix W.npy --payload-bits 0110 -o k.npz
    """
    import nnw_onnx as nnw

    read = [path for path in (model, matrix, inputs, labels, centres) if path is not None]
    check_outputs(read, {"--out": out}, force=force)
    claim = nnw.import_key(
        model,
        method,
        matrix=matrix,
        inputs=inputs,
        labels=labels,
        payload=_payload(payload_bits, payload, payload_hex),
        fair=fair,
        layer=layer,
        orientation=orientation,
        order=order,
        classes=classes,
        target=target,
        centres=centres,
        preprocessing=_preprocessing(preprocessing),
    )
    nnw.save_key(claim, out)
    for line in claim.key.notes:
        output.note(line)
    output.text(f"{out}: {_what(claim)}", f"evidence: {_null(claim)}")


@key_app.command("show")
@with_verbosity
def show(
    key: Annotated[Path, typer.Argument(metavar="KEY.npz", help="Key file.")],
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Tell what a key file holds, and nothing that is secret.

    Example: nnw key show key.npz
    """
    import nnw_onnx as nnw

    told = _described(nnw.load_key(key))
    if output_format is Format.JSON:
        output.as_json(told)
        return
    output.text(*(f"{name}: {_words(value)}" for name, value in told.items() if value != []))


@key_app.command("seed")
@with_verbosity
def seed(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; keep it secret.")],
) -> None:
    """Write a master seed, from which 'nnw inject --seed-file' takes the secret of each label.

    Example: nnw key seed master.seed
    """
    from nnw_onnx.runs.seed_files import new_seed

    new_seed(path)
    output.text(
        f"{path}: a master seed; whoever has it has the secret of every label, and without it no "
        "key can be made again"
    )


def _payload(bits: str | None, text: str | None, digits: str | None) -> Payload | None:
    from nnw_onnx.vocabulary import Payload

    if bits is None and text is None and digits is None:
        return None
    if bits is not None and (text is not None or digits is not None):
        raise ConfigurationError(
            "payload: expected one of --payload-bits, --payload, --payload-hex; got several; keep "
            "one"
        )
    return parse_payload(text, digits, None, None) if bits is None else Payload.from_bits(bits)


def _preprocessing(given: list[str] | None) -> Preprocessing | None:
    """Preprocessing from KEY=VALUE, its types checked."""
    if not given:
        return None
    from pydantic import TypeAdapter, ValidationError

    from nnw_onnx.errors import expected
    from nnw_onnx.kit.preprocessing import Preprocessing

    try:
        return TypeAdapter(Preprocessing).validate_python(parse_changes(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"--preprocessing: {where}: {expected(first['msg'])}; correct it"
        ) from error


def _what(claim: Claim) -> str:
    key = claim.key
    where = carrier_of(key)
    kept = "with its payload" if claim.payload is not None else "without a payload"
    return f"a key of {key.method.name}, {key.size} symbols in {where}, {kept}"


def _null(claim: Claim) -> str:
    """What the evidence of a key rests on, as if all were right."""
    from nnw_onnx.kit import evidence, foreign
    from nnw_onnx.vocabulary import Payload

    alphabet = 2 if claim.payload is None else claim.payload.alphabet
    right = Payload((0,) * claim.key.size, alphabet)
    return foreign.judged(evidence.matched(right, right), claim.key).null.name


def _described(claim: Claim) -> dict[str, Json]:
    """Everything of a claim but secret, payload and the values of its arrays."""
    from nnw_onnx.kit import commitments, foreign

    key, bound = claim.key, _binding(claim)
    return {
        "method": key.method.name,
        "options": dict(key.method.options),
        "symbols": key.size,
        "payload": "kept with the key" if claim.payload is not None else "not in the file",
        "bits before code and alphabet": key.carries,
        "code": None if key.code is None else str(key.code),
        "carriers": [
            f"{name} ({'x'.join(map(str, shape))})"
            for name, shape in zip(key.layers, key.shapes, strict=True)
        ],
        "facts": commitments.facts_of(key),
        "arrays": [
            f"{name}: {values.dtype} {'x'.join(map(str, values.shape))}"
            for name, values in sorted(key.arrays.items())
        ],
        "claim of": claim.of,
        "commitment": key.commitment or None,
        "binds the payload": bound,
        "evidence": _null(claim) if foreign.is_foreign(key) else "that of its method",
        "notes": list(key.notes),
    }


def _binding(claim: Claim) -> str:
    from nnw_onnx.kit import commitments

    if not claim.key.commitment:
        return "there is no commitment"
    if claim.payload is None:
        return "cannot be told without it"
    return {True: "yes", False: "no: it is another's", None: "cannot be told: no opening"}[
        commitments.binds(claim.key, claim.payload)
    ]


def _words(value: Json) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_word(inner)}" for name, inner in value.items()) or "none"
    return "; ".join(map(_word, value)) if isinstance(value, list) else _word(value)


def _word(value: Json) -> str:
    """A value as text; a table or list that is an option in brackets."""
    if value is None:
        return "not set"
    return f"({_words(value)})" if isinstance(value, dict | list) and value else str(value)
