"""Commands on whether a network is what it was: integrity seal, verify and restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.options import Force, KeyFile, Model, Out, OutputFormat, check_data, check_outputs
from nnw_onnx.cli.output import Format
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import KeyFileError

if TYPE_CHECKING:
    from nnw_onnx.runs.integrity import Change, Integrity
    from nnw_onnx.runs.seals import Seal
    from nnw_onnx.vocabulary import Claim

MOST_SHOWN = 20
_MOST_RUNS = 4

OwnersKey = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Key file of 'nnw inject', or seed of 'nnw key seed'."
    ),
]
MarksKey = Annotated[
    Path | None,
    typer.Option("--key", metavar="KEY.npz", help="Key file of a mark: its commitment."),
]
Everything = Annotated[
    bool, typer.Option("--everything", help="Names of nodes, texts and metadata count too.")
]
integrity_app = typer.Typer(
    name="integrity",
    rich_markup_mode=None,
    help="Is a network what it was, and where is it not?",
)


def integrity_seal(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="SEAL.json", help="File to write.")],
    key: OwnersKey = None,
    block: Annotated[
        int | None,
        typer.Option(metavar="N", help="Weights of a block. [default: 1024, more if very large]"),
    ] = None,
    everything: Everything = False,
    force: Force = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Write a seal: hashes that tell later whether, and where, a network was changed.

    The network is left as it is. How its file is written does not count: raw or typed values,
    external data, order of fields, attributes and initializers. The graph, its inputs and outputs,
    operator sets, functions and every stored value do. Whoever can change the network can also
    write a new seal, so bind it: with --key only your key makes or checks it; without, sign the
    file ('minisign -Sm', 'ssh-keygen -Y sign -n file -f KEY', 'cosign sign-blob') or publish the
    root with a date.

    Example: nnw integrity seal model.onnx -o model.seal.json --key key.npz
    """
    import nnw_onnx as nnw

    check_outputs([model, *([key] if key else [])], {"--out": out}, force=force)
    network = nnw.open(model)
    check_outputs([*network.sources, *([key] if key else [])], {"--out": out}, force=force)
    sealed = nnw.seal(network, key=_secret(key), everything=everything, block=block)
    sealed.save(out)
    if output_format is Format.JSON:
        output.as_json(_sealed(sealed, out))
        return
    bound = "only your key can check it" if sealed.code else "sign this file, or publish the root"
    output.text(f"{out}: {_counted(sealed)}; {bound}", f"root: {sealed.root}")


def integrity_verify(
    model: Model,
    seal: Annotated[Path, typer.Argument(metavar="SEAL.json", help="Seal of the network.")],
    key: OwnersKey = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Tell whether a network is what it was when it was sealed, and what of it is not.

    Changed blocks are counted in weights as the file stores them. A seal that was made with a key
    is refused without it, and so is one without a key where a key is given: anybody could have
    written it. Exit status: 0 as it was, 1 not, 2 error.

    Example: nnw integrity verify model.onnx model.seal.json --key key.npz
    """
    import nnw_onnx as nnw
    from nnw_onnx.runs.seals import load_seal

    sealed, secret = load_seal(seal), _secret(key)
    found = nnw.verify_seal(nnw.open(model), sealed, key=secret)
    if output_format is Format.JSON:
        output.as_json(_found(found))
    else:
        output.text(*_in_words(found, sealed))
    if not found:
        raise typer.Exit(1)


def integrity_restore(
    model: Model,
    key: KeyFile,
    out: Out,
    force: Force = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Write the network that a mark of integrity gives back.

    'reversible' gives back what it was before the mark, where nothing was changed since;
    'recoverable' what it was with the mark, where not too much was. 'nnw inject' puts them in,
    'nnw detect' tells which blocks were changed. It is all bit by bit.

    Example: nnw integrity restore marked.onnx --key key.npz -o original.onnx
    """
    import nnw_onnx as nnw
    from nnw_onnx import plugins

    check_outputs([model, key], {"--out": out}, force=force)
    network, claim = nnw.open(model), nnw.load_key(key)
    check_data([network], out, {}, force=force)
    given = nnw.restore(network, claim)
    given.save(out)
    method = plugins.restores(plugins.method_of(claim.key))
    what = "" if method is None else method.gives_back
    layers = sorted(given.replaced)
    if output_format is Format.JSON:
        output.as_json({"out": str(out), "gives_back": what, "layers": list(layers)})
        return
    told = f"{len(layers)} layers given back" if layers else "nothing was changed"
    output.text(f"{out}: the network {what}; {told}", *layers[:MOST_SHOWN])


def integrity_statement(
    model: Model,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="STATEMENT.json", help="File to write.")
    ],
    key: MarksKey = None,
    everything: Everything = False,
    force: Force = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Write what signing tools take of a network.

    An in-toto Statement (v1): every file of the network by its SHA-256, external data too, the
    root of its seal, and with --key the commitment of the mark in it. The same network gives the
    same bytes. Nothing in it is secret. Sign it with a tool for that: 'minisign -Sm FILE',
    'ssh-keygen -Y sign -n file -f KEY FILE', 'cosign sign-blob FILE'.

    Example: nnw integrity statement marked.onnx --key key.npz -o statement.json
    """
    import nnw_onnx as nnw

    read = [model, *([key] if key else [])]
    check_outputs(read, {"--out": out}, force=force)
    network = nnw.open(model)
    check_outputs([*network.sources, *read[1:]], {"--out": out}, force=force)
    made = nnw.state(network, key=_claim(key), everything=everything)
    made.save(out)
    if output_format is Format.JSON:
        output.document(made.to_json())
        return
    bound = "with the commitment of the mark" if made.predicate.commitment else "without a mark"
    files = f"{len(made.subject)} file{'s' * (len(made.subject) > 1)}"
    output.text(f"{out}: {files}, {bound}; sign this file", f"root: {made.predicate.seal.root}")


def integrity_verify_statement(
    model: Model,
    statement: Annotated[
        Path, typer.Argument(metavar="STATEMENT.json", help="The statement, or its envelope.")
    ],
    key: MarksKey = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Tell whether a network is what was stated.

    With --key the commitment of the key must be the one that is stated. Whose statement it is says
    only its signature: check that first, with the tool that made it. Exit status: 0 yes, 1 no, 2
    error.

    Example: nnw integrity verify-statement marked.onnx statement.json
    """
    import nnw_onnx as nnw

    found = nnw.verify_statement(model, statement, key=_claim(key))
    if output_format is Format.JSON:
        output.as_json({"holds": bool(found), **asdict(found)})
    elif found:
        files = "1 file" if found.files == 1 else f"{found.files} files"
        output.text(f"yes: as it was stated, in {files}")
    else:
        output.text("no: not as it was stated", *found.reasons)
    if found.enveloped:
        output.note("the signature of the envelope was not looked at; check it with its own tool")
    if not found:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "seal": integrity_seal,
    "verify": integrity_verify,
    "statement": integrity_statement,
    "verify-statement": integrity_verify_statement,
    "restore": integrity_restore,
}
for _name, _command in COMMANDS.items():
    integrity_app.command(_name)(with_verbosity(_command))


