"""Commands of someone who holds a key: decode and detect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.commands_network import payload_values, warn
from nnw_onnx.cli.options import KeyFile, Model, OutputFormat
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.vocabulary import Detection, Key, Payload


Timeout = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="Time a network may take that must be run."),
]


def decode(
    model: Model,
    key: KeyFile,
    output_format: OutputFormat = Format.JSON,
    timeout: Timeout = 600.0,
) -> None:
    """Read the payload of a watermarked network.

    Each symbol has a confidence: for a watermark in weights in standard deviations under a random
    key, for one in the answers to triggers the margin of the answer, in standard deviations of all
    scores. Where the key file carries the injected payload, the Symbol Error Rate and the p-value
    against it are told too. The exit status is 0 whatever was decoded.

    Example: nnw decode marked.onnx --key key.npz
    """
    import nnw_onnx as nnw

    network, secret = _opened(model), nnw.load_key(key)
    decoding = nnw.decode(network, secret, timeout=timeout)
    warn(decoding.notes)
    payload, size = _as_bits(decoding.payload), len(decoding.payload)
    answer = {
        "payload": _values(payload),
        "symbols": size,
        "symbol_error_rate": None,
        "matching_symbols": None,
        "p_value": None,
        "log10_p": None,
        "ties": decoding.ties,
        "confidence": [round(value, 3) for value in decoding.confidence],
    }
    if secret.payload is not None:
        detection = nnw.detect(network, secret, timeout=timeout)
        answer |= {
            "symbol_error_rate": secret.payload.errors(decoding.payload) / size,
            "matching_symbols": detection.statistic,
            "p_value": detection.p_value,
            "log10_p": detection.log10_p,
        }
    if output_format is Format.JSON:
        output.as_json(answer)
        return
    output.text(payload.text or payload.hex or _digits(payload))


def detect(
    model: Model,
    key: KeyFile,
    false_positive_rate: Annotated[
        float, typer.Option(help="Largest probability of a wrong yes.")
    ] = 1e-6,
    output_format: OutputFormat = Format.TEXT,
    timeout: Timeout = 600.0,
) -> None:
    """Tell whether a network carries a watermark.

    The exit status is 0 for yes and 1 for no.

    Example: nnw detect suspect.onnx --key key.npz
    """
    import nnw_onnx as nnw

    if not 0 < false_positive_rate < 1:
        raise ConfigurationError(
            f"--false-positive-rate: expected a number between 0 and 1, got "
            f"{false_positive_rate:g}; give for example 1e-6"
        )
    network, secret = _opened(model), nnw.load_key(key)
    detection = nnw.detect(
        network, secret, false_positive_rate=false_positive_rate, timeout=timeout
    )
    if output_format is Format.JSON:
        from dataclasses import asdict

        output.as_json(asdict(detection))
    else:
        output.text(*_in_words(detection, triggers=_asks_triggers(secret)))
    if not detection.detected:
        raise typer.Exit(1)


def _opened(model: Model) -> OnnxNetwork:
    import nnw_onnx as nnw

    network = nnw.open(model)
    warn(network.warnings)
    return network


def _asks_triggers(key: Key) -> bool:
    """Whether the watermark is in what the network answers to trigger inputs."""
    from nnw_onnx import plugins

    return hasattr(plugins.load("methods", key.method), "triggers")


def _as_bits(payload: Payload) -> Payload:
    """The same Symbols as bits, where all of them are: classes of an answer need not be."""
    return replace(payload, alphabet=2) if max(payload.symbols) < 2 else payload


def _values(payload: Payload) -> dict[str, Any]:
    if payload.alphabet == 2:
        return payload_values(payload)
    return {"bits": None, "hex": None, "text": None, "values": list(payload.symbols)}


def _digits(payload: Payload) -> str:
    return payload.bits if payload.alphabet <= 10 else " ".join(map(str, payload.symbols))


def _in_words(detection: Detection, *, triggers: bool) -> list[str]:
    what, match = ("triggers", "answered as the key says") if triggers else (
        "symbols", "match the payload")  # fmt: skip
    lines = [
        f"{'yes' if detection.detected else 'no'}: {detection.statistic} of {detection.n} {what} "
        f"{match}",
        "a network made without this key matches as well with probability "
        f"{_power(detection.log10_p)}; yes means {detection.false_positive_rate:g} or less",
    ]
    if _chance(detection.null) ** detection.n > detection.false_positive_rate:
        lines.append(
            f"{detection.n} {what} are too few to be detected at this rate even when all match"
        )
    if detection.p_inverted <= detection.false_positive_rate:
        lines.append(
            "almost every symbol is inverted: the sign of the carrier's weights was changed"
        )
    return lines


def _chance(null: str) -> float:
    """Chance of one match in the words of a null distribution, such as "Bin(64, 1/2)"."""
    numerator, _, denominator = null.rstrip(")").rpartition(" ")[2].partition("/")
    return int(numerator) / int(denominator)


def _power(log10_p: float) -> str:
    """A probability from its decimal logarithm, also where it is too small for a float."""
    import math

    exponent = math.floor(log10_p)
    if exponent >= -3:
        return f"{10**log10_p:.3g}"
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"
