"""Commands that read a network file or write a new one: layers, inject, modify."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from nnw_onnx.cli import completion, output
from nnw_onnx.cli.options import (
    Code,
    CodeSettings,
    Data,
    Force,
    Label,
    Model,
    Out,
    OutputFormat,
    Provider,
    SeedFile,
    Settings,
    Sidecar,
    Training,
    WorkFolder,
    carrier_of,
    check_data,
    check_outputs,
    parse_payload,
    parse_settings,
    secret_from,
)
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.api.marks import Injection
    from nnw_onnx.api.measuring import Modified
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.graph.ahead import Ahead
    from nnw_onnx.vocabulary import Coverage, Json, Layer, Payload

MOST_LETTERS = 60
"""Letters of a name in a table."""
LITTLE_LEFT = 0.95
"""Share of the weights from which on nobody is warned of those that are left."""
LEVEL = 1e-6
"""False-positive rate that detection has if nothing else is said."""


def layers(model: Model, output_format: OutputFormat = Format.TEXT) -> None:
    """List the layers of a network.

    Shapes are (out, in, *kernel), whatever layout the file stores.

    Example: nnw layers model.onnx
    """
    import nnw_onnx as nnw

    network = nnw.open(model)
    warn(network.warnings)
    if network.no_weights_reason:
        output.note(network.no_weights_reason)
    if output_format is Format.JSON:
        output.as_json(_described(network))
        return
    if any(len(layer.name) > MOST_LETTERS for layer in network.layers):
        output.note("long names are shortened here; '--format json' has them whole")
    for names in network.copies:
        output.note(f"equal weights in tensors of their own: {', '.join(names)}")
    output.table(
        ("layer", "operator", "role", "shape", "weights", "type", "remarks"),
        [_row(network, layer) for layer in network.layers],
        right=("weights",),
    )
    _tell_reach((), network.coverage())


def inject(
    model: Model,
    out: Out,
    key_out: Annotated[
        Path,
        typer.Option("--key-out", metavar="KEY.npz", help="Key file to write; keep it secret."),
    ],
    method: Annotated[
        str, typer.Option(help="See 'nnw list methods'.", autocompletion=completion.methods)
    ] = "block-spread",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Carrier layer; repeatable. [default: chosen]",
            autocompletion=completion.layers,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Public network it was made of: layers still equal carry nothing.",
        ),
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="TEXT", help="Payload as text.")] = None,
    payload_hex: Annotated[
        str | None, typer.Option(metavar="HEX", help="Payload as hexadecimal digits.")
    ] = None,
    payload_bits: Annotated[
        int | None, typer.Option(metavar="N", help="Payload of N random bits. [default: 64]")
    ] = None,
    option: Settings = None,
    code: Code = None,
    code_option: CodeSettings = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Repeatable key; only as secret as the seed itself.")
    ] = None,
    seed_file: SeedFile = None,
    label: Label = None,
    training: Training = None,
    data: Data = None,
    work_folder: WorkFolder = None,
    provider: Provider = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Name commitment and method in its metadata."),
    ] = False,
    record_payload: Annotated[
        bool,
        typer.Option("--record-payload", help="Write the payload there too, for anybody to read."),
    ] = False,
    sidecar: Sidecar = False,
    force: Force = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Write a watermarked network and its key.

    Example: nnw inject a.onnx -o marked.onnx --key-out key.npz --payload mine
    """
    import nnw_onnx as nnw

    _check_training(training, data, work_folder, provider)
    read = [model, *([reference] if reference else [])]
    check_outputs(read, {"--out": out, "--key-out": key_out}, force=force)
    settings, code_settings = parse_settings(option), parse_settings(code_option, "--code-option")
    carries = _carries(method, settings)
    bits = parse_payload(payload, payload_hex, payload_bits, seed, carries=carries)
    secret = secret_from(seed_file, label, seed)
    network = nnw.open(model)
    check_data([network], out, {"--key-out": key_out}, force=force)
    # Without a training that takes hours, the weights that stay are copied meanwhile.
    at_once = nullcontext() if sidecar or training else network.begun(out)
    with at_once as ahead:
        warn(network.warnings)
        injection = nnw.inject(
            network,
            bits,
            method=method,
            options=settings,
            code=code,
            code_options=code_settings,
            layer=layer,
            reference=reference,
            seed=seed,
            secret=secret,
            training=training,
            data=data,
            work_folder=work_folder,
            providers=provider or (),
            record="payload" if record_payload else record,
        )
        _save_both(injection, out, key_out, sidecar=sidecar, ahead=ahead)
    _tell_injection(injection, out, key_out, output_format)
    warn(_too_short(injection))


