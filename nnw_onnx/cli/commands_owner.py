"""Commands of someone who holds a key: decode and detect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.commands_network import payload_values, warn
from nnw_onnx.cli.options import KeyFile, Model, OutputFormat
from nnw_onnx.cli.output import Format
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.vocabulary import Detection


def decode(model: Model, key: KeyFile, output_format: OutputFormat = Format.JSON) -> None:
    """Read the payload of a watermarked network.

    Each symbol has a confidence, in standard deviations under a random key. Where the key file
    carries the injected payload, the Symbol Error Rate and the p-value against it are told too.
    The exit status is 0 whatever was decoded.

    Example: nnw decode marked.onnx --key key.npz
    """
    import nnw_onnx as nnw

    network, secret = _opened(model), nnw.load_key(key)
    decoding = nnw.decode(network, secret)
    warn(decoding.notes)
    size = len(decoding.payload)
    answer = {
        "payload": payload_values(decoding.payload),
        "symbols": size,
        "symbol_error_rate": None,
        "matching_symbols": None,
        "p_value": None,
        "log10_p": None,
        "ties": decoding.ties,
        "confidence": [round(value, 3) for value in decoding.confidence],
    }
    if secret.payload is not None:
        detection = nnw.detect(network, secret)
        answer |= {
            "symbol_error_rate": secret.payload.errors(decoding.payload) / size,
            "matching_symbols": detection.statistic,
            "p_value": detection.p_value,
            "log10_p": detection.log10_p,
        }
    if output_format is Format.JSON:
        output.as_json(answer)
        return
    output.text(decoding.payload.text or decoding.payload.hex or decoding.payload.bits)


def detect(
    model: Model,
    key: KeyFile,
    false_positive_rate: Annotated[
        float, typer.Option(help="Largest probability of a wrong yes.")
    ] = 1e-6,
    output_format: OutputFormat = Format.TEXT,
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
    detection = nnw.detect(network, secret, false_positive_rate=false_positive_rate)
    if output_format is Format.JSON:
        from dataclasses import asdict

        output.as_json(asdict(detection))
    else:
        output.text(*_in_words(detection))
    if not detection.detected:
        raise typer.Exit(1)


def _opened(model: Model) -> OnnxNetwork:
    import nnw_onnx as nnw

    network = nnw.open(model)
    warn(network.warnings)
    return network


def _in_words(detection: Detection) -> list[str]:
    lines = [
        f"{'yes' if detection.detected else 'no'}: {detection.statistic} of {detection.n} symbols "
        "match the payload",
        "a network made without this key matches as well with probability "
        f"{_power(detection.log10_p)}; yes means {detection.false_positive_rate:g} or less",
    ]
    if 0.5**detection.n > detection.false_positive_rate:
        lines.append(
            f"{detection.n} symbols are too few to be detected at this rate even when all match"
        )
    if detection.p_inverted <= detection.false_positive_rate:
        lines.append(
            "almost every symbol is inverted: the sign of the carrier's weights was changed"
        )
    return lines


def _power(log10_p: float) -> str:
    """A probability from its decimal logarithm, also where it is too small for a float."""
    import math

    exponent = math.floor(log10_p)
    if exponent >= -3:
        return f"{10**log10_p:.3g}"
    return f"{10 ** (log10_p - exponent):.1f}e{exponent}"