def _claim(path: Path | None) -> Claim | None:
    import nnw_onnx as nnw

    return None if path is None else nnw.load_key(path)


def _secret(path: Path | None) -> bytes | None:
    """The secret of a key file, or a master seed."""
    if path is None:
        return None
    import nnw_onnx as nnw
    from nnw_onnx.graph import sniffing

    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise KeyFileError(
            f"{path}: expected a key file or a master seed, got: {error.strerror}; give what "
            "'nnw inject' or 'nnw key seed' wrote"
        ) from error
    return nnw.load_key(path).key.secret if sniffing.is_key_file(start) else nnw.read_seed(path)


def _counted(sealed: Seal) -> str:
    return (
        f"{len(sealed.parts)} parts of the graph and {len(sealed.tensors)} tensors in "
        f"{sealed.blocks} blocks"
    )


def _sealed(sealed: Seal, out: Path) -> dict[str, object]:
    return {
        "out": str(out),
        "root": sealed.root,
        "keyed": sealed.code is not None,
        "everything": sealed.everything,
        "block": sealed.block,
        "parts": len(sealed.parts),
        "tensors": len(sealed.tensors),
        "blocks": sealed.blocks,
    }


def _found(found: Integrity) -> dict[str, object]:
    return {
        "whole": bool(found),
        "root": found.root,
        "sealed": found.sealed,
        "parts": found.parts,
        "tensors": found.tensors,
        "only_renamed": found.renamed,
        "changes": [asdict(change) for change in found.changes],
    }


def _in_words(found: Integrity, sealed: Seal) -> Iterator[str]:
    if found:
        yield f"yes: as it was when it was sealed, {_counted(sealed)}"
        return
    count = {what: sum(c.what == what for c in found.changes) for what in ("graph", "tensor")}
    yield (
        f"no: not as it was when it was sealed: {count['tensor']} of {found.tensors} tensors, "
        f"{count['graph']} of {found.parts} parts of the graph"
    )
    if found.renamed:
        yield "only names of tensors are others: weights and graph are the same"
    for change in found.changes[:MOST_SHOWN]:
        yield _change(change)
    if len(found.changes) > MOST_SHOWN:
        yield f"and {len(found.changes) - MOST_SHOWN} more; '--format json' has all"


def _change(change: Change) -> str:
    what = "tensor " if change.what == "tensor" else ""
    if change.how == "renamed":
        return f"{what}{change.name}: renamed, was {change.note}"
    if change.what == "graph":
        return f"{change.name}{f' ({change.note})' if change.note else ''}: {change.how}"
    if not change.blocks:
        return f"{what}{change.name}: {change.how}{f', {change.note}' if change.note else ''}"
    shown = [f"{start}:{stop}" for start, stop in change.blocks[:_MOST_RUNS]]
    more = len(change.blocks) - len(shown)
    hurt = sum(stop - start for start, stop in change.blocks)
    where = f"{', '.join(shown)}{f' and {more} more runs' if more else ''}"
    return (
        f"{what}{change.name}: changed in blocks with {hurt} of {change.weights} weights, [{where}]"
    )