def modify(
    model: Model,
    out: Out,
    modification: Annotated[
        str,
        typer.Option(help="See 'nnw list modifications'.", autocompletion=completion.modifications),
    ],
    intensity: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE",
            help="Of the Modification's Parameter, if it has one: a number, or with its unit: 50%.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Layer to modify; repeatable. [default: all weights]",
            autocompletion=completion.layers,
        ),
    ] = None,
    copy: Annotated[
        list[Path] | None,
        typer.Option(metavar="MODEL", help="Another recipient's copy, for averaging; repeatable."),
    ] = None,
    option: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random Modifications.")] = 0,
    training: Training = None,
    data: Data = None,
    work_folder: WorkFolder = None,
    provider: Provider = None,
    sidecar: Sidecar = False,
    force: Force = False,
    output_format: OutputFormat = Format.TEXT,
) -> None:
    """Modify a network to see what its watermark survives.

    Example: nnw modify a.onnx -o b.onnx --modification quantizing --intensity 4
    """
    import nnw_onnx as nnw

    _check_training(training, data, work_folder, provider)
    check_outputs([model, *(copy or ())], {"--out": out}, force=force)
    settings = parse_settings(option)
    strength = _strength(modification, intensity, settings)
    network = nnw.open(model)
    copies = [nnw.open(path) for path in copy or ()]
    check_data([network, *copies], out, {}, force=force)
    warn(network.warnings)
    modified = nnw.modify(
        network,
        modification,
        intensity,
        layers=layer,
        options=settings,
        seed=seed,
        copies=copies,
        training=training,
        data=data,
        work_folder=work_folder,
        providers=provider or (),
    )
    warn(modified.warnings)
    if modified.layers:
        _tell_reach(layer or (), network.coverage(modified.layers))
    modified.network.save(out, sidecar=sidecar)
    _tell_modified(modified, modification, strength, out, output_format)


def _check_training(
    training: str | None,
    data: Path | None,
    work_folder: Path | None,
    provider: Sequence[str] | None,
) -> None:
    """Refuse options that say how to train where nothing is trained, and so no network run."""
    given = {"--data": data, "--work-folder": work_folder, "--provider": provider or None}
    for option, value in given.items():
        if value is not None and training is None:
            raise ConfigurationError(
                f"{option}: expected --training beside it, got none; name the evaluation that says "
                "how to train"
            )


def _carries(method: str, settings: dict[str, str]) -> bool:
    """Whether a method carries a payload."""
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Method, Spec

    return plugins.create(Method, Spec(method, settings)).alphabet > 0


def _in_words(injection: Injection) -> str:
    """What was put in, and where it lies."""
    from nnw_onnx import plugins

    key = injection.key
    where = carrier_of(key)
    if plugins.enrols(plugins.method_of(key)):
        return f"a fingerprint of {where}, nothing was changed"
    what = _counted(key.size, "symbol") if key.size else "the watermark"
    changed = f"weights changed by {injection.change:.2%} of their standard deviation"
    return f"{what} in {where}, {changed}"


