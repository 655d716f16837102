"""Commands of the AI Framework (MPAI-AIF): aif run, describe and pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import Force, OutputFormat, check_outputs, parse_changes
from nnw_onnx.cli.output import Format
from nnw_onnx.cli.verbosity import with_verbosity
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.aif.agent import Told
    from nnw_onnx.vocabulary import Json


class DescriptorForm(StrEnum):
    """Forms of a descriptor, which exclude each other."""

    V2 = "v2"
    V3 = "v3"


aif_app = typer.Typer(
    name="aif",
    rich_markup_mode=None,
    help="Run the workflows of MPAI-NNW as AI Modules (MPAI-AIF).",
)
Implementer = Annotated[
    str | None,
    typer.Option(
        "--implementer-id", metavar="ID", help="Your ImplementerID; without it, a placeholder."
    ),
]
OfForm = Annotated[DescriptorForm, typer.Option("--form", help="Form of the descriptor.")]


def aif_run(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW",
            help="NNW-NTI, NNW-WTI, NNW-NIR, NNW-WIR or ONX-XCC; a descriptor .json; an archive.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="New folder for what it tells.")
    ],
    evaluation: Annotated[
        str,
        typer.Option(
            metavar="CONFIG|NAME",
            help="Evaluation that the modules are set up by.",
            autocompletion=completion.evaluations,
        ),
    ] = "digits",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set lies.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another value for a key of it; repeatable."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="One of its methods. [default: the first that fits]"),
    ] = None,
    network: Annotated[int, typer.Option(metavar="N", help="Which of its networks.")] = 1,
    payload: Annotated[int, typer.Option(metavar="N", help="Which of its payloads.")] = 1,
    modification: Annotated[
        str | None,
        typer.Option(help="See 'nnw list modifications'; without it, nothing is modified."),
    ] = None,
    intensity: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Its Intensity, such as '4 bits'.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="PORT=FILE", help="A file of your own for an input; repeatable."
        ),
    ] = None,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Start a workflow for one cell of an evaluation.

    The figures are those that 'nnw evaluate' gives for the same cell. FOLDER gets the outputs under
    the names of their ports, figures.json, messages.jsonl, what each module wrote, and the key of
    the watermark, which only you can read. Of an archive nothing is executed: its descriptor may
    name modules of this package only.

    Example: nnw aif run NNW-NIR --modification quantizing --intensity "2 bits" -o nir
    """
    from nnw_onnx.aif import agent, catalogue
    from nnw_onnx.aif.cells import Asked
    from nnw_onnx.runs.evaluation import find_evaluation, read_evaluation

    found = catalogue.open_workflow(workflow)
    path = find_evaluation(evaluation)
    asked = Asked(
        read_evaluation(path, data, parse_changes(settings)), method, network, payload,
        modification, intensity, _inputs(inputs),
    )  # fmt: skip
    told = agent.run(found, asked, out)
    if output_format is Format.JSON:
        output.as_json(told.figures)
        return
    output.text(*_in_words(told))


def aif_describe(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A workflow or module; without it, all are listed."),
    ] = None,
    form: OfForm = DescriptorForm.V3,
    implementer: Implementer = None,
) -> None:
    """Write the descriptor of a workflow or module as JSON.

    Form v2 is that of MPAI-AIF V1 and V2; form v3 that of the schema AIF/V3.0/data/AIMMetadata.json
    (see "$comment" in it). Other files and the page of AIF V3.0 want other headers.

    Example: nnw aif describe NNW-NIR --form v2
    """
    from nnw_onnx.aif import catalogue, descriptors

    kind = descriptors.FORMS[form.value]
    if name is None:
        for thing in catalogue.listed(kind):
            output.text(f"{thing.short}  {thing.title}")
        return
    thing = catalogue.described(name, kind)
    output.as_json(descriptors.descriptor(thing, kind, implementer or descriptors.PLACEHOLDER))


def aif_pack(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Such as NNW-NIR.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="Archive: .tar.gz, .tgz, .tar or .zip."),
    ],
    form: OfForm = DescriptorForm.V3,
    implementer: Implementer = None,
    binaries: Annotated[
        list[Path] | None,
        typer.Option("--binary", metavar="FILE", help="Further binary, as a wheel; repeatable."),
    ] = None,
    force: Force = False,
) -> None:
    """Write the archive of a workflow, as a Store takes it.

    It holds AIW.json and a script that starts the workflow with an installed nnw-onnx; a wheel goes
    in with --binary. The same input gives the same bytes.

    Example: nnw aif pack NNW-NIR -o nir.tar.gz
    """
    from nnw_onnx.aif import archives, catalogue, descriptors, workflows

    check_outputs(binaries or [], {"--out": out}, force=force)
    kind = descriptors.FORMS[form.value]
    found = catalogue.named(workflows.BY_FORM[kind], workflow)
    held = archives.pack(found, out, kind, implementer or descriptors.PLACEHOLDER, binaries or [])
    output.text(f"{out}: {found.short}, {', '.join(held)}")


COMMANDS: dict[str, Callable[..., None]] = {
    "run": aif_run,
    "describe": aif_describe,
    "pack": aif_pack,
}
for _name, _command in COMMANDS.items():
    aif_app.command(_name)(with_verbosity(_command))


def _inputs(given: Sequence[str] | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for one in given or ():
        port, equals, path = one.partition("=")
        if not port or not equals or not path or port in found:
            raise ConfigurationError(
                f"--input: expected PORT=FILE, each port once, got {one!r}; write for example "
                "OriginalPayload=payload.json"
            )
        found[port] = Path(path)
    return found


def _in_words(told: Told) -> Iterator[str]:
    for name, data in told.outputs.items():
        yield f"{data.path}: {name}{_figure(told.figures.get(name))}"
    symbols, wrong = told.figures.get("symbols"), told.figures.get("count_error")
    if symbols is not None and wrong is not None:
        yield f"{wrong} of {symbols} symbols are wrong"


def _figure(value: Json) -> str:
    """Measures, or time and memory, behind the name of an output."""
    if not isinstance(value, Mapping):
        return ""
    if "operation" in value:
        return f", {value['seconds']:.3g} s, {value['peak_bytes']} bytes at most"
    return "".join(f", {name} {number:.4g}" for name, number in value.items())