def _counted(number: int, what: str) -> str:
    """So many of something: 1 layer, 2 layers."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _danger(injection: Injection) -> str:
    """Why the key is to be kept secret."""
    from nnw_onnx import plugins

    if plugins.enrols(plugins.method_of(injection.key)):
        return "whoever has it knows which weights are compared"
    return "whoever has it can find and remove the watermark"


def warn(warnings: tuple[str, ...]) -> None:
    """Pass warnings on to the person."""
    for line in warnings:
        output.warning(line)


def _tell_injection(injection: Injection, out: Path, key_out: Path, output_format: Format) -> None:
    for line in injection.notes:
        output.note(line)
    if output_format is Format.JSON:
        output.as_json(_injected(injection, out, key_out))
        return
    output.text(
        f"{out}: {_in_words(injection)}",
        f"{key_out}: the key; {_danger(injection)}",
        f"commitment to publish with a date: {injection.key.commitment}",
    )


class _Strength(NamedTuple):
    """An Intensity: the number, what it is counted in, and both as a person reads them."""

    value: float
    unit: str
    words: str


def _strength(
    modification: str, intensity: str | None, settings: Mapping[str, str]
) -> _Strength | None:
    """What was asked for with --intensity, which is required where nothing says it otherwise."""
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Modification

    parameter = plugins.load(Modification, modification).parameter
    if parameter is None or (intensity is None and parameter.option in settings):
        return None
    if intensity is None:
        standard = parameter.standard_range()
        raise ConfigurationError(
            f"--intensity: expected a value ({parameter.meaning}), got none; give for example "
            f"{parameter.example()}" + (f", the standard: {standard}" if standard else "")
        )
    try:
        value = parameter.read(intensity)
    except ConfigurationError as error:
        raise ConfigurationError(f"--intensity: {error}") from error
    return _Strength(value, parameter.unit, parameter.with_unit(value))


def _tell_modified(
    modified: Modified,
    modification: str,
    intensity: _Strength | None,
    out: Path,
    output_format: Format,
) -> None:
    if output_format is Format.JSON:
        output.as_json(
            {
                "out": str(out),
                "modification": modification,
                "intensity": None if intensity is None else intensity.value,
                "unit": None if intensity is None else intensity.unit,
                "layers": list(modified.layers),
                "change": modified.change,
                "difference": modified.difference,
                "facts": dict(modified.facts),
                "warnings": list(modified.warnings),
            }
        )
        return
    change = (
        "a network of another architecture"
        if modified.change is None
        else f"weights changed by {modified.change:.2%} of their standard deviation"
    )
    facts = [
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in modified.facts.items()
    ]
    at = "" if intensity is None else f" at {intensity.words}"
    on = f" on {_counted(len(modified.layers), 'layer')}" if modified.layers else ""
    output.text(
        f"{out}: {modification}{at}{on}, {change}",
        *([", ".join(facts)] if facts else []),
    )


def _injected(injection: Injection, out: Path, key_out: Path) -> dict[str, Json]:
    key = injection.key
    return {
        "out": str(out),
        "key": str(key_out),
        "method": key.method.name,
        "options": dict(key.method.options),
        "code": None if key.code is None else str(key.code),
        "layers": list(key.layers),
        "payload": payload_values(injection.payload) if injection.payload.symbols else None,
        "symbols": key.size,
        "change": injection.change,
        "commitment": key.commitment,
    }


def _too_short(injection: Injection) -> tuple[str, ...]:
    """A line where no network at all could be detected at the usual rate."""
    import nnw_onnx as nnw
    from nnw_onnx.kit import evidence

    found = nnw.verify(injection.network, injection.claim, false_positive_rate=LEVEL).detection
    if found is None or found.null.reaches(LEVEL):
        return ()
    size = evidence.size_of(found.null, LEVEL)
    takes = "" if size is None else f", it takes {size.symbols}"
    return (
        f"a payload of {_counted(injection.key.size, 'symbol')} can be decoded but never detected "
        f"at the default false-positive rate of {LEVEL:g}, even when all match: {found.null.name}"
        f"{takes}; give a longer one",
    )


def payload_values(payload: Payload) -> dict[str, Json]:
    """A payload as bits, hexadecimal digits and text, the latter two where they exist."""
    return {"bits": payload.bits, "hex": payload.hex, "text": payload.text}


def _save_both(
    injection: Injection, out: Path, key_out: Path, *, sidecar: bool, ahead: Ahead | None
) -> None:
    """Write network and key, or neither."""
    import nnw_onnx as nnw
    from nnw_onnx.runs.keys import check_key_path

    check_key_path(key_out)
    with tempfile.TemporaryDirectory(dir=key_out.parent, prefix=".nnw-") as folder:
        key_file = Path(folder) / key_out.name
        nnw.save_key(injection.claim, key_file)
        injection.network.save(out, sidecar=sidecar, ahead=ahead)
        key_file.replace(key_out)


def _row(network: OnnxNetwork, layer: Layer) -> tuple[str, ...]:
    from nnw_onnx.kit import carriers

    remarks = [
        (carriers.doubt(network, layer) or "").removeprefix("is "),
        "" if layer.live else "dead: reaches no output",
        "" if layer.learns else "does not learn",
        f"{layer.group} groups" if layer.group > 1 else "",
        f"used {len(layer.consumers)} times" if layer.shared else "",
        "" if layer.storage == "initializer" else layer.storage,
        f"arrives by {', '.join(layer.arithmetic)}" if layer.arithmetic else "",
        f"with {', '.join(map(_shortened, layer.parts))}" if layer.parts else "",
        "" if layer.replaceable else f"read only: {layer.obstacle}",
        "" if layer.axes is not None or layer.role != "kernel" else "stored layout",
    ]
    return (
        _shortened(layer.name),
        layer.operator,
        layer.role,
        " x ".join(map(str, layer.shape)) or "scalar",
        str(layer.size),
        layer.dtype,
        ", ".join(filter(None, remarks)),
    )


def _shortened(name: str) -> str:
    """A name that fits a table; begin and end tell it from its like."""
    if len(name) <= MOST_LETTERS:
        return name
    half = (MOST_LETTERS - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _reach(found: Coverage) -> str:
    """A coverage in one line."""
    line = f"{found.share:.1%} of {found.total:,} float weights"
    parts = [f"{reason} {count:,}" for reason, count in found.left.items()]
    return f"{line}; left: {', '.join(parts)}" if parts else line


def _tell_reach(chosen: Sequence[str], found: Coverage) -> None:
    """Say what layers reach, loudly where nobody chose them and much is left."""
    tell = output.note if chosen or found.share >= LITTLE_LEFT else output.warning
    tell(f"{', '.join(chosen) or 'all'} reaches {_reach(found)}")


def _described(network: OnnxNetwork) -> dict[str, Json]:
    from dataclasses import asdict

    reach = network.coverage()
    return {
        "model": str(network.path),
        "sha256": network.sha256,
        "producer": network.producer,
        "opset": dict(network.opset),
        "inputs": [asdict(tensor) for tensor in network.inputs],
        "outputs": [asdict(tensor) for tensor in network.outputs],
        "parameters": network.parameters,
        "weights": network.weight_count,
        "layers": [
            {**asdict(x), "weights": x.size, "shared": x.shared, "replaceable": x.replaceable}
            for x in network.layers
        ],
        "warnings": list(network.warnings),
        "coverage": {"reached": reach.reached, "total": reach.total, "left": dict(reach.left)},
        "copies": [list(names) for names in network.copies],
        "no_weights_reason": network.no_weights_reason,
    }
